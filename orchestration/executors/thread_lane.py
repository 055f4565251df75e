"""All thread attempts of a worker: their room, one renewal for all, their owners' wishes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from orchestration.executors.thread import LOST, ThreadAttempt
from orchestration.job_store.group_writer import GroupWriter
from utils.logs import get_logger, log_context
from utils.persistence.errors import DatabaseError

if TYPE_CHECKING:
    from orchestration.executors.binding import TaskBinding
    from orchestration.executors.supervisor import AttemptConfig
    from orchestration.job_store.leases import SqlLeases
    from orchestration.jobs import Job

Key = tuple[str, int]
logger = get_logger(__name__)


class ThreadLane:
    """Carries jobs of thread kinds, up to so many at once."""

    def __init__(
        self,
        leases: SqlLeases,
        registry: Mapping[str, TaskBinding],
        *,
        work_root: Path,
        most: int,
        config: AttemptConfig,
    ) -> None:
        """Put the parts together.

        Args:
            leases: Prove the right to write.
            registry: The kinds of jobs, by name.
            work_root: Each job may make a folder in it.
            most: How many jobs at once.
            config: How attempts are watched.
        """
        self._leases = leases
        self._registry = registry
        self._work_root = work_root
        self._most = most
        self._config = config
        self._clock = leases.ledger.clock
        self._writer = GroupWriter(leases.ledger)
        self._limiter = anyio.CapacityLimiter(most)
        # By job and fence: a worker can claim a job again whose lost attempt is still leaving.
        self._attempts: dict[Key, ThreadAttempt] = {}
        self._scopes: dict[Key, anyio.CancelScope] = {}
        self._is_closing = False
        self._admitted = anyio.Event()

    @property
    def room(self) -> int:
        """How many more jobs it can take."""
        return self._most - len(self._attempts)

    def admit(self, job: Job) -> None:
        """Give a job its place; `carry` it next.

        Args:
            job: As claimed.
        """
        for former in self._attempts.values():
            if former.job.id == job.id:
                former.tell(LOST)
        key = job.id, job.fence
        self._attempts[key] = ThreadAttempt(
            job,
            self._registry[job.kind],
            self._leases,
            work_folder=self._work_root / job.id,
            lease_seconds=self._config.lease_seconds,
        )
        self._scopes[key] = anyio.CancelScope(shield=True)
        self._admitted.set()
        if self._is_closing:
            self._dismiss(key)

    async def carry(self, job: Job) -> None:
        """Carry a job to its outcome; cancelling waits for the target as long as `watch` grants.

        Args:
            job: As admitted.
        """
        key = job.id, job.fence
        with self._scopes[key], log_context(job=job.id, attempt=job.attempt):
            await self._attempts[key].run(self._writer, self._limiter)
        del self._attempts[key], self._scopes[key]

    async def watch(self) -> None:
        """Renew leases and pass owners' wishes on; when cancelled, have all targets stop."""
        try:
            await self._watch()
        finally:
            self._is_closing = True
            for key in self._attempts:
                self._dismiss(key)

    def _dismiss(self, key: Key) -> None:
        self._attempts[key].tell("preempt")
        # A target that does not listen is left behind.
        self._scopes[key].deadline = anyio.current_time() + self._config.stop_grace_seconds

    async def _watch(self) -> None:
        config, clock = self._config, self._clock
        trusted_until = next_beat = clock.monotonic() + config.lease_seconds / 3
        while True:
            await clock.sleep(config.poll_seconds)
            now = clock.monotonic()
            attempts = {one.job.id: one for one in self._attempts.values()}  # the newest of each
            if not attempts:
                await self._admitted.wait()
                self._admitted = anyio.Event()
                trusted_until = clock.monotonic() + config.lease_seconds
                continue
            try:
                if now >= next_beat:
                    await self._renew(attempts)
                    next_beat = now + config.lease_seconds / 3
                else:
                    await self._ask(attempts)
                    continue
            except DatabaseError as error:
                logger.warning("database_out_of_reach", reason=str(error))
                if clock.monotonic() > trusted_until:
                    for attempt in attempts.values():
                        attempt.tell(LOST)
            else:
                trusted_until = now + config.lease_seconds

    async def _renew(self, attempts: Mapping[str, ThreadAttempt]) -> None:
        leases = {job_id: attempt.lease for job_id, attempt in attempts.items()}
        seconds = self._config.lease_seconds
        began = self._clock.monotonic()
        wishes = await self._leases.renew_all(leases, lease_seconds=seconds)
        for job_id, desired in wishes.items():
            if self._is_carried(attempts[job_id]):
                attempts[job_id].renewed(began)
                attempts[job_id].hear(desired)

    async def _ask(self, attempts: Mapping[str, ThreadAttempt]) -> None:
        fences = {job_id: attempt.job.fence for job_id, attempt in attempts.items()}
        for job_id, desired in (await self._leases.wishes(fences)).items():
            if self._is_carried(attempts[job_id]):
                attempts[job_id].hear(desired)

    def _is_carried(self, attempt: ThreadAttempt) -> bool:
        """Say whether an attempt has not ended meanwhile."""
        return (attempt.job.id, attempt.job.fence) in self._attempts
