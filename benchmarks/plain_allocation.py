"""The planner's world as most people would write it, and the check that it is the same world."""

from __future__ import annotations

import math

import numpy as np
import torch

from data.scenario import WorkloadScenarios
from rl.domains.resource_allocation import OBSERVATION_LIMIT, SLACK_STEPS, AllocationConfig
from rl.environments.resource_allocation_environment import (
    BatchedResourceAllocation,
    EnvironmentConfig,
)
from rl.environments.synthetic_services import make_synthetic_services

SERVICES = 4


class PlainAllocation:
    """One copy, Python floats, no tensors."""

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
