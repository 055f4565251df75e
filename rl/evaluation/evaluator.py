"""Plays whoever decides over a fixed set of episodes, all at once, and scores the episodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.scenario import WorkloadScenarios, fixed_bank
from rl.domains.allocation_experts import Expert, ExpertParameters
from rl.domains.resource_allocation import AllocationConfig, AllocationDomain, AllocationView
from rl.environments.resource_allocation_environment import (
    BatchedResourceAllocation,
    EnvironmentConfig,
)
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.players import Player, rule_player
from utils.seeding import make_generator

Action = NDArray[np.float32]
Scores = NDArray[np.float64]
Decider = Callable[[AllocationView], Action]
"""From a NumPy view of all episodes to the planner's action, `[episode, service * resource]`."""


@dataclass(frozen=True, kw_only=True)
class PlayTrace:
    """What happened in every step of every episode."""

    reward: Scores
    """`[episode, time]`."""
    served_value: Scores
    """`[episode, time]`: priority times served work."""
    lost_work: Scores
    """`[episode, time]`."""
    allocation: Scores
    """`[episode, time, service, resource]`: units held."""
    served_work: Scores
    """`[episode, time, service]`."""


@dataclass(frozen=True, kw_only=True)
class EpisodeScores:
    """How each episode went, `[episode]` each."""

    kpi: Scores
    """Served value minus holding cost."""
    served_value: Scores
    holding_cost: Scores
    """What idle units cost."""
    lost_share: Scores
    """Work lost over work arrived."""
    utilisation: Scores
    """Units used over units there, mean of the resources."""
    fairness: Scores
    """Jain's index of the services' served shares, in (0, 1]; 1 if nothing arrived."""


def expert_decider(
    expert: Expert, config: AllocationConfig, parameters: ExpertParameters
) -> Decider:
    """Let an expert's rule decide.

    Args:
        expert: The rule.
        config: The world.
        parameters: What it was tuned to.
    """
    return lambda view: expert(view, config, parameters)


def random_decider(config: AllocationConfig, seed: int) -> Decider:
    """Ask for random shares of everything.

    Args:
        config: The world.
        seed: The only source of chance.
    """
    generator = make_generator(seed, "random decider")
    size = len(config.services) * len(config.resources)
    return lambda view: generator.random((len(view.capacity), size), np.float32)


def policy_decider(
    act: Callable[[Action], Action],
    config: AllocationConfig,
    *,
    action: Literal["shares", "coverage"] = "shares",
) -> Decider:
    """Let a trained policy decide from what it observes.

    Args:
        act: From observations `[episode, observation]` to actions, NumPy.
        config: The world.
        action: What the policy's actions mean; see `EnvironmentConfig`.
    """
    domain = AllocationDomain(config)

    def decide(view: AllocationView) -> Action:
        chosen = act(domain.encode(view))
        shares: Action = domain.cover(chosen, view) if action == "coverage" else chosen
        return shares

    return decide


def record_play(
    config: AllocationConfig, scenarios: WorkloadScenarios, player: Player
) -> PlayTrace:
    """Play every episode once, all at the same time.

    Args:
        config: The world.
        scenarios: The episodes.
        player: Asked once per step for the shares of all of them.
    """
    episodes = scenarios.num_episodes
    bank = fixed_bank(scenarios)
    options = EnvironmentConfig(num_envs=episodes, shuffle=False)
    environment = BatchedResourceAllocation(config, bank, options, seed=0)
    domain = AllocationDomain(config)
    step = environment.reset()
    columns: list[tuple[np.ndarray, ...]] = []
    for t in range(config.max_steps):
        view = view_to_numpy(environment.view)
        chosen = player(environment, step)
        action = np.asarray(chosen[:, 0].cpu(), np.float32)
        allocation = domain.project(action, view.capacity)
        pending = view.backlog.sum(-1) + scenarios.demand[:, t]
        served = np.minimum(pending, (allocation / domain.usage).min(-1))
        step = environment.step(chosen)
        told = (step.reward[:, 0], step.metrics["served_value"], step.metrics["lost_work"])
        columns.append((*(figure.cpu().numpy() for figure in told), allocation, served))
    reward, value, lost, allocation, served = (
        np.stack(column, axis=1).astype(np.float64) for column in zip(*columns, strict=True)
    )
    return PlayTrace(
        reward=reward,
        served_value=value,
        lost_work=lost,
        allocation=allocation,
        served_work=served,
    )


def score_play(
    config: AllocationConfig, scenarios: WorkloadScenarios, trace: PlayTrace
) -> EpisodeScores:
    """Sum up what happened.

    Args:
        config: The world.
        scenarios: The episodes that were played.
        trace: What `record_play` returned for them.
    """
    usage = np.asarray([service.usage for service in config.services])
    arrived = scenarios.demand.sum(1, dtype=np.float64)
    served = trace.served_work.sum(1)
    used = (served @ usage) / scenarios.capacity.sum(1, dtype=np.float64)
    kpi, value = trace.reward.sum(1), trace.served_value.sum(1)
    return EpisodeScores(
        kpi=kpi,
        served_value=value,
        holding_cost=value - kpi,
        lost_share=trace.lost_work.sum(1) / np.maximum(arrived.sum(1), 1e-9),
        utilisation=used.mean(1),
        fairness=_jain_index(served, arrived),
    )


def play(config: AllocationConfig, scenarios: WorkloadScenarios, decide: Decider) -> EpisodeScores:
    """Play every episode once and return its scores.

    Args:
        config: The world.
        scenarios: The episodes.
        decide: Asked once per step for all of them.
    """
    return score_play(config, scenarios, record_play(config, scenarios, rule_player(decide)))


def _jain_index(served: Scores, arrived: Scores) -> Scores:
    """Return (sum x)^2 / (n sum x^2) over the services for which work arrived."""
    asked = arrived > 0
    share = np.where(asked, served / np.where(asked, arrived, 1.0), 0.0)
    squares = asked.sum(-1) * (share**2).sum(-1)
    index: Scores = np.where(squares > 0, share.sum(-1) ** 2 / np.where(squares > 0, squares, 1), 1)
    return index
