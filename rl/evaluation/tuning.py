"""Experts at their best: parameters found on training scenarios, never on held-out ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product

import numpy as np

from data.scenario import WorkloadScenarios, join_scenarios
from rl.domains.allocation_experts import EXPERTS, Expert, ExpertParameters
from rl.domains.resource_allocation import AllocationConfig, AllocationView
from rl.evaluation.evaluator import Action, play

HEADROOMS = (0.5, 0.75, 1.0, 1.25, 1.6)
LOOKBACKS = (1, 2, 3, 4, 6, 8, 12)
COARSE_LOOKBACKS = (1, 3, 12)
URGENCIES = (0.2, 0.6, 1.0)
COARSE_SHARE = 4
"""The coarse grid sees every fourth scenario, the refinement all."""
FINALISTS = 3
HEADROOM_STEPS = (0.1, 0.03)
URGENCY_STEPS = (0.15, 0.05)

Score = Callable[[Sequence[ExpertParameters]], list[float]]


@dataclass(frozen=True, kw_only=True)
class TunedExpert:
    """An expert's rule with its best parameters."""

    name: str
    parameters: ExpertParameters
    score: float
    """Mean KPI on the scenarios it was tuned on."""


def tune_experts(
    scenarios: WorkloadScenarios,
    config: AllocationConfig,
    *,
    names: Sequence[str] = tuple(EXPERTS),
) -> dict[str, TunedExpert]:
    """Find the best parameters of experts.

    A coarse grid on a quarter of the scenarios, then from the best of its three finalists a climb
    over neighbours on all of them, in two step sizes. Deterministic.

    Args:
        scenarios: Training scenarios; more make better experts.
        config: The world.
        names: Which experts.
    """
    return {name: _tune(name, EXPERTS[name], scenarios, config) for name in names}


def _tune(
    name: str, expert: Expert, scenarios: WorkloadScenarios, config: AllocationConfig
) -> TunedExpert:
    grid = _coarse_grid(config)
    some = scenarios.take(np.arange(0, scenarios.num_episodes, COARSE_SHARE))
    ranking = np.argsort(
        [-value for value in _make_score(expert, some, config)(grid)], kind="stable"
    )
    score = _make_score(expert, scenarios, config)
    best, best_score = _highest([grid[index] for index in ranking[:FINALISTS]], score)
    for headroom_step, urgency_step in zip(HEADROOM_STEPS, URGENCY_STEPS, strict=True):
        while True:
            near = _neighbours(best, config, headroom_step, urgency_step)
            challenger, challenge = _highest(near, score)
            if challenge <= best_score:
                break
            best, best_score = challenger, challenge
    return TunedExpert(name=name, parameters=best, score=best_score)


def _highest(choices: Sequence[ExpertParameters], score: Score) -> tuple[ExpertParameters, float]:
    scores = score(choices)
    winner = int(np.argmax(scores))
    return choices[winner], scores[winner]


def _make_score(expert: Expert, scenarios: WorkloadScenarios, config: AllocationConfig) -> Score:
    """Return the mean KPI of many parameters, played side by side and remembered."""
    known: dict[ExpertParameters, float] = {}
    episodes = scenarios.num_episodes

    def score(choices: Sequence[ExpertParameters]) -> list[float]:
        new = [choice for choice in dict.fromkeys(choices) if choice not in known]
        if new:

            def decide(view: AllocationView) -> Action:
                parts = [
                    expert(_rows(view, slice(k * episodes, (k + 1) * episodes)), config, choice)
                    for k, choice in enumerate(new)
                ]
                return np.concatenate(parts)

            kpi = play(config, join_scenarios([scenarios] * len(new)), decide).kpi
            means = kpi.reshape(len(new), episodes).mean(1)
            known.update(zip(new, means.tolist(), strict=True))
        return [known[choice] for choice in choices]

    return score


def _rows(view: AllocationView, rows: slice) -> AllocationView:
    return AllocationView(**{field.name: getattr(view, field.name)[rows] for field in fields(view)})


def _coarse_grid(config: AllocationConfig) -> list[ExpertParameters]:
    lookbacks = [steps for steps in COARSE_LOOKBACKS if steps <= config.lookback]
    return [
        ExpertParameters(headroom=headroom, lookback=lookback, urgency=urgency)
        for headroom, lookback, urgency in product(HEADROOMS, lookbacks, URGENCIES)
    ]


def _neighbours(
    centre: ExpertParameters, config: AllocationConfig, headroom_step: float, urgency_step: float
) -> list[ExpertParameters]:
    lookbacks = [steps for steps in LOOKBACKS if steps <= config.lookback]
    position = lookbacks.index(centre.lookback)
    around = lookbacks[max(0, position - 1) : position + 2]
    near = [replace(centre, lookback=steps) for steps in around if steps != centre.lookback]
    for sign in (-1, 1):
        headroom = round(max(0.0, centre.headroom + sign * headroom_step), 3)
        urgency = round(min(1.0, max(0.0, centre.urgency + sign * urgency_step)), 3)
        near += [replace(centre, headroom=headroom), replace(centre, urgency=urgency)]
    return near
