"""Decisions that wait for a person: kept whole, given one verdict, told in the outbox.

However many people answer at once, one verdict wins: it is one conditional update. A decision that
nobody answered in time counts as rejected, from that moment on, whether or not anybody noticed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select, update

from utils.errors import QuartermasterError
from utils.logs import get_logger
from utils.persistence.approvals import approval
from utils.persistence.outbox import add_line
from utils.persistence.polling import Quiet, look_for_ever

if TYPE_CHECKING:
    from sqlalchemy import RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

    from utils.clock import Clock
    from utils.persistence.engine import Database

WAITING_EVENT, GIVEN_EVENT = "approval_waiting", "approval_given"
EXPIRY = "expiry"
"""Stands for the person where nobody answered in time."""
POLL_SECONDS = 5.0
LONGEST_REASON = 1000
EXPIRED_AT_ONCE = 100
logger = get_logger(__name__)


class ApprovalState(StrEnum):
    """What became of a decision that waits."""

    WAITING = "waiting"
    APPROVED = "approved"
    OVERRIDDEN = "overridden"
    REJECTED = "rejected"


class ApprovalNotFoundError(QuartermasterError, LookupError):
    """No decision with this id ever waited for approval."""


class VerdictKnownError(QuartermasterError):
    """Somebody gave a verdict before, or the time was up; that stays."""


@dataclass(frozen=True, kw_only=True)
class Approval:
    """A decision that waits or waited."""

    decision_id: str
    agent: str
    version: str
    request_id: str
    state: ApprovalState
    request: dict[str, Any]
    proposed: dict[str, Any]
    """The agent's decision, whole."""
    given: dict[str, Any] | None
    """The decision that holds: the proposed one if approved, a person's own if overridden."""
    asked_at: datetime
    expires_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    """Who gave the verdict, such as `token:NAME`; `expiry` if nobody did in time."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of people."""

    decision_id: str
    agent: str
    version: str
    request_id: str
    request: str
    """JSON text."""
    proposed: str
    """JSON text."""
    seconds: float
    """How long an answer may take."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A person's answer."""

    state: ApprovalState
    by: str
    reason: str = ""
    given: str | None = None
    """JSON text of the decision that holds, if a person made another one."""


class Approvals:
    """The decisions that wait, and those that did."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep the parts.

        Args:
            database: Holds them.
            clock: Tells when they expire.
        """
        self._database = database
        self._clock = clock
        self._quiet = Quiet(database, clock)

    async def ask(self, questions: Sequence[Question]) -> None:
        """Keep decisions until somebody answers, all or none, and tell the outbox.

        Args:
            questions: At least one.

        Raises:
            DatabaseError: They cannot be kept; then they must not be handed out either.
        """
        now = self._clock.now()
        rows = [
            {
                **{name: value for name, value in vars(one).items() if name != "seconds"},
                "request_id": _storable(one.request_id, 200),
                "state": ApprovalState.WAITING.value,
                "asked_at": now,
                "expires_at": now + timedelta(seconds=one.seconds),
                "reason": "",
            }
            for one in questions
        ]
        async with self._database.write() as connection:
            await connection.execute(insert(approval), rows)
            for row in rows:
                told = {key: row[key] for key in ("decision_id", "agent", "version", "request_id")}
                told["expires_at"] = row["expires_at"].isoformat()
                await add_line(connection, WAITING_EVENT, told, at=now)

    async def get(self, decision_id: str) -> Approval:
        """Load a decision that waits or waited.

        Args:
            decision_id: Its id.

        Raises:
            ApprovalNotFoundError: There is none.
        """
        found = await self.find(decision_id)
        if found is None:
            raise _not_found(decision_id)
        return found

    async def find(self, decision_id: str) -> Approval | None:
        """Load a decision that waits or waited; None if it never did.

        Args:
            decision_id: Its id.
        """
        async with self._database.read() as connection:
            row = await _load(connection, decision_id)
        return None if row is None else self._read(row)

    async def list_all(
        self,
        *,
        agent: str | None = None,
        state: ApprovalState | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[Approval]:
        """List decisions that wait or waited, newest first.

        Args:
            agent: Only of this one.
            state: Only in this one.
            before: Only older ones than that with this id: the next page.
            limit: At most so many.
        """
        await self.expire()
        query = select(approval).order_by(approval.c.decision_id.desc()).limit(limit)
        if agent is not None:
            query = query.where(approval.c.agent == agent)
        if state is not None:
            query = query.where(approval.c.state == state.value)
        if before is not None:
            query = query.where(approval.c.decision_id < before)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [self._read(row) for row in rows]

    async def give(self, decision_id: str, verdict: Verdict) -> Approval:
        """Give a verdict; the first one wins.

        Args:
            decision_id: Which decision.
            verdict: What somebody says.

        Returns:
            The decision as it is now. The same verdict of the same person again does no harm.

        Raises:
            ApprovalNotFoundError: No such decision ever waited.
            VerdictKnownError: Another verdict was given before, or the time is up.
        """
        now = self._clock.now()
        async with self._database.write() as connection:
            won = await self._settle(connection, decision_id, verdict, now)
            row = await _load(connection, decision_id)
        if row is None:
            raise _not_found(decision_id)
        settled = self._read(row)
        is_same = (settled.state, settled.decided_by) == (verdict.state, verdict.by)
        is_same = is_same and (verdict.given is None or settled.given == json.loads(verdict.given))
        if not (won or is_same):
            raise VerdictKnownError(
                f"decision {decision_id} was {settled.state.value} by {settled.decided_by} at "
                f"{settled.decided_at}; that stays"
            )
        return settled

    async def expire(self) -> int:
        """Write down what nobody answered in time; return how many there were."""
        if self._quiet.lasts:
            return 0
        self._quiet.begin()
        now = self._clock.now()
        waits = approval.c.state == ApprovalState.WAITING.value
        query = select(approval.c.decision_id).where(waits, approval.c.expires_at <= now)
        async with self._database.read() as connection:
            late = list(await connection.scalars(query.limit(EXPIRED_AT_ONCE)))
            next_end = await connection.scalar(select(func.min(approval.c.expires_at)).where(waits))
        if not late:
            self._quiet.settle(next_end)
        if late:
            async with self._database.write() as connection:
                for decision_id in late:
                    await self._settle(connection, decision_id, _expired(), now)
        return len(late)

    async def run(self) -> None:
        """Write down what expired, every few seconds, until cancelled."""
        await look_for_ever(self.expire, self._clock, POLL_SECONDS, logger)

    async def _settle(
        self, connection: AsyncConnection, decision_id: str, verdict: Verdict, now: datetime
    ) -> bool:
        """Give a verdict if none was given; say whether this one counts."""
        is_open = (approval.c.decision_id == decision_id) & (
            approval.c.state == ApprovalState.WAITING.value
        )
        in_time = approval.c.expires_at > now
        is_expiry = verdict.by == EXPIRY
        given = approval.c.proposed if verdict.state is ApprovalState.APPROVED else verdict.given
        statement = (
            update(approval)
            .where(is_open, ~in_time if is_expiry else in_time)
            .values(
                state=verdict.state.value,
                given=given,
                decided_at=approval.c.expires_at if is_expiry else now,
                decided_by=_storable(verdict.by, 120),
                reason=_storable(verdict.reason, LONGEST_REASON),
            )
            .returning(approval.c.agent, approval.c.version)
        )
        row = (await connection.execute(statement)).one_or_none()
        if row is None:
            return False
        told = {"decision_id": decision_id, "agent": row.agent, "version": row.version}
        told |= {"state": verdict.state.value, "by": verdict.by}
        await add_line(connection, GIVEN_EVENT, told, at=now)
        return True

    def _read(self, row: RowMapping) -> Approval:
        values = dict(row)
        if (
            values["state"] == ApprovalState.WAITING.value
            and values["expires_at"] <= self._clock.now()
        ):
            late = _expired()
            values |= {"state": late.state, "decided_by": late.by, "reason": late.reason}
            values["decided_at"] = values["expires_at"]
        for name in ("request", "proposed", "given"):
            values[name] = None if values[name] is None else json.loads(values[name])
        return Approval(**{**values, "state": ApprovalState(values["state"])})


def _expired() -> Verdict:
    return Verdict(
        state=ApprovalState.REJECTED, by=EXPIRY, reason="expired: nobody answered in time"
    )


async def _load(connection: AsyncConnection, decision_id: str) -> RowMapping | None:
    query = select(approval).where(approval.c.decision_id == decision_id)
    return (await connection.execute(query)).mappings().one_or_none()


def _not_found(decision_id: str) -> ApprovalNotFoundError:
    return ApprovalNotFoundError(
        f"no decision {decision_id!r} ever waited for approval: `python -m orchestration approvals "
        "list` names those that do"
    )


def _storable(text: str, longest: int) -> str:
    """Return what every database takes: no NUL, no lone surrogates, not too long."""
    return text[:longest].replace("\0", "?").encode(errors="replace").decode()
