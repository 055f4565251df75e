"""Three regions over 60 steps: experts and the bound, and speed.

Run `OMP_NUM_THREADS=1 python -m benchmarks.capacity_planning`: a table, and JSON in
benchmarks/results/capacity_planning.json. About a minute on one core. All policies play the same
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
from data.capacity_demand import CapacityDemand, CapacityDemandConfig, CapacityScenarios
from data.scenario import BankConfig, FixedSource, ScenarioBank
from rl.domains.capacity_experts import EXPERTS
from rl.domains.capacity_planning import CapacityConfig, CapacityView
from rl.environments.capacity_planning_environment import BatchedCapacityPlanning
from rl.environments.lockstep import LockstepOptions
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.capacity_bounds import capacity_hindsight_bound

BATCHES = (64, 512, 4096)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One policy or the bound; currency an episode."""

    name: str
    episodes: int
    cost: float
    half: float
    over_bound: float
    unmet_share: float | None = None
    """Of the demand."""
    utilisation: float | None = None
    """Of the capacity that stands."""
    built_lumps: float | None = None
    """An episode."""


def make_environment(scenarios: CapacityScenarios, copies: int) -> BatchedCapacityPlanning:
    """Build copies that play the scenarios in order.

    Args:
        scenarios: The episodes.
        copies: How many.
    """
    sizes = BankConfig(num_episodes=scenarios.num_episodes)
    bank = ScenarioBank(FixedSource(scenarios), sizes, 0)
    options = LockstepOptions(num_envs=copies, shuffle=False)
    return BatchedCapacityPlanning(CapacityConfig(), bank, options, 0)


def play(
    name: str, decide: Callable[[CapacityView], Any], scenarios: CapacityScenarios, bound: float
) -> Row:
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
    for _ in range(env.config.max_steps):
        view = view_to_numpy(env.view)
        record = env.step(torch.as_tensor(decide(view))[:, None])
        cost -= record.reward[:, 0]
        for key, value in record.metrics.items():
            sums[key] = sums.get(key, 0.0) + float(value.sum())
    return Row(
        name=name,
        episodes=env.num_envs,
        cost=float(cost.mean()),
        half=float(2.0 * cost.std() / env.num_envs**0.5),
        over_bound=float(cost.mean()) / bound - 1.0,
        unmet_share=sums["unmet"] / sums["demand"],
        utilisation=sums["served"] / sums["capacity"],
        built_lumps=sums["built_lumps"] / env.num_envs,
    )


def measure_speed(seed: int) -> list[Speed]:
    """Time the world over batches.

    Args:
        seed: Of episodes and actions.
    """
    rows = []
    scenarios = CapacityDemand(CapacityDemandConfig()).draw(256, np.random.default_rng(seed))
    for copies in BATCHES:
        env = make_environment(scenarios, copies)
        draw = torch.Generator().manual_seed(seed)
        action = 2.0 * torch.rand((copies, 1, 3), generator=draw) - 1.0
        rows.append(measure("batched", copies, partial(env.step, action)))
    return rows


def main() -> None:
    """Play, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULTS / "capacity_planning.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config, seed = CapacityConfig(), options.seed
    law = CapacityDemandConfig()
    scenarios = CapacityDemand(law).draw(options.episodes, np.random.default_rng(seed))
    bounds = capacity_hindsight_bound(scenarios, config)
    bound = float(bounds.mean())
    generator = np.random.default_rng(seed)
    rows = [
        play(name, partial(rule, config=config, generator=generator), scenarios, bound)
        for name, rule in EXPERTS.items()
    ]
    half = float(2.0 * bounds.std(ddof=1) / options.episodes**0.5)
    rows.append(
        Row(name="hindsight LP", episodes=options.episodes, cost=bound, half=half, over_bound=0.0)
    )
    for row in rows:
        shares = ""
        if row.unmet_share is not None:
            shares = (
                f"unmet {row.unmet_share:6.1%}  used {row.utilisation:6.1%}  "
                f"built {row.built_lumps:5.1f}"
            )
        print(
            f"{row.name:24} cost {row.cost:8,.0f} +- {row.half:5,.0f} "
            f"{row.over_bound:+8.1%} over bound  {shares}"
        )
    speeds = measure_speed(seed)
    for speed in speeds:
        print(f"{speed.copies:6,} copies: {speed.steps_per_cpu_second:10,.0f} steps/CPU-s")
    report = {
        "command": f"python -m benchmarks.capacity_planning --episodes {options.episodes} "
        f"--seed {seed}",
        "rows": [asdict(row) for row in rows],
        "speeds": [asdict(speed) for speed in speeds],
    }
    write_report(options.output, report)


if __name__ == "__main__":
    main()
