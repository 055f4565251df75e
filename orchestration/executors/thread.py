"""Attempts as threads of the worker, for short work: no process to start, one commit for many.

A thread cannot be killed: a target that never looks at `should_stop` runs to its end, and what it
returns after its lease was lost is thrown away.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio.from_thread
import anyio.to_thread

from orchestration.events import Completed, Failed, JobEvent, Renewed, Stopped
from orchestration.executors.child import describe, resolve
from orchestration.executors.records import RETRY_SECONDS, AttemptRecords
from orchestration.job_store.checkpoints import Checkpoint
from orchestration.job_store.leases import Lease
from orchestration.jobs import Desired, Job, LeaseLostError
from orchestration.retry import ErrorClass
from utils.logs import get_logger
from utils.persistence.errors import DatabaseError

if TYPE_CHECKING:
    from anyio import CapacityLimiter
    from sqlalchemy.ext.asyncio import AsyncConnection

    from orchestration.executors.binding import TaskBinding
    from orchestration.executors.child import TaskContext
    from orchestration.job_store.group_writer import GroupWriter
    from orchestration.job_store.leases import SqlLeases

LOST = "lost"
OVERRUN = "overrun"
MOST_ROWS = 200
logger = get_logger(__name__)


class ThreadContext:
    """What a running target may ask and tell; the same face as in a process of its own."""

    def __init__(self, job: Job, records: AttemptRecords, work_folder: Path) -> None:
        self.job_id = job.id
        self.fence = job.fence
        self.attempt = job.attempt
        self.work_folder = work_folder
        self.resume: dict[str, Any] | None = None
        self.inputs: dict[str, Any] = {}
        self.var: Path | None = None
        self.artifacts: str | None = None
        self.stop: str | None = None
        """Why the target shall stop, once it shall."""
        self.stopped_by: str | None = None
        """What the target was told, if it asked."""
        self._records = records

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Report numbers of one step.

        Args:
            step: Where they belong on the x axis.
            values: By name.
        """
        row = (step, {name: float(value) for name, value in values.items()})
        if self._records.add_metrics([row]) >= MOST_ROWS:
            anyio.from_thread.run(self._records.flush)

    def progress(self, done: int, total: int) -> None:
        """Report how far the work is; a smaller `done` than before is ignored.

        Args:
            done: Units of work done.
            total: Units of work in all.
        """
        if self._records.progress is None or done >= self._records.progress[0]:
            self._records.progress = (done, total)

    def checkpoint(self, path: Path, sha256: str, step: int, size_bytes: int) -> None:
        """Offer a whole file to resume from; returns once it is committed.

        Args:
            path: The file, fsynced, under a name that contains the fence.
            sha256: Its hash.
            step: How far the work was.
            size_bytes: Its size.
        """
        record = Checkpoint(path=str(path), sha256=sha256, step=step, size_bytes=size_bytes)
        anyio.from_thread.run(self._records.commit_checkpoint, record)

    def emit(self, type_: str, payload: Mapping[str, Any]) -> None:
        """Report anything else.

        Args:
            type_: Its name in snake_case.
            payload: Plain JSON.
        """
        anyio.from_thread.run(self._records.note, type_, dict(payload))

    def should_stop(self) -> str | None:
        """Return why to stop ("pause", "preempt", "cancel", "lost"), or None to go on."""
        self.stopped_by = self.stop
        return self.stop


class ThreadAttempt:
    """One attempt of one job, in a thread."""

    def __init__(
        self,
        job: Job,
        binding: TaskBinding,
        leases: SqlLeases,
        *,
        work_folder: Path,
        lease_seconds: float,
    ) -> None:
        """Put it together; `run` does the work.

        Args:
            job: As claimed.
            binding: Its kind.
            leases: Prove its right.
            work_folder: For its files.
            lease_seconds: How long its lease lasts unless renewed.
        """
        self.job = job
        self._binding = binding
        self._leases = leases
        self._records = AttemptRecords(job, binding.sink, leases, lease_seconds=lease_seconds)
        self._context = ThreadContext(job, self._records, work_folder)
        self._clock = leases.ledger.clock
        self._began_at = self._clock.monotonic()

    @property
    def lease(self) -> Lease:
        """Its right to the job and its progress, for the next renewal."""
        return Lease(fence=self.job.fence, progress=self._records.progress)

    def tell(self, reason: str) -> None:
        """Ask the target to stop.

        Args:
            reason: Why; the first one stays, unless the lease is lost.
        """
        if self._context.stop is None or reason == LOST:
            self._context.stop = reason

    def renewed(self, monotonic: float) -> None:
        """Note that the lease was renewed.

        Args:
            monotonic: When the renewal was begun.
        """
        self._records.trust_from(monotonic)

    def hear(self, desired: Desired | None) -> None:
        """Follow what the last renewal told.

        Args:
            desired: What the owner wants; None if the lease is lost.
        """
        limit = self.job.limits.run_seconds
        if desired is None:
            self.tell(LOST)
        elif desired is not Desired.RUN:
            self.tell(desired.value)
        elif limit is not None and self._clock.monotonic() - self._began_at > limit:
            self.tell(OVERRUN)

    async def run(self, writer: GroupWriter, limiter: CapacityLimiter) -> None:
        """Carry the job to an outcome; while the database is away, try until the lease is lost.

        Args:
            writer: Commits the outcome.
            limiter: Of the threads.
        """
        try:
            event = await self._work(limiter)
            while self._context.stop != LOST:
                try:
                    await self._conclude(writer, event)
                except DatabaseError as error:
                    logger.warning("database_out_of_reach", reason=str(error))
                    await self._clock.sleep(RETRY_SECONDS)
                else:
                    return
            logger.warning("lease_lost")
        except LeaseLostError as error:
            logger.warning("lease_lost", reason=str(error))
        except Exception:  # the job goes to another worker; ours must not fall with it
            logger.exception("attempt_supervision_failed")

    async def _work(self, limiter: CapacityLimiter) -> JobEvent:
        job, definition, context = self.job, self._binding.definition, self._context
        if job.version != definition.version:
            message = (
                f"the job has version {job.version} of {job.kind!r}, this program runs version "
                f"{definition.version}: submit it again"
            )
            return self._failed(ErrorClass.CONFIG, message)
        try:
            await self._prepare()
            result = await anyio.to_thread.run_sync(
                partial(_call, definition.target, dict(job.spec), context),
                limiter=limiter,
                abandon_on_cancel=True,
            )
            await self._records.flush()
        except LeaseLostError:
            raise
        except DatabaseError as error:
            return self._failed(ErrorClass.DATABASE, str(error))
        except Exception as error:  # noqa: BLE001  whatever the target raises is its error
            told = describe(error)
            logger.warning("job_attempt_failed", error=traceback.format_exc(limit=-3))
            return self._failed(ErrorClass(told["class"]), told["message"])
        if context.stopped_by == OVERRUN:
            message = f"it ran for more than {job.limits.run_seconds:g} s"
            return self._failed(ErrorClass.TIMEOUT, message)
        if context.stopped_by is not None:
            return Stopped(fence=job.fence)
        return Completed(fence=job.fence, result=result)

    async def _prepare(self) -> None:
        if not self._binding.keeps_nothing:
            await self._records.begin(os.getpid(), None)
        if self.job.has_needs:
            self._context.inputs = await self._records.find_inputs()
        if self.job.fence > 1:
            resume = await self._records.find_resume()
            self._context.resume = None if resume is None else asdict(resume)

    def _failed(self, error_class: ErrorClass, message: str) -> Failed:
        return self._leases.judge_failure(self.job, self.job.fence, error_class, message)

    async def _conclude(self, writer: GroupWriter, event: JobEvent) -> None:
        has_result = isinstance(event, Completed) and not self._binding.keeps_nothing
        is_simple = not has_result and self._records.progress is None
        before = None if is_simple else partial(self._write_last, event=event)
        try:
            await writer.apply(self.job.id, event, first=before)
        except (LeaseLostError, DatabaseError):
            raise
        except Exception as error:
            if not has_result:
                raise
            logger.exception("sink_failed")
            message = f"{type(error).__name__} while its result was kept: {error}"
            await writer.apply(self.job.id, self._failed(ErrorClass.INTERNAL, message))

    async def _write_last(self, connection: AsyncConnection, event: JobEvent) -> None:
        """Write what belongs into the transaction of the end: last progress, and the result."""
        job, ledger = self.job, self._leases.ledger
        if self._records.progress is not None and job.lease_until is not None:
            progress, until = self._records.progress, job.lease_until
            renewed = Renewed(fence=job.fence, lease_until=until, progress=progress)
            await ledger.apply(connection, job.id, renewed)
        if isinstance(event, Completed):
            await self._binding.sink.finished(connection, job, event.result)


def _call(target: str, spec: dict[str, Any], context: ThreadContext) -> Mapping[str, Any]:
    return dict(resolve(target)(spec, cast("TaskContext", context)))  # the same face
