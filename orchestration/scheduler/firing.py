"""One fire in one transaction: its row, its work, and the step forward of its schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT compiles for SQLite as well

from orchestration.events import Requested
from orchestration.jobs import TERMINAL, Desired
from orchestration.scheduler.plan import Overlap, plan_fires
from orchestration.scheduler.schedules import Fire, Schedule, save_schedule
from orchestration.scheduler.timing import OnEvent
from utils.errors import QuartermasterError
from utils.persistence import jobs
from utils.persistence.errors import DatabaseError
from utils.persistence.schedules import schedule_fire as fires

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from orchestration.job_store.ledger import JobLedger

EVENTS_PER_LOOK = 100
LAUNCHED, SKIPPED, FAILED = "launched", "skipped", "failed"


class Launcher(Protocol):
    """Starts the work of a fire."""

    async def launch(
        self, connection: AsyncConnection, plan: Mapping[str, Any], *, after: Sequence[str]
    ) -> str:
        """Submit jobs in the fire's transaction.

        Args:
            connection: The open transaction.
            plan: As the schedule keeps it.
            after: Jobs that must have ended first, however.

        Returns:
            What all of the jobs have as `pipeline_id`.

        Raises:
            QuartermasterError: The plan cannot be started; nothing of it is kept.
        """
        ...


class Firing:
    """Fires schedules inside transactions that have locked them."""

    def __init__(self, ledger: JobLedger, launcher: Launcher) -> None:
        self._ledger = ledger
        self._clock = ledger.clock
        self._launcher = launcher

    async def by_clock(self, connection: AsyncConnection, schedule: Schedule) -> list[Fire]:
        """Fire what the clock says is due.

        Args:
            connection: The open transaction.
            schedule: One by the clock, locked.
        """
        if isinstance(schedule.timing, OnEvent):
            return []
        due = plan_fires(
            schedule.timing,
            schedule.misfire,
            schedule.catch_up,
            handled_until=schedule.handled_until,
            now=self._clock.now(),
        )
        found = [await self.fire(connection, schedule, time) for time in due.times]
        if due.missed_since is not None:
            payload = {"schedule": schedule.name, "since": due.missed_since.isoformat()}
            await self._ledger.announce(connection, None, "schedule_misfired", payload)
        moved = replace(schedule, handled_until=due.handled_until, next_time=due.next_time)
        await save_schedule(connection, moved)
        return [fire for fire in found if fire is not None]

    async def by_event(
        self, connection: AsyncConnection, schedule: Schedule, settled: int
    ) -> list[Fire]:
        """Fire for events that came since the last look, each looked at once.

        An event that falls into the cool-down, or meets work that it may not join, is dropped and
        counted, so that a storm of them starts one piece of work.

        Args:
            connection: The open transaction.
            schedule: One after events, locked.
            settled: Look at no later event.
        """
        timing, table = schedule.timing, jobs.event
        if not isinstance(timing, OnEvent):
            return []
        query = select(table.c.seq, table.c.type, table.c.payload, table.c.at).where(
            table.c.type == timing.type, table.c.seq > schedule.event_seq, table.c.seq <= settled
        )
        rows = (await connection.execute(query.order_by(table.c.seq).limit(EVENTS_PER_LOOK))).all()
        found, dropped = [], 0
        for row in rows:
            if not timing.matches(row.type, row.payload):
                continue
            if await self._cools_down(connection, schedule, timing) or await self._why_not(
                connection, schedule
            ):
                dropped += 1
                continue
            fire = await self.fire(connection, schedule, row.at, event_seq=row.seq)
            found += [] if fire is None else [fire]
        last = rows[-1].seq if len(rows) == EVENTS_PER_LOOK else max(settled, schedule.event_seq)
        moved = replace(schedule, event_seq=last, dropped=schedule.dropped + dropped)
        await save_schedule(connection, moved)
        return found

    async def fire(
        self,
        connection: AsyncConnection,
        schedule: Schedule,
        fire_time: datetime,
        *,
        event_seq: int = 0,
    ) -> Fire | None:
        """Start the work of one fire; None if somebody has fired it before.

        Args:
            connection: The open transaction.
            schedule: Locked.
            fire_time: When it was due.
            event_seq: The event it is for; 0 by the clock.
        """
        key = {"schedule_id": schedule.id, "fire_time": fire_time, "event_seq": event_seq}
        now = self._clock.now()
        row = insert(fires).values(**key, fired_at=now, outcome=LAUNCHED).on_conflict_do_nothing()
        if await connection.scalar(row.returning(fires.c.schedule_id)) is None:
            return None
        outcome, pipeline_id, error = await self._start(connection, schedule)
        told = {"outcome": outcome, "pipeline_id": pipeline_id, "error": error}
        await connection.execute(update(fires).filter_by(**key), told)
        payload = {"schedule": schedule.name, "fire_time": fire_time.isoformat(), **told}
        await self._ledger.announce(connection, None, f"schedule_{outcome}", payload)
        return Fire(
            fire_time=fire_time,
            event_seq=event_seq,
            fired_at=now,
            outcome=outcome,
            pipeline_id=pipeline_id,
            error=error,
        )

    async def _start(
        self, connection: AsyncConnection, schedule: Schedule
    ) -> tuple[str, str | None, str | None]:
        why_not = await self._why_not(connection, schedule)
        if why_not is not None:
            return SKIPPED, None, why_not
        unfinished = await self._unfinished(connection, schedule)
        if schedule.overlap is Overlap.CANCEL:
            for job_id in unfinished:
                asked = Requested(desired=Desired.CANCEL)
                await self._ledger.apply(connection, job_id, asked)
            unfinished = await self._unfinished(connection, schedule)
        try:
            async with connection.begin_nested():
                after = list(unfinished)
                started = await self._launcher.launch(connection, schedule.plan, after=after)
        except DatabaseError:
            raise
        except QuartermasterError as error:
            return FAILED, None, str(error)
        return LAUNCHED, started, None

    async def _why_not(self, connection: AsyncConnection, schedule: Schedule) -> str | None:
        if schedule.overlap is Overlap.CANCEL:
            return None
        pipelines = set((await self._unfinished(connection, schedule)).values())
        most = 1 if schedule.overlap is Overlap.SKIP else schedule.max_pending
        if len(pipelines) < most:
            return None
        return f"the work of {len(pipelines)} earlier fires is unfinished"

    async def _unfinished(self, connection: AsyncConnection, schedule: Schedule) -> dict[str, str]:
        """Return the pipeline of each unfinished job that the schedule started."""
        job = jobs.job
        query = (
            select(job.c.id, job.c.pipeline_id)
            .join(fires, fires.c.pipeline_id == job.c.pipeline_id)
            .where(fires.c.schedule_id == schedule.id)
            .where(job.c.state.not_in([state.value for state in TERMINAL]))
            .order_by(job.c.id)
        )
        return {row.id: row.pipeline_id for row in await connection.execute(query)}

    async def _cools_down(
        self, connection: AsyncConnection, schedule: Schedule, timing: OnEvent
    ) -> bool:
        query = select(func.max(fires.c.fired_at)).where(
            fires.c.schedule_id == schedule.id, fires.c.event_seq > 0
        )
        last: datetime | None = await connection.scalar(query)
        if last is None:
            return False
        passed = self._clock.now() - last
        return timedelta() <= passed < timedelta(seconds=timing.cooldown_seconds)
