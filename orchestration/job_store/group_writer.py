"""Many small changes, few transactions: what comes while one commits shares the next one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError

from orchestration.jobs import Job

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from orchestration.events import JobEvent
    from orchestration.job_store.ledger import JobLedger

LARGEST_GROUP = 500
First = Callable[["AsyncConnection"], Awaitable[None]]


@dataclass(kw_only=True)
class _Change:
    job_id: str
    event: JobEvent
    first: First | None
    outcome: Job | Exception | None = None


class GroupWriter:
    """Applies events to jobs, as many in one transaction as are waiting."""

    def __init__(self, ledger: JobLedger) -> None:
        self._ledger = ledger
        self._waiting: list[_Change] = []
        self._writing = anyio.Lock()

    async def apply(self, job_id: str, event: JobEvent, *, first: First | None = None) -> Job:
        """Let an event happen to a job; returns once it is committed.

        Args:
            job_id: Which job.
            event: What happened.
            first: What else belongs into the transaction; it comes before the event, and if it
                raises, neither happens.

        Raises:
            LeaseLostError: The event comes from an attempt that no longer owns the job.
            JobTransitionError: The event cannot happen in this state.
            JobNotFoundError: There is no such job.
            DatabaseError: Whether it was kept is not known; the caller may try again.
        """
        change = _Change(job_id=job_id, event=event, first=first)
        self._waiting.append(change)
        with anyio.CancelScope(shield=True):  # nobody may leave before it is known what became
            outcome: Job | Exception | None = None
            while outcome is None:
                async with self._writing:
                    if change.outcome is None:
                        await self._write_group()
                    outcome = change.outcome
        if isinstance(outcome, Job):
            return outcome
        raise outcome or RuntimeError("a group was written without an outcome for this change")

    async def _write_group(self) -> None:
        group: dict[str, _Change] = {}
        later: list[_Change] = []
        for change in self._waiting:
            if change.job_id in group or len(group) >= LARGEST_GROUP:
                later.append(change)
            else:
                group[change.job_id] = change
        self._waiting = later
        self._ledger.database.traffic.batches["jobs"].add(len(group))
        try:
            async with self._ledger.database.write() as connection:
                outcomes = await self._apply_group(connection, list(group.values()))
        except Exception as error:  # noqa: BLE001  each caller gets it
            outcomes = dict.fromkeys(group, error)
        for job_id, change in group.items():
            change.outcome = outcomes[job_id]

    async def _apply_group(
        self, connection: AsyncConnection, group: list[_Change]
    ) -> dict[str, Job | Exception]:
        if any(one.first is not None for one in group):  # locked in the order that all keep to
            await self._ledger.load_many(connection, [one.job_id for one in group], to_write=True)
        plain = [(one.job_id, one.event) for one in group if one.first is None]
        applied = await self._ledger.apply_many(connection, plain)
        outcomes: dict[str, Job | Exception] = {
            job_id: outcome for (job_id, _), outcome in zip(plain, applied, strict=True)
        }
        for one in group:
            if one.first is not None:
                outcomes[one.job_id] = await self._apply_guarded(connection, one, one.first)
        return outcomes

    async def _apply_guarded(
        self, connection: AsyncConnection, one: _Change, first: First
    ) -> Job | Exception:
        try:
            async with connection.begin_nested():
                await first(connection)
                return await self._ledger.apply(connection, one.job_id, one.event)
        except (DataError, IntegrityError, ProgrammingError) as error:
            return error  # of this statement only; its savepoint is gone
        except DBAPIError:
            raise  # of the database: it concerns the whole group
        except Exception as error:  # noqa: BLE001  of this one only
            return error
