"""The preset `distributed_nodes` beside its published table.

Run `python -m benchmarks.distributed_nodes`: a table, and JSON in
benchmarks/results/distributed_nodes.json. The published figures are means of 20 episodes; ours are
given for 20 and for all `--episodes`. `errors` is the difference from the published mean in
standard errors, both samples' counted; where no published deviation is known ours stands in. Rows
of one rate share their episodes; the hindsight bound is that of the first 20. How fast it is:
`python -m benchmarks.environment_speed --worlds distributed_nodes`.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.measuring import RESULTS, write_report
from data.node_workload import NodeWorkload
from data.scenario import BankConfig, ScenarioBank
from rl.domains.node_experts import EXPERTS
from rl.domains.nodes import NodeView, distributed_nodes
from rl.environments.lockstep import LockstepOptions
from rl.environments.node_allocation_environment import BatchedNodes
from rl.evaluation.node_bounds import nodes_hindsight_bound

PUBLISHED_EPISODES = 20


@dataclass(frozen=True, kw_only=True)
class Published:
    """One row of the published table; what it leaves out is None."""

    mean_return: float
    deviation: float | None = None
    violation_rate: float
    utilization: float | None = None


PUBLISHED: dict[tuple[int, str], Published] = {
    (5, "greedy"): Published(
        mean_return=-1525, deviation=418, violation_rate=0.000, utilization=0.459
    ),
    (5, "half"): Published(mean_return=-60, deviation=376, violation_rate=0.003, utilization=0.371),
    (5, "random"): Published(
        mean_return=153, deviation=279, violation_rate=0.013, utilization=0.259
    ),
    (5, "least_used_1"): Published(
        mean_return=738, deviation=251, violation_rate=0.028, utilization=0.177
    ),
    (5, "least_used_2"): Published(
        mean_return=668, deviation=206, violation_rate=0.003, utilization=0.238
    ),
    (10, "greedy"): Published(mean_return=504, violation_rate=0.074),
    (10, "half"): Published(mean_return=1273, violation_rate=0.104),
    (10, "random"): Published(mean_return=1028, violation_rate=0.093),
    (10, "least_used_1"): Published(mean_return=1668, violation_rate=0.092),
    (10, "least_used_2"): Published(mean_return=1517, violation_rate=0.062),
    (20, "greedy"): Published(mean_return=1654, violation_rate=0.395),
    (20, "half"): Published(mean_return=1715, violation_rate=0.420),
    (20, "random"): Published(mean_return=1540, violation_rate=0.431),
    (20, "least_used_1"): Published(mean_return=1500, violation_rate=0.448),
    (20, "least_used_2"): Published(mean_return=1559, violation_rate=0.429),
    (20, "least_used_5"): Published(mean_return=1688, violation_rate=0.396),
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One figure over our episodes, and how far it is from the published one."""

    episodes: int
    mean: float
    deviation: float
    published: float | None
    errors: float | None


def make_environment(
    rate: float, copies: int, *, episodes: int, num_nodes: int = 10
) -> BatchedNodes:
    """Build the preset; copies play the episodes in order.

    Args:
        rate: Expected workloads before the first step and per 100 later ones.
        copies: Batch.
        episodes: Held in the bank.
        num_nodes: Agents.
    """
    preset = distributed_nodes(num_nodes, workload_arrival_rate=rate)
    bank = ScenarioBank(NodeWorkload(preset.world), BankConfig(num_episodes=episodes), 0)
    return BatchedNodes(preset.nodes, bank, LockstepOptions(num_envs=copies, shuffle=False), 0)


def play_rule(rate: int, name: str, episodes: int) -> dict[str, Tensor]:
    """Play every episode once and return figures, `[episode]` each.

    Args:
        rate: Of arrivals.
        name: Of the rule.
        episodes: How many.
    """
    env = make_environment(rate, episodes, episodes=episodes)
    env.reset(0)
    generator = np.random.default_rng(0)
    steps = env.config.max_steps
    total = torch.zeros(episodes)
    sums: dict[str, Tensor] = {}
    for _ in range(steps):
        action = EXPERTS[name](NodeView(usage=env.view.usage.numpy()), generator)
        record = env.step(torch.from_numpy(action))
        total += record.reward.sum(1)
        for key, values in record.metrics.items():
            sums[key] = sums.get(key, 0.0) + values
    violation = sums["failed_workloads"] / sums["total_workloads"].clamp(min=1.0)
    return {
        "return": total,
        "sla_violation_rate": violation,
        "completion_rate": 1.0 - violation,
        "cpu_utilization": sums["avg_utilization"] / steps,
    }


def make_cell(values: Tensor, published: float | None, deviation: float | None) -> Cell:
    """Summarise a figure and compare it.

    Args:
        values: One per episode.
        published: Mean of the published table, if it has one.
        deviation: Between published episodes; None takes ours.
    """
    own, episodes = float(values.std()), len(values)
    errors = None
    if published is not None:
        error = math.sqrt(own**2 / episodes + (deviation or own) ** 2 / PUBLISHED_EPISODES)
        errors = (float(values.mean()) - published) / error if error else None
    return Cell(
        episodes=episodes,
        mean=float(values.mean()),
        deviation=own,
        published=published,
        errors=errors,
    )


def compare_table(episodes: int) -> list[dict[str, object]]:
    """Play all rows; print and return them.

    Args:
        episodes: Per row.
    """
    rows: list[dict[str, object]] = []
    for (rate, name), published in PUBLISHED.items():
        figures = play_rule(rate, name, episodes)
        known = {
            "return": (published.mean_return, published.deviation),
            "sla_violation_rate": (published.violation_rate, None),
            "completion_rate": (1.0 - published.violation_rate, None),
            "cpu_utilization": (published.utilization, None),
        }
        row: dict[str, object] = {"rate": rate, "policy": name}
        for key, values in figures.items():
            cells = [make_cell(values[:n], *known[key]) for n in (PUBLISHED_EPISODES, episodes)]
            row[key] = [asdict(cell) for cell in cells]
            if key != "completion_rate":
                print(f"{rate:>3} {name:<13} {key:<19}", *map(format_cell, cells), sep=" | ")
        rows.append(row)
    return rows


def compute_bounds(episodes: int) -> list[dict[str, float]]:
    """Bound the return of the first published number of episodes; print and return the means.

    Args:
        episodes: Held in the bank, so that the episodes are those of the table.
    """
    rows = []
    for rate in sorted({rate for rate, _ in PUBLISHED}):
        env = make_environment(rate, 1, episodes=episodes)
        chosen = env.bank.scenarios.take(np.arange(PUBLISHED_EPISODES))
        bound = nodes_hindsight_bound(chosen, env.config)
        rows.append({"rate": rate, "mean": float(bound.mean()), "deviation": float(bound.std())})
        print(f"{rate:>3} hindsight bound | return {bound.mean():.0f} ({bound.std():.0f})")
    return rows


def format_cell(cell: Cell) -> str:
    """Write one figure and its distance.

    Args:
        cell: The figure.
    """
    digits = 0 if cell.deviation > 5 else 3
    text = f"{cell.mean:>8.{digits}f} ({cell.deviation:.{digits}f})"
    if cell.published is None:
        return text
    distance = "no spread" if cell.errors is None else f"{cell.errors:+.1f} errors"
    return f"{text} published {cell.published:.{digits}f}, {distance}"


def main() -> None:
    """Play and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--output", type=Path, default=RESULTS / "distributed_nodes.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = compare_table(arguments.episodes)
    write_report(
        arguments.output,
        {
            "command": f"python -m benchmarks.distributed_nodes --episodes {arguments.episodes}",
            "seed": 0,
            "table": table,
            "bounds": compute_bounds(arguments.episodes),
        },
    )


if __name__ == "__main__":
    main()
