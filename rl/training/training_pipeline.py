"""The async face of training: opens a run, trains beside the event loop, and answers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import anyio
import anyio.to_thread

from rl.evaluation.comparison import BOUND, EvaluationTable
from rl.training.agents import Agent
from rl.training.conclusion import Places, ResumePoint, TrainingResult
from rl.training.experiment_manager import ExperimentManager
from rl.training.problem import Problem
from rl.training.recorder import StopReason
from rl.training.run_recorder import RunRecorder
from rl.training.run_resumption import check_resumable, newest_whole
from rl.training.shard_lines import OpenLines
from rl.training.training_config import CUSTOM, TrainingConfig
from rl.training.training_events import TrainingEvents
from rl.training.training_run import train_problem
from utils.clock import Clock, SystemClock
from utils.config import to_json
from utils.errors import ConfigError
from utils.logs import get_logger, log_context
from utils.persistence.artifact_store import DirectoryArtifactStore
from utils.persistence.engine import Database, open_database
from utils.persistence.run_facts import Relation, RunParent
from utils.persistence.run_log import RunState
from utils.persistence.run_queries import StoredCheckpoint
from utils.persistence.warm_start import find_start

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
    """The highest mean KPI on validation scenarios; that policy is the one exported."""
    training_time_hours: float
    """Wall time of this call, tuning of the experts and evaluation included."""
    final_performance: dict[str, float]
    """On held-out scenarios: the policy's KPI with its interval, best expert, bound, gap closed."""
    curriculum_progress: dict[str, Any] | None
    """Stages passed and what is missing; None without a curriculum."""
    ended: str
    """Why training is over, in words; empty if it was stopped and can be continued."""
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
        environment: Problem | None = None,
        agents: Agent | None = None,
        *,
        output_dir: Path | str = "var",
        events: TrainingEvents | None = None,
        clock: Clock | None = None,
        ray_lines: OpenLines | None = None,
    ) -> None:
        """Touch nothing yet.

        Args:
            config: What to train.
            environment: A problem of your own; `config.environment` is then "custom".
            agents: An agent of your own that fits the problem; it is trained on. None builds the
                one that the configuration names.
            output_dir: Folder of the database, artifacts and runs; made if absent.
            events: Hears of progress; listeners run on the event loop.
            clock: Tells the time; the machine's by default.
            ray_lines: Starts shards on a Ray cluster, for `collection_place="ray"`.

        Raises:
            ConfigError: A problem is given but not named "custom", or the other way round.
        """
        if (environment is None) == (config.environment == CUSTOM):
            raise ConfigError(
                f"environment={config.environment}: a problem of your own goes with "
                f'environment="{CUSTOM}", and only with that'
            )
        self.config = config
        self._problem, self._agent = environment, agents
        self.output_dir = Path(output_dir)
        self._events = events
        self._clock = clock or SystemClock()
        self._ray_lines = ray_lines

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
            start = await self._find_start(database) if resume is None else None
            manager = ExperimentManager(database, clock=self._clock, events=self._events)
            run_id, point, fence = await self._open(manager, resume, start)
            if resume is not None and point is None:
                start = await self._find_start(database)
            recorder = manager.recorder(run_id, self.config, fence=fence)
            with log_context(run=run_id):
                places = self._places(run_id, resume=point, init=_as_point(start), fence=fence)
                work = partial(self._train_in_thread, manager, recorder, places)
                result = await _carried(work, recorder)
        finally:
            await database.aclose()
        return self._results(run_id, result, self._clock.monotonic() - began)

    async def _open(
        self, manager: ExperimentManager, resume: str | None, start: StoredCheckpoint | None
    ) -> tuple[str, ResumePoint | None, int]:
        if resume is None:
            parents = () if start is None else (_parent(start),)
            return await manager.open_run(self.config, parents=parents), None, 0
        details = await manager.run(resume)
        check_resumable(resume, self.config, details.config)
        if details.summary.state is RunState.SUCCEEDED:
            raise ConfigError(f"run {resume} has finished: start a new one")
        if details.summary.job_id is not None:
            raise ConfigError(f"run {resume} belongs to a job: resume job {details.summary.job_id}")
        checkpoints = await manager.checkpoints(resume)
        point = await anyio.to_thread.run_sync(newest_whole, resume, checkpoints)
        await manager.reopen_run(resume)
        return resume, point, 1 + max((one.fence for one in checkpoints), default=0)

    def _places(
        self, run_id: str, *, resume: ResumePoint | None, init: ResumePoint | None, fence: int
    ) -> Places:
        return Places(
            folder=self.output_dir / "runs" / run_id,
            artifacts=DirectoryArtifactStore(self.output_dir / "artifacts"),
            resume=resume,
            init=init,
            fence=fence,
            ray_lines=self._ray_lines,
        )

    async def _train_in_thread(
        self, manager: ExperimentManager, recorder: RunRecorder, places: Places
    ) -> TrainingResult:
        run_id = recorder.run.run_id
        train = partial(
            train_problem,
            self.config,
            recorder,
            places,
            run_id=run_id,
            problem=self._problem,
            agent=self._agent,
        )
        logger.info("run_started", resumed=places.resume is not None)
        try:
            result = await anyio.to_thread.run_sync(train)
        except Exception as error:
            await manager.fail(run_id, error)
            raise
        state = await manager.finish(run_id, result)
        logger.info("run_ended", state=state.value, env_steps=result.env_steps)
        return result

    async def _find_start(self, database: Database) -> StoredCheckpoint | None:
        """Return what `init_from` means now; a run that has a checkpoint does not need it."""
        if self.config.init_from is None:
            return None
        async with database.read() as connection:
            return await find_start(connection, self.config.init_from)

    def _results(self, run_id: str, result: TrainingResult, seconds: float) -> TrainingResults:
        table = result.tables[0] if result.tables else None
        rows = () if table is None else table.rows
        return TrainingResults(
            run_id=run_id,
            config=to_json(self.config),
            total_episodes=result.episodes,
            total_steps=result.env_steps,
            best_eval_score=result.best_score,
            training_time_hours=seconds / 3600,
            final_performance=_final_performance(table, self.config.algorithm),
            curriculum_progress=None if result.curriculum is None else to_json(result.curriculum),
            ended=result.ended,
            artifact_sha256=result.artifact_sha256,
            evaluation=[to_json(row) for row in rows],
            report=result.report,
        )


def create_trading_pipeline(
    num_agents: int = 4,
    total_episodes: int = 10_000,
    use_curriculum: bool = True,  # noqa: FBT001, FBT002  # promised in this place
    *,
    experiment_name: str = "trading",
    seed: int = 0,
    output_dir: Path | str = "var",
    base: TrainingConfig = DEFAULTS,
) -> RLTrainingPipeline:
    """Return a pipeline that trains a trader that sells orders.

    Args:
        num_agents: Orders sold at once.
        total_episodes: How long to train, summed over copies.
        use_curriculum: Begin with easier scenarios.
        experiment_name: The question that the run answers.
        seed: The only source of chance.
        output_dir: Folder of all generated state.
        base: All other settings.

    Raises:
        ConfigError: A setting is out of range.
    """
    config = replace(
        base,
        environment="trading",
        num_agents=num_agents,
        total_episodes=total_episodes,
        use_curriculum=use_curriculum,
        experiment_name=experiment_name,
        seed=seed,
    )
    return RLTrainingPipeline(config, output_dir=output_dir)


def create_supply_chain_pipeline(
    num_agents: int = 6,
    total_episodes: int = 15_000,
    use_curriculum: bool = True,  # noqa: FBT001, FBT002  # promised in this place
    *,
    experiment_name: str = "supply_chain",
    seed: int = 0,
    output_dir: Path | str = "var",
    base: TrainingConfig = DEFAULTS,
) -> RLTrainingPipeline:
    """Return a pipeline that trains a planner of a supply chain.

    Args:
        num_agents: Stages that order.
        total_episodes: How long to train, summed over copies.
        use_curriculum: Begin with easier scenarios.
        experiment_name: The question that the run answers.
        seed: The only source of chance.
        output_dir: Folder of all generated state.
        base: All other settings.

    Raises:
        ConfigError: A setting is out of range.
    """
    config = replace(
        base,
        environment="supply_chain",
        num_agents=num_agents,
        total_episodes=total_episodes,
        use_curriculum=use_curriculum,
        experiment_name=experiment_name,
        seed=seed,
    )
    return RLTrainingPipeline(config, output_dir=output_dir)


def create_resource_allocation_pipeline(
    num_agents: int = 8,
    total_episodes: int = 12_000,
    use_curriculum: bool = True,  # noqa: FBT001, FBT002  # promised in this place
    *,
    experiment_name: str = "resource_allocation",
    seed: int = 0,
    output_dir: Path | str = "var",
    base: TrainingConfig = DEFAULTS,
) -> RLTrainingPipeline:
    """Return a pipeline that trains a planner of shared services.

    Args:
        num_agents: Services that share the capacities.
        total_episodes: How long to train, summed over copies.
        use_curriculum: Begin with easier scenarios.
        experiment_name: The question that the run answers.
        seed: The only source of chance.
        output_dir: Folder of all generated state.
        base: All other settings.

    Raises:
        ConfigError: A setting is out of range.
    """
    config = replace(
        base,
        environment="resource_allocation",
        num_agents=num_agents,
        total_episodes=total_episodes,
        use_curriculum=use_curriculum,
        experiment_name=experiment_name,
        seed=seed,
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


def _as_point(start: StoredCheckpoint | None) -> ResumePoint | None:
    return None if start is None else ResumePoint(path=start.path, sha256=start.sha256)


def _parent(start: StoredCheckpoint) -> RunParent:
    return RunParent(
        relation=Relation.INIT_FROM, run_id=start.run_id, checkpoint_sha256=start.sha256
    )


def _final_performance(table: EvaluationTable | None, agent: str) -> dict[str, float]:
    if table is None:
        return {}
    row = table.row(agent)
    figures = {
        "kpi": row.kpi.mean,
        "kpi_low": row.kpi.low,
        "kpi_high": row.kpi.high,
        "baseline": table.row(table.baseline).kpi.mean,
    }
    for one in table.rows:
        if one.kind == BOUND:
            figures["bound"] = one.kpi.mean
    if row.gap_closed is not None:
        figures["gap_closed"] = row.gap_closed.mean
    return figures
