"""OR-Gym's InvManagement here: policies and limits beside the reference values.

Run `OMP_NUM_THREADS=1 python -m benchmarks.inventory`: tables, and JSON in
benchmarks/results/inventory.json. About two minutes on one core. Scenarios that levels are tuned on
are others than those that are scored. How fast the world is:
`python -m benchmarks.environment_speed --worlds serial_inventory`.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measuring import RESULTS, write_report
from data.demand import InventoryScenarios
from rl.domains.inventory import (
    InventoryConfig,
    InventoryView,
    inv_management,
    inv_management_demand,
)
from rl.domains.inventory_experts import base_stock, tune_base_stock
from rl.evaluation.inventory_bounds import ShrinkingHorizonPlanner, inventory_hindsight_bound
from rl.evaluation.inventory_scores import Policy, base_stock_score, score_policy

VERSIONS = {"v0": False, "v1": True}
PUBLISHED_LEVELS = {"v0": (92.0, 212.0, 416.0), "v1": (93.0, 213.0, 0.0)}
REFERENCE = {
    "v0": {
        "random": "-687 (sd 166)",
        "base_stock": "410.5 +- 0.5",
        "shrinking_horizon": "522.5 +- 4.5",
        "hindsight": "554.9 +- 3.5",
    },
    "v1": {
        "random": "-2 (sd 83)",
        "base_stock": "452.0 +- 0.3",
        "shrinking_horizon": "488.7 +- 3.7",
        "hindsight": "551.3 +- 3.1",
    },
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One policy or limit on a set of episodes."""

    version: str
    name: str
    episodes: int
    mean: float
    standard_error: float
    deviation: float
    reference: str
    fill_rate: float | None = None
    bullwhip: float | None = None


def describe(
    version: str, name: str, profit: NDArray[np.float64], *, reference: str | None = None
) -> Row:
    """Sum up profits.

    Args:
        version: Of the chain.
        name: Of the policy.
        profit: `[episode]`.
        reference: Name of the reference value; the policy's own if None.
    """
    deviation = float(profit.std(ddof=1))
    return Row(
        version=version,
        name=name,
        episodes=len(profit),
        mean=float(profit.mean()),
        standard_error=deviation / len(profit) ** 0.5,
        deviation=deviation,
        reference=REFERENCE[version].get(reference or name, ""),
    )


def random_policy(config: InventoryConfig, seed: int) -> Policy:
    """Return the original's random agent: whole orders, all up to capacity alike.

    Args:
        config: The chain.
        seed: Of the orders.
    """
    generator = np.random.default_rng(seed)
    capacity = np.asarray(config.capacity)

    def act(view: InventoryView) -> NDArray[np.float32]:
        units = generator.integers(0, capacity.astype(int) + 1, view.stock.shape)
        return (units / capacity).astype(np.float32)

    return act


def measure_quality(version: str, scenarios: InventoryScenarios, seed: int) -> list[Row]:
    """Play the policies and compute the limits of one version.

    Args:
        version: v0 or v1.
        scenarios: All episodes; limits and planner take the first of them.
        seed: Of the random agent and of the training scenarios.
    """
    config = inv_management(lost_sales=VERSIONS[version])
    training = inv_management_demand().draw(256, np.random.default_rng([seed, 1]))
    tuned = tune_base_stock(
        base_stock_score(training, config), num_stages=3, highest=640, spacing=64
    )
    levels = np.asarray(PUBLISHED_LEVELS[version])
    policies: list[tuple[str, str, Policy, InventoryScenarios]] = [
        ("random", "random", random_policy(config, seed), scenarios),
        ("base_stock", "base_stock", lambda view: base_stock(view, config, levels), scenarios),
        (
            f"base_stock, tuned here {tuned.astype(int).tolist()}",
            "base_stock",
            lambda view: base_stock(view, config, tuned),
            scenarios,
        ),
        (
            "shrinking_horizon",
            "shrinking_horizon",
            ShrinkingHorizonPlanner(config, 20.0),
            scenarios.take(np.arange(60)),
        ),
    ]
    rows = []
    for name, reference, policy, played in policies:
        scores = score_policy(policy, played, config)
        row = describe(version, name, scores.profit, reference=reference)
        extra = {
            "fill_rate": float(scores.fill_rate.mean()),
            "bullwhip": float(scores.bullwhip.mean()),
        }
        rows.append(Row(**{**asdict(row), **extra}))
    for episodes in (100, 1_000):
        bound = inventory_hindsight_bound(scenarios.take(np.arange(episodes)), config)
        rows.append(describe(version, "hindsight", bound))
    return rows


def main() -> None:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULTS / "inventory.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    scenarios = inv_management_demand().draw(
        options.episodes, np.random.default_rng([options.seed, 0])
    )
    rows = [row for one in VERSIONS for row in measure_quality(one, scenarios, options.seed)]
    print(f"{'':48}{'episodes':>9}{'profit':>9}{'s.e.':>6}{'sd':>6}  reference")
    for row in rows:
        print(
            f"{row.version} {row.name:45}{row.episodes:9,}{row.mean:9.1f}"
            f"{row.standard_error:6.1f}{row.deviation:6.0f}  {row.reference}"
        )
    write_report(options.output, {"seed": options.seed, "rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    main()
