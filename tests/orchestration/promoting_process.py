"""Promotes versions 1 and 2 in turn as fast as it can, serving HTTP beside it, until it is killed.

Run as `python -m tests.orchestration.promoting_process VAR DATABASE`; prints the address when it
answers, and a line after each promotion that has been acknowledged.
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

import anyio

from orchestration.app import Settings, open_application
from orchestration.endpoints.rest import ApiServer, make_api
from orchestration.serving import make_api_parts
from tests.orchestration.house import AGENT


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(var, database):
    settings = Settings(var=Path(var), database=database or None)
    async with open_application(settings, with_worker=False) as application:
        server = ApiServer(make_api(make_api_parts(application)), host="127.0.0.1", port=0)
        async with anyio.create_task_group() as group:
            group.start_soon(server.run)
            say(server.url)
            for number in count():
                version = 1 + number % 2
                await application.orchestrator.promote(AGENT, version, reason=f"move {number}")
                say(f"moved {number} {version}")


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
