"""A roster of 20 people over two weeks: experts, planners and the bound, and speed.

Run `OMP_NUM_THREADS=1 python -m benchmarks.workforce`: a table, and JSON in
benchmarks/results/workforce.json. About three minutes on one core. All policies play the same
episodes; the halves of intervals are two standard errors of a mean over episodes, and `over bound`
is the mean cost as a share of the mean bound of the same episodes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import RESULTS, Speed, measure, write_report
from data.scenario import BankConfig, FixedSource, ScenarioBank
from data.staffing_demand import StaffingConfig, StaffingDemand, StaffingScenarios
from rl.domains.workforce import WorkforceConfig, WorkforceView
from rl.domains.workforce_experts import EXPERTS
from rl.environments.lockstep import LockstepOptions
from rl.environments.torch_tools import view_to_numpy
from rl.environments.workforce_environment import BatchedWorkforce
from rl.evaluation.workforce_bounds import RollingPlanner, staffing_hindsight_bound

BATCHES = (64, 512, 4096)

Decide = Callable[[WorkforceView], Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One policy or the bound; currency an episode."""

    name: str
    episodes: int
    cost: float
    half: float
    over_bound: float
    missing_share: float | None = None
    """Of the demand."""
    overtime_share: float | None = None
    """Of the hours worked."""
    fairness: float | None = None
    """At the end of the episode."""


def make_environment(scenarios: StaffingScenarios, copies: int) -> BatchedWorkforce:
    """Build copies that play the scenarios in order.

    Args:
        scenarios: The episodes.
        copies: How many.
    """
    sizes = BankConfig(num_episodes=scenarios.num_episodes)
    bank = ScenarioBank(FixedSource(scenarios), sizes, 0)
    options = LockstepOptions(num_envs=copies, shuffle=False)
    return BatchedWorkforce(WorkforceConfig(), bank, options, 0)


def play(name: str, decide: Decide, scenarios: StaffingScenarios, bound: float) -> Row:
    """Play every episode once.

    Args:
        name: Of the policy.
        decide: Actions of a view.
        scenarios: The episodes.
        bound: Mean bound of the episodes.
    """
    env = make_environment(scenarios, scenarios.num_episodes)
    env.reset(0)
    cost, sums = torch.zeros(env.num_envs, dtype=torch.float64), {}
    for _ in range(env.config.num_shifts):
        view = view_to_numpy(env.view)
        record = env.step(torch.as_tensor(decide(view))[:, None])
        cost -= record.reward[:, 0]
        for key, value in record.metrics.items():
            sums[key] = sums.get(key, 0.0) + float(value.sum())
    hours = sums["regular_hours"] + sums["overtime_hours"]
    return Row(
        name=name,
        episodes=env.num_envs,
        cost=float(cost.mean()),
        half=float(2.0 * cost.std() / env.num_envs**0.5),
        over_bound=float(cost.mean()) / bound - 1.0,
        missing_share=sums["missing_people"] / sums["demand_people"],
        overtime_share=sums["overtime_hours"] / max(hours, 1.0),
        fairness=float(record.metrics["fairness"].mean()),
    )


def measure_speed(seed: int) -> list[Speed]:
    """Time the world over batches.

    Args:
        seed: Of episodes and actions.
    """
    rows = []
    scenarios = StaffingDemand(StaffingConfig()).draw(256, np.random.default_rng(seed))
    for copies in BATCHES:
        env = make_environment(scenarios, copies)
        draw = torch.Generator().manual_seed(seed)
        action = torch.rand((copies, 1, 3), generator=draw)
        rows.append(measure("batched", copies, partial(env.step, action)))
    return rows


def main() -> None:
    """Play, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULTS / "workforce.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config, seed = WorkforceConfig(), options.seed
    scenarios = StaffingDemand(StaffingConfig()).draw(options.episodes, np.random.default_rng(seed))
    bounds = staffing_hindsight_bound(scenarios, config)
    bound = float(bounds.mean())
    generator = np.random.default_rng(seed)
    rows = [
        play(name, partial(rule, config=config, generator=generator), scenarios, bound)
        for name, rule in EXPERTS.items()
    ]
    for safety in (0.0, 0.4):
        planner = RollingPlanner(config, safety=safety)
        rows.append(play(f"rolling LP, safety {safety}", planner, scenarios, bound))
    half = float(2.0 * bounds.std(ddof=1) / options.episodes**0.5)
    rows.append(
        Row(name="hindsight LP", episodes=options.episodes, cost=bound, half=half, over_bound=0.0)
    )
    for row in rows:
        shares = ""
        if row.missing_share is not None:
            shares = (
                f"missing {row.missing_share:6.1%}  overtime {row.overtime_share:6.1%}  "
                f"fairness {row.fairness:.3f}"
            )
        print(
            f"{row.name:24} cost {row.cost:8,.0f} +- {row.half:5,.0f} "
            f"{row.over_bound:+8.1%} over bound  {shares}"
        )
    speeds = measure_speed(seed)
    for speed in speeds:
        print(f"{speed.copies:6,} copies: {speed.steps_per_cpu_second:10,.0f} shifts/CPU-s")
    report = {
        "command": f"python -m benchmarks.workforce --episodes {options.episodes} --seed {seed}",
        "rows": [asdict(row) for row in rows],
        "speeds": [asdict(speed) for speed in speeds],
    }
    write_report(options.output, report)


if __name__ == "__main__":
    main()
