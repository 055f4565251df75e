"""Record random episodes of or-gym 0.5.0's InvManagement, for the test that compares with them.

or-gym is no dependency: it needs an environment of its own and two names that NumPy 2 dropped.

    python -m venv /tmp/or_gym && /tmp/or_gym/bin/pip install numpy scipy matplotlib networkx pandas
    /tmp/or_gym/bin/pip install cloudpickle gym_notices
    /tmp/or_gym/bin/pip install --no-deps gym==0.26.2 or-gym==0.5.0
    /tmp/or_gym/bin/python benchmarks/or_gym_trajectories.py tests/data/or_gym_inventory.npz
"""

from __future__ import annotations

import importlib
import sys

import numpy as np

EPISODES, STEPS, SEED = 100, 30, 0
RESTRAINED = 0.5
"""In every other episode orders are at most this share of capacity, so that shelves stay filled."""


def main() -> None:
    """Play both versions with the same demand and orders; write all that was seen."""
    np.bool8, np.Inf = np.bool_, np.inf  # noqa: NPY201
    module = importlib.import_module("or_gym.envs.supply_chain.inventory_management")
    worlds = (module.InvManagementBacklogEnv, module.InvManagementLostSalesEnv)
    generator = np.random.default_rng(SEED)
    demand = generator.poisson(20, (EPISODES, STEPS))
    limit = np.array([100, 90, 80]) * np.where(np.arange(EPISODES) % 2, 1.0, RESTRAINED)[:, None]
    orders = generator.integers(0, limit.astype(int)[:, None] + 1, (EPISODES, STEPS, 3))
    reward = np.zeros((2, EPISODES, STEPS))
    stock = np.zeros((2, EPISODES, STEPS, 3))
    for version, world in enumerate(worlds):
        for episode in range(EPISODES):
            env = world(dist=5, user_D=demand[episode])
            env.reset()
            for t in range(STEPS):
                _, reward[version, episode, t], _, _ = env.step(orders[episode, t])
            stock[version, episode] = env.I[1:]
    np.savez_compressed(
        sys.argv[1],
        demand=demand.astype(np.int16),
        orders=orders.astype(np.int16),
        reward=reward.astype(np.float32),
        stock=stock.astype(np.int16),
    )


if __name__ == "__main__":
    main()
