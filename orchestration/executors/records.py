"""What an attempt writes: every line in a transaction that has proved the attempt's fence."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from orchestration.events import Completed, Started
from orchestration.job_store.checkpoints import Checkpoint, SqlCheckpoints
from orchestration.job_store.needs import load_inputs
from utils.logs import get_logger
from utils.persistence.errors import DatabaseError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from orchestration.executors.binding import FrameSink
    from orchestration.job_store.leases import SqlLeases
    from orchestration.jobs import Desired, Job
    from orchestration.retry import ErrorClass
    from utils.persistence.artifact_store import ArtifactStore

RETRY_SECONDS = 0.5
T = TypeVar("T")
logger = get_logger(__name__)


class AttemptRecords:
    """The supervisor's pen: job row, outbox, checkpoints and the sink, all under one fence.

    Each method raises `LeaseLostError` and writes nothing once the job has another owner. While the
    database is away they try again for the length of a lease, as long as it can be trusted: nobody
    else has the job meanwhile. A write whose commit was not confirmed may come to the sink twice.
    """

    def __init__(
        self,
        job: Job,
        sink: FrameSink,
        leases: SqlLeases,
        *,
        lease_seconds: float,
        store: ArtifactStore | None = None,
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
        self._lease_seconds = lease_seconds
        self.trust_from(self._ledger.clock.monotonic())

    def trust_from(self, monotonic: float) -> None:
        """Trust the lease for its length.

        Args:
            monotonic: When its renewal was begun.
        """
        self._trusted_until = monotonic + self._lease_seconds

    @property
    def is_trusted(self) -> bool:
        """Whether the lease cannot have run out yet."""
        return self._ledger.clock.monotonic() <= self._trusted_until

    @property
    def has_news(self) -> bool:
        """Whether the child has come further than the job row tells."""
        return self.progress is not None and self.progress != self._told_progress

    async def find_resume(self) -> Checkpoint | None:
        """Return where the attempt starts; None at the very beginning."""
        return await self._persist(lambda: self._checkpoints.newest(self.job.id, store=self._store))

    async def find_inputs(self) -> dict[str, Any]:
        """Return the results of the jobs that this one needed, by its names for them."""

        async def find() -> dict[str, Any]:
            async with self._ledger.database.read() as connection:
                return await load_inputs(connection, self.job.id)

        return await self._persist(find)

    async def begin(self, pid: int, resume: Checkpoint | None) -> None:
        """Record that the process runs.

        Args:
            pid: Its number.
            resume: Where it starts.
        """

        async def write() -> None:
            async with self._fenced() as connection:
                started = Started(fence=self.job.fence, pid=pid)
                self.job = await self._ledger.apply(connection, self.job.id, started)
                if resume is not None:
                    await self._checkpoints.note_resume(connection, self.job, resume)
                await self._sink.started(connection, self.job)

        await self._persist(write)
        logger.info("job_started", pid=pid, resume_step=resume.step if resume else None)

    def add_metrics(self, rows: list[tuple[int, dict[str, float]]]) -> int:
        """Keep reported numbers until the next flush, and return how many wait.

        Args:
            rows: Steps and their values.
        """
        self._rows.extend((step, values) for step, values in rows)
        return len(self._rows)

    async def flush(self) -> None:
        """Write the numbers that wait."""
        if self._rows:
            async with self._fenced():
                pass

    def drop_metrics(self) -> None:
        """Forget numbers that cannot be written."""
        self._rows = []

    async def commit_checkpoint(self, record: Checkpoint) -> None:
        """Make a checkpoint the one to resume from.

        Args:
            record: The file.
        """

        async def write() -> None:
            async with self._fenced(durable=True) as connection:
                await self._checkpoints.commit(connection, self.job, record)
                await self._sink.checkpoint(connection, self.job, record)

        await self._persist(write)

    async def note(self, type_: str, payload: Mapping[str, Any]) -> None:
        """Record what the target emitted.

        Args:
            type_: Its name.
            payload: Plain JSON.
        """

        async def write() -> None:
            async with self._fenced() as connection:
                await self._ledger.announce(connection, self.job.id, type_, payload)
                await self._sink.event(connection, self.job, type_, payload)

        await self._persist(write)

    async def beat(self) -> Desired:
        """Renew the lease, tell the progress, and return what the owner wants; tries once."""
        began = self._ledger.clock.monotonic()
        job = await self._leases.heartbeat(
            self.job.id,
            self.job.fence,
            lease_seconds=self._lease_seconds,
            progress=self.progress,
        )
        self.trust_from(began)
        self._told_progress = (job.progress_done, job.progress_total)
        return job.desired

    async def succeed(self, result: Mapping[str, Any]) -> None:
        """Finish the job.

        Args:
            result: What the target returned.
        """

        async def write() -> Job:
            async with self._fenced(durable=True) as connection:
                await self._sink.finished(connection, self.job, result)
                done = Completed(fence=self.job.fence, result=result)
                return await self._ledger.apply(connection, self.job.id, done)

        await self._persist(self.beat)  # carries the last progress
        self.job = await self._persist(write)
        logger.info("job_succeeded")

    async def fail(self, error_class: ErrorClass, message: str) -> None:
        """End the attempt with an error.

        Args:
            error_class: Why.
            message: For people.
        """
        key = self.job.id, self.job.fence
        self.job = await self._persist(lambda: self._leases.fail(*key, error_class, message))
        logger.warning(
            "job_attempt_failed", state=self.job.state.value, error_class=error_class.value
        )

    async def release(self) -> None:
        """Give the job back."""
        self.job = await self._persist(lambda: self._leases.release(self.job.id, self.job.fence))
        logger.info("job_released", state=self.job.state.value)

    @contextlib.asynccontextmanager
    async def _fenced(self, *, durable: bool = False) -> AsyncIterator[AsyncConnection]:
        """Open a transaction with the numbers that wait; they wait on unless it is committed."""
        rows, self._rows = self._rows, []
        try:
            async with self._leases.fenced(
                self.job.id, self.job.fence, durable=durable
            ) as connection:
                if rows:
                    await self._sink.metrics(connection, self.job, rows)
                yield connection
        except BaseException:
            self._rows = rows + self._rows
            raise

    async def _persist(self, step: Callable[[], Awaitable[T]]) -> T:
        clock = self._ledger.clock
        until = clock.monotonic() + self._lease_seconds  # beats may pass where others do not
        while True:
            try:
                return await step()
            except DatabaseError as error:
                if not self.is_trusted or clock.monotonic() > until:
                    raise
                logger.warning("database_out_of_reach", reason=str(error))
            await clock.sleep(RETRY_SECONDS)
