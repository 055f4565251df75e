"""Facts that agents and programs share: stored, versioned, expiring, followed as they change.

Versions count up over all facts and are never used again, not even after a fact is gone. So one
number serves both to change a fact only if nobody else did, and to go on following after a restart.
Followers see the newest version of each fact, not every version there ever was.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio
from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT compiles for SQLite as well

from orchestration.delegation.json_values import checked_json
from utils.errors import QuartermasterError
from utils.logs import get_logger
from utils.persistence.decisions import fact, fact_counter
from utils.persistence.errors import DatabaseError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from utils.clock import Clock
    from utils.persistence.engine import Database

NAME = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,200}")
LONGEST_TTL_SECONDS = 10 * 365 * 86_400.0
PAGE = 500
logger = get_logger(__name__)


class FactConflictError(QuartermasterError):
    """Somebody else changed the fact meanwhile: read it again, then decide again."""


class FactNameError(QuartermasterError, ValueError):
    """A topic, key or author is empty, too long, or holds control characters."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Something that somebody stated."""

    topic: str
    key: str
    value: Any
    """Plain JSON."""
    version: int
    author: str
    at: datetime
    expires_at: datetime | None


class Blackboard:
    """Shared facts in the database."""

    def __init__(self, database: Database, clock: Clock, *, poll_seconds: float = 0.5) -> None:
        """Keep the parts.

        Args:
            database: Where the facts are.
            clock: Tells when facts expire.
            poll_seconds: How often followers look for facts of other processes; those of this one
                they see at once.
        """
        self._database = database
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._changed = anyio.Event()

    async def put(
        self,
        topic: str,
        key: str,
        value: Any,
        *,
        author: str,
        expected_version: int | None = None,
        ttl_seconds: float | None = None,
    ) -> Fact:
        """State a fact, in place of what was stated before.

        Args:
            topic: What it belongs to.
            key: Names it in its topic.
            value: Plain JSON, at most 64 KiB.
            author: Who states it.
            expected_version: Only if this is its version now, 0 meaning that it does not exist or
                has expired; whatever it is if absent.
            ttl_seconds: It expires after so long; never if absent.

        Raises:
            FactConflictError: It has another version than expected; nothing changed.
            FactNameError: A name cannot be stored.
            JsonValueError: The value is not JSON, not finite, or too large.
        """
        for what, name in (("topic", topic), ("key", key), ("author", author)):
            _check_name(what, name)
        if ttl_seconds is not None and not 0 < ttl_seconds <= LONGEST_TTL_SECONDS:
            raise FactNameError(f"ttl_seconds={ttl_seconds}: choose a positive time, or none")
        value = checked_json(value, f"the value of {topic}/{key}")
        now = self._clock.now()
        async with self._database.write() as connection:
            version = await _next_version(connection)
            await connection.execute(delete(fact).where(fact.c.expires_at <= now))
            if expected_version is not None:
                await _expect(connection, topic, key, expected_version)
            stated = Fact(
                topic=topic,
                key=key,
                value=value,
                version=version,
                author=author,
                at=now,
                expires_at=None if ttl_seconds is None else now + timedelta(seconds=ttl_seconds),
            )
            statement = insert(fact).values(**vars(stated))
            changed = {name: statement.excluded[name] for name in vars(stated)}
            await connection.execute(
                statement.on_conflict_do_update(index_elements=["topic", "key"], set_=changed)
            )
        self._changed.set()
        self._changed = anyio.Event()
        return stated

    async def get(self, topic: str, key: str) -> Fact | None:
        """Return a fact; None if nobody stated it or it has expired.

        Args:
            topic: What it belongs to.
            key: Names it in its topic.
        """
        found = await self._select(fact.c.topic == topic, fact.c.key == key)
        return found[0] if found else None

    async def query(self, topic: str, *, after: str = "", limit: int = PAGE) -> list[Fact]:
        """List the facts of a topic that have not expired, by key.

        Args:
            topic: Which one.
            after: Only keys behind this one: the next page.
            limit: At most so many.
        """
        conditions = (fact.c.topic == topic, fact.c.key > after)
        return await self._select(*conditions, order=fact.c.key, limit=limit)

    async def changes(self, topic: str, since: int = 0, *, limit: int = PAGE) -> list[Fact]:
        """List the facts of a topic that were stated after a version, oldest first.

        Args:
            topic: Which one.
            since: The version last seen.
            limit: At most so many.
        """
        conditions = (fact.c.topic == topic, fact.c.version > since)
        return await self._select(*conditions, order=fact.c.version, limit=limit)

    async def subscribe(self, topic: str, *, since: int = 0) -> AsyncIterator[Fact]:
        """Follow a topic: first what changed after a version, then each change.

        Facts of this process come at once, those of others within the poll interval. Facts that
        changed twice in between come once, in their newest version; expired ones do not come.
        While the database is away this waits.

        Args:
            topic: Which one.
            since: The version last seen; keep it to go on from there after a restart.
        """
        while True:
            changed = self._changed  # taken before looking, so that no change falls in between
            try:
                found = await self.changes(topic, since)
            except DatabaseError as error:
                logger.warning("facts_out_of_reach", topic=topic, reason=str(error))
                found = []
            for one in found:
                since = one.version
                yield one
            if not found:
                await self._rest(changed)

    async def _rest(self, changed: anyio.Event) -> None:
        async def wake() -> None:
            await changed.wait()
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(wake)
            await self._clock.sleep(self._poll_seconds)
            group.cancel_scope.cancel()

    async def _select(
        self,
        *conditions: ColumnElement[bool],
        order: ColumnElement[Any] = fact.c.key,
        limit: int = 1,
    ) -> list[Fact]:
        lives = or_(fact.c.expires_at.is_(None), fact.c.expires_at > self._clock.now())
        query = select(fact).where(*conditions, lives).order_by(order).limit(limit)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [Fact(**row) for row in rows]


async def _next_version(connection: AsyncConnection) -> int:
    statement = insert(fact_counter).values(id=1, version=1)
    raised = statement.on_conflict_do_update(
        index_elements=["id"], set_={"version": fact_counter.c.version + 1}
    )
    version: int = (await connection.execute(raised.returning(fact_counter.c.version))).scalar_one()
    return version


async def _expect(connection: AsyncConnection, topic: str, key: str, expected: int) -> None:
    query = select(fact.c.version).where(fact.c.topic == topic, fact.c.key == key)
    version = await connection.scalar(query) or 0
    if version != expected:
        raise FactConflictError(
            f"{topic}/{key} has version {version}, not {expected} (0: it does not exist): "
            "read it again, then decide again"
        )


def _check_name(what: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise FactNameError(f"{what}={name[:50]!r}: 1 to 200 characters, no control characters")
