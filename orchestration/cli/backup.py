"""Commands that keep all state in one file, and put it back."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer

from orchestration.app import Application
from orchestration.care.backup import back_up
from orchestration.care.restore import restore as put_back
from orchestration.cli.parts import DATABASE, AsJson, print_json, print_parts, run_opened
from utils.clock import SystemClock


def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; such as backup.tar.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Write database, artifacts, checkpoints and reports to one file, while work goes on.

    The file is whole or not there: all of it is hashed, read again and then renamed. A database on
    a server is left out; `pg_dump` keeps that.
    """

    async def write(application: Application) -> Any:
        var = application.settings.var
        return await back_up(application.database, var, file, clock=SystemClock())

    done = run_opened(context, write)
    if as_json:
        print_json(asdict(done))
        return
    print_parts(f"{done.path}: {done.num_files} files, {done.size_bytes:,} bytes, checked.")
    for fault in done.left_out:
        print_parts(f"Left out: {fault}.")
    if not done.has_database:
        print_parts(
            "The database is on a server: keep it with `pg_dump --format=custom`, taken before "
            "this backup, so that no row of it names a file that is not in here."
        )


def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As `backup` wrote it.")],
    *,
    force: Annotated[
        bool, typer.Option(help="Move aside what is in the folder --var, if nobody uses it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup back into the folder --var; a damaged one changes nothing there."""
    on_server = (context.meta.get(DATABASE) or "").startswith("postgres")
    done = anyio.run(
        partial(put_back, file, context.obj, clock=SystemClock(), force=force, on_server=on_server)
    )
    if as_json:
        print_json(asdict(done))
        return
    print_parts(f"{done.var}: {done.num_files} files are back.")
    if done.moved_aside is not None:
        print_parts(f"What was there lies in {done.moved_aside}.")
    if not done.has_database:
        print_parts("The database is on a server: load its own dump with `pg_restore`.")
