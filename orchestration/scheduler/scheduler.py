"""Looks at the clock and the outbox and starts what is due; any number of processes may.

A fire, its work and the step forward of its schedule are one transaction, and the fire's key keeps
everybody else from firing it again. So it makes no difference who looks, or how often.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import exists, func, select

from orchestration.scheduler.firing import Firing, Launcher
from orchestration.scheduler.plan import CLOCK_STEP
from orchestration.scheduler.schedules import (
    Fire,
    Schedule,
    ScheduleNotFoundError,
    load_schedule,
)
from utils.logs import get_logger
from utils.persistence.errors import DatabaseError
from utils.persistence.jobs import event
from utils.persistence.outbox import NEWEST, settled_seq
from utils.persistence.polling import Quiet, look_for_ever
from utils.persistence.schedules import schedule as table

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from orchestration.job_store.ledger import JobLedger

POLL_SECONDS = 1.0
FARTHEST_BEHIND = 1000
"""So many events of other types are passed over before that is written down."""
logger = get_logger(__name__)


class Scheduler:
    """Starts what is due."""

    def __init__(
        self,
        ledger: JobLedger,
        launcher: Launcher,
        *,
        wake: Callable[[], None],
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """Put the parts together; `run` does the work.

        Args:
            ledger: The jobs.
            launcher: Starts what a schedule is for.
            wake: Tells a worker of this process that jobs wait.
            poll_seconds: How often to look.
        """
        self._database = ledger.database
        self._clock = ledger.clock
        self._firing = Firing(ledger, launcher)
        self._wake = wake
        self._poll_seconds = poll_seconds
        self._seen_seq = -1
        self._quiet = Quiet(self._database, self._clock)

    async def run(self) -> None:
        """Look until cancelled."""
        await look_for_ever(self.look, self._clock, self._poll_seconds, logger)

    async def look(self) -> list[Fire]:
        """Fire what is due now, and return what was fired, or skipped, by this look."""
        found: list[Fire] = []
        if self._quiet.lasts:
            return found
        self._quiet.begin()
        due, newest, next_time = await self._glance()
        if not due and newest == self._seen_seq:
            self._quiet.settle(next_time)
        for name in due:
            found += await self._handle(name, self._firing.by_clock)
        if newest != self._seen_seq:
            settled = await settled_seq(self._database)
            names = await self._find_by_event(settled)
            for name in names:
                found += await self._handle(name, partial(self._firing.by_event, settled=settled))
            self._seen_seq = -1 if names else settled  # there may be more than one look takes
        if found:
            self._wake()
        return found

    async def fire_now(self, name: str) -> Fire:
        """Fire a schedule at once, paused or not; work that overlaps is treated as ever.

        Args:
            name: Its name.

        Raises:
            ScheduleNotFoundError: There is none.
        """
        async with self._database.write() as connection:
            schedule = await load_schedule(connection, name, lock=True)
            fire = await self._firing.fire(connection, schedule, self._clock.now())
        self._wake()
        if fire is None:
            raise RuntimeError(f"schedule {name} was fired twice in the same microsecond")
        return fire

    async def _handle(
        self,
        name: str,
        fire: Callable[[AsyncConnection, Schedule], Awaitable[list[Fire]]],
    ) -> list[Fire]:
        try:
            async with self._database.write() as connection:
                schedule = await load_schedule(connection, name, lock=True)
                found = await fire(connection, schedule) if schedule.active else []
        except ScheduleNotFoundError:  # deleted since we looked
            return []
        except DatabaseError:
            raise
        except Exception:  # the others fire all the same; this one is tried again
            logger.exception("schedule_broke", schedule=name)
            return []
        for one in found:
            logger.info("schedule_fired", schedule=name, outcome=one.outcome, reason=one.error)
        return found

    async def _glance(self) -> tuple[list[str], int, datetime | None]:
        """Return what is due by the clock, the outbox's newest line, and when more comes due."""
        now = self._clock.now()
        by_clock = table.c.active & table.c.event_type.is_(None)
        late = (table.c.next_time <= now) | (table.c.handled_until > now + CLOCK_STEP)
        query = select(table.c.name).where(by_clock, late).order_by(table.c.name)
        async with self._database.read() as connection:
            names = list(await connection.scalars(query))
            next_time = await connection.scalar(select(func.min(table.c.next_time)).where(by_clock))
            return names, int(await connection.scalar(NEWEST) or 0), next_time

    async def _find_by_event(self, settled: int) -> list[str]:
        wanted = exists().where(
            event.c.seq > table.c.event_seq,
            event.c.seq <= settled,
            event.c.type == table.c.event_type,
        )
        behind = table.c.event_seq < settled - FARTHEST_BEHIND
        query = select(table.c.name).where(table.c.active, table.c.event_type.is_not(None))
        async with self._database.read() as connection:
            return list(await connection.scalars(query.where(wanted | behind)))
