"""How policies do in a supply network, and demand drawn exactly as gym-invmgmt draws it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from data.scenario import BankConfig, FixedSource, ScenarioBank
from data.supply_demand import LEAST_MEAN, MeanDemand
from data.supply_scenarios import SupplyScenarios, make_quiet_scenarios
from rl.domains.supply_chain import SupplyConfig, SupplyView
from rl.environments.supply_network_environment import BatchedSupplyNetwork, SupplyOptions
from rl.environments.torch_tools import view_to_numpy

Numbers = NDArray[np.float64]
Policy = Callable[[SupplyView], NDArray[np.floating]]
"""Maps a NumPy view of all episodes to orders in units, `[episode, flow]`."""
CANONICAL_SEEDS = (42, 123, 456, 789, 1011, 2022, 3033, 4044, 5055, 6066)


@dataclass(frozen=True, kw_only=True)
class SupplyScores:
    """What a policy did, per episode."""

    profit: Numbers
    fill_rate: Numbers
    """Units sold over units asked for; late deliveries count."""
    bullwhip: Numbers
    """Variance of all orders over that of all demand, over time."""
    sentiment: Numbers
    """`[episode, time]`."""


def score_policy(policy: Policy, scenarios: SupplyScenarios, config: SupplyConfig) -> SupplyScores:
    """Play every episode once, in double precision.

    Args:
        policy: What is ordered.
        scenarios: The episodes.
        config: The world.
    """
    episodes = scenarios.num_episodes
    bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=episodes), 0)
    options = SupplyOptions(num_envs=episodes, shuffle=False, precision="double")
    env = BatchedSupplyNetwork(config, bank, options, 0)
    kept: dict[str, list[Numbers]] = {
        name: [] for name in ("profit", "demand", "sold_units", "ordered_units", "sentiment")
    }
    with torch.no_grad():
        for _ in range(config.max_steps):
            orders = torch.from_numpy(np.asarray(policy(view_to_numpy(env.view)), np.float64))
            record = env.step(env.place(orders))
            for name, values in kept.items():
                values.append(record.metrics[name].numpy().astype(np.float64))
    over = {name: np.stack(values, -1) for name, values in kept.items()}
    return SupplyScores(
        profit=over["profit"].sum(-1),
        fill_rate=over["sold_units"].sum(-1) / np.maximum(over["demand"].sum(-1), 1e-9),
        bullwhip=over["ordered_units"].var(-1) / np.maximum(over["demand"].var(-1), 1e-9),
        sentiment=over["sentiment"],
    )


def draw_in_order(mean: Numbers, seeds: tuple[int, ...], sentiment: Numbers) -> Numbers:
    """Draw demand as gym-invmgmt does: one Poisson number per step from the episode's generator.

    Args:
        mean: `[time]`, at neutral goodwill.
        seeds: Of the episodes.
        sentiment: `[episode, time]`.

    Returns:
        `[episode, time, 1]`.
    """
    demand = np.zeros((len(seeds), len(mean), 1))
    for row, seed in enumerate(seeds):
        generator = np.random.default_rng(seed)
        for step, expected in enumerate(mean * sentiment[row]):
            demand[row, step, 0] = generator.poisson(max(LEAST_MEAN, expected))
    return demand


def score_on_seeds(
    policy: Policy,
    config: SupplyConfig,
    law: MeanDemand,
    seeds: tuple[int, ...] = CANONICAL_SEEDS,
) -> SupplyScores:
    """Play the episodes that gym-invmgmt makes of seeds.

    With goodwill, demand depends on what the policy does. The demand of a step depends on earlier
    steps alone, so playing again with the sentiment just seen settles at least one step each time.

    Args:
        policy: What is ordered.
        config: A world with one market.
        law: Its demand.
        seeds: Of the episodes.
    """
    mean = law.over(config.max_steps + config.known_horizon)
    if config.goodwill is not None:
        recorded = replace(config.goodwill, response="recorded")
        config = replace(config, goodwill=recorded)
    sentiment = np.ones((len(seeds), config.max_steps))
    network = config.network
    while True:
        demand = draw_in_order(mean[: config.max_steps], seeds, sentiment)
        scenarios = make_quiet_scenarios(
            demand,
            np.broadcast_to(mean[:, None], (len(seeds), len(mean), 1)),
            num_nodes=len(network.nodes),
            num_products=len(network.products),
        )
        scores = score_policy(policy, scenarios, config)
        if config.goodwill is None or np.array_equal(scores.sentiment, sentiment):
            return scores
        sentiment = scores.sentiment
