"""The preset `distributed_nodes` beside its published table, and its speed beside a plain loop.

Run `python -m benchmarks.distributed_nodes`: two tables, and benchmarks/results/
distributed_nodes.json. One torch thread. A joint step is one step of one copy with all ten nodes.
The published figures are means of 20 episodes; ours are given for 20 and for all `--episodes`.
`errors` is the difference from the published mean in standard errors, both samples' counted; where
no published deviation is known ours stands in. Rows of one rate share their episodes. The peer, a
dict-per-agent loop, is checked here to earn the same rewards.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.node_workload import NodeScenarios, NodeWorkload
from data.scenario import BankConfig, ScenarioBank
from rl.domains.node_experts import EXPERTS
from rl.domains.nodes import NodeView, distributed_nodes
from rl.environments.lockstep import LockstepOptions
from rl.environments.node_allocation_environment import BatchedNodes

RESULTS = Path(__file__).parent / "results"
PUBLISHED_EPISODES = 20
SPEED_BAR, PEER_BAR = 500_000, 100
BATCHES = (64, 256, 1024, 2048, 4096)
REPEATS = 5
SECONDS = 1.0


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


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Medians over repeats."""

    name: str
    copies: int
    steps_per_second: float
    steps_per_cpu_second: float


class PlainNodes:
    """The world as most people would write it: one copy, dicts keyed by agent, small arrays."""

    def __init__(self, scenarios: NodeScenarios, episode: int) -> None:
        """Keep one episode.

        Args:
            scenarios: The episodes.
            episode: Which of them.
        """
        self._arrivals = scenarios.arrivals[episode].tolist()
        self._need = scenarios.need[episode]
        self._priority = scenarios.priority[episode].tolist()
        self._nodes = {f"node_{n}": c for n, c in enumerate(scenarios.capacity[episode])}
        self.reset()

    def reset(self) -> None:
        """Empty all nodes."""
        self._t = self._tried = 0
        self._used = {node: np.zeros(4) for node in self._nodes}

    def step(
        self, actions: dict[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """Place, count, drain.

        Args:
            actions: Offered share of what is free, per node and resource.
        """
        reward = dict.fromkeys(self._nodes, 0.0)
        for _ in range(self._arrivals[self._t]):
            self._place(self._need[self._tried], self._priority[self._tried], actions, reward)
            self._tried += 1
        leading = [self._used[node][0] / total[0] for node, total in self._nodes.items()]
        mean = sum(leading) / len(leading)
        imbalance = 2.0 * sum((usage - mean) ** 2 for usage in leading) / len(leading)
        observation = {}
        for node, total in self._nodes.items():
            reward[node] -= imbalance
            self._used[node] = np.maximum(self._used[node] - 0.001 * total, 0.0)
            share = self._used[node] / total
            observation[node] = np.concatenate([share, 1.0 - share])
        self._t += 1
        if self._t == len(self._arrivals):
            self.reset()
        return observation, reward

    def _place(
        self,
        need: np.ndarray,
        priority: float,
        actions: dict[str, np.ndarray],
        reward: dict[str, float],
    ) -> None:
        best, least = "", math.inf
        for node, total in self._nodes.items():
            offer = np.clip(actions[node], 0.0, 1.0) * (total - self._used[node])
            waste = float(((offer - need) / total).mean())
            if (offer >= need).all() and waste < least:
                best, least = node, waste
        if best:
            self._used[best] = self._used[best] + need
            reward[best] += 10.0 * priority + 5.0 * (1.0 - least)
            return
        for node in reward:
            reward[node] -= 5.0 * priority / 10.0


def make_environment(rate: float, copies: int, *, episodes: int) -> BatchedNodes:
    """Build the preset; copies play the episodes in order.

    Args:
        rate: Expected workloads before the first step and per 100 later ones.
        copies: Batch.
        episodes: Held in the bank.
    """
    preset = distributed_nodes(workload_arrival_rate=rate)
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


def check_peer() -> None:
    """Assert that the plain loop earns what the batched program earns, for 300 steps."""
    env = make_environment(20.0, 1, episodes=4)
    env.reset(0)
    plain = PlainNodes(env.bank.scenarios, 0)
    draw = np.random.default_rng(0)
    for _ in range(300):
        action = np.sqrt(draw.random((1, 10, 4), np.float32))
        record = env.step(torch.from_numpy(action))
        _, reward = plain.step(dict(zip(env.agent_ids, action[0], strict=True)))
        np.testing.assert_allclose(record.reward[0], list(reward.values()), rtol=1e-4, atol=1e-3)


def measure(name: str, copies: int, step: Callable[[], object]) -> Speed:
    """Time a step over and over, after a warm-up.

    Args:
        name: Of the row.
        copies: Joint steps that one call makes.
        step: The call.
    """
    for _ in range(100):
        step()
    walls, cpus = [], []
    for _ in range(REPEATS):
        count, wall, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - wall < SECONDS:
            step()
            count += copies
        walls.append(count / (time.perf_counter() - wall))
        cpus.append(count / (time.process_time() - cpu))
    return Speed(
        name=name,
        copies=copies,
        steps_per_second=statistics.median(walls),
        steps_per_cpu_second=statistics.median(cpus),
    )


def measure_speed() -> list[Speed]:
    """Time all batches and the peer on one core; print and return the rows."""
    check_peer()
    rows = []
    for copies in BATCHES:
        env = make_environment(5.0, copies, episodes=256)
        env.reset(0)
        action = torch.rand((copies, 10, 4), generator=torch.Generator().manual_seed(0))
        rows.append(measure("batched", copies, lambda env=env, action=action: env.step(action)))
    plain = PlainNodes(make_environment(5.0, 1, episodes=1).bank.scenarios, 0)
    drawn = np.random.default_rng(0).random((10, 4))
    actions = {f"node_{number}": row for number, row in enumerate(drawn)}
    rows.append(measure("dict per agent", 1, lambda: plain.step(actions)))
    for row in rows:
        print(
            f"{row.name:<15} {row.copies:>5} copies {row.steps_per_second:>12,.0f} joint steps/s "
            f"{row.steps_per_cpu_second:>12,.0f} per CPU second"
        )
    return rows


def main() -> None:
    """Play, time, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=400)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = compare_table(arguments.episodes)
    speeds = measure_speed()
    best = max(speeds[:-1], key=lambda row: row.steps_per_cpu_second)
    ratio = best.steps_per_cpu_second / speeds[-1].steps_per_cpu_second
    print(
        f"best batch {best.copies}: {best.steps_per_second:,.0f} joint steps/s, "
        f"{best.steps_per_cpu_second:,.0f} per CPU second (bar {SPEED_BAR:,}); "
        f"{ratio:,.0f} times the dict-per-agent loop (bar {PEER_BAR})"
    )
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    report = {
        "command": f"python -m benchmarks.distributed_nodes --episodes {arguments.episodes}",
        "commit": commit,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one torch thread",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "seed": 0,
        "table": table,
        "speed": [asdict(row) for row in speeds],
        "times_peer": ratio,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "distributed_nodes.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
