"""Record episodes of or-gym 0.5.0's NetworkManagement, for the test that compares with them.

Its Python is made as benchmarks/or_gym_trajectories.py says.

    /tmp/or_gym/bin/python benchmarks/or_gym_network_trajectories.py tests/data/or_gym_network.npz

or-gym lets two buyers order the same units from one shelf, which then falls below zero, and counts
a plant's capacity per buyer. Orders are cut beforehand so that no shelf and no
plant is promised twice; there the two worlds must agree.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np

EPISODES, STEPS, SEED = 20, 30, 0


def cut(env: Any, orders: np.ndarray) -> np.ndarray:
    """Return orders that no shelf and no plant has to serve twice, in whole units.

    Args:
        env: The world before the step.
        orders: Per link.
    """
    graph, left = env.graph, {}
    for node in env.main_nodes:
        stock = float(env.X.loc[env.period, node])
        left[node] = max(0.0, min(stock, graph.nodes[node].get("C", np.inf)))
    kept = np.zeros(len(orders))
    for number, (supplier, _) in enumerate(env.reorder_links):
        kept[number] = min(orders[number], np.floor(left.get(supplier, np.inf)))
        if supplier in left:
            left[supplier] -= kept[number]
    return kept


def main() -> None:
    """Play both versions with the same demand; write orders, demand, reward and last stock."""
    np.bool8, np.Inf = np.bool_, np.inf  # noqa: NPY201
    module = importlib.import_module("or_gym.envs.supply_chain.network_management")
    worlds = {"v0": module.NetInvMgmtBacklogEnv, "v1": module.NetInvMgmtLostSalesEnv}
    arrays: dict[str, np.ndarray] = {}
    for version, world in worlds.items():
        generator = np.random.default_rng(SEED)
        demand = generator.poisson(20, (EPISODES, STEPS))
        orders = np.zeros((EPISODES, STEPS, 11))
        reward = np.zeros((EPISODES, STEPS))
        stock = np.zeros((EPISODES, 6))
        for episode in range(EPISODES):
            env = world(user_D={(1, 0): demand[episode]}, sample_path={(1, 0): False})
            env.reset()
            for t in range(STEPS):
                orders[episode, t] = cut(env, generator.integers(0, 40, 11))
                _, reward[episode, t], _, _ = env.step(orders[episode, t])
            stock[episode] = env.X.iloc[-1].to_numpy()
        arrays[f"{version}.demand"] = demand.astype(np.uint8)
        arrays[f"{version}.orders"] = orders.astype(np.uint8)
        arrays[f"{version}.reward"] = reward
        arrays[f"{version}.stock"] = stock.astype(np.int16)
    np.savez_compressed(sys.argv[1], **arrays)


if __name__ == "__main__":
    main()
