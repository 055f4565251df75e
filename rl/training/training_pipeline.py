"""The async face of training: opens a run, trains beside the event loop, and answers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict

import anyio
import anyio.to_thread

from rl.evaluation.comparison import BOUND, EvaluationTable
from rl.training.allocation_training import ResumePoint, TrainingResult, train_allocation
from rl.training.checkpointing import CheckpointCorruptError, load_checkpoint
from rl.training.experiment_manager import ExperimentManager
from rl.training.recorder import StopReason
from rl.training.run_recorder import RunRecorder
from rl.training.training_config import STEPS_PER_EPISODE, TrainingConfig
from rl.training.training_events import TrainingEvents
from utils.clock import Clock, SystemClock
from utils.config import to_json
from utils.errors import ConfigError
from utils.logs import get_logger, log_context
from utils.persistence.artifact_store import DirectoryArtifactStore
from utils.persistence.engine import open_database
from utils.persistence.run_log import RunState
from utils.persistence.run_queries import StoredCheckpoint

DEFAULTS = TrainingConfig()
logger = get_logger(__name__)


class TrainingResults(TypedDict):
    """What a finished training came to."""

    run_id: str
    config: dict[str, Any]
    total_episodes: int
    """Episodes trained on, resumed ones included."""
    total_steps: int
    best_eval_score: float | None
    """The highest mean KPI on validation windows; that policy is the one exported."""
    training_time_hours: float
    """Wall time of this call, tuning of the experts and evaluation included."""
    final_performance: dict[str, float]
    """On held-out windows: the policy's KPI with its interval, best expert, bound, gap closed."""
    curriculum_progress: None
    """There is no curriculum yet."""
    artifact_sha256: str | None
    evaluation: list[dict[str, Any]]
    """The held-out table, one row per contender, lowest KPI first and the bound last."""
    report: str
    """Folder."""


class RLTrainingPipeline:
    """Trains one configuration; every run is kept in a database and can be continued."""

    def __init__(
        self,
        config: TrainingConfig,
        *,
        output_dir: Path | str = "var",
        events: TrainingEvents | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Touch nothing yet.

        Args:
            config: What to train.
            output_dir: Folder of the database, artifacts and runs; made if absent.
            events: Hears of progress; listeners run on the event loop.
            clock: Tells the time; the machine's by default.
        """
        self.config = config
        self.output_dir = Path(output_dir)
        self._events = events
        self._clock = clock or SystemClock()

    async def train(self, *, resume: str | None = None) -> TrainingResults:
        """Train in a worker thread; the event loop stays responsive.

        Cancelling this call stops training at its next update with a checkpoint, records the run
        as cancelled and then returns; `resume` goes on from there.

        Args:
            resume: Id of an unfinished run of this configuration; None opens a new one.

        Raises:
            RunNotFoundError: There is no such run.
            ConfigError: The run to resume has finished, belongs to a job, or has other settings.
            CheckpointCorruptError: No checkpoint of the run to resume is whole.
            TraceError: A trace file is damaged.
            DivergenceError: Training has left the finite numbers.
            CheckpointWriteError: The disk is full or not writable.
            DatabaseError: The database cannot be used.
        """
        began = self._clock.monotonic()
        database = await open_database(self.output_dir / "quartermaster.sqlite")
        try:
            manager = ExperimentManager(database, clock=self._clock, events=self._events)
            run_id, point, fence = await self._open(manager, resume)
            recorder = manager.recorder(run_id, self.config, fence=fence)
            with log_context(run=run_id):
                work = partial(self._train_in_thread, manager, recorder, point, fence)
                result = await _carried(work, recorder)
        finally:
            await database.aclose()
        return self._results(run_id, result, self._clock.monotonic() - began)

    async def _open(
        self, manager: ExperimentManager, resume: str | None
    ) -> tuple[str, ResumePoint | None, int]:
        if resume is None:
            return await manager.open_run(self.config), None, 0
        details = await manager.run(resume)
        _check_resumable(resume, self.config, details.config)
        if details.summary.state is RunState.SUCCEEDED:
            raise ConfigError(f"run {resume} has finished: start a new one")
        if details.summary.job_id is not None:
            raise ConfigError(f"run {resume} belongs to a job: resume job {details.summary.job_id}")
        checkpoints = await manager.checkpoints(resume)
        point = await anyio.to_thread.run_sync(_newest_whole, resume, checkpoints)
        await manager.reopen_run(resume)
        return resume, point, 1 + max((one.fence for one in checkpoints), default=0)

    async def _train_in_thread(
        self,
        manager: ExperimentManager,
        recorder: RunRecorder,
        point: ResumePoint | None,
        fence: int,
    ) -> TrainingResult:
        run_id = recorder.run.run_id
        train = partial(
            train_allocation,
            self.config,
            recorder,
            folder=self.output_dir / "runs" / run_id,
            artifacts=DirectoryArtifactStore(self.output_dir / "artifacts"),
            run_id=run_id,
            fence=fence,
            resume=point,
        )
        logger.info("run_started", resumed=point is not None)
        try:
            result = await anyio.to_thread.run_sync(train)
        except Exception as error:
            await manager.fail(run_id, error)
            raise
        state = await manager.finish(run_id, result)
        logger.info("run_ended", state=state.value, env_steps=result.env_steps)
        return result

    def _results(self, run_id: str, result: TrainingResult, seconds: float) -> TrainingResults:
        rows = () if result.table is None else result.table.rows
        return TrainingResults(
            run_id=run_id,
            config=to_json(self.config),
            total_episodes=result.env_steps // STEPS_PER_EPISODE,
            total_steps=result.env_steps,
            best_eval_score=result.best_score,
            training_time_hours=seconds / 3600,
            final_performance=_final_performance(result.table, self.config.algorithm),
            curriculum_progress=None,
            artifact_sha256=result.artifact_sha256,
            evaluation=[to_json(row) for row in rows],
            report=result.report,
        )


def create_resource_allocation_pipeline(  # noqa: PLR0913  # promised as one flat call
    num_agents: int = DEFAULTS.num_agents,
    total_episodes: int = DEFAULTS.total_episodes,
    *,
    experiment_name: str = DEFAULTS.experiment_name,
    output_dir: Path | str = "var",
    seed: int = DEFAULTS.seed,
    algorithm: Literal["apg", "ppo"] = DEFAULTS.algorithm,
    num_envs: int = DEFAULTS.num_envs,
    eval_frequency: int = DEFAULTS.eval_frequency,
    checkpoint_frequency: int = DEFAULTS.checkpoint_frequency,
    use_synthetic_data: bool = DEFAULTS.use_synthetic_data,
    real_share: float = DEFAULTS.real_share,
    traces: str | None = DEFAULTS.traces,
) -> RLTrainingPipeline:
    """Return a pipeline that trains a planner of shared services.

    Args:
        num_agents: Services that share the capacities.
        total_episodes: How long to train, summed over copies.
        experiment_name: The question that the run answers.
        output_dir: Folder of all generated state.
        seed: The only source of chance.
        algorithm: Who learns.
        num_envs: Copies played at once.
        eval_frequency: Episodes between evaluations on validation windows.
        checkpoint_frequency: Episodes between checkpoints.
        use_synthetic_data: Mix synthetic demand into the real one.
        real_share: Share of real windows in the mix.
        traces: Folder of the trace files; None looks in the usual places.

    Raises:
        ConfigError: A setting is out of range.
    """
    config = TrainingConfig(
        environment="resource_allocation",
        algorithm=algorithm,
        num_agents=num_agents,
        total_episodes=total_episodes,
        num_envs=num_envs,
        eval_frequency=eval_frequency,
        checkpoint_frequency=checkpoint_frequency,
        use_synthetic_data=use_synthetic_data,
        real_share=real_share,
        traces=traces,
        seed=seed,
        experiment_name=experiment_name,
    )
    return RLTrainingPipeline(config, output_dir=output_dir)


async def _carried(work: Any, recorder: RunRecorder) -> TrainingResult:
    """Await work that must not be cut off: a cancel becomes a request to stop, then goes on up."""
    outcome: list[TrainingResult | Exception] = []
    ended = anyio.Event()

    async def see_through() -> None:
        with anyio.CancelScope(shield=True):
            try:
                outcome.append(await work())
            except Exception as error:  # noqa: BLE001  # raised again below, without a group around
                outcome.append(error)
        ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(see_through)
        try:
            await ended.wait()
        except anyio.get_cancelled_exc_class():
            recorder.request_stop(StopReason.CANCEL)
            raise
    (result,) = outcome
    if isinstance(result, Exception):
        raise result
    return result


def _check_resumable(run_id: str, ours: TrainingConfig, stored: Mapping[str, Any]) -> None:
    for name, value in to_json(ours).items():
        if stored.get(name) != value:
            raise ConfigError(
                f"{name}={value!r}, but run {run_id} was started with {stored.get(name)!r}: "
                "resume it with its own settings"
            )


def _newest_whole(run_id: str, checkpoints: list[StoredCheckpoint]) -> ResumePoint | None:
    """Return the newest checkpoint that can be read; older ones stand in for damaged ones."""
    reasons: list[str] = []
    for record in checkpoints:
        try:
            load_checkpoint(record.path, record.sha256)
        except CheckpointCorruptError as error:
            reasons.append(str(error))
        else:
            return ResumePoint(path=record.path, sha256=record.sha256)
    if reasons:
        raise CheckpointCorruptError(
            f"run {run_id} has no whole checkpoint: start a new one. {reasons[0]}"
        )
    return None


def _final_performance(table: EvaluationTable | None, agent: str) -> dict[str, float]:
    if table is None:
        return {}
    row = table.row(agent)
    figures = {
        "kpi": row.kpi.mean,
        "kpi_low": row.kpi.low,
        "kpi_high": row.kpi.high,
        "expert": table.row(table.best_expert).kpi.mean,
        "bound": table.row(BOUND).kpi.mean,
    }
    if row.gap_closed is not None:
        figures["gap_closed"] = row.gap_closed.mean
    return figures
