"""`python -m console`: a server, if none runs, and the console in the browser beside it."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import webbrowser
from pathlib import Path

import anyio
from rich.console import Console

from console.launcher import HOST, LaunchError, Plan, launch
from console.server import TOKEN_VARIABLE, URL_VARIABLE

PORT, SERVER_PORT = 8501, 8321
ABOUT = """Start the console in the browser, and a server for it if none answers.

The console shows runs and their curves, submits training, plays environments, promotes and asks
agents, and operates the engine. All it does goes through the server's HTTP API."""
EPILOG = f"""examples:
  python -m console                                  a server on var/, and the console
  python -m console --var /srv/qm --server-port 9000 another folder, another port
  python -m console --url http://train.example:8321  a console for a server elsewhere

environment:
  {URL_VARIABLE}    as --url
  {TOKEN_VARIABLE}  for a server that wants one; see `python -m orchestration tokens --help`"""
REFUSED = 2


def main() -> int:
    """Run console and server and return the exit code."""
    plan = read_plan(sys.argv[1:])
    try:
        return anyio.run(launch, plan, _say)
    except LaunchError as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        return REFUSED


def read_plan(words: list[str]) -> Plan:
    """Return what the command line asks for.

    Args:
        words: Of it.
    """
    parser = argparse.ArgumentParser(
        prog="python -m console",
        description=ABOUT,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--var", type=Path, default=Path("var"), help="the server's folder of state (var)"
    )
    parser.add_argument(
        "--port", type=_port, default=PORT, help=f"of the console ({PORT}); 0 takes a free one"
    )
    parser.add_argument(
        "--server-port", type=_port, default=SERVER_PORT, help=f"of the server ({SERVER_PORT})"
    )
    parser.add_argument(
        "--url",
        default=os.environ.get(URL_VARIABLE) or None,
        help="speak with this server rather than with one on this machine",
    )
    parser.add_argument("--no-browser", action="store_true", help="open no browser")
    asked = parser.parse_args(words)
    return Plan(
        var=asked.var,
        port=asked.port or _free_port(),
        server_port=asked.server_port or _free_port(),
        url=asked.url,
        on_ready=_open if not asked.no_browser and _has_screen() else lambda _: None,
    )


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: write a number from 0 to 65535")
    return int(text)


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as found:
        return int(found.getsockname()[1])


def _has_screen() -> bool:
    return sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def _open(url: str) -> None:
    webbrowser.open(url)


def _say(text: str) -> None:
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
