"""Profit of a policy for a serial chain on given episodes, and what it did to get there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from data.demand import InventoryScenarios
from data.scenario import BankConfig, FixedSource, ScenarioBank
from rl.domains.inventory import InventoryConfig, InventoryView
from rl.domains.inventory_experts import Levels, Score, base_stock
from rl.environments.inventory_environment import BatchedInventory, InventoryOptions
from rl.environments.torch_tools import view_to_numpy

Policy = Callable[[InventoryView], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class InventoryScores:
    """What came of an episode, `[episode]` each."""

    profit: NDArray[np.float64]
    fill_rate: NDArray[np.float64]
    """Share of the units asked for that were sold by the end of the episode."""
    bullwhip: NDArray[np.float64]
    """Variance over time of what the source made over that of demand."""


def score_policy(
    policy: Policy, scenarios: InventoryScenarios, config: InventoryConfig
) -> InventoryScores:
    """Play every episode once.

    Args:
        policy: Maps a NumPy view to orders as shares of the capacities, `[episode, stage]`.
        scenarios: The episodes.
        config: The chain.
    """
    episodes = scenarios.num_episodes
    bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=episodes), 0)
    env = BatchedInventory(config, bank, InventoryOptions(num_envs=episodes, shuffle=False), 0)
    profit = np.zeros(episodes)
    seen: dict[str, list[NDArray[np.float64]]] = {"demand": [], "sold_units": [], "made_units": []}
    with torch.no_grad():
        for _ in range(config.max_steps):
            action = policy(view_to_numpy(env.view))
            record = env.step(torch.as_tensor(action)[:, None])
            profit += record.reward[:, 0].double().numpy()
            for name, values in seen.items():
                values.append(record.metrics[name].double().numpy())
    asked, sold, made = (np.stack(values, axis=1) for values in seen.values())
    return InventoryScores(
        profit=profit,
        fill_rate=sold.sum(1) / np.maximum(asked.sum(1), 1e-9),
        bullwhip=made.var(1) / np.maximum(asked.var(1), 1e-9),
    )


def base_stock_score(scenarios: InventoryScenarios, config: InventoryConfig) -> Score:
    """Return the function that base-stock levels are tuned by.

    Args:
        scenarios: Every candidate plays all of them.
        config: The chain.
    """
    paths = scenarios.num_episodes

    def score(candidates: Levels) -> NDArray[np.float64]:
        repeated = scenarios.take(np.tile(np.arange(paths), len(candidates)))
        levels = np.repeat(candidates, paths, axis=0)
        scores = score_policy(lambda view: base_stock(view, config, levels), repeated, config)
        means: NDArray[np.float64] = scores.profit.reshape(-1, paths).mean(1)
        return means

    return score
