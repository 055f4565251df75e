"""The operator's commands, as they are called."""

from __future__ import annotations

import typer

from orchestration.cli import backup, doctor, engine, logs, prune


def register(cli: typer.Typer) -> None:
    """Add the commands.

    Args:
        cli: To these.
    """
    cli.command("engine")(engine.engine)
    cli.command("jobs")(engine.jobs)
    cli.command("logs")(logs.logs)
    cli.command("doctor")(doctor.doctor)
    cli.command("backup")(backup.backup)
    cli.command("restore")(backup.restore)
    cli.command("prune")(prune.prune)
