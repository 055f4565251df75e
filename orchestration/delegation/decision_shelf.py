"""Looking decisions up, and telling later what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from orchestration.delegation.json_values import checked_json
from utils.errors import QuartermasterError
from utils.persistence.decisions import DecisionRecord, decision

if TYPE_CHECKING:
    from orchestration.delegation.decision_log import DecisionLog
    from utils.clock import Clock
    from utils.persistence.engine import Database


class DecisionNotFoundError(QuartermasterError, LookupError):
    """No decision has this id."""


class OutcomeKnownError(QuartermasterError):
    """What came of the decision was told before, and otherwise."""


@dataclass(frozen=True, kw_only=True)
class DecisionFilter:
    """Which decisions to list; all wishes must hold."""

    agent: str | None = None
    version: str | None = None
    outcome: str | None = None
    request_id: str | None = None
    request_sha256: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Decisions at that moment are not listed, those at `since` are."""
    is_result_known: bool | None = None
    before: str | None = None
    """Only decisions older than the one with this id: the next page."""


class DecisionShelf:
    """The decisions that were written; those of the last second may not be there yet."""

    def __init__(self, database: Database, clock: Clock, log: DecisionLog) -> None:
        """Keep the parts.

        Args:
            database: Where they are.
            clock: Tells when a result became known.
            log: Holds those that are not written yet.
        """
        self._database = database
        self._clock = clock
        self._log = log

    async def find(
        self, wishes: DecisionFilter | None = None, *, limit: int = 100
    ) -> list[DecisionRecord]:
        """List decisions, newest first.

        Args:
            wishes: Which ones; all if absent.
            limit: At most so many.
        """
        wanted = wishes or DecisionFilter()
        query = select(decision).order_by(decision.c.id.desc()).limit(limit)
        for name in ("agent", "version", "outcome", "request_id", "request_sha256"):
            value = getattr(wanted, name)
            if value is not None:
                query = query.where(decision.c[name] == value)
        if wanted.since is not None:
            query = query.where(decision.c.at >= wanted.since)
        if wanted.until is not None:
            query = query.where(decision.c.at < wanted.until)
        if wanted.before is not None:
            query = query.where(decision.c.id < wanted.before)
        if wanted.is_result_known is not None:
            is_absent = decision.c.result_known_at.is_(None)
            query = query.where(~is_absent if wanted.is_result_known else is_absent)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [DecisionRecord(**row) for row in rows]

    async def get(self, decision_id: str) -> DecisionRecord | None:
        """Return a decision, those of the last second included; None if there is none.

        Args:
            decision_id: Id of its record.
        """
        await self._log.flush()
        query = select(decision).where(decision.c.id == decision_id)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else DecisionRecord(**row)

    async def report_outcome(self, decision_id: str, realised: Mapping[str, Any]) -> DecisionRecord:
        """Tell what came of a decision; telling the same twice does no harm.

        Args:
            decision_id: Id of its record.
            realised: What was seen, such as `{"served_work": 71.5}`; plain JSON up to 64 KiB.

        Returns:
            The record as it is now.

        Raises:
            DecisionNotFoundError: There is none; perhaps it was dropped.
            OutcomeKnownError: Something else was told before; it stays.
            JsonValueError: It cannot be stored.
        """
        told = checked_json(dict(realised), "realised")
        await self._log.flush()
        known = {"realised": told, "result_known_at": self._clock.now()}
        this = decision.c.id == decision_id
        async with self._database.write() as connection:
            await connection.execute(
                update(decision).where(this, decision.c.result_known_at.is_(None)), known
            )
            row = (await connection.execute(select(decision).where(this))).mappings().one_or_none()
        if row is None:
            raise DecisionNotFoundError(
                f"no decision {decision_id!r}: look it up by its request id; records are dropped "
                "when the database is away too long (agent_decision_records_dropped_total)"
            )
        record = DecisionRecord(**row)
        if record.realised != told:
            raise OutcomeKnownError(
                f"decision {decision_id} has an outcome since {record.result_known_at}; it stays"
            )
        return record
