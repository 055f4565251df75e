"""How the network of `benchmarks.neural_node_value` learns: from a teacher, and from what came.

Imitation: it regresses the changes of a teacher's worth over the afterstates that are met when the
teacher, and later the network itself, places lists (DAgger). Outcomes: what a node has left when
its list ends is lost; the network predicts that loss from every state the node went through (Monte
Carlo, which is TD(1)), and the next round places by it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.neural_node_value import (
    SCALE,
    Described,
    NodeNetwork,
    describe,
    list_afterstates,
    take,
)
from benchmarks.placement_runs import STEP
from data.cluster_tasks import NO_TASK, ClusterScenarios
from data.cluster_trace import GPU_MILLI, MAX_DEVICES
from rl.domains.cluster import Nodes, Task
from rl.domains.cluster_experts import EXPERTS
from rl.domains.cluster_simulator import LOST, NodeScores, Placements, simulate
from rl.domains.cluster_value import ClusterValue

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
KEPT = 6
"""So many candidates of a decision are kept, half of them the best in the teacher's eyes."""
BATCH, RATE, LAST_RATE = 512, 3e-3, 3e-5
FORGET = 0.01


@dataclass(frozen=True, kw_only=True)
class States:
    """Nodes as they were, `[state]`."""

    nodes: Nodes
    model: Integers

    def describe(self) -> Described:
        """Say what the network sees."""
        return describe(self.nodes, self.model)


def join(parts: Sequence[States]) -> States:
    """Put states in a row.

    Args:
        parts: At least one.
    """
    nodes = Nodes(
        **{
            name: np.concatenate([getattr(part.nodes, name) for part in parts])
            for name in ("cpu", "memory", "devices")
        }
    )
    return States(nodes=nodes, model=np.concatenate([part.model for part in parts]))


class Watcher:
    """Places as told and notes some of the candidates and what they would become."""

    def __init__(
        self, actor: NodeScores, teacher: ClusterValue, generator: np.random.Generator
    ) -> None:
        """Begin with no notes.

        Args:
            actor: Decides.
            teacher: Says which candidates are good.
            generator: Picks others.
        """
        self._actor, self._teacher, self._generator = actor, teacher, generator
        self.before: list[States] = []
        self.after: list[States] = []

    def score(self, nodes: Nodes, task: Task, model: Integers) -> tuple[Floats, Integers]:
        """Score as the actor does, and note.

        Args:
            nodes: As in `NodeScores`.
            task: As there.
            model: As there.
        """
        some = self._generator.permutation(len(model))[:KEPT]
        if len(model) > KEPT:
            good, _ = self._teacher.score(nodes, task, model)
            some[: KEPT // 2] = np.argsort(-good, kind="stable")[: KEPT // 2]
        kept, of = take(nodes, some), model[some]
        after, node, _ = list_afterstates(kept, task)
        if int(np.ravel(task.gpus)[0]):
            self.before.append(States(nodes=take(kept, node), model=of[node]))
            self.after.append(States(nodes=after, model=of[node]))
        return self._actor.score(nodes, task, model)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Afterstates, the states before them and the change of worth, in scores."""

    before: States
    after: States
    change: Floats


def join_pairs(parts: Sequence[Pairs]) -> Pairs:
    """Put pairs in a row.

    Args:
        parts: At least one.
    """
    return Pairs(
        before=join([part.before for part in parts]),
        after=join([part.after for part in parts]),
        change=np.concatenate([part.change for part in parts]),
    )


def watch(
    lists: Iterable[ClusterScenarios],
    actor: NodeScores,
    teacher: ClusterValue,
    generator: np.random.Generator,
) -> Pairs:
    """Let an actor place lists, and let the teacher judge what it met.

    Args:
        lists: One episode each.
        actor: Decides.
        teacher: Judges.
        generator: The only source of chance.
    """
    watcher = Watcher(actor, teacher, generator)
    for scenarios in lists:
        simulate(scenarios, EXPERTS["fgd"], generator, value=watcher)
    before, after = join(watcher.before), join(watcher.after)
    worths = (teacher.worth(part.nodes, part.model) for part in (after, before))
    return Pairs(before=before, after=after, change=next(worths) - next(worths))


def fit_changes(
    network: NodeNetwork, pairs: Pairs, steps: int, generator: np.random.Generator
) -> float:
    """Fit the network's changes of worth to those of the teacher.

    Args:
        network: Changed in place.
        pairs: What was met.
        steps: Batches.
        generator: Draws batches.

    Returns:
        The root of the mean squared error over the last hundred batches or so, in scores.
    """
    before, after = pairs.before.describe().tensors(), pairs.after.describe().tensors()
    change = torch.from_numpy((pairs.change / SCALE).astype(np.float32))

    def measure(rows: torch.Tensor) -> torch.Tensor:
        both = [
            torch.cat([part[rows], other[rows]]) for part, other in zip(after, before, strict=True)
        ]
        worth = network(*both)
        found = worth[: len(rows)] - worth[len(rows) :]
        return torch.nn.functional.mse_loss(found, change[rows])

    rows = generator.integers(len(change), size=(steps, BATCH))
    return _descend(network, measure, rows)


def _descend(
    network: NodeNetwork, measure: Callable[[torch.Tensor], torch.Tensor], rows: Integers
) -> float:
    """Step down a loss, once for each row of samples; return its root of late, in scores."""
    adam = torch.optim.Adam(network.parameters(), lr=RATE)
    recent = 0.0
    for step, batch in enumerate(rows):
        for group in adam.param_groups:
            group["lr"] = LAST_RATE + (RATE - LAST_RATE) * (1.0 - step / len(rows))
        loss = measure(torch.from_numpy(batch))
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
        now = float(loss.detach())
        recent += (FORGET if step else 1.0) * (now - recent)
    return SCALE * float(recent**0.5)


@dataclass(frozen=True, kw_only=True)
class Fates:
    """States that nodes went through, and what they had left when their list ended."""

    states: States
    lost: Floats
    """`[state]`, GPU milli."""


def follow(scenarios: ClusterScenarios, placed: Placements) -> Fates:
    """Replay a list.

    Args:
        scenarios: One episode.
        placed: What became of it.
    """
    rows = {name: array[0] for name, array in vars(scenarios).items()}
    tasks = rows["arrivals"][rows["arrivals"] != NO_TASK]
    devices = GPU_MILLI * (np.arange(MAX_DEVICES) < rows["node_gpus"][:, None]).astype(np.int32)
    cpu, memory = rows["node_cpu"].copy(), rows["node_memory"].copy()
    model = rows["node_model"].astype(np.int64)
    everything = np.arange(len(cpu))
    which: list[Integers] = []
    parts: list[States] = []

    def note(some: Integers) -> None:
        now = Nodes(cpu=cpu[some], memory=memory[some], devices=devices[some])
        which.append(some)
        parts.append(States(nodes=now, model=model[some]))

    note(everything)
    for task, node, device in zip(tasks, placed.node, placed.device, strict=True):
        if node == LOST:
            continue
        cpu[node] -= rows["type_cpu"][task]
        memory[node] -= rows["type_memory"][task]
        if device != LOST:
            devices[node, device] -= rows["type_milli"][task]
        else:
            idle = np.flatnonzero(devices[node] == GPU_MILLI)
            devices[node, idle[: rows["type_gpus"][task]]] = 0
        note(np.asarray([node]))
    lost = devices.sum(1).astype(np.float64)
    return Fates(states=join(parts), lost=lost[np.concatenate(which)])


def fit_outcomes(
    network: NodeNetwork, fates: Sequence[Fates], steps: int, generator: np.random.Generator
) -> float:
    """Fit the network to what was lost, as a worth below zero.

    Args:
        network: Changed in place.
        fates: What came of lists.
        steps: Batches.
        generator: Draws batches.

    Returns:
        The root of the mean squared error over the last hundred batches or so, in scores.
    """
    states = join([fate.states for fate in fates]).describe().tensors()
    lost = np.concatenate([fate.lost for fate in fates])
    worth = torch.from_numpy((-lost / STEP / SCALE).astype(np.float32))

    def measure(rows: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.mse_loss(network(*(one[rows] for one in states)), worth[rows])

    return _descend(network, measure, generator.integers(len(lost), size=(steps, BATCH)))
