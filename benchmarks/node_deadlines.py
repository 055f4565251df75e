"""What do deadlines change on distributed nodes? Each rule, tried once and until the deadline.

Run `OMP_NUM_THREADS=1 python -m benchmarks.node_deadlines`: a table, and
benchmarks/results/node_deadlines.json. Some minutes on one core. Both worlds play the same
episodes; intervals are two standard errors over them. The published rows are in
`benchmarks.distributed_nodes`.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.measuring import RESULTS, write_report
from data.node_workload import NodeWorkload
from data.scenario import BankConfig, ScenarioBank
from rl.domains.node_experts import EXPERTS
from rl.domains.nodes import NodeView, distributed_nodes_deadlines
from rl.environments.lockstep import LockstepOptions
from rl.environments.node_allocation_environment import BatchedNodes

RATES = (5, 10, 20)
STEP_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Row:
    """One rule in one world; halves of intervals are two standard errors."""

    rate: int
    rule: str
    world: str
    mean_return: float
    return_half: float
    violation_rate: float
    violation_half: float
    utilization: float
    steps_per_cpu_second: float


def play(rate: int, rule: str, step_seconds: float | None, episodes: int) -> Row:
    """Play every episode once.

    Args:
        rate: Of arrivals.
        rule: Name of the expert.
        step_seconds: Length of a step, or None to try once.
        episodes: How many.
    """
    preset = distributed_nodes_deadlines(workload_arrival_rate=rate)
    bank = ScenarioBank(NodeWorkload(preset.world), BankConfig(num_episodes=episodes), 0)
    config = replace(preset.nodes, step_seconds=step_seconds)
    options = LockstepOptions(num_envs=episodes, shuffle=False)
    env = BatchedNodes(config, bank, options, 0)
    env.reset(0)
    generator = np.random.default_rng(0)
    total, used, settled, failed = torch.zeros((4, episodes))
    begun = time.process_time()
    for _ in range(config.max_steps):
        action = EXPERTS[rule](NodeView(usage=env.view.usage.numpy()), generator)
        record = env.step(torch.from_numpy(action))
        total += record.reward.sum(1)
        settled += record.metrics["total_workloads"]
        failed += record.metrics["failed_workloads"]
        used += record.metrics["avg_utilization"] / config.max_steps
    speed = episodes * config.max_steps / (time.process_time() - begun)
    violation = failed / settled.clamp(min=1.0)

    def half(values: Tensor) -> float:
        return float(2.0 * values.std() / episodes**0.5)

    return Row(
        rate=rate,
        rule=rule,
        world="tried once" if step_seconds is None else f"until deadline, {step_seconds} s a step",
        mean_return=float(total.mean()),
        return_half=half(total),
        violation_rate=float(violation.mean()),
        violation_half=half(violation),
        utilization=float(used.mean()),
        steps_per_cpu_second=round(speed),
    )


def main() -> None:
    """Play, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--output", type=Path, default=RESULTS / "node_deadlines.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for rate in RATES:
        for rule in EXPERTS:
            for seconds in (None, STEP_SECONDS):
                row = play(rate, rule, seconds, options.episodes)
                rows.append(row)
                print(
                    f"{rate:3} {rule:13} {row.world:28} return {row.mean_return:7.0f} "
                    f"+- {row.return_half:4.0f}  failed {row.violation_rate:6.1%} +- "
                    f"{row.violation_half:5.1%}  used {row.utilization:5.1%}",
                    flush=True,
                )
    report = {
        "command": f"python -m benchmarks.node_deadlines --episodes {options.episodes}",
        "seed": 0,
        "rows": [asdict(row) for row in rows],
    }
    write_report(options.output, report)


if __name__ == "__main__":
    main()
