"""Requests with their decisions, kept for replay: written behind, bounded in size and number."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import anyio
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT compiles for SQLite as well
from sqlalchemy.exc import SQLAlchemyError

from utils.logs import get_logger
from utils.persistence.approvals import kept_request
from utils.persistence.errors import DatabaseError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from utils.clock import Clock
    from utils.persistence.engine import Database

LARGEST_BYTES = 65_536
"""Of a request, and of a decision; larger ones are not kept."""
MOST_WAITING = 1000
"""So many wait in memory while the database is away; older ones are dropped."""
FLUSH_SECONDS = 1.0
logger = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class KeptRequest:
    """What replay needs of one decision."""

    decision_id: str
    agent: str
    version: str
    request: str
    """JSON text."""
    decision: str
    """JSON text."""
    at: datetime


class KeptRequests:
    """Keeps the newest requests of the agents that say so."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Begin without any waiting.

        Args:
            database: Where they end up.
            clock: Paces the writing.
        """
        self._database = database
        self._clock = clock
        self._waiting: deque[tuple[KeptRequest, int]] = deque(maxlen=MOST_WAITING)
        self._flushing = anyio.Lock()

    def keep(self, one: KeptRequest, *, newest: int) -> bool:
        """Keep a request; never waits and never fails.

        Args:
            one: With its decision.
            newest: So many of its agent's are kept.

        Returns:
            Whether it is small enough.
        """
        size = max(len(one.request.encode()), len(one.decision.encode()))
        if size > LARGEST_BYTES:
            logger.warning("request_not_kept", decision=one.decision_id, size=size)
            return False
        self._waiting.append((one, newest))
        return True

    async def flush(self) -> None:
        """Write all that waits, and forget the oldest beyond what is kept.

        Raises:
            DatabaseError: The database is away; what waits goes on waiting.
        """
        async with self._flushing:
            batch = list(self._waiting)
            if not batch:
                return
            newest = {one.agent: number for one, number in batch}
            statement = insert(kept_request).on_conflict_do_nothing(index_elements=["decision_id"])
            async with self._database.write() as connection:
                await connection.execute(statement, [vars(one) for one, _ in batch])
                for agent, number in newest.items():
                    await _prune(connection, agent, number)
            for item in batch:
                if self._waiting and self._waiting[0] is item:  # others may have been dropped
                    self._waiting.popleft()

    async def find(self, agent: str, *, limit: int) -> list[KeptRequest]:
        """Return the newest kept requests of an agent, oldest first.

        Args:
            agent: Its name.
            limit: At most so many.
        """
        await self.flush()
        query = select(kept_request).where(kept_request.c.agent == agent)
        query = query.order_by(kept_request.c.decision_id.desc()).limit(limit)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [KeptRequest(**row) for row in reversed(rows)]

    async def forget(self, agent: str) -> None:
        """Delete all kept requests of an agent.

        Args:
            agent: Its name.
        """
        await self.flush()
        async with self._database.write() as connection:
            await _prune(connection, agent, 0)

    async def run(self) -> None:
        """Write what waits, every second, until cancelled."""
        while True:
            try:
                await self.flush()
            except (DatabaseError, SQLAlchemyError) as error:
                logger.warning("kept_requests_wait", reason=str(error))
            await self._clock.sleep(FLUSH_SECONDS)

    async def aclose(self) -> None:
        """Write what waits; what cannot be written now is lost, and said."""
        with anyio.CancelScope(shield=True):
            try:
                await self.flush()
            except (DatabaseError, SQLAlchemyError) as error:
                logger.warning("kept_requests_lost", number=len(self._waiting), reason=str(error))


async def _prune(connection: AsyncConnection, agent: str, number: int) -> None:
    is_of = kept_request.c.agent == agent
    ids = select(kept_request.c.decision_id).where(is_of)
    oldest = await connection.scalar(
        ids.order_by(kept_request.c.decision_id.desc()).offset(number).limit(1)
    )
    if oldest is not None:
        is_old = kept_request.c.decision_id <= oldest
        await connection.execute(delete(kept_request).where(is_of, is_old))
