"""How experts place tasks in a GPU cluster, from the same view as the agent.

The rules of the public simulator (github.com/hkust-adsl/kubernetes-scheduler-simulator), their
whole-number scores included: of the nodes where a task fits, the one with the highest score gets
it, and of equals the first by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.cluster_trace import GPU_MILLI
from rl.domains.cluster import (
    HIGHEST_SCORE,
    LARGEST_NODE_GPU,
    ClusterConfig,
    ClusterView,
    DeviceRule,
    best_fit_share,
    fgd_score,
    is_fraction,
)

Score = Callable[[ClusterView, ClusterConfig], NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Expert:
    """A rule: a score of every node, and the GPU of the node that a fraction goes to."""

    score: Score
    """`[..., node]`; need not look at `view.fits`."""
    device: DeviceRule | None = DeviceRule.FULLEST
    """None draws one."""
    is_random: bool = False
    """Draw among the nodes that fit and score the same, instead of taking the first."""


def score_equal(view: ClusterView, config: ClusterConfig) -> NDArray[Any]:
    """Score all nodes the same: first fit, or random.

    Args:
        view: What is known, NumPy.
        config: Not used.
    """
    del config
    return np.zeros(view.fits.shape)


def score_best_fit(view: ClusterView, config: ClusterConfig) -> NDArray[Any]:
    """Prefer nodes that are left with little CPU and GPU.

    Args:
        view: What is known, NumPy.
        config: Scale of the CPU.
    """
    return np.asarray(np.floor(HIGHEST_SCORE * best_fit_share(view, config)))


def score_fgd(view: ClusterView, config: ClusterConfig) -> NDArray[Any]:
    """Prefer nodes where fragmentation grows least, or falls (Weng et al., ATC 2023).

    Args:
        view: What is known, NumPy.
        config: Not used.
    """
    del config
    return np.asarray(fgd_score(view.growth))


def score_dot_product(view: ClusterView, config: ClusterConfig) -> NDArray[Any]:
    """Prefer nodes whose free CPU and GPU are least aligned with the request.

    The public simulator's Tetris: both vectors are shares of the largest node.

    Args:
        view: What is known, NumPy.
        config: Scale of the CPU.
    """
    nodes, task = view.nodes, view.task
    cpu = nodes.cpu / config.largest_cpu * (task.cpu / config.largest_cpu)
    asked = task.gpus * task.milli / LARGEST_NODE_GPU
    gpu = nodes.devices.sum(-1) / LARGEST_NODE_GPU * asked
    return np.asarray(np.floor(HIGHEST_SCORE * (1.0 - 0.5 * (cpu + gpu))))


def score_packing(view: ClusterView, config: ClusterConfig) -> NDArray[Any]:
    """Prefer GPUs that are shared already, then idle GPUs of nodes in use, then empty nodes.

    Shared: 100 less a tenth of the percent left on them; idle: 50 less their number, at least 33;
    empty: 33 less the GPUs of the node, at least that number (Weng et al., NSDI 2022).

    Args:
        view: What is known, NumPy.
        config: Not used.
    """
    del config
    left, task = view.nodes.devices, view.task
    asked = np.asarray(task.gpus * np.ones_like(view.fits))
    idle = (left == GPU_MILLI).sum(-1)
    is_empty = ~view.holds.any(-1)
    fullest = np.where(left >= task.milli[..., None], left, 2 * GPU_MILLI).min(-1)
    shared = HIGHEST_SCORE - np.floor(np.floor(fullest * 100 / GPU_MILLI) / 10)
    whole = np.maximum(50 - asked, 33)
    part = np.where(fullest < GPU_MILLI, np.maximum(shared, 50), np.maximum(50 - 1, 33))
    score = np.where(is_fraction(task), part, whole)
    score = np.where(is_empty, np.maximum(33 - idle, idle), score)
    return np.where(asked == 0, 0.0, score)


def score_clustering(view: ClusterView, config: ClusterConfig) -> NDArray[Any]:
    """Prefer nodes that hold tasks with as many GPUs (fractions are a kind of their own).

    75 to 100 where a node holds only such tasks, 50 where others too, 25 where none, 0 where only
    others (Gandiva, OSDI 2018), plus a quarter of the share of eight GPUs that is not left.

    Args:
        view: What is known, NumPy.
        config: Not used.
    """
    del config
    task = view.task
    kind = np.where(is_fraction(task), 0, task.gpus).astype(np.int64)
    kind = np.broadcast_to(kind, view.fits.shape)[..., None]
    same = np.take_along_axis(view.holds, kind, -1)[..., 0] > 0
    kinds = (view.holds > 0).sum(-1)
    base = np.where(same, np.where(kinds == 1, 75, 50), np.where(kinds == 0, 25, 0))
    used = LARGEST_NODE_GPU - view.nodes.devices.sum(-1)
    score = np.floor(25 * used / LARGEST_NODE_GPU) + base
    return np.where(task.gpus == 0, 0.0, score)


EXPERTS: dict[str, Expert] = {
    "random": Expert(score=score_equal, device=None, is_random=True),
    "first_fit": Expert(score=score_equal),
    "dot_product": Expert(score=score_dot_product),
    "clustering": Expert(score=score_clustering),
    "packing": Expert(score=score_packing),
    "best_fit": Expert(score=score_best_fit),
    "fgd": Expert(score=score_fgd, device=DeviceRule.FRAGMENTATION),
}


def place(
    view: ClusterView,
    expert: Expert,
    config: ClusterConfig,
    generator: np.random.Generator | None = None,
) -> NDArray[np.int64]:
    """Choose a node for each task.

    Args:
        view: What is known, NumPy.
        expert: The rule.
        config: The world.
        generator: For rules that draw.

    Returns:
        `[...]`: the node; `num_nodes`, that is declining, where the task fits nowhere.
    """
    score = np.where(view.fits, expert.score(view, config), -np.inf)
    if expert.is_random and generator is not None:
        best = score == score.max(-1, keepdims=True)
        score = np.where(best & view.fits, generator.random(score.shape), -np.inf)
    chosen = score.argmax(-1)
    return np.where(view.fits.any(-1), chosen, config.num_nodes)
