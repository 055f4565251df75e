"""Joint steps per second of our worlds over batch sizes, beside peers measured in the same run.

Run `python -m benchmarks.environment_speed`, or `--worlds NAME ...` for some: a table, and JSON in
benchmarks/results/environment_speed.json. One torch thread. A joint step is one step of one copy
with all its agents. CPU seconds count one process only, so a busy machine distorts them less. Plain
loops are checked to earn the same rewards as the batched program before they are timed. Public
environments lie in virtual environments of their own, made by scripts/install-peers.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.measuring import RESULTS, Speed, measure, write_report
from benchmarks.speed_worlds import WORLDS, World
from rl.environments.base_environment import BatchedEnvironment
from rl.environments.conformance import random_action

BATCHES = (64, 256, 1024, 2048, 4096)
AGENTS = (1, 4, 16, 64, 128)
SCALING_COPIES = 512


def measure_core(name: str, core: BatchedEnvironment) -> Speed:
    """Measure a batched world with actions drawn at random beforehand; ends of episodes count.

    Args:
        name: Of the row.
        core: The world.
    """
    record = core.reset(0)
    action = random_action(core, record, torch.Generator().manual_seed(0))
    with torch.no_grad():
        return measure(name, core.num_envs, lambda: core.step(action))


def measure_world(name: str, world: World, batches: tuple[int, ...]) -> dict[str, object]:
    """Measure a world, its peers and how it grows with its agents; print a table.

    Args:
        name: Of the world.
        world: What is measured.
        batches: Numbers of copies.
    """
    print(f"\n{name}")
    peers = [speed for measure_peer in world.peers for speed in measure_peer()]
    speeds = [measure_core("batched", world.make(copies)) for copies in batches]
    for speed in [*peers, *speeds]:
        print(
            f"  {speed.name:34}{speed.copies:7,}{speed.steps_per_second:13,.0f} /s"
            f"{speed.steps_per_cpu_second:13,.0f} /CPU-s"
        )
    best = max(speeds, key=lambda speed: speed.steps_per_cpu_second)
    ratios = {peer.name: best.steps_per_cpu_second / peer.steps_per_cpu_second for peer in peers}
    told = ", ".join(f"{ratio:,.0f} times the {peer}" for peer, ratio in ratios.items())
    print(
        f"  best batch {best.copies:,}: {best.steps_per_cpu_second:,.0f} per CPU second "
        f"(bar {world.bar:,}); {told or 'no peer'}"
    )
    return {
        "bar": world.bar,
        "best": asdict(best),
        "times_peer": ratios,
        "speeds": [asdict(speed) for speed in speeds],
        "peers": [asdict(peer) for peer in peers],
        "agents": measure_agents(world),
    }


def measure_agents(world: World) -> list[dict[str, float]]:
    """Measure how the cost of a joint step grows with the agents; print a line each.

    Args:
        world: With any number of agents.
    """
    if world.scale is None:
        return []
    rows = []
    for agents in AGENTS:
        speed = measure_core(f"{agents} agents", world.scale(SCALING_COPIES, agents))
        micros = 1e6 / speed.steps_per_cpu_second
        rows.append({"agents": agents, "micros_per_joint_step": micros})
        print(
            f"  {agents:4} agents: {micros:8.1f} us a joint step, {micros / agents:8.2f} an agent"
        )
    return rows


def main() -> None:
    """Measure, print tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", nargs="+", choices=tuple(WORLDS), default=list(WORLDS))
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--output", type=Path, default=RESULTS / "environment_speed.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = {
        name: measure_world(name, WORLDS[name], tuple(arguments.batches))
        for name in arguments.worlds
    }
    write_report(arguments.output, {"worlds": found})


if __name__ == "__main__":
    main()
