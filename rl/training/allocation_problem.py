"""Shared services as a problem: one planner splits capacities that sometimes fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, cast

import numpy as np

from data.scenario import BankConfig, ScenarioArrays, ScenarioBank, WorkloadScenarios
from rl.algorithms.apg_config import APGConfig
from rl.algorithms.ppo_config import PPOConfig
from rl.artifacts import Figure, PolicyArtifact, PolicyCard, ValidRange
from rl.deployment.exporters import (
    ExportableAgent,
    export_allocation_planner,
    validated_ranges,
)
from rl.domains.allocation_experts import EXPERTS, ExpertParameters
from rl.domains.resource_allocation import AllocationConfig
from rl.environments.allocation_options import EnvironmentConfig
from rl.environments.resource_allocation_environment import BatchedResourceAllocation
from rl.evaluation.allocation_contest import judge_in, make_allocation_contest
from rl.evaluation.allocation_pictures import draw_busiest_window
from rl.evaluation.bounds import hindsight_bound
from rl.evaluation.contest import Contest, Numbers, ScenarioSet
from rl.evaluation.evaluator import expert_decider
from rl.evaluation.players import Player, rule_player
from rl.evaluation.tuning import tune_experts
from rl.training.allocation_world import AllocationWorld, HeldOut, build_world
from rl.training.curriculum_world import ProblemStage, count_return
from rl.training.problem import ExpertRule, Exporter, LearnerSettings, Parameters, Problem
from rl.training.problem_stages import make_allocation_stages
from utils.config import to_json

AGENT: Final = "resource_allocator"
ACTION_FORM: Final = "coverage"
LIMITS = (
    "Trained and judged in a simulated world; real demand, drawn capacity failures.",
    "Advises on shares of capacity; a person should watch over consequential use.",
    "Outside the validated ranges the tuned expert answers instead.",
)
APG = LearnerSettings(config=APGConfig(), num_envs=128, fewest_envs=32)
PPO = LearnerSettings(
    config=PPOConfig(
        learning_rate=1e-3,
        decay_learning_rate=True,
        gamma=0.95,
        gae_lambda=0.9,
        scale_rewards=True,
        initial_log_std=-2.0,
        initial_action_mean=0.5,
    ),
    num_envs=128,
    rollout_steps=72,
)


def allocation_problem(
    num_agents: int, *, use_synthetic_data: bool, real_share: float, traces: str | None, gain: bool
) -> Problem:
    """Build the problem.

    Args:
        num_agents: Services that share the capacities.
        use_synthetic_data: Mix synthetic demand into the real one.
        real_share: Share of real windows in the mix.
        traces: Folder of the trace files; None looks in the usual places.
        gain: Learn from what is gained (smooth); else from what is lost, which varies less.

    Raises:
        ConfigError: There is no such world.
        TraceError: A trace file is damaged, or the folder given does not hold the files.
    """
    world = build_world(
        num_agents, use_synthetic_data=use_synthetic_data, real_share=real_share, traces=traces
    )
    config = world.preset.allocation
    return Problem(
        name="resource_allocation",
        title="Shared services: who allocates best?",
        agent=AGENT,
        training=world.training,
        training_data=world.training_data,
        learn_in=partial(_learn_in, config=config, gain=gain),
        contest=make_allocation_contest(config, action=ACTION_FORM),
        validation=ScenarioSet(
            name="validation",
            about="validation windows",
            scenarios=world.validation,
            blocks=np.arange(world.validation.num_episodes),
        ),
        held_out=_as_set("held_out", world.held_out),
        settings={"apg": APG, "ppo": PPO},
        bank=BankConfig(num_episodes=512, refresh_every_episodes=1024),
        experts={
            name: ExpertRule(
                tune=partial(_tune, world, name), player=partial(_expert_player, name, config)
            )
            for name in EXPERTS
        },
        rival="max_min",
        bound=partial(_bound, config),
        stress=()
        if world.held_out_bursts is None
        else (_as_set("held_out_bursts", world.held_out_bursts),),
        stages=partial(_make_stages, config=config, gain=gain),
        exporter=Exporter(
            make=partial(_export, config), ranges=partial(_ranges, config), limits=LIMITS
        ),
        illustrate=partial(_illustrate, config, world.held_out.scenarios),
    )


def read_parameters(parameters: Parameters) -> ExpertParameters:
    """Return figures as the parameters of a rule; absent ones keep their defaults.

    Args:
        parameters: As tuning found them, or a card tells them.
    """
    values = {figure.name: figure.value for figure in parameters}
    lookback = int(values.pop("lookback", ExpertParameters().lookback))
    return ExpertParameters(lookback=lookback, **values)


def _as_set(name: str, held_out: HeldOut) -> ScenarioSet:
    return ScenarioSet(
        name=name,
        about=held_out.data,
        scenarios=held_out.scenarios,
        blocks=held_out.days,
        block_name="day",
    )


def _learn_in(
    bank: ScenarioBank[ScenarioArrays],
    num_envs: int,
    seed: int,
    *,
    config: AllocationConfig,
    gain: bool,
) -> BatchedResourceAllocation:
    options = EnvironmentConfig(
        num_envs=num_envs, action=ACTION_FORM, reward="kpi" if gain else "losses"
    )
    return BatchedResourceAllocation(
        config, cast("ScenarioBank[WorkloadScenarios]", bank), options, seed
    )


def _make_stages(
    problem: Problem, experts: Mapping[str, Parameters], *, config: AllocationConfig, gain: bool
) -> tuple[ProblemStage, ...]:
    """Score the stages by what is learnt from, which may be losses rather than the KPI."""
    returns = Contest(
        make_environment=partial(judge_in, config, reward="kpi" if gain else "losses"),
        num_steps=config.max_steps,
        measure=count_return,
    )
    return make_allocation_stages(problem, returns, experts)


def _tune(world: AllocationWorld, name: str) -> Parameters:
    found = tune_experts(world.tuning, world.preset.allocation, names=[name])[name]
    return tuple(
        Figure(name=field, value=float(value)) for field, value in to_json(found.parameters).items()
    )


def _expert_player(name: str, config: AllocationConfig, parameters: Parameters) -> Player:
    return rule_player(expert_decider(EXPERTS[name], config, read_parameters(parameters)))


def _bound(config: AllocationConfig, scenarios: ScenarioArrays) -> Numbers:
    return hindsight_bound(cast("WorkloadScenarios", scenarios), config)


def _export(config: AllocationConfig, agent: ExportableAgent, card: PolicyCard) -> PolicyArtifact:
    return export_allocation_planner(agent, config, card, action=ACTION_FORM)


def _ranges(config: AllocationConfig, sets: Sequence[ScenarioArrays]) -> tuple[ValidRange, ...]:
    return validated_ranges(config, [cast("WorkloadScenarios", one) for one in sets])


def _illustrate(
    config: AllocationConfig,
    scenarios: WorkloadScenarios,
    folder: Path,
    players: Mapping[str, Player],
) -> tuple[Path, ...]:
    path = folder / "window.png"
    draw_busiest_window(config, scenarios, players, path)
    return (path,)
