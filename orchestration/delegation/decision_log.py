"""Records of decisions, written behind: who decides never waits for the database.

Bound on loss: a process that is killed loses the records made since the last flush began, that is
those of about `flush_seconds`. While the database is away records wait in memory, at most
`buffer_rows` of them and one batch under way; then the oldest are dropped and counted. A clean end
writes all. A record is written once, however often its batch has to be tried.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import anyio
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT compiles for SQLite as well
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from utils.errors import ConfigError
from utils.logs import get_logger
from utils.persistence.decisions import DecisionRecord, decision
from utils.persistence.errors import DatabaseError

if TYPE_CHECKING:
    from rl.monitoring.serving_metrics import ServingMetrics
    from utils.clock import Clock
    from utils.persistence.engine import Database

ROWS_AT_ONCE = 100
"""Handed to the driver in one go; preparing more would keep requests waiting for milliseconds."""
KNOWN_AT_ONCE = [
    one.name for one in fields(DecisionRecord) if one.name not in {"realised", "result_known_at"}
]
"""What a record says when it is made; the rest is told later and empty until then."""
read_known = operator.attrgetter(*KNOWN_AT_ONCE)
logger = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class DecisionLogConfig:
    """How far the database may lag behind."""

    flush_seconds: float = 1.0
    """Records are written at least so often."""
    batch_rows: int = 500
    """So many waiting records are written at once, without waiting for the time."""
    buffer_rows: int = 10_000
    """Records kept while the database is away; older ones are dropped."""

    def __post_init__(self) -> None:
        if not 0 < self.flush_seconds <= 60:
            raise ConfigError(f"flush_seconds={self.flush_seconds}: choose up to 60 seconds")
        if not 1 <= self.batch_rows <= self.buffer_rows:
            raise ConfigError(
                f"batch_rows={self.batch_rows}: choose 1 to buffer_rows={self.buffer_rows}"
            )


class DecisionLog:
    """A bounded buffer in front of the table of decisions."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        metrics: ServingMetrics,
        config: DecisionLogConfig | None = None,
    ) -> None:
        """Start empty.

        Args:
            database: Where records end up.
            clock: Tells when to flush.
            metrics: Count what was written and what was dropped.
            config: How far to lag behind.
        """
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._config = config or DecisionLogConfig()
        self._waiting: deque[DecisionRecord] = deque()
        self._in_flight = 0
        self._flushing = anyio.Lock()
        self._is_full = anyio.Event()

    @property
    def num_waiting(self) -> int:
        """Records that are not in the database yet."""
        return len(self._waiting) + self._in_flight

    def record(self, record: DecisionRecord) -> None:
        """Keep a record; never waits and never fails, but may drop the oldest one.

        Args:
            record: What was decided.
        """
        self._waiting.append(record)
        self._drop_oldest()
        if len(self._waiting) >= self._config.batch_rows:
            self._is_full.set()

    async def run(self) -> None:
        """Write what waits, every so often, until cancelled."""
        while True:
            if await self.flush():
                await self._rest()
            else:
                await self._clock.sleep(self._config.flush_seconds)  # however many come meanwhile

    async def flush(self) -> bool:
        """Write all that waits now; say whether that worked, else it goes on waiting."""
        async with self._flushing:
            self._is_full = anyio.Event()
            left = len(self._waiting)
            while left > 0 and self._waiting:
                batch = [
                    self._waiting.popleft()
                    for _ in range(min(left, self._config.batch_rows, len(self._waiting)))
                ]
                if not await self._write_or_keep(batch):
                    return False
                left -= len(batch)
        return True

    async def aclose(self) -> None:
        """Write all that waits; what cannot be written now is dropped, counted and logged."""
        with anyio.CancelScope(shield=True):
            if not await self.flush():
                logger.error("decision_records_lost", number=len(self._waiting))
                self._metrics.records_dropped(len(self._waiting))
                self._waiting.clear()

    async def _rest(self) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._wake_when_full, group.cancel_scope)
            await self._clock.sleep(self._config.flush_seconds)
            group.cancel_scope.cancel()

    async def _wake_when_full(self, scope: anyio.CancelScope) -> None:
        await self._is_full.wait()
        scope.cancel()

    async def _write_or_keep(self, batch: Sequence[DecisionRecord]) -> bool:
        is_written = False
        self._in_flight = len(batch)
        try:
            await self._write(batch)
            is_written = True
        except (DatabaseError, SQLAlchemyError) as error:
            logger.warning("decision_records_wait", number=len(batch), reason=str(error))
        finally:
            if not is_written:  # a cancelled write too; writing it again does no harm
                self._waiting.extendleft(reversed(batch))
                self._drop_oldest()
            self._in_flight = 0
        return is_written

    async def _write(self, batch: Sequence[DecisionRecord]) -> None:
        statement = insert(decision).on_conflict_do_nothing(index_elements=["id"])
        rows = [dict(zip(KNOWN_AT_ONCE, read_known(record), strict=True)) for record in batch]
        self._database.traffic.batches["decisions"].add(len(batch))
        try:
            async with self._database.write() as connection:
                for start in range(0, len(rows), ROWS_AT_ONCE):
                    await connection.execute(statement, rows[start : start + ROWS_AT_ONCE])
        except (DataError, IntegrityError) as error:
            if len(batch) == 1:
                logger.warning("decision_record_refused", id=batch[0].id, reason=str(error))
                self._metrics.records_dropped(1)
                return
            middle = len(batch) // 2
            await self._write(batch[:middle])
            await self._write(batch[middle:])
        else:
            self._metrics.records_written(len(batch))

    def _drop_oldest(self) -> None:
        too_many = len(self._waiting) - self._config.buffer_rows
        for _ in range(too_many):
            self._waiting.popleft()
        if too_many > 0:
            self._metrics.records_dropped(too_many)
