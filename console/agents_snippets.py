"""A request as lines to copy: for a shell, for Python, for the command line."""

from __future__ import annotations

import json
import pprint
from collections.abc import Mapping
from typing import Any


def curl_lines(url: str, agent: str, request: Mapping[str, Any], version: int | None) -> str:
    """Return the request as a command of a shell.

    Args:
        url: Of the server.
        agent: Its name.
        request: What is asked.
        version: Which version, if by number.
    """
    place = f"{url}/v1/agents/{agent}" + (f"/versions/{version}" if version else "")
    body = json.dumps(request, indent=2)
    return (
        f"curl -fsS '{place}:invoke' \\\n"
        '  ${QUARTERMASTER_TOKEN:+-H "Authorization: Bearer $QUARTERMASTER_TOKEN"} \\\n'
        f"  -d @- <<'JSON'\n{body}\nJSON"
    )


def python_lines(url: str, agent: str, request: Mapping[str, Any], version: int | None) -> str:
    """Return the request as a program.

    Args:
        url: Of the server.
        agent: Its name.
        request: What is asked.
        version: Which version, if by number.
    """
    written = pprint.pformat(dict(request), width=88, sort_dicts=False)
    chosen = f", version={version}" if version else ""
    return f"""\
import os

import anyio

from orchestration.client.client import Client
from orchestration.client.connection import Connection

REQUEST = {written}


async def main():
    async with Connection({url!r}, token=os.environ.get("QUARTERMASTER_TOKEN")) as connection:
        print(await Client(connection).agents.ask({agent!r}, REQUEST{chosen}))


anyio.run(main)"""


def command_lines(agent: str, request: Mapping[str, Any], version: int | None) -> str:
    """Return the request for the command line, which asks the agents of its own folder.

    Args:
        agent: Its name.
        request: What is asked.
        version: Which version, if by number.
    """
    chosen = f" --version {version}" if version else ""
    body = json.dumps(request, indent=2)
    return f"python -m orchestration invoke {agent} -{chosen} <<'JSON'\n{body}\nJSON"
