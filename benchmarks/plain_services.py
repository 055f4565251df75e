"""The full market of shared services as most people would write it, and the check that it is one.

The auction with budgets, moving prices, energy and carbon: Python floats in a dict per agent.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from data.scenario import WorkloadScenarios
from rl.domains.resource_allocation import OBSERVATION_LIMIT, SLACK_STEPS, AllocationConfig
from rl.domains.service_market import EnergyConfig, MarketConfig, read_carbon_intensity
from rl.environments.allocation_options import EnvironmentConfig
from rl.environments.resource_allocation_environment import BatchedResourceAllocation
from rl.environments.synthetic_services import make_synthetic_services

MARKET = MarketConfig(dynamic_prices=True)
ENERGY = EnergyConfig(busy_kwh=(0.02, 0.01), idle_kwh=(0.01, 0.005))
Row = dict[str, float]


class PlainServices:
    """The market as most people would write it: one copy, a dict per agent, no tensors."""

    def __init__(self, config: AllocationConfig, scenarios: WorkloadScenarios) -> None:
        """Copy the scenarios into lists.

        Args:
            config: The world.
            scenarios: Its episodes.
        """
        self.config = config
        self.names = [service.name for service in config.services]
        self.service = dict(zip(self.names, config.services, strict=True))
        self.resources = range(len(config.resources))
        self.data = {name: values.tolist() for name, values in vars(scenarios).items()}
        self.carbon = read_carbon_intensity(scenarios.time_of_day, ENERGY).tolist()

    def reset(self, episode: int) -> dict[str, np.ndarray]:
        """Begin an episode.

        Args:
            episode: Its position.
        """
        self.t = 0
        self.episode = episode
        self.now = {name: values[episode] for name, values in self.data.items()}
        self.backlog = {n: [0.0] * self.config.max_patience for n in self.names}
        self.held = {n: [0.0 for _ in self.resources] for n in self.names}
        self.budget = dict.fromkeys(self.names, MARKET.budget)
        self.level = [1.0 for _ in self.resources]
        self.price = [0.0 for _ in self.resources]
        history = zip(*self.now["history"], strict=True)
        self.recent = {n: list(one) for n, one in zip(self.names, history, strict=True)}
        return self.observe()

    def sell(self, actions: dict[str, list[float]]) -> None:
        """Sell every resource to the highest bids at the highest bid that lost.

        Args:
            actions: Per agent: shares asked for, then bids.
        """
        count, capacity = len(self.resources), self.now["capacity"][self.t]
        claims, bids = {}, {}
        for name in self.names:
            usage, action = self.service[name].usage, actions[name]
            pending = sum(self.backlog[name])
            wanted = [min(action[r] * capacity[r], pending * usage[r]) for r in self.resources]
            bids[name] = [MARKET.largest_bid * action[count + r] for r in self.resources]
            cost = sum(w * b for w, b in zip(wanted, bids[name], strict=True))
            part = self.budget[name] / cost if cost > self.budget[name] else 1.0
            claims[name] = [part * w for w in wanted]
            self.held[name] = [0.0 for _ in self.resources]
        for r in self.resources:
            free, price = capacity[r], 0.0
            for bid in sorted({bids[n][r] for n in self.names}, reverse=True):
                equal = [n for n in self.names if bids[n][r] == bid]
                total = sum(claims[n][r] for n in equal)
                part = min(1.0, free / total) if total > 0 else 1.0
                for name in equal:
                    self.held[name][r] = part * claims[name][r]
                free = max(0.0, free - part * total)
                if part < 1.0:
                    price = max(price, bid)
            self.price[r] = price
        for name in self.names:
            paid = sum(self.held[name][r] * self.price[r] for r in self.resources)
            self.budget[name] -= min(paid, self.budget[name])

    def step(
        self, actions: dict[str, list[float]]
    ) -> tuple[dict[str, np.ndarray], Row, bool, dict[str, Row]]:
        """Sell, serve, lose, count and move prices.

        Args:
            actions: Per agent, in [0, 1].
        """
        now, capacity = self.now, self.now["capacity"][self.t]
        for index, name in enumerate(self.names):
            arrived = now["demand"][self.t][index]
            self.backlog[name][self.service[name].patience - 1] += arrived
            self.recent[name] = [*self.recent[name][1:], arrived]
        self.sell(actions)
        rewards, infos = {}, {}
        for index, name in enumerate(self.names):
            usage, held = self.service[name].usage, self.held[name]
            room = rate = min(held[r] / usage[r] for r in self.resources)
            left = []
            for work in self.backlog[name]:
                served = min(work, room)
                left.append(work - served)
                room -= served
            done = rate - room
            used = [done * usage[r] for r in self.resources]
            idle = [max(held[r] - used[r], 0.0) for r in self.resources]
            cost = sum(now["price"][r] * self.level[r] * idle[r] for r in self.resources)
            energy = sum(
                used[r] * ENERGY.busy_kwh[r] + idle[r] * ENERGY.idle_kwh[r] for r in self.resources
            )
            carbon = energy * self.carbon[self.episode][self.t]
            rewards[name] = now["priority"][index] * done - cost
            infos[name] = {"lost": left[0], "energy_kwh": energy, "carbon_kg": carbon}
            self.backlog[name] = [*left[1:], 0.0]
        for r in self.resources:
            use = sum(self.held[n][r] for n in self.names) / max(capacity[r], 1e-9)
            move = MARKET.price_rise if use > MARKET.busy_use else 1.0
            move = MARKET.price_fall if use < MARKET.quiet_use else move
            level = self.level[r] * move
            self.level[r] = min(max(level, MARKET.lowest_level), MARKET.highest_level)
        self.t += 1
        return self.observe(), rewards, self.t == self.config.max_steps, infos

    def observe(self) -> dict[str, np.ndarray]:
        """Return what every agent sees."""
        config, last = self.config, min(self.t, self.config.max_steps - 1)
        capacity, hour = self.now["capacity"][last], self.now["time_of_day"][last]
        backlog, recent, shared = self.backlog, self.recent, []
        need = {n: sum(backlog[n]) + sum(recent[n][-3:]) / 3 for n in self.names}
        expiring = {n: backlog[n][0] for n in self.names}
        for work in (need, expiring):
            for r in self.resources:
                asked = sum(work[n] * self.service[n].usage[r] for n in self.names)
                shared.append(asked / (capacity[r] + 1e-6))
        shared += [capacity[r] / config.capacity[r] for r in self.resources]
        shared += [self.now["price"][r] / config.price[r] for r in self.resources]
        shared += [0.5 + 0.5 * math.sin(2 * math.pi * hour)]
        shared += [0.5 + 0.5 * math.cos(2 * math.pi * hour), *self.level]
        shared += [price / MARKET.largest_bid for price in self.price]
        scale = max(service.priority for service in config.services)
        seen = {}
        for index, name in enumerate(self.names):
            service, held = self.service[name], self.held[name]
            share = [service.usage[r] / config.capacity[r] for r in self.resources]
            dominant = max(share)
            waiting = [sum(backlog[name][: slack + 1]) for slack in SLACK_STEPS]
            own = [*waiting, sum(backlog[name]), *recent[name][:-4:-1]]
            half = recent[name][len(recent[name]) // 2 :]
            own += [sum(half) / len(half), sum(recent[name]) / len(recent[name])]
            values = [number * dominant for number in own]
            values += [held[r] / config.capacity[r] for r in self.resources]
            values += [self.now["priority"][index] / scale, service.patience / config.max_patience]
            values += [one / dominant for one in share]
            values += [self.budget[name] / MARKET.budget]
            seen[name] = np.minimum(np.array(values + shared, np.float32), OBSERVATION_LIMIT)
        return seen


def make_core(copies: int, seed: int, num_services: int = 4) -> BatchedResourceAllocation:
    """Build the batched market.

    Args:
        copies: How many.
        seed: Of its episodes.
        num_services: Its agents.
    """
    config, bank = make_synthetic_services(num_services=num_services, seed=seed)
    options = EnvironmentConfig(
        num_envs=copies,
        view="services",
        mechanism="auction",
        market=MARKET,
        energy=ENERGY,
        shuffle=copies > 1,
    )
    return BatchedResourceAllocation(config, bank, options, seed)


def check_plain(seed: int) -> float:
    """Return the largest difference between the plain loop and the core over one episode.

    Args:
        seed: Of episodes and actions.

    Raises:
        SystemExit: They do not play the same world.
    """
    core = make_core(1, seed)
    seen = core.reset(seed).observation[0].numpy()
    world = PlainServices(core.config, core.bank.scenarios)
    plain = world.reset(int(core.episode_index[0]))
    worst = float(np.abs(np.stack(list(plain.values())) - seen).max())
    draw = torch.Generator().manual_seed(seed)
    for _ in range(core.config.max_steps):
        action = torch.rand((1, core.num_agents, core.action_size), generator=draw)
        record = core.step(action)
        actions = dict(zip(world.names, action[0].tolist(), strict=True))
        plain, rewards, _, infos = world.step(actions)
        energy = sum(info["energy_kwh"] for info in infos.values())
        carbon = sum(info["carbon_kg"] for info in infos.values())
        seen = record.final_observation[0].numpy()
        errors = [np.abs(np.stack(list(plain.values())) - seen).max()]
        errors.append(np.abs(np.array(list(rewards.values())) - record.reward[0].numpy()).max())
        errors.append(abs(energy - float(record.metrics["energy_kwh"])))
        errors.append(abs(carbon - float(record.metrics["carbon_kg"])))
        worst = max(worst, *(float(error) for error in errors))
    if worst > 1e-2:
        raise SystemExit(f"the plain loop differs from the core by {worst}; it is no peer")
    return worst
