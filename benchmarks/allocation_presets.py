"""What rules earn in the presets constrained_allocation and traffic_shares, and what can be earned.

Run `python -m benchmarks.allocation_presets`: every expert on 512 episodes of each preset beside
what was published on 30, and beside the limit nobody can beat; prints the tables and writes
benchmarks/results/allocation_presets.json. About 30 CPU seconds on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import RESULTS, write_report
from data.scenario import BankConfig, ScenarioBank
from data.task_demand import TaskDemand, TaskLaws
from data.traffic_demand import TrafficDemand, TrafficLaws
from rl.domains.constrained_allocation import ConstrainedConfig
from rl.domains.constrained_experts import EXPERTS as TASK_EXPERTS
from rl.domains.traffic_experts import EXPERTS as TRAFFIC_EXPERTS
from rl.domains.traffic_shares import TrafficConfig
from rl.environments.constrained_allocation_environment import BatchedConstrainedAllocation
from rl.environments.lockstep import LockstepOptions
from rl.environments.torch_tools import view_to_numpy
from rl.environments.traffic_shares_environment import BatchedTrafficShares
from rl.evaluation.constrained_bounds import compute_constrained_optimum
from rl.evaluation.traffic_bounds import compute_static_return, compute_traffic_bound

EPISODES, BOUND_EPISODES = 512, 128
PUBLISHED_EPISODES = 30
COST = (0.593932, 0.743670, 0.642487)
PRIORITY = (0.772442, 0.711827, 0.822947, 0.718794, 0.945886)
"""The world of the published table, found by its cost of `ones` (990): the first eight numbers
of NumPy's legacy generator with seed 0, costs in [0.1, 1], then priorities in [0.5, 1]."""
PUBLISHED_TASKS = {
    "random": (-10_338.0, 821.0),
    "zeros": (0.0, 0.0),
    "ones": (-53_872.0, 1846.0),
    "equal_share": (50.9, 7.2),
    "demand_spread": (-86.6, 163.0),
    "greedy_cheapest": (55.3, 8.2),
}
"""Mean and deviation; that of `ones` was not published and is our own."""
PUBLISHED_TRAFFIC = {
    "random": (-272.0, 8.1),
    "no_op": (-250.8, 6.5),
    "raise": (-375.0, 8.1),
    "lower": (-288.5, 8.1),
    "chase_first": (-272.6, 8.1),
}
"""Mean and deviation; those of the last three were not published: that of `random`."""
Decide = Callable[[Any], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One policy or limit in one preset."""

    preset: str
    policy: str
    mean: float
    deviation: float
    interval: float
    """Half of the 95 % interval of the mean."""
    published: float | None
    within: bool | None
    """Whether the published mean of 30 episodes is within 3 of its standard errors of ours."""


def describe(
    preset: str, policy: str, returns: np.ndarray, published: tuple[float, float] | None = None
) -> Row:
    """Summarise the returns of a policy.

    Args:
        preset: Where.
        policy: Who.
        returns: `[episode]`.
        published: Mean and deviation.
    """
    mean, deviation = float(returns.mean()), float(returns.std())
    within = None
    if published is not None:
        error = deviation**2 / len(returns) + published[1] ** 2 / PUBLISHED_EPISODES
        within = bool(abs(mean - published[0]) <= 3 * error**0.5 + 1e-6)
    return Row(
        preset=preset,
        policy=policy,
        mean=round(mean, 3),
        deviation=round(deviation, 3),
        interval=round(1.96 * deviation / len(returns) ** 0.5, 3),
        published=None if published is None else published[0],
        within=within,
    )


def play(environment: Any, decide: Decide) -> np.ndarray:
    """Play one episode in every copy and return the returns, `[episode]`.

    Args:
        environment: Constrained allocation or traffic shares.
        decide: From the view, NumPy, to actions.
    """
    environment.reset(0)
    total = torch.zeros(environment.num_envs, dtype=torch.float64)
    for _ in range(environment.shape.num_steps):
        view = view_to_numpy(environment.view)
        action = torch.as_tensor(decide(view))[:, None]
        total += environment.step(action).reward[:, 0]
    return total.numpy()


def compare_tasks(seed: int) -> list[Row]:
    """Play constrained allocation in the published world.

    Args:
        seed: Of the episodes.
    """
    config, name = ConstrainedConfig(), "constrained_allocation"
    source = TaskDemand(TaskLaws(), seed, cost=COST, priority=PRIORITY)
    bank = ScenarioBank(source, BankConfig(num_episodes=EPISODES), seed)
    options = LockstepOptions(num_envs=EPISODES, shuffle=False)
    environment = BatchedConstrainedAllocation(config, bank, options, seed)
    draw = np.random.default_rng(seed)
    rules: dict[str, Decide] = {"random": lambda _: draw.random((EPISODES, 15), np.float32)}
    for policy, expert in TASK_EXPERTS.items():
        rules[policy] = lambda view, rule=expert: rule(view, config)
    rows = [
        describe(name, p, play(environment, rule), PUBLISHED_TASKS.get(p))
        for p, rule in rules.items()
    ]
    optimum = compute_constrained_optimum(bank.scenarios, config)
    rows.append(describe(name, "optimum, hard limits (LP)", optimum.hard))
    rows.append(describe(name, "optimum, soft penalty (QP)", optimum.soft))
    return rows


def compare_traffic(movable: str, seed: int) -> list[Row]:
    """Play traffic shares.

    Args:
        movable: Which shares move.
        seed: Of the episodes.
    """
    name = f"traffic_shares, {movable} movable"
    config = TrafficConfig(movable="all" if movable == "all" else "first")
    bank = ScenarioBank(TrafficDemand(TrafficLaws()), BankConfig(num_episodes=EPISODES), seed)
    options = LockstepOptions(num_envs=EPISODES, shuffle=False)
    environment = BatchedTrafficShares(config, bank, options, seed)
    draw = np.random.default_rng(seed)
    rules: dict[str, Decide] = {
        "random": lambda _: draw.integers(0, config.num_choices, EPISODES),
        "lower": lambda _: np.zeros(EPISODES, np.int64),
        "raise": lambda _: np.ones(EPISODES, np.int64),
    }
    for policy, expert in TRAFFIC_EXPERTS.items():
        rules[policy] = lambda view, rule=expert: rule(view, config)
    published = PUBLISHED_TRAFFIC if movable == "first" else {}
    rows = [
        describe(name, p, play(environment, rule), published.get(p)) for p, rule in rules.items()
    ]
    some = bank.scenarios.take(np.arange(BOUND_EPISODES))
    rows.append(describe(name, "best static (expected)", compute_static_return(some, config)))
    rows.append(describe(name, "hindsight bound (LP)", compute_traffic_bound(some, config)))
    return rows


def main() -> None:
    """Compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULTS / "allocation_presets.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = compare_tasks(options.seed)
    for movable in ("first", "all"):
        rows += compare_traffic(movable, options.seed)
    for row in rows:
        known = "" if row.published is None else f"{row.published:12,.1f}  {row.within}"
        print(
            f"{row.preset:31}{row.policy:28}{row.mean:12,.1f} +- {row.interval:6,.2f}"
            f"  sd {row.deviation:8,.1f}{known}"
        )
    report = {
        "command": "python -m benchmarks.allocation_presets",
        "seed": options.seed,
        "episodes": EPISODES,
        "bound_episodes_traffic": BOUND_EPISODES,
        "rows": [asdict(row) for row in rows],
    }
    write_report(options.output, report)


if __name__ == "__main__":
    main()
