"""A small network that says what the rest of a node is worth, and a rule that places by it.

One network for all nodes: what each GPU has left is looked up in a table and summed, so the order
of GPUs does not matter; idle GPUs and the GPU model are looked up too, CPU and memory enter as
numbers. Two layers follow. Learned with torch, played with NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from data.cluster_trace import GPU_MILLI, MAX_DEVICES
from rl.domains.cluster import LARGEST_NODE_GPU, Nodes, Task
from rl.domains.cluster_value import FEW, GRAIN, ROUNDING

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
GRAINS = GPU_MILLI // GRAIN + 1
DENSE = 7
HIDDEN, SECOND = 48, 32
LARGEST_CPU, LARGEST_MEMORY = 128_000.0, 1_048_576.0
SOME_MILLI = 100.0
SCALE = 10.0
"""Scores in a unit of the network."""
DIGITS = 3
"""Worths are rounded, so that the order of a sum does not decide between equal nodes."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """What the network sees of nodes, `[node]` and one more axis where named."""

    grain: Integers
    """`[node, GPU]`: what it has left, in grains."""
    idle: Integers
    """Whole idle GPUs."""
    model: Integers
    dense: Singles
    """`[node, DENSE]`"""

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Return them as tensors."""
        parts = (self.grain, self.idle, self.model, self.dense)
        return tuple(torch.from_numpy(np.ascontiguousarray(part)) for part in parts)


def describe(nodes: Nodes, model: Integers) -> Described:
    """Say what the network sees.

    Args:
        nodes: What is left, NumPy, `[node]`.
        model: `[node]`: GPU model.
    """
    devices = nodes.devices.astype(np.int64)
    milli = devices.sum(1)
    cpu, memory = nodes.cpu.astype(np.float64), nodes.memory.astype(np.float64)
    dense = [
        cpu / LARGEST_CPU,
        np.log1p(cpu / GPU_MILLI),
        np.log1p(cpu / (milli + SOME_MILLI)),
        np.minimum(cpu / (milli + SOME_MILLI), 20.0) / 10.0,
        memory / LARGEST_MEMORY,
        np.log1p(memory / GPU_MILLI),
        milli / LARGEST_NODE_GPU,
    ]
    return Described(
        grain=devices // GRAIN,
        idle=(devices >= GPU_MILLI).sum(1),
        model=model,
        dense=np.stack(dense, axis=1).astype(np.float32),
    )


class NodeNetwork(nn.Module):
    """Worth of nodes, in scores."""

    def __init__(self, num_models: int) -> None:
        """Draw the weights from torch's generator.

        Args:
            num_models: GPU models there are.
        """
        super().__init__()
        self.grain = nn.Embedding(GRAINS, HIDDEN)
        self.idle = nn.Embedding(MAX_DEVICES + 1, HIDDEN)
        self.model = nn.Embedding(num_models, HIDDEN)
        self.dense = nn.Linear(DENSE, HIDDEN)
        self.second = nn.Linear(HIDDEN, SECOND)
        self.last = nn.Linear(SECOND, 1)
        for table in (self.grain, self.idle, self.model):
            nn.init.normal_(table.weight, std=0.1)

    def forward(
        self, grain: torch.Tensor, idle: torch.Tensor, model: torch.Tensor, dense: torch.Tensor
    ) -> torch.Tensor:
        """Return worths, in units of `SCALE` scores.

        Args:
            grain: As in `Described`.
            idle: As there.
            model: As there.
            dense: As there.
        """
        summed = self.grain(grain).sum(1) + self.idle(idle) + self.model(model)
        hidden = torch.relu(summed + self.dense(dense))
        worth: torch.Tensor = self.last(torch.relu(self.second(hidden)))[:, 0]
        return worth


class NeuralValue:
    """Scores nodes for a task by what networks say is left; one of the simulator's `NodeScores`."""

    def __init__(self, networks: Sequence[tuple[float, NodeNetwork]]) -> None:
        """Copy the weights.

        Args:
            networks: Each with its share; the worths are added up.
        """
        self._parts = [
            (share, {name: one.detach().numpy().copy() for name, one in network.named_parameters()})
            for share, network in networks
            if share
        ]

    def worth(self, nodes: Nodes, model: Integers) -> Floats:
        """Say what nodes are worth as they are, in scores.

        Args:
            nodes: What is left, NumPy, `[node]`.
            model: `[node]`: GPU model.
        """
        seen = describe(nodes, model)
        found = sum(share * _apply(weights, seen) for share, weights in self._parts)
        return np.round(SCALE * np.asarray(found, np.float64), DIGITS)

    def score(self, nodes: Nodes, task: Task, model: Integers) -> tuple[Floats, Integers]:
        """Score nodes and choose the GPU of each that a fraction goes to.

        Args:
            nodes: What is left, NumPy, `[node]`; the task fits all of them.
            task: The request; one number each.
            model: `[node]`: GPU model.

        Returns:
            Scores `[node]`, higher is better, and the GPU `[node]`, the first of equals.
        """
        if len(model) > FEW:
            table = np.column_stack([model, nodes.cpu, nodes.memory, nodes.devices])
            _, first, same = np.unique(table, axis=0, return_index=True, return_inverse=True)
            score, device = self._score(take(nodes, first), task, model[first])
            return score[same.ravel()], device[same.ravel()]
        return self._score(nodes, task, model)

    def _score(self, nodes: Nodes, task: Task, model: Integers) -> tuple[Floats, Integers]:
        after, node, device = list_afterstates(nodes, task)
        both = Nodes(
            cpu=np.concatenate([nodes.cpu, after.cpu]),
            memory=np.concatenate([nodes.memory, after.memory]),
            devices=np.concatenate([nodes.devices, after.devices]),
        )
        worth = self.worth(both, np.concatenate([model, model[node]]))
        # Cut to whole scores: of near equals the first is taken, which keeps empty nodes empty.
        gain = np.floor(worth[len(model) :] - worth[node] + ROUNDING)
        table = np.full((len(model), MAX_DEVICES), -np.inf)
        table[node, device] = gain
        best = table.argmax(1)
        return table[np.arange(len(best)), best], best


def _apply(of: dict[str, Singles], seen: Described) -> Singles:
    """Return what `NodeNetwork.forward` does."""
    hidden = of["grain.weight"][seen.grain].sum(1) + of["idle.weight"][seen.idle]
    hidden += of["model.weight"][seen.model] + of["dense.bias"]
    hidden += seen.dense @ of["dense.weight"].T
    np.maximum(hidden, 0.0, out=hidden)
    second = np.maximum(hidden @ of["second.weight"].T + of["second.bias"], 0.0)
    return np.asarray(second @ of["last.weight"][0] + of["last.bias"][0])


def take(nodes: Nodes, some: Integers) -> Nodes:
    """Return some of the nodes.

    Args:
        nodes: What is left, NumPy, `[node]`.
        some: Positions.
    """
    return Nodes(cpu=nodes.cpu[some], memory=nodes.memory[some], devices=nodes.devices[some])


def list_afterstates(nodes: Nodes, task: Task) -> tuple[Nodes, Integers, Integers]:
    """Say what nodes would have left, once for each GPU that a fraction may go to.

    Args:
        nodes: What is left; the task fits all of them.
        task: The request; one number each.

    Returns:
        The nodes afterwards, the position of each before, and the GPU (0 where it is no fraction).
    """
    cpu, memory, gpus, milli = (
        int(np.ravel(one)[0]) for one in (task.cpu, task.memory, task.gpus, task.milli)
    )
    devices = nodes.devices
    if gpus == 1 and milli < GPU_MILLI:
        # Of equal GPUs the first stands for all.
        equal = devices[:, :, None] == devices[:, None, :]
        first = equal.argmax(2) == np.arange(MAX_DEVICES)
        node, device = np.nonzero((devices >= milli) & first)
        left = devices[node]
        left[np.arange(len(node)), device] -= milli
    else:
        node, device = np.arange(len(devices)), np.zeros(len(devices), np.int64)
        full = devices >= GPU_MILLI
        left = np.where(full & (full.cumsum(1) <= gpus), 0, devices)
    after = Nodes(cpu=nodes.cpu[node] - cpu, memory=nodes.memory[node] - memory, devices=left)
    return after, node, device
