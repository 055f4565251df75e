"""How many jobs with a key run at once, anywhere: list, set, lift."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestration.app import Application
from orchestration.cli import tables
from orchestration.cli.parts import AsJson, print_json, print_parts, run_opened
from utils.errors import ConfigError


def register(cli: typer.Typer) -> None:
    """Add the command.

    Args:
        cli: To it.
    """
    cli.command()(limits)


def limits(
    context: typer.Context,
    key: Annotated[str | None, typer.Argument(metavar="[KEY]", help="Which key.")] = None,
    most: Annotated[
        str | None, typer.Argument(metavar="[MOST]", help="How many; `none` lifts the limit.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show how many jobs with a key may run at once, or say how many; `submit --limit-key` uses it.

    A lower limit stops nobody: it holds for jobs that start from now on.
    """
    if (key is None) != (most is None):
        raise ConfigError("write KEY and MOST to set a limit, or neither to list all")
    number = _read_number(most)

    async def work(application: Application) -> dict[str, int]:
        store = application.parts.store
        if key is not None:
            await store.set_limit(key, number)
        return await store.limits()

    found = run_opened(context, work)
    if as_json:
        print_json(found)
        return
    if not found:
        print_parts("No key has a limit.")
        return
    table = tables.make_table("key", "jobs at once")
    for name, count in found.items():
        table.add_row(name, str(count))
    print_parts(table)


def _read_number(text: str | None) -> int | None:
    if text is None or text == "none":
        return None
    if not text.isdecimal():
        raise ConfigError(f"{text!r}: write how many, such as 2, or `none`")
    return int(text)
