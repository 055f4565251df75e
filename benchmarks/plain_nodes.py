"""Distributed nodes as most people would write them, and the check that they are the same."""

from __future__ import annotations

import math

import numpy as np
import torch

from data.node_workload import NodeScenarios
from rl.environments.node_allocation_environment import BatchedNodes


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


def check_plain_nodes(env: BatchedNodes) -> None:
    """Assert that the plain loop earns what the batched program earns, for 300 steps.

    Args:
        env: One copy that plays its episodes in order.
    """
    env.reset(0)
    plain = PlainNodes(env.bank.scenarios, 0)
    draw = np.random.default_rng(0)
    for _ in range(300):
        action = np.sqrt(draw.random((1, 10, 4), np.float32))
        record = env.step(torch.from_numpy(action))
        _, reward = plain.step(dict(zip(env.agent_ids, action[0], strict=True)))
        np.testing.assert_allclose(record.reward[0], list(reward.values()), rtol=1e-4, atol=1e-3)
