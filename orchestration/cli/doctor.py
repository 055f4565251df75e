"""The command that examines a machine's state and says what to do."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import anyio
import typer
from rich.console import RenderableType
from rich.text import Text

from orchestration.app import Application, Settings
from orchestration.care import machine
from orchestration.care.database_file import check_database_file
from orchestration.care.doctor import examine
from orchestration.care.engine_view import identify
from orchestration.care.findings import Finding, Severity, problem
from orchestration.cli.parts import DATABASE, AsJson, print_json, print_parts, run_opened
from orchestration.cli.tables import make_table
from utils.clock import SystemClock
from utils.persistence.errors import DatabaseError

STYLES = {Severity.OK: "green", Severity.NOTE: "yellow", Severity.PROBLEM: "bold red"}


def doctor(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Examine database, disk, versions, clocks, leases, workers and files; exit 1 on a problem.

    Each finding says what to do about it. Nothing is changed, but that a database of an older
    program is brought up to date if it is whole.
    """
    settings = Settings(var=context.obj, database=context.meta.get(DATABASE))
    findings = [
        *machine.check_versions(),
        *machine.check_disk(settings.var),
        *anyio.run(machine.check_clock, SystemClock()),
        machine.check_port(settings.host, settings.port),
    ]
    place = _file_of(settings)
    in_file = [] if place is None else list(check_database_file(place))
    findings += in_file
    is_there = place is None or place.exists()
    if is_there and not any(one.severity is Severity.PROBLEM for one in in_file):
        findings += _examine_rows(context, settings)
    bad = [one for one in findings if one.severity is Severity.PROBLEM]
    if as_json:
        print_json({"healthy": not bad, "findings": [asdict(one) for one in findings]})
    else:
        print_parts(_draw(findings), "", _sum_up(findings))
    raise typer.Exit(1 if bad else 0)


def _file_of(settings: Settings) -> Path | None:
    """Return where the SQLite file is; None if a server has the database."""
    if settings.database is None:
        return settings.var / "quartermaster.sqlite"
    scheme, separator, rest = settings.database.partition(":///")
    if scheme.startswith("postgres"):
        return None
    return Path(rest if separator else settings.database)


def _examine_rows(context: typer.Context, settings: Settings) -> list[Finding]:
    async def look(application: Application) -> list[Finding]:
        database, clock = application.database, SystemClock()
        me = identify(database, clock)
        return await examine(database, settings.var.absolute(), clock=clock, me=me)

    try:
        return run_opened(context, look)
    except DatabaseError as error:
        return [problem("database", str(error), "Do as it says, then examine again.")]


def _draw(findings: list[Finding]) -> RenderableType:
    table = make_table("", "check", "what was seen", "what to do")
    for one in findings:
        severity = Text(one.severity.value, style=STYLES[one.severity])
        table.add_row(severity, one.check, Text(one.text), Text(one.advice))
    return table


def _sum_up(findings: list[Finding]) -> str:
    bad = sum(one.severity is Severity.PROBLEM for one in findings)
    notes = sum(one.severity is Severity.NOTE for one in findings)
    return f"{bad or 'No'} problem{'' if bad == 1 else 's'}, {notes or 'no'} notes."
