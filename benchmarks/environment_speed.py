"""Joint steps per second of the shared services over batch sizes, beside two peers in one run.

Run `python -m benchmarks.environment_speed`: a table, and JSON in
var/benchmarks/environment_speed.json. One torch thread. A joint step is one step of one copy with
all four services. CPU seconds count this process only, so a shared machine distorts them less.
Peers: the same dynamics as a plain loop over Python floats, checked here to earn the same rewards;
and Gymnasium's SyncVectorEnv over our own single face.
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

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from data.scenario import WorkloadScenarios
from rl.domains.resource_allocation import OBSERVATION_LIMIT, SLACK_STEPS, AllocationConfig
from rl.environments.registration import make_planner
from rl.environments.resource_allocation_environment import (
    BatchedResourceAllocation,
    EnvironmentConfig,
)
from rl.environments.synthetic_services import make_synthetic_services

BAR = 150_000
SERVICES = 4
BATCHES = (1, 4, 16, 64, 256, 1024, 2048, 4096, 8192)
PEER_COPIES = 16
REPEATS = 5
SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Medians over repeats."""

    name: str
    copies: int
    steps_per_second: float
    steps_per_cpu_second: float


class PlainAllocation:
    """The planner's world as most people would write it: one copy, Python floats, no tensors."""

    def __init__(self, config: AllocationConfig, scenarios: WorkloadScenarios) -> None:
        """Copy the scenarios into lists.

        Args:
            config: The world.
            scenarios: Its episodes.
        """
        self.config = config
        self.demand = scenarios.demand.tolist()
        self.history = scenarios.history.tolist()
        self.capacity = scenarios.capacity.tolist()
        self.priority = scenarios.priority.tolist()
        self.price = scenarios.price.tolist()
        self.time_of_day = scenarios.time_of_day.tolist()
        self.scale = max(service.priority for service in config.services)

    def reset(self, episode: int) -> np.ndarray:
        """Begin an episode.

        Args:
            episode: Its position.
        """
        services, resources = len(self.config.services), len(self.config.resources)
        self.episode, self.t = episode, 0
        self.backlog = [[0.0] * self.config.max_patience for _ in range(services)]
        self.allocation = [[0.0] * resources for _ in range(services)]
        self.recent = [list(one) for one in zip(*self.history[episode], strict=True)]
        return self.observe()

    def step(self, action: list[float]) -> tuple[np.ndarray, float, bool]:
        """Hold, let demand arrive, serve, lose.

        Args:
            action: Share of each capacity per service and resource, in [0, 1].
        """
        services, resources = self.config.services, range(len(self.config.resources))
        capacity = self.capacity[self.episode][self.t]
        price, priority = self.price[self.episode], self.priority[self.episode]
        total = [max(1.0, sum(action[r :: len(resources)])) for r in resources]
        reward = 0.0
        for index, service in enumerate(services):
            held = [action[index * len(resources) + r] / total[r] * capacity[r] for r in resources]
            arrived = self.demand[self.episode][self.t][index]
            backlog = self.backlog[index]
            backlog[service.patience - 1] += arrived
            rate = room = min(held[r] / service.usage[r] for r in resources)
            for slack, work in enumerate(backlog):
                served = min(work, room)
                backlog[slack] = work - served
                room -= served
            done = rate - room
            reward += priority[index] * done
            reward -= sum(price[r] * max(held[r] - done * service.usage[r], 0.0) for r in resources)
            self.backlog[index] = [*backlog[1:], 0.0]
            self.allocation[index] = held
            self.recent[index] = [*self.recent[index][1:], arrived]
        self.t += 1
        return self.observe(), reward, self.t == self.config.max_steps

    def load(self, last: int) -> list[float]:
        """Return all needs, then the expiring work, over the capacities.

        Args:
            last: Step whose capacities count.
        """
        capacity, services = self.capacity[self.episode][last], self.config.services
        needs = [sum(b) + sum(r[-3:]) / 3 for b, r in zip(self.backlog, self.recent, strict=True)]
        expiring = [backlog[0] for backlog in self.backlog]
        return [
            sum(w * s.usage[r] for w, s in zip(work, services, strict=True)) / capacity[r]
            for work in (needs, expiring)
            for r in range(len(capacity))
        ]

    def observe(self) -> np.ndarray:
        """Return the planner's observation."""
        config = self.config
        nominal, resources = config.capacity, range(len(config.resources))
        last = min(self.t, config.max_steps - 1)
        values: list[float] = []
        for index, service in enumerate(config.services):
            share = [service.usage[r] / nominal[r] for r in resources]
            dominant = max(share)
            backlog, recent = self.backlog[index], self.recent[index]
            values += [sum(backlog[: slack + 1]) * dominant for slack in SLACK_STEPS]
            values.append(sum(backlog) * dominant)
            values += [recent[-1] * dominant, recent[-2] * dominant, recent[-3] * dominant]
            half = recent[len(recent) // 2 :]
            values += [sum(half) / len(half) * dominant, sum(recent) / len(recent) * dominant]
            values += [self.allocation[index][r] / nominal[r] for r in resources]
            values.append(self.priority[self.episode][index] / self.scale)
            values.append(service.patience / config.max_patience)
            values += [one / dominant for one in share]
        values += self.load(last)
        values += [self.capacity[self.episode][last][r] / nominal[r] for r in resources]
        values += [self.price[self.episode][r] / config.price[r] for r in resources]
        angle = 2 * math.pi * self.time_of_day[self.episode][last]
        values += [0.5 + 0.5 * math.sin(angle), 0.5 + 0.5 * math.cos(angle)]
        return np.minimum(np.array(values, np.float32), OBSERVATION_LIMIT)


def make_core(copies: int, seed: int, *, shuffle: bool = True) -> BatchedResourceAllocation:
    """Build the batched world.

    Args:
        copies: How many.
        seed: Of its episodes.
        shuffle: Whether episodes are drawn at random.
    """
    config, bank = make_synthetic_services(num_services=SERVICES, seed=seed)
    options = EnvironmentConfig(num_envs=copies, shuffle=shuffle)
    return BatchedResourceAllocation(config, bank, options, seed)


def measure(name: str, copies: int, step: Callable[[], object]) -> Speed:
    """Time a function that steps every copy once.

    Args:
        name: Of what is measured.
        copies: Joint steps per call.
        step: The call.
    """
    for _ in range(5):
        step()
    begun = time.perf_counter()
    step()
    calls = max(10, round(SECONDS / REPEATS / (time.perf_counter() - begun)))
    wall, cpu = [], []
    for _ in range(REPEATS):
        wall_begun, cpu_begun = time.perf_counter(), time.process_time()
        for _ in range(calls):
            step()
        wall.append(calls * copies / (time.perf_counter() - wall_begun))
        cpu.append(calls * copies / (time.process_time() - cpu_begun))
    return Speed(
        name=name,
        copies=copies,
        steps_per_second=round(statistics.median(wall)),
        steps_per_cpu_second=round(statistics.median(cpu)),
    )


def measure_core(copies: int, seed: int) -> Speed:
    """Measure the batched world; ends of episodes are part of it.

    Args:
        copies: How many.
        seed: Of episodes and actions.
    """
    core = make_core(copies, seed)
    core.reset(seed)
    size = (copies, 1, core.groups[0].action.size)
    action = torch.rand(size, generator=torch.Generator().manual_seed(seed))
    return measure("batched", copies, lambda: core.step(action))


def measure_plain(seed: int) -> Speed:
    """Measure the plain loop.

    Args:
        seed: Of episodes and actions.
    """
    core = make_core(1, seed)
    world = PlainAllocation(core.config, core.bank.scenarios)
    action = np.random.default_rng(seed).random(core.groups[0].action.size).tolist()
    world.reset(0)

    def step() -> None:
        _, _, truncated = world.step(action)
        if truncated:
            world.reset((world.episode + 1) % core.bank.scenarios.num_episodes)

    return measure("plain Python loop", 1, step)


def measure_sync_vector(seed: int) -> Speed:
    """Measure Gymnasium's own vectorisation of our single face.

    Args:
        seed: Of episodes and actions.
    """

    def make() -> gymnasium.Env:
        return make_planner(num_services=SERVICES, seed=seed)

    copies = SyncVectorEnv([make] * PEER_COPIES, autoreset_mode=AutoresetMode.SAME_STEP)
    copies.reset(seed=seed)
    copies.action_space.seed(seed)
    action = copies.action_space.sample()
    return measure("SyncVectorEnv of our face", PEER_COPIES, lambda: copies.step(action))


def check_plain(seed: int) -> float:
    """Return the largest difference between the plain loop and the core over one episode.

    Args:
        seed: Of episodes and actions.

    Raises:
        SystemExit: They do not play the same world.
    """
    core = make_core(1, seed, shuffle=False)
    observation = core.reset(seed).observation
    world = PlainAllocation(core.config, core.bank.scenarios)
    plain = world.reset(int(core.episode_index[0]))
    worst = float(np.abs(plain - observation[0, 0].numpy()).max())
    draw = torch.Generator().manual_seed(seed)
    for _ in range(core.config.max_steps):
        action = torch.rand((1, 1, core.groups[0].action.size), generator=draw)
        record = core.step(action)
        plain, reward, _ = world.step(action[0, 0].tolist())
        error = abs(reward - float(record.reward[0, 0])) / max(1.0, abs(reward))
        seen = float(np.abs(plain - record.final_observation[0, 0].numpy()).max())
        worst = max(worst, error, seen)
    if worst > 1e-3:
        raise SystemExit(f"the plain loop differs from the core by {worst}; it is no peer")
    return worst


def describe_machine() -> dict[str, str | int | float]:
    """Return what a reader needs to place the numbers."""
    run = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(run, capture_output=True, text=True, check=False)  # noqa: S603
    return {
        "commit": commit.stdout.strip(),
        "machine": platform.processor() or platform.machine(),
        "cpus": os.cpu_count() or 0,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "gymnasium": gymnasium.__version__,
        "torch_threads": torch.get_num_threads(),
    }


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument(
        "--output", type=Path, default=Path("var/benchmarks/environment_speed.json")
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seed = arguments.seed
    difference = check_plain(seed)
    plain = measure_plain(seed)
    speeds = [plain, measure_sync_vector(seed)]
    speeds += [measure_core(copies, seed) for copies in arguments.batches]
    print(f"{'':28}{'copies':>7}{'steps/s':>12}{'steps/CPU-s':>13}{'x plain (CPU)':>15}")
    for speed in speeds:
        ratio = speed.steps_per_cpu_second / plain.steps_per_cpu_second
        print(
            f"{speed.name:28}{speed.copies:7,}{speed.steps_per_second:12,.0f}"
            f"{speed.steps_per_cpu_second:13,.0f}{ratio:15.2f}"
        )
    best = max(speeds[2:], key=lambda speed: speed.steps_per_cpu_second)
    print(
        f"best batch {best.copies:,}: {best.steps_per_cpu_second:,.0f} joint steps per CPU second "
        f"({best.steps_per_second:,.0f} per second of wall time); the bar is {BAR:,}"
    )
    report = {
        "seed": seed,
        "services": SERVICES,
        "bar": BAR,
        "best": asdict(best),
        "plain_difference": difference,
        "speeds": [asdict(speed) for speed in speeds],
        **describe_machine(),
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
