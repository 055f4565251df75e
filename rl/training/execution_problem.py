"""Selling one order where the optimum is known: the example of Almgren and Chriss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from torch import Tensor

from data.price_shocks import ExecutionScenarios, NormalShocks, ShockConfig
from data.scenario import BankConfig, FixedSource, ScenarioBank
from rl.algorithms.apg_config import APGConfig
from rl.algorithms.capabilities import Algorithm
from rl.algorithms.ppo_config import PPOConfig
from rl.deployment.execution_exporter import export_seller, order_ranges
from rl.domains.execution import ExecutionConfig, almgren_chriss
from rl.domains.execution_experts import EXPERTS, Expert
from rl.environments.base_environment import StepRecord
from rl.environments.execution_environment import BatchedExecution
from rl.environments.lockstep import LockstepOptions
from rl.evaluation.contest import Contest, Numbers, ScenarioSet
from rl.evaluation.execution_bounds import compute_execution_bound
from rl.evaluation.players import Player, rule_player
from rl.training.problem import ExpertRule, Exporter, LearnerSettings, Parameters, Problem
from utils.seeding import make_generator

LIMITS = (
    "One order only: the example of Almgren and Chriss, its impacts and volatility as they are.",
    "Prices are a fair random walk with normal steps; real ones are neither.",
)
FIXED_SEED = 20_001_201
NUM_EPISODES = 4_096
FIRST_ACTION = 0.1
"""Learners begin far from the optimum; half of the rest is within 1 % of it by luck."""
SETTINGS: Mapping[Algorithm, LearnerSettings] = {
    "apg": LearnerSettings(
        config=APGConfig(hidden_dims=(32, 32), initial_action_mean=FIRST_ACTION), num_envs=256
    ),
    "ppo": LearnerSettings(
        config=PPOConfig(
            hidden_dims=(32, 32), learning_rate=3e-3, decay_learning_rate=True, gamma=1.0,
            scale_rewards=True, initial_log_std=-2.0, initial_action_mean=FIRST_ACTION,
        ),
        num_envs=256,
        rollout_steps=5,
    ),
}  # fmt: skip


def execution_problem(risk_aversion: float = 1e-6) -> Problem:
    """Build the problem whose best expected KPI is known exactly.

    The KPI leaves the price move out: on a fair price its mean is zero whatever is done, so the
    mean is minus expected cost plus risk aversion times variance, with far less noise.

    Args:
        risk_aversion: lambda, per unit of currency.

    Raises:
        ConfigError: It is negative or not finite.
    """
    config = almgren_chriss(risk_aversion)
    return Problem(
        name="execution",
        title="Selling a million shares in five days: how far from the optimum?",
        agent="execution",
        training=NormalShocks(ShockConfig(num_steps=config.num_steps, antithetic=True)),
        training_data="independent normal shocks in mirrored pairs",
        learn_in=partial(_learn_in, config),
        contest=Contest(
            make_environment=partial(_judge_in, config),
            num_steps=config.num_steps,
            measure=_measure,
            kpi="minus expected cost and risk penalty, currency",
            kpi_format=",.0f",
        ),
        validation=_draw(config, "validation"),
        held_out=_draw(config, "held_out"),
        settings=SETTINGS,
        bank=BankConfig(num_episodes=256, refresh_every_episodes=256),
        experts={
            name: ExpertRule(tune=_nothing_to_tune, player=_player_of(rule, config))
            for name, rule in EXPERTS.items()
        },
        bound=partial(_bound, config),
        exporter=Exporter(
            make=partial(export_seller, config=config),
            ranges=partial(order_ranges, config),
            limits=LIMITS,
        ),
    )


def _player_of(rule: Expert, config: ExecutionConfig) -> Callable[[Parameters], Player]:
    return lambda _: rule_player(lambda view: rule(view, config))


def _nothing_to_tune() -> Parameters:
    return ()


def _bound(config: ExecutionConfig, scenarios: ExecutionScenarios) -> Numbers:
    """Return the optimum's expected KPI; the optimal schedule does not look at the shocks."""
    return np.full(scenarios.num_episodes, -compute_execution_bound(config).disutility)


def _learn_in(
    config: ExecutionConfig, bank: ScenarioBank[ExecutionScenarios], num_envs: int, seed: int
) -> BatchedExecution:
    return BatchedExecution(config, bank, LockstepOptions(num_envs=num_envs), seed)


def _judge_in(config: ExecutionConfig, scenarios: ExecutionScenarios) -> BatchedExecution:
    count = scenarios.num_episodes
    bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=count), 0)
    return BatchedExecution(config, bank, LockstepOptions(num_envs=count, shuffle=False), 0)


def _measure(record: StepRecord) -> Mapping[str, Tensor]:
    expected = record.reward - record.reward_terms["price_move"]
    return {"kpi": expected[:, 0], "shortfall": record.metrics["shortfall"]}


def _draw(config: ExecutionConfig, name: str) -> ScenarioSet:
    source = NormalShocks(ShockConfig(num_steps=config.num_steps, antithetic=True))
    scenarios = source.draw(NUM_EPISODES, make_generator(FIXED_SEED, name))
    return ScenarioSet(
        name=name,
        about="normal shocks, each episode followed by its mirror image",
        scenarios=scenarios,
        blocks=np.arange(NUM_EPISODES) // 2,
        block_name="mirrored pair",
    )
