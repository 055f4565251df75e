"""Commands that look at the job engine: all of it at a glance, or its jobs as a list."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestration.app import Application
from orchestration.care.engine_view import (
    EngineView,
    EventView,
    LiveJob,
    WorkerView,
    find_jobs,
    identify,
    look,
)
from orchestration.cli import tables, training
from orchestration.cli.parts import PIPE_WIDTH, AsJson, print_json, print_parts, run_opened
from orchestration.cli.run_view import figure
from orchestration.jobs import Job, JobState, Resources
from utils.clock import Clock, SystemClock
from utils.persistence.run_queries import RunNotFoundError

REFRESH_SECONDS = 1.0
DEFAULT_LIMIT = 20
WIDE = 80
"""Terminals below it do without some columns."""
HEADING_LINES = 2
"""Of a table: its headings and the empty line above."""


def engine(
    context: typer.Context,
    *,
    watch: Annotated[
        bool, typer.Option(help="Look on until Ctrl-C; a pipe gets a line for each change.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the engine at a glance: queue, live jobs, workers and the newest events."""
    console = Console()
    if watch:
        look_on(context, console, as_json=as_json)
        return

    async def view(application: Application) -> EngineView:
        database, clock = application.database, SystemClock()
        return await look(database, clock, identify(database, clock))

    found = run_opened(context, view)
    if as_json:
        print_json(asdict(found))
    else:
        print_parts(draw(found, width=console.width if console.is_terminal else PIPE_WIDTH))


def look_on(context: typer.Context, console: Console, *, as_json: bool = False) -> None:
    """Show the engine as it changes, until Ctrl-C.

    Args:
        context: Of the command.
        console: Where; lines if it is no terminal.
        as_json: Whether to print an object a second instead.
    """

    async def show(application: Application) -> None:
        database, clock = application.database, SystemClock()
        me = identify(database, clock)

        async def view() -> EngineView:
            return await look(database, clock, me)

        if as_json or not console.is_terminal:
            await _watch_lines(view, clock, as_json=as_json)
        else:
            await _watch_live(view, clock, console)

    run_opened(context, show)


def jobs(
    context: typer.Context,
    *,
    state: Annotated[
        list[JobState] | None, typer.Option(help="Only in this state; repeat for several.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Only of this kind.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="Only of this pipeline.")] = None,
    before: Annotated[
        str | None, typer.Option(metavar="JOB", help="Only older ones: the page after this job.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = DEFAULT_LIMIT,
    as_json: AsJson = False,
) -> None:
    """List jobs of every kind, newest first."""

    async def find(application: Application) -> list[Job]:
        return await application.parts.store.list_jobs(
            states=state or (),
            kind=kind,
            pipeline_id=pipeline,
            before=before and await find_job_id(application, before),
            limit=limit,
        )

    found = run_opened(context, find)
    if as_json:
        print_json([asdict(one) for one in found])
    elif found:
        print_parts(draw_jobs(found, SystemClock().now()))
        if len(found) == limit:
            print_parts(f"Older ones: --before {tables.short(found[-1].id)}")
    else:
        print_parts("No such jobs.")


async def find_job_id(application: Application, reference: str) -> str:
    """Find a job by what people type.

    Args:
        application: Knows runs and jobs.
        reference: Id of a run or job, the end of one, or `latest`.

    Raises:
        RunNotFoundError: None fits, or several.
    """
    try:
        return await training.find_job(application.orchestrator, reference)
    except RunNotFoundError:
        is_latest = reference == "latest"
        if not is_latest and len(reference) < training.SHORTEST_END:
            raise
        found = await find_jobs(application.database, "" if is_latest else reference)
        if not found or (len(found) > 1 and not is_latest):
            raise
        return found[0]


def draw(view: EngineView, *, width: int, height: int | None = None) -> RenderableType:
    """Draw the engine.

    Args:
        view: As it is.
        width: Of the terminal, in characters; a narrow one gets fewer columns.
        height: Of the terminal, in lines; it gets as many events as fit. None gets all.
    """
    shown_tables = [_live_table(view.live, width)] if view.live else []
    shown_tables += [_worker_table(view.workers, width)] if view.workers else []
    parts: list[RenderableType] = [Text(sum_up(view), style="bold")]
    for table in shown_tables:
        parts += [Text(), table]
    if view.events:
        used = 3 + sum(table.row_count + HEADING_LINES for table in shown_tables)
        shown = len(view.events) if height is None else max(1, height - used)
        lines = map(event_line, view.events[-shown:])
        parts += [Text(), *(Text(one, no_wrap=True, overflow="ellipsis") for one in lines)]
    return Group(*parts)


def draw_jobs(found: Sequence[Job], now: datetime) -> RenderableType:
    """Draw a list of jobs.

    Args:
        found: Newest first.
        now: Tells their age.
    """
    table = tables.make_table("job", "kind", "state", "progress", "attempt", "age", "note")
    for one in found:
        style = tables.STATE_STYLES.get(one.state.value, "")
        table.add_row(
            tables.short(one.id),
            one.kind,
            Text(one.state.value, style=style),
            _share(one.progress_done, one.progress_total),
            f"{one.attempt} of {one.max_attempts}",
            tables.age(one.created_at, now),
            Text((one.error or "").partition("\n")[0]),
        )
    return table


def sum_up(view: EngineView) -> str:
    """Say in a line how the engine is.

    Args:
        view: As it is.
    """
    counts = "  ".join(f"{state} {count}" for state, count in view.states.items()) or "no jobs"
    waits = "" if not view.due else f"; {view.due} due for {view.oldest_due_seconds or 0:,.0f} s"
    alive = [worker for worker in view.workers if worker.is_alive is not False]
    busy, most = sum(one.jobs for one in alive), sum(one.parallel_jobs for one in alive)
    slots = f", {busy} of {most} slots busy" if alive else ""
    return f"{counts}{waits}; {len(alive)} workers{slots}"


def event_line(event: EventView) -> str:
    """Write an event in a line.

    Args:
        event: Of the outbox.
    """
    facts = "  ".join(f"{name}={_fact(value)}" for name, value in event.payload.items())
    job = tables.short(event.job_id) if event.job_id else "-"
    return f"{event.at:%H:%M:%S}  {event.type}  {job}  {facts}".rstrip()


def _live_table(live: Sequence[LiveJob], width: int) -> Table:
    return _table([_live_row(one) for one in live], width, spare=("heard", "attempt", "worker"))


def _live_row(one: LiveJob) -> Mapping[str, str | Text]:
    wish = "" if one.desired == "run" else f", told: {one.desired}"
    left = one.lease_left_seconds
    lease = f"{left:.0f} s left" if left >= 0 else f"over for {-left:.0f} s"
    heard = one.progress_age_seconds
    return {
        "live job": tables.short(one.id),
        "kind": one.kind,
        "state": f"{one.state}{wish}",
        "progress": _share(one.done, one.total),
        "heard": "" if heard is None else f"{heard:.0f} s ago",
        "attempt": str(one.attempt),
        "lease": Text(lease, style="red" if left < 0 else ""),
        "slots": _slots(one.resources),
        "worker": tables.short(one.worker or ""),
    }


def _worker_table(workers: Sequence[WorkerView], width: int) -> Table:
    words = {True: "", False: "gone", None: "elsewhere"}
    rows = [
        {
            "worker": tables.short(one.id),
            "host": one.host.partition("/")[0],
            "pid": str(one.pid),
            "jobs": f"{one.jobs} of {one.parallel_jobs}",
            "slots": "" if one.capacity is None else _slots(one.capacity),
            "last seen": f"{one.seen_seconds:.0f} s ago",
            "": words[one.is_alive],
        }
        for one in workers
    ]
    return _table(rows, width, spare=("host", "pid"))


def _table(rows: Sequence[Mapping[str, str | Text]], width: int, spare: Sequence[str]) -> Table:
    """Return a table without the columns that can be spared where there is no room for all."""
    columns = [name for name in rows[0] if width >= WIDE or name not in spare]
    table = tables.make_table(*columns)
    for row in rows:
        table.add_row(*(row[name] for name in columns))
    return table


def _fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name} {_fact(one)}" for name, one in value.items())
    return figure(value) if isinstance(value, float) else str(value)


def _slots(resources: Resources) -> str:
    parts = [
        f"{resources.cpu_milli / 1000:g} cpu" if resources.cpu_milli else "",
        f"{resources.gpu_milli / 1000:g} gpu" if resources.gpu_milli else "",
        f"{resources.memory_mb} MB" if resources.memory_mb else "",
    ]
    return " ".join(part for part in parts if part)


def _share(done: int | None, total: int | None) -> str:
    if done is None:
        return ""
    return f"{done / total:.0%}" if total else f"{done:,}"


async def _watch_live(
    view: Callable[[], Awaitable[EngineView]], clock: Clock, console: Console
) -> None:
    with Live(console=console, auto_refresh=False, screen=False) as live:
        while True:
            live.update(
                draw(await view(), width=console.width, height=console.height), refresh=True
            )
            await clock.sleep(REFRESH_SECONDS)


async def _watch_lines(
    view: Callable[[], Awaitable[EngineView]], clock: Clock, *, as_json: bool
) -> None:
    told: tuple[object, ...] = ()
    seen = 0
    while True:
        found = await view()
        if as_json:
            typer.echo(json.dumps(asdict(found), default=str))
        else:
            news = [one for one in found.events if one.seq > seen]
            seen = max([seen, *(one.seq for one in news)])
            for one in news:
                typer.echo(event_line(one))
            if (state := _state(found)) != told:
                typer.echo(sum_up(found))
                told = state
        await clock.sleep(REFRESH_SECONDS)


def _state(view: EngineView) -> tuple[object, ...]:
    """Return what a line tells, without ages: they always change."""
    alive = sum(worker.is_alive is not False for worker in view.workers)
    return (*view.states.items(), view.due, alive)
