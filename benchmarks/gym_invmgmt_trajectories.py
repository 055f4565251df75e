"""Record random episodes of gym-invmgmt 0.2.1, for the tests that compare with them.

gym-invmgmt is no dependency: it needs an environment of its own.

    python -m venv /tmp/invmgmt && /tmp/invmgmt/bin/pip install gym-invmgmt==0.2.1
    /tmp/invmgmt/bin/python benchmarks/gym_invmgmt_trajectories.py tests/data/gym_invmgmt.npz

Worlds: both registered networks, and a small one of this file with what they lack (yields below
one, setup costs, two markets, a discount), each with and without backlog and goodwill. Orders are
whole quarters of a unit. For the canonical seeds the demand without goodwill is recorded too.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path

import numpy as np
from gym_invmgmt import CoreEnv

EPISODES, STEPS, SEED = 20, 30, 0
DEMANDS = (
    {"type": "stationary"},
    {"type": "trend+seasonal"},
    {"type": "trend+seasonal+shock"},
    {"type": "shock", "shock_time": 7, "shock_mag": 0.4, "gw_decay": 0.8, "gw_growth": 1.05},
)
CANONICAL_SEEDS = (42, 123, 456, 789, 1011, 2022, 3033, 4044, 5055, 6066)
SMALL_DISCOUNT = 0.97
SMALL = """
nodes:
  - {id: 0}
  - {id: 1}
  - {id: 2, I0: 60, h: 0.05}
  - {id: 3, I0: 45, h: 0.07}
  - {id: 4, I0: 150, C: 40, v: 0.8, o: 0.02, h: 0.01}
  - {id: 5}
edges:
  - {from: 2, to: 0, p: 3.0, b: 0.2, demand_dist: poisson, dist_param: {mu: 20}}
  - {from: 2, to: 1, p: 2.5, b: 0.1, demand_dist: poisson, dist_param: {mu: 20}}
  - {from: 3, to: 1, p: 2.8, b: 0.3, demand_dist: poisson, dist_param: {mu: 20}}
  - {from: 4, to: 2, L: 2, p: 1.0, g: 0.01, K: 3.0}
  - {from: 4, to: 3, L: 1, p: 1.1, g: 0.02}
  - {from: 2, to: 3, L: 0, p: 1.3, g: 0.0, K: 1.0}
  - {from: 5, to: 4, L: 1, p: 0.4, g: 0.005, K: 8.0}
"""


def make(scenario: str, demand: dict[str, object], *, goodwill: bool, backlog: bool) -> CoreEnv:
    """Return one world of the package.

    Args:
        scenario: network, serial or custom.
        demand: Its demand engine.
        goodwill: Whether customers remember.
        backlog: Whether they wait.
    """
    engine = {"base_mu": 20, **demand, "use_goodwill": goodwill}
    if scenario != "custom":
        return CoreEnv(scenario, engine, num_periods=STEPS, backlog=backlog)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.yaml"
        path.write_text(SMALL)
        return CoreEnv(
            scenario,
            engine,
            num_periods=STEPS,
            backlog=backlog,
            alpha=SMALL_DISCOUNT,
            config_path=path,
        )


def play(env: CoreEnv, seed: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Play one episode at random; every second one with orders that keep shelves filled.

    Args:
        env: The world.
        seed: Of its demand.
        generator: Of the orders.
    """
    links = len(env.network.reorder_links)
    limit = 120 if seed % 2 else 60
    orders = generator.integers(0, limit, (STEPS, links)) / 4
    orders = orders * (generator.random((STEPS, links)) < 0.8)
    env.reset(seed=seed)
    reward = [env.step(order)[1] for order in orders]
    main = [env.network.node_map[node] for node in env.network.main_nodes]
    return {
        "orders": (orders * 4).astype(np.uint8),
        "demand": env.D.astype(np.uint16),
        "sentiment": env.GW.copy(),
        "reward": np.asarray(reward),
        "node_reward": env.P[:, main].astype(np.float32),
        "stock": env.X[-1, main].copy(),
        "shipped": env.R.sum(0),
        "unmet": env.U.sum(0),
    }


def main() -> None:
    """Play all worlds, write one compressed file."""
    arrays: dict[str, np.ndarray] = {}
    generator = np.random.default_rng(SEED)
    worlds = itertools.product(("serial", "network", "custom"), (False, True), (False, True))
    for scenario, backlog, goodwill in worlds:
        episodes = []
        for episode in range(EPISODES):
            demand = DEMANDS[episode % len(DEMANDS)]
            env = make(scenario, demand, goodwill=goodwill, backlog=backlog)
            episodes.append(play(env, episode, generator))
        key = f"{scenario}.{'backlog' if backlog else 'lost'}.{'goodwill' if goodwill else 'plain'}"
        for name in episodes[0]:
            arrays[f"{key}.{name}"] = np.stack([one[name] for one in episodes])
    for demand in DEMANDS[:3]:
        env = make("serial", demand, goodwill=False, backlog=True)
        traces = []
        for seed in CANONICAL_SEEDS:
            env.reset(seed=seed)
            for _ in range(STEPS):
                env.step(np.zeros(3))
            traces.append(env.D[:, 0].copy())
        arrays[f"canonical.{demand['type']}"] = np.stack(traces).astype(np.uint16)
    np.savez_compressed(sys.argv[1], **arrays)


if __name__ == "__main__":
    main()
