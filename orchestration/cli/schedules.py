"""`schedules`: what starts by the clock or after an event."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from orchestration.app import Application
from orchestration.cli import tables
from orchestration.cli.parts import AsJson, print_json, print_parts, run_opened
from orchestration.cli.words import read_words
from orchestration.pipelines.declaration import load_declaration
from orchestration.pipelines.retraining import RETRAIN
from orchestration.pipelines.submission import plan_from_json, plan_to_json
from orchestration.scheduler.plan import Misfire, Overlap
from orchestration.scheduler.schedules import NewSchedule
from orchestration.scheduler.timing import (
    Cron,
    Interval,
    Once,
    OnEvent,
    Timing,
    read_moment,
    timing_to_json,
)
from utils.clock import SystemClock
from utils.config import from_json
from utils.errors import ConfigError

if TYPE_CHECKING:
    from orchestration.pipelines.submission import Order
    from orchestration.scheduler.schedules import Schedule, SqlSchedules

T = TypeVar("T")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the schedule.")]
Words = Annotated[
    list[str], typer.Argument(metavar="NAME=VALUE...", help="When, what, and what if it cannot.")
]
group = typer.Typer(no_args_is_help=True, help="Start pipelines by the clock or after events.")


@group.command()
def add(context: typer.Context, name: Name, words: Words, *, as_json: AsJson = False) -> None:
    """Start a pipeline again and again, or once, at its time or after an event.

    When: cron="30 2 * * *" zone=Europe/Berlin, every=6h, at=2026-12-24T18:00+01:00, or on=EVENT
    where.FIELD=VALUE cooldown_seconds=300. What: retrain=AGENT set.SETTING=VALUE, or file=STEPS.
    Also: misfire=once|skip|catch_up catch_up=10, overlap=skip|queue|cancel max_pending=10.
    """
    values = read_words(words)
    order = _take_order(values)
    timing = _take_timing(values)
    rest = _read_rest({"name": name, **values}, timing, order)

    async def keep(application: Application) -> Schedule:
        automation = application.orchestrator.automation
        await automation.pipelines.check(order)
        return await automation.schedules.add(rest)

    schedule = run_opened(context, keep)
    if as_json:
        print_json(_plain(schedule))
    else:
        print_parts(f"Schedule {name} fires {_when(schedule)}.")


@group.command(name="list")
def list_schedules(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List all schedules, with their next fire."""
    found = _ask(context, lambda schedules: schedules.list_schedules())
    if as_json:
        print_json([_plain(one) for one in found])
        return
    table = tables.make_table("schedule", "state", "timing", "next", "dropped")
    for one in found:
        timing = ", ".join(f"{k}={v}" for k, v in timing_to_json(one.timing).items() if v)
        state = "active" if one.active else "paused"
        table.add_row(one.name, state, timing, _when(one), str(one.dropped or ""))
    print_parts(
        table if found else "No schedules yet: `schedules add NAME cron=... retrain=AGENT`."
    )


@group.command()
def pause(context: typer.Context, name: Name) -> None:
    """Let a schedule fire no more until it is resumed."""
    _ask(context, lambda schedules: schedules.pause(name))
    print_parts(f"Schedule {name} is paused.")


@group.command()
def resume(context: typer.Context, name: Name) -> None:
    """Let a paused schedule fire again; what fell into the pause is not made up for."""
    schedule = _ask(context, lambda schedules: schedules.resume(name))
    print_parts(f"Schedule {name} fires {_when(schedule)}.")


@group.command()
def delete(context: typer.Context, name: Name) -> None:
    """Forget a schedule; the work that it started stays."""
    _ask(context, lambda schedules: schedules.delete(name))
    print_parts(f"Schedule {name} is deleted.")


@group.command(name="next")
def preview(
    context: typer.Context,
    name: Name,
    *,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Show the next fires of a schedule, and the last ones there were."""

    async def look(schedules: SqlSchedules) -> tuple[list[datetime], list[Any]]:
        schedule = await schedules.get(name)
        return schedules.preview(schedule.timing, count), await schedules.fires(name, limit=count)

    coming, past = _ask(context, look)
    if as_json:
        print_json({"next": coming, "last": [asdict(fire) for fire in past]})
        return
    print_parts(*(f"next  {moment.isoformat()}" for moment in coming))
    for fire in past:
        note = f" ({fire.error})" if fire.error else ""
        print_parts(f"fired {fire.fire_time.isoformat()}: {fire.outcome}{note}")


@group.command()
def run(context: typer.Context, name: Name) -> None:
    """Fire a schedule now, paused or not."""
    fire = run_opened(context, lambda a: a.orchestrator.automation.scheduler.fire_now(name))
    note = f": {fire.error}" if fire.error else f", pipeline {fire.pipeline_id}"
    print_parts(f"Schedule {name} {fire.outcome}{note}")


@group.command()
def announce(
    context: typer.Context,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Such as new_data.")],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="What it tells.")
    ] = None,
) -> None:
    """Tell schedules and webhooks of an event that happened elsewhere, such as new data."""
    payload = read_words(words or [])
    _ask(context, lambda schedules: schedules.announce(event, payload))
    print_parts(f"Announced {event}.")


def register(cli: typer.Typer) -> None:
    """Add the commands.

    Args:
        cli: To these.
    """
    cli.add_typer(group, name="schedules")


def _ask(context: typer.Context, ask: Callable[[SqlSchedules], Awaitable[T]]) -> T:
    return run_opened(context, lambda a: ask(a.orchestrator.automation.schedules))


def _take_order(values: dict[str, Any]) -> Order:
    settings = values.pop("set", {})
    match values.pop(RETRAIN, None), values.pop("file", None):
        case None, str(path):
            if settings:
                raise ConfigError("set.* changes `retrain` only; change the file instead")
            return plan_from_json(load_declaration(Path(path)))
        case agent, None if agent is not None:
            return plan_from_json({RETRAIN: {"agent": agent, "settings": settings}})
    raise ConfigError("say what to start: retrain=AGENT, or file=STEPS.yaml")


def _take_timing(values: dict[str, Any]) -> Timing:
    kinds = [name for name in ("cron", "every", "at", "on") if name in values]
    if len(kinds) != 1:
        raise ConfigError('say when, once: cron="30 2 * * *", every=6h, at=MOMENT or on=EVENT')
    given = values.pop(kinds[0])
    extra = {"cron": {"zone"}, "on": {"where", "cooldown_seconds"}}.get(kinds[0], set())
    more = {name: values.pop(name) for name in extra & set(values)}
    match kinds[0]:
        case "cron":
            return from_json(Cron, {"expression": str(given), **more})
        case "every":
            return Interval(seconds=_read_length(str(given)), start=SystemClock().now())
        case "at":
            return Once(at=read_moment(str(given)))
        case _:
            where, cooldown = more.get("where", {}), more.get("cooldown_seconds", 300.0)
            if not isinstance(where, dict) or not isinstance(cooldown, int | float):
                raise ConfigError("write where.FIELD=VALUE, and cooldown_seconds=NUMBER")
            return OnEvent(type=str(given), where=where, cooldown_seconds=float(cooldown))


def _read_rest(values: dict[str, Any], timing: Timing, order: Order) -> NewSchedule:
    known = {"name", "misfire", "catch_up", "overlap", "max_pending"}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(f"{unknown[0]} does not belong to this schedule; see `schedules add -h`")
    for field in ("catch_up", "max_pending"):
        if not isinstance(values.get(field, 1), int):
            raise ConfigError(f"{field}={values[field]}: write a whole number")
    for field, kind in (("misfire", Misfire), ("overlap", Overlap)):
        if field in values:
            try:
                values[field] = kind(values[field])
            except ValueError as error:
                raise ConfigError(f"{error}: choose from {', '.join(kind)}") from error
    return NewSchedule(timing=timing, plan=plan_to_json(order), **values)


def _read_length(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if found is None:
        raise ConfigError(f"every={text}: write 90s, 15m, 6h or 1d")
    return float(found[1]) * UNITS[found[2] or "s"]


def _when(schedule: Schedule) -> str:
    if isinstance(schedule.timing, OnEvent):
        return f"after {schedule.timing.type}"
    return "never again" if schedule.next_time is None else schedule.next_time.isoformat()


def _plain(schedule: Schedule) -> dict[str, Any]:
    return {**vars(schedule), "timing": timing_to_json(schedule.timing)}
