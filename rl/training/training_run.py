"""One training run of any problem, from scenarios to artifact and report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch

from data.scenario import ScenarioBank
from rl.algorithms.base_algorithm import Policy
from rl.algorithms.policy_state import StateMismatchError, under_prefix
from rl.environments.base_environment import BatchedEnvironment
from rl.environments.lockstep import worlds_on
from rl.training.agents import Agent, make_agent
from rl.training.callbacks import EarlyStopping, TimeBudget, TrainingCallback
from rl.training.checkpointing import Checkpoint, CheckpointFolder, load_checkpoint
from rl.training.conclusion import (
    Places,
    Study,
    TrainingResult,
    conclude_run,
    leave_unfinished,
    why_not_exported,
)
from rl.training.curriculum import CurriculumManager
from rl.training.curriculum_driver import CurriculumDriver
from rl.training.curve import CurveRecorder
from rl.training.devices import check_device, check_world
from rl.training.expert_tuning import tune_experts_once
from rl.training.problem import LearnerSettings, MakeStages, Parameters, Problem
from rl.training.problems import make_problem
from rl.training.recorder import Recorder
from rl.training.run_diary import DiaryRecorder
from rl.training.sharded_collection import ShardedWorlds
from rl.training.sharding import check_shards, open_shards
from rl.training.shared_checkpoints import CURVE_FILE, EXPERTS_FILE
from rl.training.tensorboard_recorder import TensorboardRecorder
from rl.training.trainer import Trainer, TrainerConfig
from rl.training.training_config import TrainingConfig
from rl.training.validation import Validation
from utils.clock import SystemClock
from utils.errors import ConfigError
from utils.logs import get_logger
from utils.seeding import derive_seed

logger = get_logger(__name__)


def train_problem(
    config: TrainingConfig,
    recorder: Recorder,
    places: Places,
    *,
    run_id: str,
    problem: Problem | None = None,
    agent: Agent | None = None,
) -> TrainingResult:
    """Tune the experts, train, evaluate on held-out scenarios, export and report.

    Args:
        config: The run.
        recorder: Hears of everything that happens, and may stop the run.
        places: Where it reads and writes.
        run_id: Named in the policy's card.
        problem: Another than the configuration names.
        agent: Another learner than the configuration names.

    Raises:
        ConfigError: The settings fit no problem, or no learner fits it.
        TraceError: A trace file is damaged.
        DivergenceError: Training has left the finite numbers twice.
        CheckpointWriteError: The disk is full or not writable.
        CheckpointCorruptError: The checkpoint to begin from is damaged.
        ProcessLostError: A shard has died.
    """
    torch.set_num_threads(1)
    with ExitStack() as opened:
        check_device(config.device, "device")
        opened.enter_context(worlds_on(config.device))
        recorder = _written_down(recorder, config, places, opened)
        given = problem
        problem = make_problem(config) if problem is None else problem
        if config.use_curriculum:
            _stages_of(problem)
        settings = learner_settings(config, problem)
        check_shards(config, settings, places, problem=given, agent=agent)
        environment = _training_environment(config, problem, settings)
        if agent is None:
            seed = derive_seed(config.seed, "agent")
            agent = make_agent(settings.config, environment, seed=seed, agent_id="planner")
        if places.init is not None and places.resume is None:
            _begin_with(agent, load_checkpoint(places.init.path, places.init.sha256))
        unexportable = why_not_exported(problem, agent)
        if unexportable:
            logger.warning("no_artifact_will_be_made", reason=unexportable)
        recorder.stage_changed(0, "tuning the experts")
        experts = tune_experts_once(problem, places.folder / EXPERTS_FILE, recorder)
        stopped = recorder.should_stop()
        if stopped is not None and len(experts) < len(problem.experts):
            return leave_unfinished(problem, stopped)
        study = Study(config=config, problem=problem, experts=experts, places=places, run_id=run_id)
        worlds: BatchedEnvironment | ShardedWorlds = environment
        if config.collection_shards > 1:
            worlds = opened.enter_context(open_shards(study, settings, agent))
        run = _prepare(study, recorder, settings, (worlds, agent))
        stage = "training" if run.curriculum is None else run.curriculum.stage.stage.name
        recorder.stage_changed(run.trainer.env_steps, stage)
        outcome = run.trainer.train()
        if outcome.stopped is not None:
            return leave_unfinished(problem, outcome.stopped, outcome)
        if outcome.best_policy is not None:
            run.agent.load_policy_state(outcome.best_policy)
        recorder.stage_changed(outcome.env_steps, "evaluating on held-out scenarios")
        report = None if run.curriculum is None else run.curriculum.report()
        return conclude_run(study, run.agent, outcome, run.curve.curve, curriculum=report)


def _written_down(
    recorder: Recorder, config: TrainingConfig, places: Places, opened: ExitStack
) -> Recorder:
    """Return a recorder that also writes the run's diary, and TensorBoard's files if asked for."""
    recorder = DiaryRecorder(recorder, places.folder)
    if not config.tensorboard:
        return recorder
    folder = places.folder / "tensorboard"
    return opened.enter_context(TensorboardRecorder(recorder, folder, clock=SystemClock()))


def learner_settings(config: TrainingConfig, problem: Problem) -> LearnerSettings:
    """Return how the run learns: the problem's own settings, with what the configuration says.

    Args:
        config: The run.
        problem: What is learnt.

    Raises:
        ConfigError: Nobody says how this algorithm should learn.
    """
    chosen = config.settings.config_of(config.algorithm)
    settings = problem.settings_of(config.algorithm, chosen)
    copies = config.num_envs or settings.copies_for(config.total_episodes)
    return replace(settings, num_envs=copies)


@dataclass(frozen=True, kw_only=True)
class _Run:
    agent: Agent
    trainer: Trainer
    curve: CurveRecorder
    curriculum: CurriculumDriver | None


def _training_environment(
    config: TrainingConfig, problem: Problem, settings: LearnerSettings
) -> BatchedEnvironment:
    bank = ScenarioBank(
        problem.training,
        config.bank_of(problem.bank),
        derive_seed(config.seed, "training bank"),
    )
    copies = settings.num_envs if config.collection_shards == 1 else 1  # shards have the rest
    world = problem.learn_in(bank, copies, config.seed)
    check_world(world, config.device, "device")
    return world


def _prepare(
    study: Study,
    recorder: Recorder,
    settings: LearnerSettings,
    learner: tuple[BatchedEnvironment | ShardedWorlds, Agent],
) -> _Run:
    """Build the trainer, at the beginning or where a checkpoint says."""
    config, problem, places = study.config, study.problem, study.places
    environment, agent = learner
    curriculum = _make_curriculum(study) if config.use_curriculum else None
    validation = make_validation(problem, study.experts, config.eval_episodes)
    curve = CurveRecorder(
        recorder, places.folder / CURVE_FILE, problem.contest, problem.validation.about
    )
    trainer = Trainer(
        _trainer_config(config, problem, settings),
        environment,
        agent,
        curve,
        checkpoints=CheckpointFolder(
            places.folder / "checkpoints",
            fence=places.fence,
            keep_last=config.keep_last,
            keep_best=config.keep_best,
            share_beside=None if places.shared is None else places.shared.share_beside,
        ),
        evaluate=validation,
        callbacks=_callbacks(config, problem, validation),
        curriculum=curriculum,
    )
    if places.resume is not None:
        trainer.restore(load_checkpoint(places.resume.path, places.resume.sha256))
    return _Run(agent=agent, trainer=trainer, curve=curve, curriculum=curriculum)


def _stages_of(problem: Problem) -> MakeStages:
    if problem.stages is None:
        raise ConfigError(f"{problem.name} has no stages: train with use_curriculum=false")
    return problem.stages


def _make_curriculum(study: Study) -> CurriculumDriver:
    config, problem = study.config, study.problem
    stages = _stages_of(problem)(problem, study.experts)
    return CurriculumDriver(
        CurriculumManager([one.stage for one in stages]),
        stages,
        bank=config.bank_of(problem.bank),
        seed=derive_seed(config.seed, "curriculum"),
    )


def make_validation(
    problem: Problem, experts: Mapping[str, Parameters], num_episodes: int | None
) -> Validation:
    """Return what watches training.

    Args:
        problem: The world.
        experts: What each was tuned to.
        num_episodes: Only the first so many of the validation set; None for all.
    """
    episodes = problem.validation.first(num_episodes)
    players = [problem.experts[name].player(tuned) for name, tuned in experts.items()]
    bound = None if problem.bound is None else problem.bound(episodes.scenarios)
    return Validation(problem.contest, episodes, players, bound=bound)


def _trainer_config(
    config: TrainingConfig, problem: Problem, settings: LearnerSettings
) -> TrainerConfig:
    steps = problem.episode_steps
    per_update = settings.env_steps_per_update(steps)

    def in_updates(episodes: int) -> int:
        return 0 if episodes == 0 else max(1, round(episodes * steps / per_update))

    return TrainerConfig(
        total_env_steps=config.total_episodes * steps,
        rollout_steps=settings.rollout_steps,
        evaluate_every_updates=in_updates(config.eval_frequency),
        checkpoint_every_updates=in_updates(config.checkpoint_frequency),
        seed=config.seed,
    )


def _callbacks(
    config: TrainingConfig, problem: Problem, validation: Validation
) -> list[TrainingCallback]:
    callbacks: list[TrainingCallback] = []
    if config.early_stopping_patience:
        patience = config.early_stopping_patience * problem.episode_steps
        callbacks.append(
            EarlyStopping(patience, lambda: validation.last_kpis, blocks=validation.blocks)
        )
    if config.max_hours is not None:
        callbacks.append(TimeBudget(config.max_hours, time.monotonic))
    return callbacks


def _begin_with(agent: Policy, checkpoint: Checkpoint) -> None:
    """Take over the best policy of another run; optimiser and counters begin anew."""
    saved = checkpoint.fields["agent"]
    if saved != type(agent).__name__:
        raise ConfigError(
            f"the run to begin from trained a {saved}, this one trains a {type(agent).__name__}: "
            "choose the same algorithm, or name another run in init_from"
        )
    best = under_prefix("best_policy", checkpoint.tensors)
    if not best:
        raise ConfigError(
            "the run to begin from was never evaluated, so it has no best policy: let it train "
            "until its first evaluation, or name another run in init_from"
        )
    try:
        agent.load_policy_state(best)
    except StateMismatchError as error:
        raise ConfigError(
            f"the policy of the run to begin from does not fit this one ({error}): choose the same "
            "environment, sizes and settings, or name another run in init_from"
        ) from error
