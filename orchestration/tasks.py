"""The kinds of jobs: what a training job is told, and who keeps what it reports.

The engine below knows nothing of learning; here its reports become rows of experiments and models,
in the engine's own transactions. Nothing here imports torch: the target is resolved in the child.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.executors.binding import MetricRow, TaskBinding, TaskDefinition
from orchestration.jobs import JobState
from rl.training.pairing import check_learnable
from rl.training.provenance import Provenance, read_provenance
from rl.training.training_config import TrainingConfig
from rl.training.training_events import (
    CheckpointWritten,
    Evaluated,
    MetricsReported,
    RunEnded,
    RunInfo,
    RunStarted,
    StageChanged,
    TrainingEvent,
    TrainingEvents,
)
from utils.clock import Clock, new_id
from utils.config import from_json, to_json
from utils.errors import ConfigError
from utils.persistence.model_log import NewArtifact, register_model
from utils.persistence.outbox import add_line
from utils.persistence.run_facts import (
    Relation,
    RunLineage,
    RunParent,
    add_data,
    add_parents,
)
from utils.persistence.run_log import (
    NewRun,
    RunState,
    add_evaluation,
    add_metrics,
    adopt_checkpoints,
    create_run,
    keep_checkpoints,
    score_checkpoint,
    set_run_stage,
    set_run_state,
)
from utils.persistence.run_queries import find_run_of_job
from utils.persistence.warm_start import find_start

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from orchestration.job_store.checkpoints import Checkpoint
    from orchestration.jobs import Job

TRAIN = TaskDefinition(kind="train", version=1, target="orchestration.training_attempt:train")
RUN_STATES = {
    JobState.PENDING: RunState.QUEUED,
    JobState.QUEUED: RunState.QUEUED,
    JobState.RETRY_WAIT: RunState.QUEUED,
    JobState.LEASED: RunState.QUEUED,
    JobState.RUNNING: RunState.RUNNING,
    JobState.CANCELLING: RunState.RUNNING,
    JobState.PAUSED: RunState.PAUSED,
    JobState.SUCCEEDED: RunState.SUCCEEDED,
    JobState.FAILED: RunState.FAILED,
    JobState.TIMED_OUT: RunState.FAILED,
    JobState.DEAD: RunState.FAILED,
    JobState.CANCELLED: RunState.CANCELLED,
}
"""What each state of a job means for its run."""

RUN_FINISHED = "run_finished"
_WITH_ERROR = {JobState.RETRY_WAIT, JobState.FAILED, JobState.TIMED_OUT, JobState.DEAD}


@dataclass(frozen=True, kw_only=True)
class StartPoint:
    """A checkpoint whose best policy a new run begins with."""

    path: str
    sha256: str
    run_id: str = ""
    """Whose it is."""


async def find_start_point(
    connection: AsyncConnection, config: TrainingConfig
) -> StartPoint | None:
    """Return what `config.init_from` means now, if it names anything.

    Args:
        connection: An open transaction.
        config: What is going to be trained.

    Raises:
        RunNotFoundError: It names no run.
        ConfigError: It names a run without a checkpoint, or no version of an agent.
    """
    if config.init_from is None:
        return None
    found = await find_start(connection, config.init_from)
    return StartPoint(path=found.path, sha256=found.sha256, run_id=found.run_id)


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """What a training job is told, version 1."""

    config: TrainingConfig
    run_id: str
    """Of the run that the job carries out; also the name of its folder."""
    artifact_root: str
    """Folder of the artifact store."""
    run_root: str
    """Folder of the runs' folders."""
    init: StartPoint | None = None
    """What `config.init_from` meant when the job was submitted."""
    rerun_of: str | None = None
    """The run whose settings and seed this one repeats, if any."""

    def __post_init__(self) -> None:
        """Refuse what cannot be a run.

        Raises:
            ConfigError: A field is empty or no name for a folder.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,35}", self.run_id):
            raise ConfigError(f"run_id={self.run_id!r}: take one from make_train_spec")
        for name in ("artifact_root", "run_root"):
            if not Path(getattr(self, name)).is_absolute():
                raise ConfigError(f"{name}={getattr(self, name)!r}: write an absolute path")

    def to_json(self) -> dict[str, Any]:
        """Return the spec as plain JSON."""
        return to_json(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], version: int = TRAIN.version) -> TrainSpec:
        """Read a spec.

        Args:
            values: What `to_json` returned.
            version: As stored beside it.

        Raises:
            ConfigError: The version is unknown, or a field is; a wrong one is named.
        """
        if version != TRAIN.version:
            raise ConfigError(
                f"training spec of version {version}, this program reads {TRAIN.version}: "
                "submit the training again"
            )
        return from_json(cls, values)


def make_train_spec(
    config: TrainingConfig,
    *,
    output_dir: Path,
    clock: Clock,
    init: StartPoint | None = None,
    rerun_of: str | None = None,
) -> TrainSpec:
    """Return the spec of a new run.

    Args:
        config: What to train.
        output_dir: Folder of all generated state.
        clock: Tells the run's age.
        init: What `config.init_from` means now.
        rerun_of: The run whose settings and seed it repeats, if any.

    Raises:
        ConfigError: The algorithm cannot learn the environment.
    """
    check_learnable(config)
    root = output_dir.absolute()
    return TrainSpec(
        config=config,
        run_id=new_id(clock),
        artifact_root=str(root / "artifacts"),
        run_root=str(root / "runs"),
        init=init,
        rerun_of=rerun_of,
    )


class RunStateObserver:
    """Keeps runs in step with their jobs; a submission that cannot be a run is refused."""

    def __init__(self, clock: Clock, *, events: TrainingEvents | None = None) -> None:
        """Remember whom to tell.

        Args:
            clock: Tells when runs began and ended.
            events: Hears of ends.
        """
        self._clock = clock
        self._events = events or TrainingEvents()
        self._provenance = read_provenance()

    async def changed(self, connection: AsyncConnection, job: Job) -> None:
        """Follow a change, inside its transaction.

        Args:
            connection: The open transaction.
            job: The job after the change.

        Raises:
            ConfigError: A job is submitted whose spec is wrong or whose run exists already.
        """
        if job.kind != TRAIN.kind:
            return
        state = RUN_STATES[job.state]
        run_id = await find_run_of_job(connection, job.id)
        if run_id is None:
            if job.fence > 0:  # submitted by a program without this observer: the sink adds the run
                return
            spec = TrainSpec.from_json(job.spec, job.version)
            run_id = spec.run_id
            run = _new_run(job, spec, self._provenance)
            if not await create_run(connection, run, clock=self._clock):
                raise ConfigError(f"run {run_id} exists already: take a new one (make_train_spec)")
        error = job.error if job.state in _WITH_ERROR else None
        await set_run_state(connection, run_id, state, clock=self._clock, error=error)
        if state.is_terminal or state is RunState.PAUSED:
            with contextlib.suppress(ConfigError):  # of a version that this program cannot read
                self._events.publish(RunEnded(run=_info(job), state=state))
        if state.is_terminal:
            config = job.spec.get("config", {})
            told = {name: config.get(name) for name in ("environment", "experiment_name")}
            line = {"run_id": run_id, "state": state.value, **told}
            await add_line(connection, RUN_FINISHED, line, at=self._clock.now(), job_id=job.id)


class TrainSink:
    """Turns the reports of training jobs into rows, and passes them on to listeners."""

    def __init__(self, clock: Clock, *, events: TrainingEvents | None = None) -> None:
        """Remember whom to tell.

        Args:
            clock: Tells when reports came.
            events: Hears of each report just before its transaction commits.
        """
        self._clock = clock
        self._events = events or TrainingEvents()
        self._provenance = read_provenance()

    async def started(self, connection: AsyncConnection, job: Job) -> None:
        """Note that the run is being carried out; its row is made if nobody has.

        Args:
            connection: The open transaction.
            job: With the attempt's fence.
        """
        try:
            spec = TrainSpec.from_json(job.spec, job.version)
        except ConfigError:  # the child is about to end the job with this very error
            return
        await create_run(connection, _new_run(job, spec, self._provenance), clock=self._clock)
        await set_run_state(connection, spec.run_id, RunState.RUNNING, clock=self._clock)
        self._tell(RunStarted(run=_info(job)))

    async def metrics(
        self, connection: AsyncConnection, job: Job, rows: Sequence[MetricRow]
    ) -> None:
        """Keep figures of updates.

        Args:
            connection: The open transaction.
            job: With the attempt's fence.
            rows: Environment steps so far, and figures by name.
        """
        run = _info(job)
        await add_metrics(connection, run.run_id, rows, clock=self._clock)
        for step, values in rows:
            self._tell(MetricsReported(run=run, env_steps=step, values=values))

    async def checkpoint(self, connection: AsyncConnection, job: Job, record: Checkpoint) -> None:
        """Give the engine's row to the run.

        Args:
            connection: The open transaction.
            job: With the attempt's fence.
            record: The file.
        """
        run = _info(job)
        await adopt_checkpoints(connection, run.run_id, job.id)
        self._tell(CheckpointWritten(run=run, env_steps=record.step, size_bytes=record.size_bytes))

    async def event(
        self, connection: AsyncConnection, job: Job, type_: str, payload: Mapping[str, Any]
    ) -> None:
        """Keep what says more of the run; anything else stays in the outbox only.

        Args:
            connection: The open transaction.
            job: With the attempt's fence.
            type_: Its name.
            payload: Plain JSON.
        """
        run = _info(job)
        if type_ == "evaluated":
            env_steps, scores = payload["env_steps"], payload["scores"]
            await add_evaluation(connection, run.run_id, env_steps, scores, clock=self._clock)
            self._tell(Evaluated(run=run, env_steps=env_steps, scores=scores))
        elif type_ == "stage_changed":
            env_steps, stage = payload["env_steps"], payload["stage"]
            await set_run_stage(connection, run.run_id, stage)
            self._tell(StageChanged(run=run, env_steps=env_steps, stage=stage))
        elif type_ == "checkpoints_kept":
            step, score, fence = payload["env_steps"], payload["score"], job.fence
            await score_checkpoint(connection, run.run_id, step, fence=fence, score=score)
            await keep_checkpoints(connection, run.run_id, payload["kept"], fence=fence)
        elif type_ == "lineage":
            lineage = from_json(RunLineage, payload)
            await add_parents(connection, run.run_id, lineage.parents)
            await add_data(connection, run.run_id, lineage.data)

    async def finished(
        self, connection: AsyncConnection, job: Job, result: Mapping[str, Any]
    ) -> None:
        """Register the artifact as the next version of its agent.

        Args:
            connection: The open transaction.
            job: With the attempt's fence.
            result: What training came to.
        """
        if result["artifact_sha256"] is None:
            return
        content = NewArtifact(
            sha256=result["artifact_sha256"],
            size_bytes=result["artifact_bytes"],
            card=result["card"],
            run_id=_info(job).run_id,
        )
        await register_model(connection, result["agent"], content, clock=self._clock)

    def _tell(self, event: TrainingEvent) -> None:
        self._events.publish(event)


def make_registry(clock: Clock, *, events: TrainingEvents | None = None) -> dict[str, TaskBinding]:
    """Return all kinds of jobs that a worker can run, by name.

    Args:
        clock: Tells when reports came.
        events: Hears of each report.
    """
    return {TRAIN.kind: TaskBinding(definition=TRAIN, sink=TrainSink(clock, events=events))}


def _new_run(job: Job, spec: TrainSpec, provenance: Provenance) -> NewRun:
    parents: list[RunParent] = []
    if spec.rerun_of is not None:
        parents.append(RunParent(relation=Relation.RERUN, run_id=spec.rerun_of))
    if spec.init is not None:
        start = {"run_id": spec.init.run_id, "checkpoint_sha256": spec.init.sha256}
        parents.append(RunParent(relation=Relation.INIT_FROM, **start))
    return NewRun(
        id=spec.run_id,
        experiment=spec.config.experiment_name,
        seed=spec.config.seed,
        config=to_json(spec.config),
        state=RUN_STATES[job.state],
        job_id=job.id,
        total_env_steps=spec.config.total_env_steps,
        code_commit=provenance.code_commit,
        code_dirty=provenance.code_dirty,
        parents=tuple(parents),
        tags=spec.config.tags,
        versions=provenance.versions,
    )


def _info(job: Job) -> RunInfo:
    spec = TrainSpec.from_json(job.spec, job.version)
    return RunInfo(
        run_id=spec.run_id,
        job_id=job.id,
        environment=spec.config.environment,
        algorithm=spec.config.algorithm,
        total_env_steps=spec.config.total_env_steps,
    )
