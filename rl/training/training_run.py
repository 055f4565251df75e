"""One training run of any problem, from scenarios to artifact and report."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from data.scenario import ScenarioBank
from rl.algorithms.base_algorithm import Policy
from rl.algorithms.policy_state import under_prefix
from rl.artifacts import Figure, PolicyCard
from rl.evaluation.comparison import BOUND, Contender, EvaluationTable, evaluate
from rl.evaluation.contest import ScenarioSet
from rl.evaluation.players import Player, random_player
from rl.evaluation.report import write_report
from rl.training.agents import Agent, make_agent
from rl.training.callbacks import EarlyStopping, TimeBudget, TrainingCallback
from rl.training.checkpointing import Checkpoint, CheckpointFolder, load_checkpoint
from rl.training.curve import CurveRecorder
from rl.training.policy_card import make_card
from rl.training.problem import LearnerSettings, Parameters, Problem
from rl.training.problems import make_problem
from rl.training.recorder import Recorder, StopReason
from rl.training.trainer import Trainer, TrainerConfig, TrainOutcome
from rl.training.training_config import TrainingConfig
from rl.training.validation import Validation
from utils.config import from_json, to_json
from utils.errors import ConfigError
from utils.persistence.artifact_store import ArtifactStore
from utils.persistence.files import write_atomically
from utils.seeding import derive_seed

RANDOM = "random"


@dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """A checkpoint to go on from."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a run came to; a stopped run has neither artifact nor tables."""

    agent: str
    """Name of the business agent that the policy becomes."""
    env_steps: int
    updates: int
    stopped: StopReason | None
    ended: str
    """Why training is over, in words; empty if it was stopped."""
    episodes: int
    """Trained on, resumed ones included."""
    best_score: float | None
    artifact_sha256: str | None
    artifact_bytes: int
    card: PolicyCard | None
    tables: tuple[EvaluationTable, ...]
    """The held-out set first, then the stress sets."""
    report: str


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a run reads and writes."""

    folder: Path
    """Holds `checkpoints/` and `report/`."""
    artifacts: ArtifactStore
    """Takes the exported policy."""
    resume: ResumePoint | None = None
    """Where to go on from."""
    init: ResumePoint | None = None
    """Of another run: its best policy is what a new run begins with."""
    fence: int = 0
    """Of the lease under which checkpoints are written."""


def train_problem(  # noqa: PLR0913  # the last two are a user's own
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
    """
    torch.set_num_threads(1)
    problem = make_problem(config) if problem is None else problem
    recorder.stage_changed(0, "tuning the experts")
    experts = _tune(problem, places.folder / "experts.json", recorder)
    stopped = recorder.should_stop()
    if stopped is not None and len(experts) < len(problem.experts):
        return _unfinished(problem, stopped)
    run = _prepare(config, problem, experts, recorder, places, agent=agent)
    recorder.stage_changed(run.trainer.env_steps, "training")
    outcome = run.trainer.train()
    if outcome.stopped is not None:
        return _unfinished(problem, outcome.stopped, outcome)
    if outcome.best_policy is not None:
        run.agent.load_policy_state(outcome.best_policy)
    recorder.stage_changed(outcome.env_steps, "evaluating on held-out scenarios")
    return _conclude(config, problem, experts, places, run, outcome, run_id=run_id)


def judge(
    problem: Problem,
    episodes: ScenarioSet,
    experts: Mapping[str, Parameters],
    agents: Mapping[str, Sequence[Player]],
) -> EvaluationTable:
    """Let random, the tuned experts and agents play the same episodes.

    Args:
        problem: The world.
        episodes: What is played.
        experts: What each was tuned to.
        agents: By name, one player per training seed.
    """
    contenders = [Contender(name=RANDOM, kind="random", players=(random_player(0),))]
    contenders += [
        Contender(name=name, kind="expert", players=(problem.experts[name].player(tuned),))
        for name, tuned in experts.items()
    ]
    contenders += [
        Contender(name=name, kind="agent", players=tuple(players))
        for name, players in agents.items()
    ]
    bound = None if problem.bound is None else problem.bound(episodes.scenarios)
    return evaluate(problem.contest, episodes, contenders, bound=bound)


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
    return replace(settings, num_envs=config.num_envs or settings.num_envs)


@dataclass(frozen=True, kw_only=True)
class _Run:
    agent: Agent
    trainer: Trainer
    curve: CurveRecorder


def _prepare(
    config: TrainingConfig,
    problem: Problem,
    experts: Mapping[str, Parameters],
    recorder: Recorder,
    places: Places,
    *,
    agent: Agent | None,
) -> _Run:
    """Build learner and trainer, at the beginning or where a checkpoint says."""
    settings = learner_settings(config, problem)
    bank = ScenarioBank(
        problem.training,
        config.bank_of(problem.bank),
        derive_seed(config.seed, "training bank"),
    )
    environment = problem.learn_in(bank, settings.num_envs, config.seed)
    if agent is None:
        seed = derive_seed(config.seed, "agent")
        agent = make_agent(settings.config, environment, seed=seed, agent_id="planner")
    if places.init is not None and places.resume is None:
        _begin_with(agent, load_checkpoint(places.init.path, places.init.sha256))
    validation = make_validation(problem, experts, config.eval_episodes)
    curve = CurveRecorder(
        recorder, places.folder / "curve.json", problem.contest, problem.validation.about
    )
    trainer = Trainer(
        _trainer_config(config, problem, settings),
        environment,
        agent,
        curve,
        checkpoints=CheckpointFolder(places.folder / "checkpoints", fence=places.fence),
        evaluate=validation,
        callbacks=_callbacks(config, problem, validation),
    )
    if places.resume is not None:
        trainer.restore(load_checkpoint(places.resume.path, places.resume.sha256))
    return _Run(agent=agent, trainer=trainer, curve=curve)


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
    steps = problem.contest.num_steps
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
        patience = config.early_stopping_patience * problem.contest.num_steps
        callbacks.append(EarlyStopping(patience, lambda: validation.last_kpis))
    if config.max_hours is not None:
        callbacks.append(TimeBudget(config.max_hours, time.monotonic))
    return callbacks


def _begin_with(agent: Policy, checkpoint: Checkpoint) -> None:
    """Take over the best policy of another run; optimiser and counters begin anew."""
    best = under_prefix("best_policy", checkpoint.tensors)
    if not best:
        raise ConfigError(
            "the run to begin from was never evaluated, so it has no best policy: let it train "
            "until its first evaluation, or name another run in init_from"
        )
    agent.load_policy_state(best)


def _conclude(
    config: TrainingConfig,
    problem: Problem,
    experts: Mapping[str, Parameters],
    places: Places,
    run: _Run,
    outcome: TrainOutcome,
    *,
    run_id: str,
) -> TrainingResult:
    """Judge the best policy, export it and write the report."""
    player = problem.contest.policy_player(run.agent)
    sets = (problem.held_out, *problem.stress)
    tables = tuple(judge(problem, one, experts, {config.algorithm: (player,)}) for one in sets)
    report = places.folder / "report"
    report.mkdir(parents=True, exist_ok=True)
    pictures: tuple[Path, ...] = ()
    if problem.illustrate is not None:
        rivals = {"agent": player}
        if tables[0].has_expert:
            best = tables[0].baseline
            rivals[best] = problem.experts[best].player(experts[best])
        pictures = problem.illustrate(report, rivals)
    write_report(
        report,
        tables,
        title=problem.title,
        experts=experts,
        curve=run.curve.curve,
        pictures=pictures,
    )
    card, content = None, None
    if problem.exporter is not None:
        card = make_card(config, problem, experts, tables[0], run_id=run_id, outcome=outcome)
        content = problem.exporter.make(run.agent, card).to_bytes()
    return TrainingResult(
        agent=problem.agent,
        env_steps=outcome.env_steps,
        updates=outcome.updates,
        stopped=None,
        ended=outcome.ended,
        episodes=outcome.env_steps // problem.contest.num_steps,
        best_score=outcome.best_score,
        artifact_sha256=None if content is None else places.artifacts.put(content),
        artifact_bytes=0 if content is None else len(content),
        card=card,
        tables=tables,
        report=str(report),
    )


def _unfinished(
    problem: Problem, stopped: StopReason, outcome: TrainOutcome | None = None
) -> TrainingResult:
    return TrainingResult(
        agent=problem.agent,
        env_steps=outcome.env_steps if outcome else 0,
        updates=outcome.updates if outcome else 0,
        stopped=stopped,
        ended="",
        episodes=outcome.env_steps // problem.contest.num_steps if outcome else 0,
        best_score=outcome.best_score if outcome else None,
        artifact_sha256=None,
        artifact_bytes=0,
        card=None,
        tables=(),
        report="",
    )


@dataclass(frozen=True, kw_only=True)
class _Tuned:
    name: str
    parameters: Parameters


def _tune(problem: Problem, path: Path, recorder: Recorder) -> dict[str, Parameters]:
    """Tune one expert after the other, keeping each, until done or asked to stop."""
    found = json.loads(path.read_text()) if path.is_file() else []
    kept = [from_json(_Tuned, item) for item in found]
    experts = {one.name: one.parameters for one in kept if one.name in problem.experts}
    for name, rule in problem.experts.items():
        if name in experts:
            continue
        if recorder.should_stop() is not None:
            break
        experts[name] = rule.tune()
        rows = [to_json(_Tuned(name=one, parameters=tuned)) for one, tuned in experts.items()]
        write_atomically(path, json.dumps(rows, indent=2).encode())
    return experts
