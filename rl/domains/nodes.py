"""Nodes that offer shares of what they have free: what is observed, offered and wasted.

The same lines run in training (torch), evaluation and serving (NumPy). All amounts are shares of
the capacity of the node in question.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from data.node_workload import NodeWorldConfig
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class NodeConfig:
    """Rules of the game; the defaults are the published ones."""

    num_nodes: int = 10
    resources: tuple[str, ...] = ("cpu", "memory", "bandwidth", "storage")
    """The first is the one whose imbalance costs."""
    drain: float = 0.001
    """Share of its capacity that every resource of every node gets back in a step."""
    placement_reward: float = 10.0
    """Per unit of priority, to the node that takes a workload."""
    fit_reward: float = 5.0
    """To the same node, times one minus the waste."""
    failure_penalty: float = 0.5
    """Per unit of priority, from every node, when none can take a workload."""
    imbalance_penalty: float = 2.0
    """From every node and step, times the variance of the first usage over nodes."""
    max_steps: int = 1000
    step_seconds: float | None = None
    """Length of a step: a workload is tried in every step that begins before its deadline. None
    tries each workload once, whatever its deadline."""

    observe: Literal["own", "team"] = "own"
    """What a node sees: itself, or also where it stands among all."""
    shared_reward: bool = False
    """Every node gets the mean over nodes of each reward term instead of its own."""

    def __post_init__(self) -> None:
        """Refuse empty worlds."""
        if self.observe not in ("own", "team"):
            raise ConfigError(f"observe={self.observe!r}; known: own, team")
        if self.step_seconds is not None and not 0 < self.step_seconds < np.inf:
            raise ConfigError(f"step_seconds must be finite and above 0, not {self.step_seconds}")
        if min(self.num_nodes, len(self.resources), self.max_steps) < 1:
            raise ConfigError("num_nodes, resources and max_steps want to be at least 1")
        weights = ("placement_reward", "fit_reward", "failure_penalty", "imbalance_penalty")
        for name in weights:
            if not 0 <= getattr(self, name) < np.inf:
                raise ConfigError(
                    f"{name} must be finite and at least 0, not {getattr(self, name)}"
                )
        if not 0 <= self.drain <= 1:
            raise ConfigError(f"drain is a share of capacity in [0, 1], not {self.drain}")


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """What is known before a step."""

    usage: Any
    """`[..., node, resource]`, in [0, 1]."""


class NodeDomain:
    """Encoding and the meaning of actions, for NumPy or torch."""

    def __init__(self, config: NodeConfig, xp: Any = np) -> None:
        """Keep the rules.

        Args:
            config: The world.
            xp: Array namespace, `numpy` or `torch`.
        """
        self.config = config
        self.num_resources = len(config.resources)
        self.observation_size = 2 * self.num_resources
        """Per node."""
        if config.observe == "team":
            self.observation_size += 1 + self.num_resources
        self._xp = xp

    def encode(self, view: NodeView) -> Any:
        """Observe each node.

        Args:
            view: What is known.

        Returns:
            `[..., node, 2 * resource]`: shares in use, then shares free; all in [0, 1]. Of a team
            also, `[..., node, 1 + resource]`: the share of the other nodes that have less of the
            first resource in use (of equals, those before it count as such), and the mean use.
        """
        xp, usage = self._xp, view.usage
        own = [usage, 1.0 - usage]
        if self.config.observe == "own":
            return xp.concatenate(own, axis=-1)
        first = usage[..., 0]
        before = xp.tril(xp.ones_like(first[..., :, None] + first[..., None, :]), -1) > 0
        less = first[..., None, :] < first[..., :, None]
        equal = first[..., None, :] == first[..., :, None]
        rank = (less | (equal & before)).sum(-1) / max(self.config.num_nodes - 1, 1)
        mean = xp.zeros_like(usage) + usage.mean(-2)[..., None, :]
        return xp.concatenate([*own, rank[..., None], mean], axis=-1)

    def project(self, action: Any, view: NodeView) -> Any:
        """Turn actions into offers, which never exceed what is free.

        Args:
            action: `[..., node, resource]`: share of the free amount offered; clipped to [0, 1].
            view: What is known.

        Returns:
            `[..., node, resource]`.
        """
        return self._xp.clip(action, 0.0, 1.0) * (1.0 - view.usage)

    def waste(self, offer: Any, need: Any) -> Any:
        """Tell what each node would offer in vain for one workload; the least is the best fit.

        Args:
            offer: `[..., node, resource]`.
            need: `[..., node, resource]`: of the workload, as shares of each node's capacity.

        Returns:
            `[..., node]`: mean over resources, infinite where an offer does not cover its need.
        """
        spare = offer - need
        covered = (spare >= 0.0).all(-1)
        return self._xp.where(covered, spare.mean(-1), np.inf)


@dataclass(frozen=True, kw_only=True)
class DistributedNodes:
    """The rules and the laws of chance of one preset."""

    nodes: NodeConfig
    world: NodeWorldConfig


def distributed_nodes(
    num_nodes: int = 10, *, workload_arrival_rate: float = 5.0, max_steps: int = 1000
) -> DistributedNodes:
    """Return the published world, repaired: nodes begin empty, a workload is tried once.

    Args:
        num_nodes: One agent each.
        workload_arrival_rate: Workloads expected before the first step, and per 100 later steps.
        max_steps: Length of an episode.

    Raises:
        ConfigError: A number is out of range.
    """
    return DistributedNodes(
        nodes=NodeConfig(num_nodes=num_nodes, max_steps=max_steps),
        world=NodeWorldConfig(
            num_nodes=num_nodes,
            initial_workloads=workload_arrival_rate,
            workloads_per_step=workload_arrival_rate / 100,
            max_steps=max_steps,
        ),
    )


def distributed_nodes_deadlines(
    num_nodes: int = 10,
    *,
    workload_arrival_rate: float = 5.0,
    max_steps: int = 1000,
    step_seconds: float = 0.1,
) -> DistributedNodes:
    """Return the published world with deadlines that count: a workload is tried until then.

    Args:
        num_nodes: One agent each.
        workload_arrival_rate: Workloads expected before the first step, and per 100 later steps.
        max_steps: Length of an episode.
        step_seconds: Length of a step; the deadlines of U(.5, 2) s allow 5 to 20 tries at .1.

    Raises:
        ConfigError: A number is out of range.
    """
    preset = distributed_nodes(
        num_nodes, workload_arrival_rate=workload_arrival_rate, max_steps=max_steps
    )
    return replace(preset, nodes=replace(preset.nodes, step_seconds=step_seconds))
