"""What the commands share: how they open the application, name a run, and print."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import anyio
import typer
from rich.console import Console

from orchestration.app import Application, Settings, open_application

T = TypeVar("T")
PIPE_WIDTH = 160
DATABASE = "quartermaster.database"
"""Where the context keeps the database's URL."""
Run = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, its end, or `latest`.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def run_opened(
    context: typer.Context,
    work: Callable[[Application], Awaitable[T]],
    *,
    with_worker: bool = False,
) -> T:
    """Do a command's work on the application of the folder that was chosen.

    Args:
        context: Of the command; holds the folder.
        work: Gets the application.
        with_worker: Whether it carries jobs meanwhile.
    """

    async def opened() -> T:
        settings = Settings(var=context.obj, database=context.meta.get(DATABASE))
        async with open_application(settings, with_worker=with_worker) as application:
            return await work(application)

    return anyio.run(opened)


def print_parts(*parts: Any) -> None:
    """Print texts and tables below each other; a pipe is wide.

    Args:
        parts: What rich can draw.
    """
    console = Console()
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(*parts, sep="\n", highlight=False, markup=False)


def print_json(value: Any) -> None:
    """Print a value as JSON; what JSON does not know as text.

    Args:
        value: Mappings, sequences and numbers.
    """
    typer.echo(json.dumps(value, indent=2, default=str))
