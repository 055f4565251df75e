"""One training run of the shared-services world, from scenarios to artifact and report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from data.scenario import BankConfig, ScenarioBank
from rl.algorithms.apg_agent import APGAgent
from rl.algorithms.apg_config import APGConfig
from rl.algorithms.base_algorithm import Policy
from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.artifacts import PolicyCard
from rl.deployment.exporters import export_allocation_planner
from rl.domains.allocation_experts import EXPERTS
from rl.domains.resource_allocation import AllocationConfig
from rl.environments.resource_allocation_environment import (
    BatchedResourceAllocation,
    EnvironmentConfig,
)
from rl.evaluation.bounds import hindsight_bound
from rl.evaluation.comparison import Contender, EvaluationTable, evaluate
from rl.evaluation.evaluator import (
    Decider,
    expert_decider,
    play,
    policy_decider,
    random_decider,
    record_play,
)
from rl.evaluation.plots import LearningCurve, PlayedWindow
from rl.evaluation.report import WindowExample, write_report
from rl.evaluation.statistics import block_bootstrap_interval
from rl.evaluation.tuning import TunedExpert, tune_experts
from rl.training.allocation_card import make_card
from rl.training.allocation_world import AllocationWorld, HeldOut, build_world
from rl.training.checkpointing import CheckpointFolder, load_checkpoint
from rl.training.curve import CurveRecorder
from rl.training.recorder import Recorder, StopReason
from rl.training.trainer import Trainer, TrainerConfig, TrainOutcome
from rl.training.training_config import TrainingConfig
from utils.config import from_json, to_json
from utils.persistence.artifact_store import ArtifactStore
from utils.persistence.files import write_atomically
from utils.seeding import derive_seed

ACTION_FORM: Final = "coverage"
BANK = BankConfig(num_episodes=512, refresh_every_episodes=1024)
APG_DEFAULTS = APGConfig()
PPO_DEFAULTS = PPOConfig(
    learning_rate=1e-3, decay_learning_rate=True, gamma=0.95, gae_lambda=0.9, scale_rewards=True,
    initial_log_std=-2.0, initial_action_mean=0.5,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """A checkpoint to go on from."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a run came to; a stopped run has neither artifact nor table."""

    env_steps: int
    updates: int
    stopped: StopReason | None
    best_score: float | None
    artifact_sha256: str | None
    artifact_bytes: int
    card: PolicyCard | None
    table: EvaluationTable | None
    report: str


def train_allocation(
    config: TrainingConfig,
    recorder: Recorder,
    *,
    folder: Path,
    artifacts: ArtifactStore,
    run_id: str,
    fence: int = 0,
    resume: ResumePoint | None = None,
) -> TrainingResult:
    """Tune the experts, train, evaluate on held-out windows, export and report.

    Args:
        config: The run.
        recorder: Hears of everything that happens, and may stop the run.
        folder: Holds `checkpoints/` and `report/`.
        artifacts: Takes the exported policy.
        run_id: Named in the policy's card.
        fence: Of the lease under which checkpoints are written.
        resume: Where to go on from.

    Raises:
        TraceError: A trace file is damaged.
        DivergenceError: Training has left the finite numbers.
        CheckpointWriteError: The disk is full or not writable.
        CheckpointCorruptError: The checkpoint to resume from is damaged.
    """
    torch.set_num_threads(1)
    world = build_world(config)
    recorder.stage_changed(0, "tuning the experts")
    experts = _tune(world, folder / "experts.json", recorder)
    stopped = recorder.should_stop()
    if stopped is not None and len(experts) < len(EXPERTS):
        return _unfinished(stopped)
    agent = make_agent(config, world)
    curve = CurveRecorder(recorder, folder / "curve.json", windows="validation windows")
    trainer = Trainer(
        TrainerConfig(
            total_env_steps=config.total_env_steps,
            rollout_steps=world.preset.allocation.max_steps,
            evaluate_every_updates=config.in_updates(config.eval_frequency),
            checkpoint_every_updates=config.in_updates(config.checkpoint_frequency),
            seed=config.seed,
        ),
        make_environment(config, world, num_envs=config.num_envs),
        agent,
        curve,
        checkpoints=CheckpointFolder(folder / "checkpoints", fence=fence),
        evaluate=_Validation(world, experts),
    )
    if resume is not None:
        trainer.restore(load_checkpoint(resume.path, resume.sha256))
    recorder.stage_changed(trainer.env_steps, "training")
    outcome = trainer.train()
    if outcome.stopped is not None:
        return _unfinished(outcome.stopped, outcome)
    if outcome.best_policy is not None:
        agent.load_policy_state(outcome.best_policy)
    recorder.stage_changed(outcome.env_steps, "evaluating on held-out windows")
    decider = agent_decider(agent, world.preset.allocation)
    table = compare(world, world.held_out, experts, {config.algorithm: (decider,)})
    _write_report(folder / "report", world, experts, table, curve=curve.curve, agent=decider)
    card = make_card(
        config, world, experts[table.best_expert], table, run_id=run_id, outcome=outcome
    )
    artifact = export_allocation_planner(agent, world.preset.allocation, card, action=ACTION_FORM)
    content = artifact.to_bytes()
    return TrainingResult(
        env_steps=outcome.env_steps,
        updates=outcome.updates,
        stopped=None,
        best_score=outcome.best_score,
        artifact_sha256=artifacts.put(content),
        artifact_bytes=len(content),
        card=card,
        table=table,
        report=str(folder / "report"),
    )


def make_agent(config: TrainingConfig, world: AllocationWorld) -> PPOAgent | APGAgent:
    """Build an untrained planner.

    Args:
        config: Names the algorithm and the seed.
        world: What it will observe and do.
    """
    probe = make_environment(config, world, num_envs=1)
    sizes = (probe.observation_size, probe.groups[0].action.size)
    seed = derive_seed(config.seed, "agent")
    if config.algorithm == "apg":
        return APGAgent("planner", *sizes, APG_DEFAULTS, seed=seed)
    return PPOAgent("planner", *sizes, PPO_DEFAULTS, discrete=False, seed=seed)


def make_environment(
    config: TrainingConfig, world: AllocationWorld, *, num_envs: int
) -> BatchedResourceAllocation:
    """Build the training environment.

    Args:
        config: Names the algorithm and the seed.
        world: The constants and the scenarios.
        num_envs: How many copies.
    """
    bank = ScenarioBank(
        world.training,
        BANK if num_envs > 1 else BankConfig(num_episodes=1),
        derive_seed(config.seed, "training bank"),
    )
    options = EnvironmentConfig(
        num_envs=num_envs,
        action=ACTION_FORM,
        reward="kpi" if config.algorithm == "apg" else "losses",
    )
    return BatchedResourceAllocation(world.preset.allocation, bank, options, config.seed)


def agent_decider(agent: Policy, config: AllocationConfig) -> Decider:
    """Let an agent decide, deterministically.

    Args:
        agent: The learner; its generator is left alone.
        config: The world.
    """

    def act(observation: np.ndarray) -> np.ndarray:
        rows = torch.from_numpy(np.ascontiguousarray(observation, np.float32))[:, None]
        return agent.act(rows, None, deterministic=True).action[:, 0].numpy()

    return policy_decider(act, config, action=ACTION_FORM)


def compare(
    world: AllocationWorld,
    windows: HeldOut,
    experts: Mapping[str, TunedExpert],
    agents: Mapping[str, tuple[Decider, ...]],
) -> EvaluationTable:
    """Let random, the tuned experts and agents play the same windows.

    Args:
        world: Its constants.
        windows: What is played.
        experts: Tuned on training windows.
        agents: By name, one decider per training seed.
    """
    config = world.preset.allocation
    contenders = [Contender(name="random", kind="random", deciders=(random_decider(config, 0),))]
    contenders += [
        Contender(name=name, kind="expert", deciders=(_expert_decider(tuned, config),))
        for name, tuned in experts.items()
    ]
    contenders += [
        Contender(name=name, kind="agent", deciders=deciders) for name, deciders in agents.items()
    ]
    return evaluate(config, windows.scenarios, windows.days, tuple(contenders), data=windows.data)


class _Validation:
    """Scores an agent on the validation windows, beside the best expert and the bound there."""

    def __init__(self, world: AllocationWorld, experts: Mapping[str, TunedExpert]) -> None:
        self._config = world.preset.allocation
        self._windows = world.validation
        kpis = [
            play(self._config, self._windows, _expert_decider(tuned, self._config)).kpi.mean()
            for tuned in experts.values()
        ]
        self._expert = float(max(kpis))
        self._bound = float(hindsight_bound(self._windows, self._config).mean())

    def __call__(self, agent: Policy) -> dict[str, float]:
        decide = agent_decider(agent, self._config)
        kpi = play(self._config, self._windows, decide).kpi
        interval = block_bootstrap_interval(kpi, np.arange(len(kpi)), num_resamples=1000)
        gap = max(self._bound - self._expert, 1e-9)
        return {
            "kpi": interval.mean,
            "kpi_low": interval.low,
            "kpi_high": interval.high,
            "expert": self._expert,
            "bound": self._bound,
            "gap_closed": (interval.mean - self._expert) / gap,
        }


def _unfinished(stopped: StopReason, outcome: TrainOutcome | None = None) -> TrainingResult:
    return TrainingResult(
        env_steps=outcome.env_steps if outcome else 0,
        updates=outcome.updates if outcome else 0,
        stopped=stopped,
        best_score=outcome.best_score if outcome else None,
        artifact_sha256=None,
        artifact_bytes=0,
        card=None,
        table=None,
        report="",
    )


def _expert_decider(tuned: TunedExpert, config: AllocationConfig) -> Decider:
    return expert_decider(EXPERTS[tuned.name], config, tuned.parameters)


def _tune(world: AllocationWorld, path: Path, recorder: Recorder) -> dict[str, TunedExpert]:
    """Tune one expert after the other, keeping each, until done or asked to stop."""
    found = json.loads(path.read_text()) if path.is_file() else []
    experts = {item["name"]: from_json(TunedExpert, item) for item in found}
    for name in EXPERTS:
        if name in experts:
            continue
        if recorder.should_stop() is not None:
            break
        experts |= tune_experts(world.tuning, world.preset.allocation, names=[name])
        content = json.dumps([to_json(tuned) for tuned in experts.values()], indent=2)
        write_atomically(path, content.encode())
    return experts


def _write_report(
    folder: Path,
    world: AllocationWorld,
    experts: Mapping[str, TunedExpert],
    table: EvaluationTable,
    *,
    curve: LearningCurve | None,
    agent: Decider,
) -> None:
    config, best = world.preset.allocation, experts[table.best_expert]
    players = {"agent": agent, best.name: _expert_decider(best, config)}
    played = tuple(
        PlayedWindow(name=name, trace=record_play(config, world.held_out.scenarios, decide))
        for name, decide in players.items()
    )
    write_report(
        folder,
        table,
        title="Shared services: who allocates best?",
        experts=list(experts.values()),
        curve=curve,
        example=WindowExample(config=config, scenarios=world.held_out.scenarios, played=played),
    )
