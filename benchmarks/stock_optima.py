"""Stock policies of known optimum: published value, ours, and the cost of playing it in our worlds.

Run `OMP_NUM_THREADS=1 python -m benchmarks.stock_optima`: a table, and JSON in
benchmarks/results/stock_optima.json. Half a minute on one core.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.measuring import RESULTS, write_report
from rl.domains.inventory import InventoryConfig
from rl.domains.inventory_experts import Levels, base_stock, reorder
from rl.domains.inventory_presets import InventoryPreset, clark_scarf, fixed_order_cost, newsvendor
from rl.evaluation.inventory_scores import Policy, score_policy
from rl.evaluation.stock_optima import (
    NormalDemand,
    newsvendor_poisson,
    reorder_poisson,
    serial_normal,
)

PUBLISHED_REORDER = {
    10: (6, 40, 35.022),
    15: (10, 49, 42.698),
    20: (14, 62, 49.173),
    25: (19, 56, 54.262),
    30: (23, 66, 57.819),
    40: (33, 87, 64.512),
    50: (42, 108, 70.975),
}
STEPS, WARM_UP = 1000, 200
"""Long, because the phase of the orders is forgotten slowly."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One instance; costs per step."""

    instance: str
    published: float
    optimum: float
    policy: str
    played: float
    standard_error: float


def play(
    preset: InventoryPreset, policy: Policy, *, episodes: int, seed: int
) -> tuple[float, float]:
    """Return the mean cost of a step after the shelves have settled, and its standard error.

    Args:
        preset: The world.
        policy: Maps a view to orders as shares of the capacities.
        episodes: How many.
        seed: Of the demand.
    """
    steps = preset.chain.max_steps
    warm_up = WARM_UP if steps > WARM_UP else 0
    scenarios = preset.demand.draw(episodes, np.random.default_rng(seed))
    total = -score_policy(policy, scenarios, preset.chain).profit
    begun = np.zeros(episodes)
    if warm_up:
        first = replace(scenarios, demand=scenarios.demand[:, :warm_up])
        begun = -score_policy(policy, first, replace(preset.chain, max_steps=warm_up)).profit
    cost = (total - begun) / (steps - warm_up)
    return float(cost.mean()), float(cost.std(ddof=1) / np.sqrt(episodes))


def order_up_to(chain: InventoryConfig, levels: Levels) -> Policy:
    """Return the base-stock policy.

    Args:
        chain: The world.
        levels: `[stage]`.
    """
    return lambda view: base_stock(view, chain, levels)


def reorder_at(chain: InventoryConfig, point: int, level: int) -> Policy:
    """Return the (s, S) policy.

    Args:
        chain: The world.
        point: s.
        level: S.
    """
    return lambda view: reorder(view, chain, np.asarray([point]), np.asarray([level]))


def measure(episodes: int, seed: int) -> list[Row]:
    """Play every instance.

    Args:
        episodes: Of 1000 steps; the newsvendor's single period is played a thousand times as often.
        seed: Of the demand.
    """
    rows = []
    preset, single = newsvendor(), newsvendor_poisson(20, holding=1, shortage=4)
    policy = order_up_to(preset.chain, np.asarray([single.level]))
    cost, error = play(preset, policy, episodes=1000 * episodes, seed=seed)
    rows.append(
        Row(
            instance="newsvendor, Poisson 20",
            published=6.4380,
            optimum=single.cost,
            policy=f"S = {single.level:.0f}",
            played=cost,
            standard_error=error,
        )
    )
    for mean, (_, _, published) in PUBLISHED_REORDER.items():
        preset = fixed_order_cost(mean, max_steps=STEPS)
        best = reorder_poisson(mean, holding=1, shortage=9, setup=64)
        policy = reorder_at(preset.chain, best.reorder_point, best.level)
        cost, error = play(preset, policy, episodes=episodes, seed=seed)
        rows.append(
            Row(
                instance=f"(s, S), Poisson {mean}",
                published=published,
                optimum=best.cost,
                policy=f"({best.reorder_point}, {best.level})",
                played=cost,
                standard_error=error,
            )
        )
    preset = clark_scarf(STEPS)
    serial = serial_normal(
        NormalDemand(mean=5, deviation=1),
        echelon_holding=(3, 2, 2),
        lead_time=(1, 1, 2),
        shortage=37.12,
    )
    policy = order_up_to(preset.chain, np.asarray(serial.levels))
    cost, error = play(preset, policy, episodes=episodes, seed=seed)
    rows.append(
        Row(
            instance="Clark-Scarf, 3 stages",
            published=47.665,
            optimum=serial.cost,
            policy=", ".join(f"{level:.2f}" for level in serial.levels),
            played=cost,
            standard_error=error,
        )
    )
    return rows


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULTS / "stock_optima.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(arguments.episodes, arguments.seed)
    print(f"{'':26}{'published':>10}{'optimum':>10}{'played':>10}{'+-':>8}  policy")
    for row in rows:
        print(
            f"{row.instance:26}{row.published:10.3f}{row.optimum:10.3f}{row.played:10.3f}"
            f"{row.standard_error:8.3f}  {row.policy}"
        )
    write_report(
        arguments.output,
        {
            "episodes": arguments.episodes,
            "seed": arguments.seed,
            "rows": [asdict(row) for row in rows],
        },
    )


if __name__ == "__main__":
    main()
