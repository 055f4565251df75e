"""Experts of a retail chain at their best: covers found on training windows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.supply_scenarios import SupplyScenarios
from rl.algorithms.base_algorithm import Policy
from rl.artifacts import Figure
from rl.domains.echelon_levels import EchelonLevels
from rl.domains.retail_chain_experts import CoverRule, Covers
from rl.domains.supply_chain import SupplyConfig, SupplyView
from rl.environments.base_environment import StepRecord
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.contest import Numbers
from rl.evaluation.players import Player
from rl.evaluation.supply_scores import score_policy
from rl.training.problem import ExpertRule, Parameters

Candidate = tuple[float, ...]
"""Trust, gap, and a cover per stage."""
TRUSTS = (0.0, 0.3, 0.6, 1.0)
SCALES = (0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5)
STEPS = (4.0, 2.0, 1.0, 0.5)
"""Days by which covers and the gap are moved; a tenth of it moves trust."""
START_GAP = 2.0


def make_cover_experts(config: SupplyConfig, windows: SupplyScenarios) -> dict[str, ExpertRule]:
    """Return the base-stock rule, and the one that lets orders gather: (s, S).

    Args:
        config: The chain.
        windows: What they are tuned on; never held out.
    """
    return {
        "base_stock": ExpertRule(
            tune=partial(tune_covers, config, windows, start_gap=0.0),
            player=partial(cover_player, config),
        ),
        "reorder": ExpertRule(
            tune=partial(tune_covers, config, windows, start_gap=START_GAP),
            player=partial(cover_player, config),
        ),
    }


def cover_player(config: SupplyConfig, parameters: Parameters) -> Player:
    """Let the rule play.

    Args:
        config: The chain.
        parameters: What `tune_covers` found.
    """
    found = tuple(figure.value for figure in parameters)
    return orders_player(CoverRule(config, _covers([found])))


def orders_player(rule: Callable[[SupplyView], Numbers]) -> Player:
    """Let a rule place orders in units, in a world with a `place`.

    Args:
        rule: From a NumPy view to `[episode, flow]`.
    """

    def act(environment: Any, record: StepRecord) -> Tensor:
        orders = torch.from_numpy(rule(view_to_numpy(environment.view)))
        placed: Tensor = environment.place(orders.to(record.observation))
        return placed

    return act


def level_player(policy: Policy) -> Player:
    """Let a policy act that sets levels per echelon, in a world that takes orders.

    Args:
        policy: Trained in a `BatchedEchelonChain`, or not at all.
    """

    def act(environment: Any, record: StepRecord) -> Tensor:
        levels = EchelonLevels(environment.domain)
        seen: Tensor = levels.encode(environment.view)
        sample = policy.act(seen[:, None], record.action_mask, deterministic=True)
        orders: Tensor = levels.orders(sample.action[:, 0], environment.view)
        placed: Tensor = environment.place(orders)
        return placed

    return act


def tune_covers(config: SupplyConfig, windows: SupplyScenarios, *, start_gap: float) -> Parameters:
    """Find the covers with the highest mean profit.

    A grid over trust and one factor on all lead times, then climbs over one number at a time in
    falling steps, at first from the best of every trust. All candidates meet the same windows;
    deterministic.

    Args:
        config: The chain.
        windows: Training episodes.
        start_gap: Days by which orders gather at first; 0 keeps it at 0.
    """
    score = _Score(config, windows)
    way = np.cumsum([link.lead_time + 1.0 for link in config.network.links])
    grid = [
        (trust, start_gap, *np.round(2.0 + factor * way, 2).tolist())
        for trust in TRUSTS
        for factor in SCALES
    ]
    starts = [_highest([one for one in grid if one[0] == trust], score) for trust in TRUSTS]
    best = _highest([_climb(one, STEPS[:1], score) for one in starts], score)
    best = _climb(best, STEPS, score)
    names = ["trust", "gap_days", *(f"cover_days_{shelf.node}" for shelf in config.network.shelves)]
    return tuple(Figure(name=n, value=v) for n, v in zip(names, best, strict=True))


def _climb(best: Candidate, steps: tuple[float, ...], score: _Score) -> Candidate:
    for step in steps:
        while (challenger := _highest([best, *_neighbours(best, step)], score)) != best:
            best = challenger
    return best


class _Score:
    """Mean profit of candidates, played side by side and remembered."""

    def __init__(self, config: SupplyConfig, windows: SupplyScenarios) -> None:
        self._config, self._windows = config, windows
        self._known: dict[Candidate, float] = {}

    def __call__(self, candidates: list[Candidate]) -> list[float]:
        new = [one for one in dict.fromkeys(candidates) if one not in self._known]
        if new:
            episodes = self._windows.num_episodes
            repeated = self._windows.take(np.tile(np.arange(episodes), len(new)))
            rule = CoverRule(self._config, _covers(new, repeat=episodes))
            profit = score_policy(rule, repeated, self._config).profit
            means = profit.reshape(len(new), episodes).mean(1)
            self._known.update(zip(new, means.tolist(), strict=True))
        return [self._known[one] for one in candidates]


def _covers(candidates: list[Candidate], repeat: int = 1) -> Covers:
    table = np.repeat(np.asarray(candidates, np.float64), repeat, axis=0)
    return Covers(trust=table[:, 0], gap=table[:, 1], cover=table[:, 2:])


def _highest(candidates: list[Candidate], score: _Score) -> Candidate:
    return candidates[int(np.argmax(score(candidates)))]


def _neighbours(centre: Candidate, step: float) -> list[Candidate]:
    trust, gap, *cover = centre
    moves = (step, -step)
    near = [(min(max(round(trust + move / 10, 3), 0.0), 1.0), gap, *cover) for move in moves]
    if gap:
        near += [(trust, max(gap + move, 0.5), *cover) for move in moves]
    for stage in range(len(cover)):
        for move in moves:
            # Days moved at a stage are moved at all above it too, or at it alone.
            alone, above = list(cover), list(cover)
            alone[stage] = max(alone[stage] + move, 0.0)
            above[stage:] = [max(days + move, 0.0) for days in above[stage:]]
            near += [(trust, gap, *alone), (trust, gap, *above)]
    return near
