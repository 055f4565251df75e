"""Watches the requests that agents get, and tells the outbox when they have drifted.

The reference is what the first accepted requests of a version looked like; it is kept in the
database, so that a restart does not take drifted requests for the usual ones. The window is this
process's own.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT compiles for SQLite as well

from ai_agents.base_agent import Decision, DecisionRequest
from ai_agents.request_numbers import numbers_of
from rl.monitoring.drift import DriftConfig, DriftReport, DriftWatch
from utils.logs import get_logger
from utils.persistence.approvals import drift_reference
from utils.persistence.outbox import add_line
from utils.persistence.polling import look_for_ever

if TYPE_CHECKING:
    from rl.monitoring.serving_metrics import ServingMetrics
    from utils.clock import Clock
    from utils.persistence.engine import Database

DRIFT_EVENT = "drift_detected"
LOOK_SECONDS = 2.0
MOST_WAITING = 200
"""Requests between two looks; of more, the oldest are not looked at."""
MOST_WATCHED = 64
"""Versions that are watched; the one that was asked longest ago is forgotten first."""
SCORE = "score"
"""Name under which the decision's own figure is watched, beside the fields of the request."""
logger = get_logger(__name__)
Key = tuple[str, str]


class DriftMonitor:
    """Takes in requests at once and looks at them a little later."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        metrics: ServingMetrics,
        config: DriftConfig | None = None,
    ) -> None:
        """Begin without having seen any.

        Args:
            database: Holds references and the outbox.
            clock: Paces the looks.
            metrics: Show how far each agent's requests have moved.
            config: When that is too far.
        """
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._config = config or DriftConfig()
        self._waiting: deque[tuple[DecisionRequest, Decision]] = deque(maxlen=MOST_WAITING)
        self._watches: dict[Key, DriftWatch] = {}
        self._told: set[Key] = set()
        self._stored: set[Key] = set()

    def add(self, request: DecisionRequest, decision: Decision) -> None:
        """Take in an accepted request; never waits and never fails.

        Args:
            request: As it was read.
            decision: What was answered.
        """
        self._waiting.append((request, decision))

    def has_drifted(self, agent: str, version: str) -> bool:
        """Say whether the requests to a version look different now from those at first.

        Args:
            agent: Its name.
            version: Which one.
        """
        return (agent, version) in self._told

    async def look(self) -> dict[str, DriftReport]:
        """Look at what came since the last look; return what was found, by agent.

        Raises:
            DatabaseError: A reference or an event cannot be written; the next look tries again.
        """
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not batch:
            return {}
        seen = await anyio.to_thread.run_sync(_read, batch)
        for key, features in seen:
            watch = await self._watch(key)
            if watch.add(features):
                logger.info("drift_reference_made", agent=key[0], version=key[1])
        touched = dict.fromkeys(key for key, _ in seen)
        found = {}
        for key in touched:
            if key not in self._watches:  # forgotten, as the batch had more versions than places
                continue
            await self._keep_reference(key)
            report = await anyio.to_thread.run_sync(self._watches[key].report)
            if report is not None:
                found[key[0]] = report
                self._metrics.drifted(key[0], score=report.score)
                await self._tell(key, report)
        return found

    async def run(self) -> None:
        """Look every few seconds, until cancelled."""
        await look_for_ever(self.look, self._clock, LOOK_SECONDS, logger)

    async def _watch(self, key: Key) -> DriftWatch:
        watch = self._watches.pop(key, None)
        if watch is None:
            watch = DriftWatch(config=self._config, reference=await self._load(key))
            if len(self._watches) >= MOST_WATCHED:
                forgotten = next(iter(self._watches))
                del self._watches[forgotten]
                self._told.discard(forgotten)
                self._stored.discard(forgotten)
        self._watches[key] = watch  # the newest is last
        return watch

    async def _load(self, key: Key) -> dict[str, list[float]] | None:
        table = drift_reference
        query = select(table.c.samples).where(table.c.agent == key[0], table.c.version == key[1])
        async with self._database.read() as connection:
            samples: dict[str, list[float]] | None = await connection.scalar(query)
        if samples is not None:
            self._stored.add(key)
        return samples

    async def _keep_reference(self, key: Key) -> None:
        reference = self._watches[key].reference
        if reference is None or key in self._stored:
            return
        row = {"agent": key[0], "version": key[1], "samples": reference}
        statement = insert(drift_reference).values(**row, made_at=self._clock.now())
        async with self._database.write() as connection:
            await connection.execute(statement.on_conflict_do_nothing())
        self._stored.add(key)

    async def _tell(self, key: Key, report: DriftReport) -> None:
        if not report.drifted:
            self._told.discard(key)
            return
        if key in self._told:
            return
        worst = report.drifted[0]
        payload: dict[str, Any] = {
            "agent": key[0],
            "version": key[1],
            "feature": worst.feature,
            "psi": worst.psi,
            "ks": worst.ks,
            "features": [one.feature for one in report.drifted[:20]],
            "requests": report.num_requests,
        }
        async with self._database.write() as connection:
            await add_line(connection, DRIFT_EVENT, payload, at=self._clock.now())
        self._told.add(key)
        logger.warning("drift_detected", **payload)


def _read(batch: list[tuple[DecisionRequest, Decision]]) -> list[tuple[Key, dict[str, float]]]:
    found = []
    for request, decision in batch:
        features = numbers_of(request)
        value = getattr(decision, "expected_value", None)
        if value is not None:
            features[SCORE] = float(value)
        found.append(((decision.agent, decision.version), features))
    return found
