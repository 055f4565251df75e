"""The rows of schedules: what owners may ask of them, on any machine."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from orchestration.scheduler.plan import Misfire, Overlap
from orchestration.scheduler.timing import (
    OnEvent,
    Timing,
    timing_from_json,
    timing_to_json,
)
from utils.clock import new_id
from utils.errors import ConfigError, QuartermasterError
from utils.persistence import schedules as tables
from utils.persistence.outbox import NEWEST, add_line

if TYPE_CHECKING:
    from sqlalchemy import RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

    from utils.clock import Clock
    from utils.persistence.engine import Database

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
EVENT = re.compile(r"[a-z][a-z0-9_]{0,59}")
OWN_EVENTS = ("job_", "model_", "run_", "schedule_", "webhook_")
LARGEST_PAYLOAD_BYTES = 64 * 1024
MOST_PENDING = 1000


class ScheduleNotFoundError(QuartermasterError, LookupError):
    """No schedule has this name."""


@dataclass(frozen=True, kw_only=True)
class NewSchedule:
    """What is to start, when, and what if it cannot."""

    name: str
    timing: Timing
    plan: Mapping[str, Any]
    """What the launcher starts, in its own words."""
    misfire: Misfire = Misfire.ONCE
    catch_up: int = 10
    """How many late fires are caught up at most, under that policy."""
    overlap: Overlap = Overlap.SKIP
    max_pending: int = 10
    """With `queue`: a fire is skipped while so many earlier ones are unfinished."""

    def __post_init__(self) -> None:
        """Refuse what cannot be kept.

        Raises:
            ConfigError: A field is out of range.
        """
        if not NAME.fullmatch(self.name):
            raise ConfigError(
                f"name={self.name!r}: take up to 100 letters, digits, points, - and _"
            )
        for field in ("catch_up", "max_pending"):
            if not 1 <= getattr(self, field) <= MOST_PENDING:
                raise ConfigError(f"{field}={getattr(self, field)}: choose 1 to {MOST_PENDING}")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A schedule and how far it got."""

    id: str
    name: str
    timing: Timing
    plan: Mapping[str, Any]
    misfire: Misfire
    catch_up: int
    overlap: Overlap
    max_pending: int
    active: bool
    handled_until: datetime
    next_time: datetime | None
    """By the clock; None after events, or if no fire is left."""
    event_seq: int
    """The last event that was looked at."""
    dropped: int
    """Events that fell into a cool-down."""
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Fire:
    """One fire there was."""

    fire_time: datetime
    """When it was due, or when its event happened."""
    event_seq: int
    fired_at: datetime
    outcome: str
    pipeline_id: str | None
    error: str | None


class SqlSchedules:
    """Schedules for their owners."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(self, new: NewSchedule) -> Schedule:
        """Keep a schedule; it fires from now on.

        Args:
            new: The schedule.

        Raises:
            ConfigError: Its name is taken, or it would never fire.
        """
        now = self._clock.now()
        is_event = isinstance(new.timing, OnEvent)
        next_time = None if isinstance(new.timing, OnEvent) else new.timing.after(now)
        if next_time is None and not is_event:
            raise ConfigError(
                f"schedule {new.name}: its only moment has passed; choose a later one"
            )
        row = {
            "id": new_id(self._clock),
            "name": new.name,
            "timing": timing_to_json(new.timing),
            "plan": dict(new.plan),
            "misfire": new.misfire.value,
            "catch_up": new.catch_up,
            "overlap": new.overlap.value,
            "max_pending": new.max_pending,
            "active": True,
            "handled_until": now,
            "next_time": next_time,
            "event_type": new.timing.type if isinstance(new.timing, OnEvent) else None,
            "dropped": 0,
            "created_at": now,
        }
        async with self._database.write() as connection:
            row["event_seq"] = await connection.scalar(NEWEST)
            try:
                await connection.execute(insert(tables.schedule), row)
            except IntegrityError as error:
                raise ConfigError(
                    f"schedule {new.name} exists already: delete it first, or take another name"
                ) from error
            return await load_schedule(connection, new.name)

    async def get(self, name: str) -> Schedule:
        """Load a schedule.

        Args:
            name: Its name.

        Raises:
            ScheduleNotFoundError: There is none.
        """
        async with self._database.read() as connection:
            return await load_schedule(connection, name)

    async def list_schedules(self) -> list[Schedule]:
        """Return all, by name."""
        query = select(tables.schedule).order_by(tables.schedule.c.name)
        async with self._database.read() as connection:
            return [to_schedule(row) for row in (await connection.execute(query)).mappings()]

    async def pause(self, name: str) -> Schedule:
        """Let a schedule fire no more until it is resumed.

        Args:
            name: Its name.

        Raises:
            ScheduleNotFoundError: There is none.
        """
        async with self._database.write() as connection:
            schedule = await load_schedule(connection, name, lock=True)
            await save_schedule(connection, replace(schedule, active=False))
            return await load_schedule(connection, name)

    async def resume(self, name: str) -> Schedule:
        """Let a paused schedule fire again; what fell into the pause is not made up for.

        Args:
            name: Its name.

        Raises:
            ScheduleNotFoundError: There is none.
        """
        now = self._clock.now()
        async with self._database.write() as connection:
            schedule = await load_schedule(connection, name, lock=True)
            if not schedule.active:
                timing = schedule.timing
                schedule = replace(
                    schedule,
                    active=True,
                    handled_until=now,
                    next_time=None if isinstance(timing, OnEvent) else timing.after(now),
                    event_seq=int(await connection.scalar(NEWEST) or 0),
                )
                await save_schedule(connection, schedule)
            return schedule

    async def delete(self, name: str) -> None:
        """Forget a schedule and its fires; the work that it started stays.

        Args:
            name: Its name.

        Raises:
            ScheduleNotFoundError: There is none.
        """
        async with self._database.write() as connection:
            schedule = await load_schedule(connection, name, lock=True)
            fires = delete(tables.schedule_fire)
            await connection.execute(fires.where(tables.schedule_fire.c.schedule_id == schedule.id))
            row = delete(tables.schedule).where(tables.schedule.c.id == schedule.id)
            await connection.execute(row)

    async def fires(self, name: str, *, limit: int = 20) -> list[Fire]:
        """List the fires there were, newest first.

        Args:
            name: Of the schedule.
            limit: At most so many.

        Raises:
            ScheduleNotFoundError: There is none.
        """
        table = tables.schedule_fire
        columns = [column for column in table.c if column.name != "schedule_id"]
        async with self._database.read() as connection:
            schedule = await load_schedule(connection, name)
            query = select(*columns).where(table.c.schedule_id == schedule.id)
            query = query.order_by(table.c.fire_time.desc(), table.c.event_seq.desc())
            rows = (await connection.execute(query.limit(limit))).mappings()
            return [Fire(**row) for row in rows]

    async def announce(self, type_: str, payload: Mapping[str, Any]) -> None:
        """Tell the outbox of something that happened elsewhere, such as new data.

        Args:
            type_: Its name; those of the engine's own events are refused.
            payload: Plain JSON.

        Raises:
            ConfigError: The name is none, or the payload is no JSON or too large.
        """
        if not EVENT.fullmatch(type_) or type_.startswith(OWN_EVENTS):
            raise ConfigError(
                f"event {type_!r}: take a name in snake_case such as new_data, none that begins "
                f"with {', '.join(OWN_EVENTS)}"
            )
        try:
            size = len(json.dumps(dict(payload), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"event {type_}: its payload is not plain JSON: {error}") from error
        if size > LARGEST_PAYLOAD_BYTES:
            raise ConfigError(f"event {type_}: at most {LARGEST_PAYLOAD_BYTES} bytes, not {size}")
        async with self._database.write() as connection:
            await add_line(connection, type_, payload, at=self._clock.now())

    def preview(self, timing: Timing, count: int) -> list[datetime]:
        """Return the next fires by the clock; none after events.

        Args:
            timing: Of a schedule.
            count: How many.
        """
        found: list[datetime] = []
        moment: datetime | None = self._clock.now()
        while not isinstance(timing, OnEvent) and moment is not None and len(found) < count:
            moment = timing.after(moment)
            found += [] if moment is None else [moment]
        return found


async def load_schedule(connection: AsyncConnection, name: str, *, lock: bool = False) -> Schedule:
    """Load a schedule.

    Args:
        connection: An open transaction.
        name: Its name.
        lock: Keep other transactions from changing it until this one ends.

    Raises:
        ScheduleNotFoundError: There is none.
    """
    query = select(tables.schedule).where(tables.schedule.c.name == name)
    if lock:
        query = query.with_for_update()
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        raise ScheduleNotFoundError(
            f"no schedule {name!r}: `python -m orchestration schedules list` names them"
        )
    return to_schedule(row)


async def save_schedule(connection: AsyncConnection, schedule: Schedule) -> None:
    """Write how far a schedule got.

    Args:
        connection: A transaction that has locked it.
        schedule: After the change.
    """
    row = update(tables.schedule).where(tables.schedule.c.id == schedule.id)
    names = ("active", "handled_until", "next_time", "event_seq", "dropped")
    await connection.execute(row, {name: getattr(schedule, name) for name in names})


def to_schedule(row: RowMapping) -> Schedule:
    """Read a row.

    Args:
        row: All of its columns by name.
    """
    fields: dict[str, Any] = {name: value for name, value in row.items() if name != "event_type"}
    fields["timing"] = timing_from_json(fields["timing"])
    fields["misfire"] = Misfire(fields["misfire"])
    fields["overlap"] = Overlap(fields["overlap"])
    return Schedule(**fields)
