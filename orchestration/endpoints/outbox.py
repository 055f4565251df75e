"""The outbox as readers follow it: however many wait for news, one query a moment asks for any."""

from __future__ import annotations

import anyio

from orchestration.job_store.store import OutboxEvent, SqlJobStore
from utils.clock import Clock
from utils.persistence.engine import Database
from utils.persistence.outbox import settled_seq

FRESH_SECONDS = 0.2


class Outbox:
    """Events of the job engine in order."""

    def __init__(self, store: SqlJobStore, database: Database, clock: Clock) -> None:
        """Begin without having asked.

        Args:
            store: Reads events.
            database: Tells whether there are new ones.
            clock: Tells how old that answer is.
        """
        self._store = store
        self._database = database
        self._clock = clock
        self._asking = anyio.Lock()
        self._last = 0
        self._asked_at: float | None = None

    async def after(self, seq: int, *, job_id: str | None = None) -> list[OutboxEvent]:
        """Return up to 1,000 events that came after one, in order.

        Args:
            seq: The last one already seen.
            job_id: Only of this job.
        """
        last = await self._find_last()
        if last <= seq:
            return []
        return [one for one in await self._store.events(seq, job_id=job_id) if one.seq <= last]

    async def _find_last(self) -> int:
        async with self._asking:
            now = self._clock.monotonic()
            if self._asked_at is None or now - self._asked_at >= FRESH_SECONDS:
                self._last = await settled_seq(self._database)  # a later line overtakes no other
                self._asked_at = now
            return self._last
