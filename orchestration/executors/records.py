"""What an attempt writes: every line in a transaction that has proved the attempt's fence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestration.events import Completed, Started
from orchestration.job_store.checkpoints import Checkpoint, SqlCheckpoints
from orchestration.job_store.needs import load_inputs
from utils.logs import get_logger

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from orchestration.executors.binding import FrameSink
    from orchestration.job_store.leases import SqlLeases
    from orchestration.jobs import Desired, Job
    from orchestration.retry import ErrorClass
    from utils.persistence.artifact_store import ArtifactStore

logger = get_logger(__name__)


class AttemptRecords:
    """The supervisor's pen: job row, outbox, checkpoints and the sink, all under one fence.

    Each method raises `LeaseLostError` and writes nothing once the job has another owner.
    """

    def __init__(
        self, job: Job, sink: FrameSink, leases: SqlLeases, *, store: ArtifactStore | None = None
    ) -> None:
        self.job = job
        self.progress: tuple[int, int] | None = None
        self._told_progress: tuple[int | None, int | None] | None = None
        self._sink = sink
        self._leases = leases
        self._ledger = leases.ledger
        self._checkpoints = SqlCheckpoints(leases.ledger)
        self._store = store
        self._rows: list[tuple[int, dict[str, float]]] = []

    @property
    def has_news(self) -> bool:
        """Whether the child has come further than the job row tells."""
        return self.progress is not None and self.progress != self._told_progress

    async def find_resume(self) -> Checkpoint | None:
        """Return where the attempt starts; None at the very beginning."""
        return await self._checkpoints.newest(self.job.id, store=self._store)

    async def find_inputs(self) -> dict[str, Any]:
        """Return the results of the jobs that this one needed, by its names for them."""
        async with self._ledger.database.read() as connection:
            return await load_inputs(connection, self.job.id)

    async def begin(self, pid: int, resume: Checkpoint | None) -> None:
        """Record that the process runs.

        Args:
            pid: Its number.
            resume: Where it starts.
        """
        async with self._leases.fenced(self.job.id, self.job.fence) as connection:
            started = Started(fence=self.job.fence, pid=pid)
            self.job = await self._ledger.apply(connection, self.job.id, started)
            if resume is not None:
                await self._checkpoints.note_resume(connection, self.job, resume)
            await self._sink.started(connection, self.job)
        logger.info("job_started", pid=pid, resume_step=resume.step if resume else None)

    def add_metrics(self, rows: list[tuple[int, dict[str, float]]]) -> int:
        """Keep reported numbers until the next flush, and return how many wait.

        Args:
            rows: Steps and their values.
        """
        self._rows.extend(rows)
        return len(self._rows)

    async def flush(self) -> None:
        """Write the numbers that wait."""
        if self._rows:
            async with self._leases.fenced(self.job.id, self.job.fence) as connection:
                await self._write_rows(connection)

    def drop_metrics(self) -> None:
        """Forget numbers that cannot be written."""
        self._rows = []

    async def commit_checkpoint(self, record: Checkpoint) -> None:
        """Make a checkpoint the one to resume from.

        Args:
            record: The file.
        """
        key = self.job.id, self.job.fence
        async with self._leases.fenced(*key, durable=True) as connection:
            await self._write_rows(connection)
            await self._checkpoints.commit(connection, self.job, record)
            await self._sink.checkpoint(connection, self.job, record)

    async def note(self, type_: str, payload: Mapping[str, Any]) -> None:
        """Record what the target emitted.

        Args:
            type_: Its name.
            payload: Plain JSON.
        """
        async with self._leases.fenced(self.job.id, self.job.fence) as connection:
            await self._write_rows(connection)
            await self._ledger.announce(connection, self.job.id, type_, payload)
            await self._sink.event(connection, self.job, type_, payload)

    async def beat(self, lease_seconds: float) -> Desired:
        """Renew the lease, tell the progress, and return what the owner wants.

        Args:
            lease_seconds: How long from now.
        """
        job = await self._leases.heartbeat(
            self.job.id, self.job.fence, lease_seconds=lease_seconds, progress=self.progress
        )
        self._told_progress = (job.progress_done, job.progress_total)
        return job.desired

    async def succeed(self, result: Mapping[str, Any], lease_seconds: float) -> None:
        """Finish the job.

        Args:
            result: What the target returned.
            lease_seconds: For the last beat, which carries the last progress.
        """
        await self.beat(lease_seconds)
        key = self.job.id, self.job.fence
        async with self._leases.fenced(*key, durable=True) as connection:
            await self._write_rows(connection)
            await self._sink.finished(connection, self.job, result)
            done = Completed(fence=self.job.fence, result=result)
            self.job = await self._ledger.apply(connection, self.job.id, done)
        logger.info("job_succeeded")

    async def fail(self, error_class: ErrorClass, message: str) -> None:
        """End the attempt with an error.

        Args:
            error_class: Why.
            message: For people.
        """
        self.job = await self._leases.fail(self.job.id, self.job.fence, error_class, message)
        logger.warning(
            "job_attempt_failed", state=self.job.state.value, error_class=error_class.value
        )

    async def release(self) -> None:
        """Give the job back."""
        self.job = await self._leases.release(self.job.id, self.job.fence)
        logger.info("job_released", state=self.job.state.value)

    async def _write_rows(self, connection: AsyncConnection) -> None:
        rows, self._rows = self._rows, []
        try:
            for step, values in rows:
                await self._sink.metrics(connection, self.job, step, values)
        except BaseException:
            self._rows = rows + self._rows
            raise
