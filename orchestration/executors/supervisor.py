"""Carries one claimed job to an outcome: child's frames in, guarded transactions out.

Two tasks: one converses with the child, one beats, follows the owner's wishes and enforces limits.
Whichever reaches a verdict first ends both. An attempt that has lost its lease kills its child and
writes nothing.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from orchestration.executors.child import ChildOrder
from orchestration.executors.frames import FrameError
from orchestration.executors.records import AttemptRecords
from orchestration.job_logs import LogLimits, log_path
from orchestration.job_store.checkpoints import Checkpoint
from orchestration.jobs import Desired, Job, LeaseLostError
from orchestration.retry import ErrorClass
from utils.errors import ConfigError
from utils.logs import get_logger
from utils.persistence.errors import ArtifactsUnreachableError, DatabaseError

if TYPE_CHECKING:
    from pathlib import Path

    from orchestration.executors.binding import TaskBinding
    from orchestration.executors.places import SharedPlaces
    from orchestration.executors.process import Child, Executor
    from orchestration.job_store.leases import SqlLeases

EXIT_SECONDS = 5.0
LAST_WORDS_BYTES = 2000
logger = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class AttemptConfig:
    """How an attempt is watched."""

    lease_seconds: float = 30.0
    """How long a worker may be silent before its jobs go to another; it beats at a third."""
    poll_seconds: float = 0.2
    """How soon a cancel or pause is noticed."""
    flush_seconds: float = 1.0
    """How long reported metrics wait for others to share a transaction."""
    flush_rows: int = 1000
    """How many of them wait at most."""
    stop_grace_seconds: float = 20.0
    """How long a child that was told to stop may take."""
    progress_timeout_seconds: float | None = 900.0
    """Without progress for so long it counts as hung; None trusts it for ever."""
    logs: LogLimits = field(default_factory=LogLimits)
    """What is kept of what attempts print."""

    def __post_init__(self) -> None:
        if not 0 < self.poll_seconds <= self.lease_seconds / 3:
            raise ConfigError(
                f"poll_seconds={self.poll_seconds} must be positive and at most a third of "
                f"lease_seconds={self.lease_seconds}"
            )
        if self.flush_seconds < 0 or self.flush_rows < 1 or self.stop_grace_seconds < 0:
            raise ConfigError("flush_seconds, flush_rows and stop_grace_seconds must be positive")
        if self.progress_timeout_seconds is not None and self.progress_timeout_seconds <= 0:
            raise ConfigError("progress_timeout_seconds must be positive, or None")


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The child returned its result."""

    result: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Halted:
    """The child stopped as told."""


@dataclass(frozen=True, kw_only=True)
class Broken:
    """The attempt ended with an error."""

    error_class: ErrorClass
    message: str


@dataclass(frozen=True, kw_only=True)
class Disowned:
    """The job belongs to somebody else now."""


Verdict = Finished | Halted | Broken | Disowned


class AttemptSupervisor:
    """One attempt of one job."""

    def __init__(
        self,
        job: Job,
        binding: TaskBinding,
        leases: SqlLeases,
        *,
        executor: Executor,
        work_folder: Path,
        config: AttemptConfig,
        shared: SharedPlaces | None = None,
    ) -> None:
        self._job = job
        self._definition = binding.definition
        self._leases = leases
        store = None if shared is None else shared.store
        self._records = AttemptRecords(
            job, binding.sink, leases, lease_seconds=config.lease_seconds, store=store
        )
        self._shared = shared
        self._clock = leases.ledger.clock
        self._executor = executor
        self._work_folder = work_folder
        self._config = config
        self._child: Child | None = None
        self._verdict: Verdict | None = None
        self._began_at = self._progressed_at = self._clock.monotonic()
        self._is_preempted = False
        self._told: str | None = None
        self._told_at = 0.0
        self._killed_as: Verdict | None = None

    @property
    def job(self) -> Job:
        """The job, as it was claimed."""
        return self._job

    @property
    def is_preempted(self) -> bool:
        """Whether the child is to make room."""
        return self._is_preempted

    def preempt(self) -> None:
        """Have the child save its work and stop; the job goes back to the queue."""
        self._is_preempted = True

    async def run(self) -> None:
        """Carry the job to an outcome; protect this call from cancellation, use `preempt`."""
        try:
            async with anyio.create_task_group() as group:
                for side in (self._converse, self._watch):
                    group.start_soon(self._until_verdict, side, group.cancel_scope)
            if isinstance(self._verdict, Disowned | Broken) and self._child is not None:
                self._child.kill()
            await self._conclude(self._verdict or Disowned())
        finally:
            await self._dismiss()

    async def _until_verdict(
        self, side: Callable[[], Awaitable[Verdict]], scope: anyio.CancelScope
    ) -> None:
        verdict = await self._judged(side)
        self._verdict = self._verdict or verdict
        scope.cancel()

    async def _judged(self, step: Callable[[], Awaitable[Verdict]]) -> Verdict:
        try:
            return await step()
        except LeaseLostError as error:
            logger.warning("lease_lost", reason=str(error))
            return Disowned()
        except FrameError as error:
            return Broken(error_class=ErrorClass.CRASHED, message=f"the child spoke badly: {error}")
        except DatabaseError as error:
            return Broken(error_class=ErrorClass.DATABASE, message=str(error))
        except ArtifactsUnreachableError as error:
            return Broken(error_class=ErrorClass.UNREACHABLE, message=str(error))
        except Exception as error:
            logger.exception("attempt_supervision_failed")
            message = f"{type(error).__name__} while supervising: {error}"
            return Broken(error_class=ErrorClass.INTERNAL, message=message)

    # The conversation

    async def _converse(self) -> Verdict:
        if self._job.version != self._definition.version:
            message = (
                f"the job has version {self._job.version} of {self._job.kind!r}, this program runs "
                f"version {self._definition.version}: submit it again"
            )
            return Broken(error_class=ErrorClass.CONFIG, message=message)
        resume = await self._records.find_resume()
        order = ChildOrder(
            job_id=self._job.id,
            fence=self._job.fence,
            attempt=self._job.attempt,
            target=self._definition.target,
            spec=self._job.spec,
            work_folder=str(self._work_folder),
            resume=None if resume is None else asdict(resume),
            inputs=await self._records.find_inputs() if self._job.has_needs else {},
            orphan_grace_seconds=self._config.stop_grace_seconds,
            resources=asdict(self._job.resources),
            var=None if self._shared is None else self._shared.var,
            artifacts=None if self._shared is None else self._shared.artifacts,
            logs=asdict(self._config.logs),
        )
        child = self._child = await self._executor.start(order)
        while (frame := await child.receive()) is not None:
            verdict = await self._hear(child, frame, resume)
            if verdict is not None:
                return verdict
        return self._explain_exit(await child.wait())

    async def _hear(
        self, child: Child, frame: Mapping[str, Any], resume: Checkpoint | None
    ) -> Verdict | None:
        match frame["type"]:
            case "hello":
                await self._records.begin(frame["pid"], resume)
            case "metrics":
                if self._records.add_metrics(frame["rows"]) >= self._config.flush_rows:
                    await self._records.flush()
            case "progress":
                self._records.progress = (frame["done"], frame["total"])
            case "checkpoint":
                await self._records.commit_checkpoint(_to_checkpoint(frame))
                await child.send("ack", {"of": frame["seq"]})
            case "event":
                await self._records.note(frame["event"], frame["payload"])
            case "result":
                return Finished(result=frame["result"]) if not frame["stopped"] else Halted()
            case "error":
                return Broken(error_class=ErrorClass(frame["class"]), message=frame["message"])
            case unknown:
                raise FrameError(f"unknown type {unknown!r}")
        if frame["type"] in {"progress", "checkpoint"}:
            self._progressed_at = self._clock.monotonic()
        return None

    def _explain_exit(self, code: int) -> Verdict:
        if self._killed_as is not None:
            return self._killed_as
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        message = f"the process ended without a result: {how}. {self._last_words()}"
        return Broken(error_class=ErrorClass.CRASHED, message=message)

    def _last_words(self) -> str:
        return _last_words(log_path(self._work_folder, self._job.fence))

    # The watch

    async def _watch(self) -> Verdict:
        config = self._config
        now = self._clock.monotonic()
        next_flush, next_beat = now + config.flush_seconds, now
        while True:
            now = self._clock.monotonic()
            try:
                is_flush_due = now >= next_flush
                if now >= next_beat or (is_flush_due and self._records.has_news):
                    desired = await self._records.beat()
                    next_beat = now + config.lease_seconds / 3
                else:
                    desired = await self._leases.check(self._job.id, self._job.fence)
                if is_flush_due:
                    await self._records.flush()
                    next_flush = now + config.flush_seconds
            except DatabaseError as error:
                logger.warning("database_out_of_reach", reason=str(error))
                if not self._records.is_trusted:
                    return Disowned()
            else:
                await self._follow(desired)
            self._enforce()
            await self._clock.sleep(config.poll_seconds)

    async def _follow(self, desired: Desired) -> None:
        if desired is not Desired.RUN:
            reason = desired.value
        elif self._is_preempted:
            reason = "preempt"
        else:
            return
        if self._child is None or reason == self._told:
            return
        if self._told is None:
            self._told_at = self._clock.monotonic()
        self._told = reason
        logger.info("job_told_to_stop", reason=reason)
        await self._child.send("stop", {"reason": reason})

    def _enforce(self) -> None:
        if self._child is None or self._killed_as is not None:
            return
        if self._told is not None:
            if self._clock.monotonic() - self._told_at > self._config.stop_grace_seconds:
                self._killed_as = Halted()
        else:
            self._killed_as = self._find_overrun(self._clock.monotonic())
        if self._killed_as is not None:
            self._child.kill()

    def _find_overrun(self, now: float) -> Broken | None:
        limits = self._job.limits
        if limits.run_seconds is not None and now - self._began_at > limits.run_seconds:
            message = f"it ran for more than {limits.run_seconds:g} s. {self._last_words()}"
            return Broken(error_class=ErrorClass.TIMEOUT, message=message)
        timeout = limits.progress_seconds or self._config.progress_timeout_seconds
        if timeout is not None and now - self._progressed_at > timeout:
            message = f"no progress for {timeout:g} s. {self._last_words()}"
            return Broken(error_class=ErrorClass.HUNG, message=message)
        return None

    # The end

    async def _conclude(self, verdict: Verdict) -> None:
        if isinstance(verdict, Finished):
            verdict = await self._judged(partial(self._succeed, verdict))
        if isinstance(verdict, Halted | Broken):
            flushed = await self._judged(partial(self._flush_last, verdict))
            if flushed is not verdict:
                self._records.drop_metrics()
            await self._judged(partial(self._leave, verdict))

    async def _succeed(self, verdict: Finished) -> Verdict:
        await self._records.succeed(verdict.result)
        return verdict

    async def _flush_last(self, verdict: Verdict) -> Verdict:
        await self._records.beat()
        await self._records.flush()
        return verdict

    async def _leave(self, verdict: Halted | Broken) -> Verdict:
        if isinstance(verdict, Broken):
            await self._records.fail(verdict.error_class, verdict.message)
        else:
            await self._records.release()
        return verdict

    async def _dismiss(self) -> None:
        if self._child is None:
            return
        if isinstance(self._verdict, Finished | Halted):
            with anyio.move_on_after(EXIT_SECONDS):
                await self._child.wait()
        await self._child.aclose()


def _last_words(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LAST_WORDS_BYTES))
            tail = file.read().decode(errors="replace").strip()
    except OSError:
        tail = ""
    return f"Its last output:\n{tail}" if tail else f"It wrote nothing to {log}."


def _to_checkpoint(frame: Mapping[str, Any]) -> Checkpoint:
    return Checkpoint(
        path=frame["path"],
        sha256=frame["sha256"],
        step=frame["step"],
        size_bytes=frame["size_bytes"],
    )
