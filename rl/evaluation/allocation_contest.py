"""The contest of shared services: one planner splits the capacities, scored per window."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Literal, cast

import numpy as np
import torch

from data.scenario import ScenarioArrays, WorkloadScenarios, fixed_bank
from rl.algorithms.base_algorithm import Policy
from rl.domains.resource_allocation import AllocationConfig
from rl.environments.lockstep import LockstepOptions
from rl.environments.resource_allocation_environment import (
    BatchedResourceAllocation,
    EnvironmentConfig,
)
from rl.evaluation.contest import Column, Contest, ScenarioSet, Scores
from rl.evaluation.evaluator import policy_decider, record_play, score_play
from rl.evaluation.players import Player, rule_player

COLUMNS = (
    Column(name="served_value", title="value served", format=",.0f"),
    Column(name="holding_cost", title="idle cost", format=",.0f"),
    Column(name="lost_share", title="work lost", format=".1%"),
    Column(name="utilisation", title="used", format=".0%"),
    Column(name="fairness", title="fairness", format=".3f"),
)


@dataclass(frozen=True, kw_only=True)
class AllocationContest(Contest):
    """Counts what each service got, which a step record does not tell."""

    config: AllocationConfig

    def play(self, player: Player, episodes: ScenarioSet) -> Scores:
        """Play every window once, all at the same time.

        Args:
            player: Decides on shares of the capacities.
            episodes: What is played.
        """
        scenarios = cast("WorkloadScenarios", episodes.scenarios)
        with torch.no_grad():
            scores = score_play(self.config, scenarios, record_play(self.config, scenarios, player))
        figures = {field.name: getattr(scores, field.name) for field in fields(scores)}
        return Scores(kpi=figures.pop("kpi"), figures=figures)


def make_allocation_contest(
    config: AllocationConfig, *, action: Literal["shares", "coverage"]
) -> AllocationContest:
    """Return the contest of a world.

    Args:
        config: The world.
        action: What the actions of trained policies mean.
    """
    return AllocationContest(
        make_environment=partial(judge_in, config),
        num_steps=config.max_steps,
        policy_player=partial(_policy_player, config=config, action=action),
        kpi="served value minus the cost of idle units, per window of six hours",
        kpi_format=",.0f",
        columns=COLUMNS,
        config=config,
    )


def judge_in(
    config: AllocationConfig, scenarios: ScenarioArrays, *, reward: Literal["kpi", "losses"] = "kpi"
) -> BatchedResourceAllocation:
    """Build one copy per window, played in their order with shares of the capacities.

    Args:
        config: The world.
        scenarios: The windows.
        reward: What is gained, or what is lost.
    """
    episodes = scenarios.num_episodes
    bank = fixed_bank(cast("WorkloadScenarios", scenarios))
    options = EnvironmentConfig(num_envs=episodes, shuffle=False, reward=reward)
    return BatchedResourceAllocation(config, bank, options, seed=0)


def _policy_player(
    policy: Policy, *, config: AllocationConfig, action: Literal["shares", "coverage"]
) -> Player:
    """Let a policy decide, deterministically, on what the server would show it."""
    device = LockstepOptions().device  # of the worlds that are built now, and of their agents

    def act(observation: np.ndarray) -> np.ndarray:
        rows = torch.from_numpy(np.ascontiguousarray(observation, np.float32))[:, None]
        return policy.act(rows.to(device), None, deterministic=True).action[:, 0].cpu().numpy()

    return rule_player(policy_decider(act, config, action=action))
