"""Takes due jobs and carries them, as many at once as allowed, until it is cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from orchestration.executors.supervisor import AttemptConfig, AttemptSupervisor
from orchestration.job_store.leases import SqlLeases
from orchestration.job_store.workers import SqlWorkers, WorkerIdentity
from utils.errors import ConfigError
from utils.logs import get_logger, log_context
from utils.persistence.errors import DatabaseError

if TYPE_CHECKING:
    from pathlib import Path

    from orchestration.executors.binding import TaskBinding
    from orchestration.executors.process import Executor
    from orchestration.job_store.ledger import JobLedger
    from orchestration.jobs import Job
    from orchestration.retry import RetryPolicy

logger = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """How a worker works."""

    parallel_jobs: int = 1
    """How many jobs it carries at once."""
    attempt: AttemptConfig = field(default_factory=AttemptConfig)
    """How each of them is watched; its poll interval is also the one for new jobs."""

    def __post_init__(self) -> None:
        if self.parallel_jobs < 1:
            raise ConfigError(f"parallel_jobs={self.parallel_jobs}: at least one")


class Worker:
    """One process's share of the work."""

    def __init__(
        self,
        ledger: JobLedger,
        executor: Executor,
        registry: Mapping[str, TaskBinding],
        *,
        work_root: Path,
        config: WorkerConfig | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        """Put the parts together; `run` does the work.

        Args:
            ledger: The jobs.
            executor: Starts the attempts.
            registry: By kind, the tasks this worker can run.
            work_root: Each job gets a folder in it.
            config: How to work.
            retry: When to try again.
        """
        self._leases = SqlLeases(ledger, retry=retry)
        self._workers = SqlWorkers(ledger)
        self._clock = ledger.clock
        self._executor = executor
        self._registry = registry
        self._work_root = work_root
        self._config = config or WorkerConfig()
        self._carried = 0
        self._next_round = self._clock.monotonic()
        self._woken = anyio.Event()

    def wake(self) -> None:
        """Have it look for jobs now; a hint for submitters in the same process."""
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled.

        On cancellation the children save their work and the jobs go back to the queue, before this
        returns; that takes up to the stop grace.
        """
        identity = self._workers.identify()
        with log_context(worker=identity.id):
            async with anyio.create_task_group() as group:
                while True:
                    job = await self._next_job(identity)
                    if job is None:
                        await self._rest()
                    else:
                        self._carried += 1
                        group.start_soon(self._carry, job)

    async def _next_job(self, identity: WorkerIdentity) -> Job | None:
        now = self._clock.monotonic()
        try:
            if now >= self._next_round:
                await self._workers.seen(identity)
                await self._take_over()
                self._next_round = now + self._config.attempt.lease_seconds / 3
            if self._carried < self._config.parallel_jobs:
                seconds = self._config.attempt.lease_seconds
                return await self._leases.claim(identity.id, self._registry, lease_seconds=seconds)
        except DatabaseError as error:
            logger.warning("database_out_of_reach", reason=str(error))
        return None

    async def _take_over(self) -> None:
        for job in await self._leases.reap(await self._workers.find_dead()):
            logger.warning("job_lost", job=job.id, state=job.state.value, reason=job.error)

    async def _rest(self) -> None:
        with anyio.move_on_after(self._config.attempt.poll_seconds):
            await self._woken.wait()
        self._woken = anyio.Event()

    async def _carry(self, job: Job) -> None:
        supervisor = AttemptSupervisor(
            job,
            self._registry[job.kind],
            self._leases,
            executor=self._executor,
            work_folder=self._work_root / job.id,
            config=self._config.attempt,
        )
        ended = anyio.Event()
        run = job.spec.get("run_id")  # jobs that belong to a run name it in their spec
        with log_context(job=job.id, attempt=job.attempt, run=run):
            async with anyio.create_task_group() as group:
                group.start_soon(_see_through, supervisor, ended)
                try:
                    await ended.wait()
                except anyio.get_cancelled_exc_class():
                    supervisor.preempt()
                    raise
        self._carried -= 1
        self.wake()


async def _see_through(supervisor: AttemptSupervisor, ended: anyio.Event) -> None:
    with anyio.CancelScope(shield=True):
        await supervisor.run()
    ended.set()
