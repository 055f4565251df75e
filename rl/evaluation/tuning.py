"""Experts at their best: parameters found on training scenarios, never on held-out ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from data.scenario import WorkloadScenarios
from rl.domains.allocation_experts import EXPERTS, Expert, ExpertParameters
from rl.domains.resource_allocation import AllocationConfig
from rl.evaluation.evaluator import expert_decider, play

HEADROOMS = (0.5, 0.75, 1.0, 1.25, 1.6)
LOOKBACKS = (1, 2, 3, 4, 6, 8, 12)
COARSE_LOOKBACKS = (1, 3, 12)
URGENCIES = (0.25, 0.6, 1.0)
COARSE_SHARE = 4
"""The coarse grid sees every fourth scenario, the refinement all."""
FINALISTS = 3
HEADROOM_STEPS = (0.1, 0.03)
URGENCY_STEPS = (0.15, 0.05)

Score = Callable[[ExpertParameters], float]


@dataclass(frozen=True, kw_only=True)
class TunedExpert:
    """An expert's rule with its best parameters."""

    name: str
    parameters: ExpertParameters
    score: float
    """Mean KPI on the scenarios it was tuned on."""


def tune_experts(scenarios: WorkloadScenarios, config: AllocationConfig) -> dict[str, TunedExpert]:
    """Find the best parameters of every expert.

    A coarse grid on a quarter of the scenarios, then from its three best points a climb over
    neighbours on all of them, in two step sizes. Deterministic.

    Args:
        scenarios: Training scenarios; more make better experts.
        config: The world.
    """
    return {
        name: _tune(name, expert, scenarios, config) for name, expert in EXPERTS.items()
    }


def _tune(
    name: str, expert: Expert, scenarios: WorkloadScenarios, config: AllocationConfig
) -> TunedExpert:
    some = scenarios.take(np.arange(0, scenarios.num_episodes, COARSE_SHARE))
    coarse = _scorer(expert, some, config)
    finalists = sorted(_coarse_grid(config), key=coarse, reverse=True)[:FINALISTS]
    score = _scorer(expert, scenarios, config)
    best = max(finalists, key=score)
    for headroom_step, urgency_step in zip(HEADROOM_STEPS, URGENCY_STEPS, strict=True):
        while True:
            near = _neighbours(best, config, headroom_step, urgency_step)
            challenger = max(near, key=score)
            if score(challenger) <= score(best):
                break
            best = challenger
    return TunedExpert(name=name, parameters=best, score=score(best))


def _scorer(expert: Expert, scenarios: WorkloadScenarios, config: AllocationConfig) -> Score:
    """Return the mean KPI of parameters, remembering what was played."""
    known: dict[ExpertParameters, float] = {}

    def score(parameters: ExpertParameters) -> float:
        if parameters not in known:
            decide = expert_decider(expert, config, parameters)
            known[parameters] = float(play(config, scenarios, decide).kpi.mean())
        return known[parameters]

    return score


def _coarse_grid(config: AllocationConfig) -> Iterable[ExpertParameters]:
    lookbacks = [steps for steps in COARSE_LOOKBACKS if steps <= config.lookback]
    for headroom, lookback, urgency in product(HEADROOMS, lookbacks, URGENCIES):
        yield ExpertParameters(headroom=headroom, lookback=lookback, urgency=urgency)


def _neighbours(
    centre: ExpertParameters, config: AllocationConfig, headroom_step: float, urgency_step: float
) -> list[ExpertParameters]:
    lookbacks = [steps for steps in LOOKBACKS if steps <= config.lookback]
    position = lookbacks.index(centre.lookback)
    around = lookbacks[max(0, position - 1) : position + 2]
    near = [replace(centre, lookback=lookback) for lookback in around if lookback != centre.lookback]
    for sign in (-1, 1):
        headroom = round(max(0.0, centre.headroom + sign * headroom_step), 3)
        urgency = round(min(1.0, max(0.0, centre.urgency + sign * urgency_step)), 3)
        near += [replace(centre, headroom=headroom), replace(centre, urgency=urgency)]
    return near
