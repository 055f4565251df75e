"""Takes due jobs and carries them, as many at once as allowed, until it is cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from orchestration.executors.binding import Place
from orchestration.executors.supervisor import AttemptConfig, AttemptSupervisor
from orchestration.executors.thread_lane import ThreadLane
from orchestration.job_store.claims import Offer
from orchestration.job_store.leases import SqlLeases
from orchestration.job_store.notices import listen
from orchestration.job_store.workers import SqlWorkers, WorkerIdentity
from orchestration.jobs import Resources
from orchestration.preemption import Carried, choose_victims
from utils.errors import ConfigError
from utils.logs import get_logger, log_context
from utils.persistence.errors import DatabaseError

if TYPE_CHECKING:
    from pathlib import Path

    from anyio.abc import TaskGroup

    from orchestration.executors.binding import TaskBinding
    from orchestration.executors.places import SharedPlaces
    from orchestration.executors.process import Executor
    from orchestration.job_store.ledger import JobLedger
    from orchestration.jobs import Job
    from orchestration.retry import RetryPolicy

logger = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """How a worker works."""

    parallel_jobs: int = 1
    """How many jobs it carries at once in processes of their own."""
    parallel_threads: int = 16
    """How many short jobs it carries at once in threads."""
    capacity: Resources | None = None
    """What it has for jobs that say what they need; None counts nothing."""
    attempt: AttemptConfig = field(default_factory=AttemptConfig)
    """How each of them is watched; its poll interval is also the one for signs of new jobs."""
    idle_seconds: float = 1.0
    """How often it looks for due jobs without a sign of news."""

    def __post_init__(self) -> None:
        if self.parallel_jobs < 1 or self.parallel_threads < 1:
            raise ConfigError(
                f"parallel_jobs={self.parallel_jobs}, parallel_threads={self.parallel_threads}: "
                "at least one"
            )
        if self.idle_seconds <= 0:
            raise ConfigError(f"idle_seconds={self.idle_seconds}: write a positive number")


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
        shared: SharedPlaces | None = None,
    ) -> None:
        """Put the parts together; `run` does the work.

        Args:
            ledger: The jobs.
            executor: Starts the attempts of jobs that are not thread jobs.
            registry: By kind, the tasks this worker can run.
            work_root: Each job gets a folder in it.
            config: How to work.
            retry: When to try again.
            shared: Where attempts find files, if other machines carry the same jobs.
        """
        self._leases = SqlLeases(ledger, retry=retry)
        self._workers = SqlWorkers(ledger)
        self._database = ledger.database
        self._clock = ledger.clock
        self._executor = executor
        self._registry = registry
        self._kinds = {
            place: [kind for kind, one in registry.items() if one.definition.executor is place]
            for place in Place
        }
        self._work_root = work_root
        self._shared = shared
        self._config = config or WorkerConfig()
        self._threads = ThreadLane(
            self._leases,
            registry,
            work_root=work_root,
            most=self._config.parallel_threads,
            config=self._config.attempt,
        )
        # By job and fence: it can claim a job again whose lost attempt is still leaving.
        self._carried: dict[tuple[str, int], AttemptSupervisor] = {}
        self._next_round = self._next_look = self._clock.monotonic()
        self._is_quiet = False
        self._seen: tuple[int, ...] | None = None
        self._woken = anyio.Event()
        self._knows_of_jobs = False

    def wake(self) -> None:
        """Have it take jobs now; a hint for submitters in the same process."""
        self._knows_of_jobs = True
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled.

        On cancellation the children save their work and the jobs go back to the queue, before this
        returns; that takes up to the stop grace.
        """
        identity = self._workers.identify()
        with log_context(worker=identity.id):
            async with anyio.create_task_group() as group:
                group.start_soon(self._threads.watch)
                if self._database.is_server:
                    group.start_soon(listen, self._database, self.wake, self._clock)
                while True:
                    if not await self._take(identity, group):
                        await self._rest()

    async def _take(self, identity: WorkerIdentity, group: TaskGroup) -> bool:
        """Start what is due, and say whether there may be more."""
        hinted, self._knows_of_jobs = self._knows_of_jobs, False
        try:
            await self._be_seen(identity)
            self._seen = self._database.fingerprint()
            due = set(Place) if hinted else await self._look()
            jobs = await self._claim(identity, due, Place.THREAD, self._threads.room)
            for job in jobs:
                self._threads.admit(job)
                group.start_soon(self._carry_thread, job)
            room = self._config.parallel_jobs - len(self._carried)
            claimed = await self._claim(identity, due, Place.PROCESS, room)
            for job in claimed:
                supervisor = self._carried[job.id, job.fence] = self._supervise(job)
                group.start_soon(self._carry, supervisor)
            if Place.PROCESS in due and self._carried and not claimed:
                await self._make_room(identity)
            now = self._clock.monotonic()
            if now >= self._next_look:
                if not self._is_quiet:
                    await self._take_over()
                self._next_look = now + self._config.idle_seconds
            self._is_quiet = self._is_quiet and not hinted
        except DatabaseError as error:
            logger.warning("database_out_of_reach", reason=str(error))
            await self._clock.sleep(self._config.idle_seconds)
            return False
        return bool(jobs or claimed)

    async def _look(self) -> set[Place]:
        look = await self._leases.look([self._kinds[place] for place in Place])
        self._is_quiet = look.is_quiet
        return {place for place, is_due in zip(Place, look.due, strict=True) if is_due}

    async def _be_seen(self, identity: WorkerIdentity) -> None:
        now = self._clock.monotonic()
        if now >= self._next_round:
            await self._workers.seen(
                identity,
                parallel_jobs=self._config.parallel_jobs,
                capacity=self._config.capacity,
            )
            self._next_round = now + self._config.attempt.lease_seconds / 3

    async def _claim(
        self, identity: WorkerIdentity, due: set[Place], place: Place, most: int
    ) -> list[Job]:
        if most < 1 or place not in due:
            return []
        return await self._leases.take(self._offer(identity, place, most))

    def _offer(self, identity: WorkerIdentity, place: Place, most: int) -> Offer:
        return Offer(
            worker_id=identity.id,
            kinds=self._kinds[place],
            lease_seconds=self._config.attempt.lease_seconds,
            most=most,
            capacity=self._config.capacity,
            runs=place is Place.THREAD,
        )

    async def _take_over(self) -> None:
        for job in await self._leases.reap(await self._workers.find_dead()):
            logger.warning("job_lost", job=job.id, state=job.state.value, reason=job.error)

    async def _make_room(self, identity: WorkerIdentity) -> None:
        """Have less urgent jobs stop where a more urgent one waits for their place."""
        carried = [Carried(job=one.job, leaves=one.is_preempted) for one in self._carried.values()]
        lowest = min(one.job.priority for one in carried)
        rival = await self._leases.find_rival(self._offer(identity, Place.PROCESS, 1), above=lowest)
        if rival is None:
            return
        config = self._config
        for job in choose_victims(
            carried, rival, parallel_jobs=config.parallel_jobs, capacity=config.capacity
        ):
            logger.info("job_preempted", job=job.id, rival=rival.id)
            self._carried[job.id, job.fence].preempt()

    async def _rest(self) -> None:
        """Wait for a sign of news, or until it is time to look anyway."""
        while not self._woken.is_set():
            now, written = self._clock.monotonic(), self._database.fingerprint()
            is_still = self._is_quiet and written is not None and written == self._seen
            is_due = now >= self._next_round or (now >= self._next_look and not is_still)
            if is_due or written != self._seen:
                break
            with anyio.move_on_after(self._config.attempt.poll_seconds):
                await self._woken.wait()
        self._woken = anyio.Event()

    def _supervise(self, job: Job) -> AttemptSupervisor:
        return AttemptSupervisor(
            job,
            self._registry[job.kind],
            self._leases,
            executor=self._executor,
            work_folder=self._work_root / job.id,
            config=self._config.attempt,
            shared=self._shared,
        )

    async def _carry_thread(self, job: Job) -> None:
        await self._threads.carry(job)
        self._woken.set()

    async def _carry(self, supervisor: AttemptSupervisor) -> None:
        job = supervisor.job
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
        del self._carried[job.id, job.fence]
        self._woken.set()


async def _see_through(supervisor: AttemptSupervisor, ended: anyio.Event) -> None:
    with anyio.CancelScope(shield=True):
        await supervisor.run()
    ended.set()
