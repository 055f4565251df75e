"""The stages of the demos' problems: the problem's own scenarios, made easier.

The last stage is the problem as it is. The numbers of the others come from the promised curricula
(`rl.training.curricula`), each divided by that of the last stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic

import numpy as np

from data.desk_orders import DeskScenarios
from data.scenario import ScenarioArrays, Scenarios, ScenarioSource, WorkloadScenarios
from data.supply_scenarios import SupplyScenarios
from rl.evaluation.contest import Contest
from rl.training.curricula import (
    create_resource_allocation_curriculum,
    create_supply_chain_curriculum,
    create_trading_curriculum,
)
from rl.training.curriculum_stage import Criterion, CurriculumStage
from rl.training.curriculum_world import Figures, ProblemStage, keep_figures, make_stages
from rl.training.problem import Parameters, Problem
from rl.training.supply_curriculum import add_fill_rate

LEAST_FILL = 0.6
"""Of a promotion in the supply chain, where shops lose sales: the tuned rule fills two thirds."""
Change = Callable[[Any, CurriculumStage, CurriculumStage], ScenarioArrays]
"""From scenarios, a stage and the last stage to the scenarios of the stage, same shapes."""


@dataclass(frozen=True, kw_only=True)
class ChangedSource(Generic[Scenarios]):
    """A scenario source whose episodes are changed after they are drawn."""

    source: ScenarioSource[Scenarios]
    change: Callable[[Scenarios], Scenarios]

    def draw(self, num_episodes: int, generator: np.random.Generator) -> Scenarios:
        """Draw episodes and change them.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        return self.change(self.source.draw(num_episodes, generator))


def ease_workload(
    scenarios: WorkloadScenarios, stage: CurriculumStage, last: CurriculumStage
) -> WorkloadScenarios:
    """Make demand steadier and capacities larger.

    Args:
        scenarios: As drawn.
        stage: Says how.
        last: Whose demand and capacities are those drawn.
    """
    spread = _part(stage, last, "demand_variability")
    size = _part(stage, last, "capacity")
    return replace(
        scenarios,
        demand=_narrow(scenarios.demand, spread),
        capacity=(scenarios.capacity * size).astype(scenarios.capacity.dtype),
    )


def ease_chain(
    scenarios: SupplyScenarios, stage: CurriculumStage, last: CurriculumStage
) -> SupplyScenarios:
    """Make demand steadier, and less go wrong.

    Args:
        scenarios: As drawn.
        stage: Says how.
        last: Whose demand and trouble are those drawn.
    """
    spread = _part(stage, last, "demand_variability")
    trouble = _part(stage, last, "disruption_probability")
    late = _part(stage, last, "lead_time_variability")
    losses = {
        name: (getattr(scenarios, name) * trouble).astype(np.float32)
        for name in ("shortage", "quality_loss", "capacity_loss")
    }
    return replace(
        scenarios,
        demand=np.round(_narrow(scenarios.demand, spread)),
        delay=np.floor(scenarios.delay * late).astype(scenarios.delay.dtype),
        **losses,
    )


def ease_orders(
    scenarios: DeskScenarios, stage: CurriculumStage, last: CurriculumStage
) -> DeskScenarios:
    """Make prices move more or less, and impact cost more or less.

    Args:
        scenarios: As drawn.
        stage: Says how.
        last: Whose moves and impact are those drawn.
    """
    moves = _part(stage, last, "volatility")
    impact = _part(stage, last, "transaction_cost")
    return replace(
        scenarios,
        shock=(scenarios.shock * moves).astype(np.float32),
        impact_scale=(scenarios.impact_scale * impact).astype(np.float32),
    )


def make_allocation_stages(
    problem: Problem, contest: Contest, experts: Mapping[str, Parameters]
) -> tuple[ProblemStage, ...]:
    """Return the three stages of shared services.

    Args:
        problem: The last stage.
        contest: The same world; its KPI is the return that is trained for.
        experts: What each was tuned to.
    """
    stages = [replace(one, success_criteria=()) for one in create_resource_allocation_curriculum()]
    return _make(problem, contest, experts, (tuple(stages), ease_workload, keep_figures))


def make_chain_stages(
    problem: Problem, contest: Contest, experts: Mapping[str, Parameters]
) -> tuple[ProblemStage, ...]:
    """Return the three stages of a supply chain.

    Args:
        problem: The last stage.
        contest: The same world; its KPI is the return that is trained for.
        experts: What each was tuned to.
    """
    criterion = Criterion(figure="fill_rate", at_least=LEAST_FILL)
    stages = [
        replace(one, success_criteria=(criterion,)) for one in create_supply_chain_curriculum()
    ]
    return _make(problem, contest, experts, (tuple(stages), ease_chain, add_fill_rate))


def make_order_stages(
    problem: Problem, contest: Contest, experts: Mapping[str, Parameters]
) -> tuple[ProblemStage, ...]:
    """Return the five stages of selling orders.

    Args:
        problem: The last stage.
        contest: The same world; its KPI is the return that is trained for.
        experts: What each was tuned to.
    """
    stages = [replace(one, success_criteria=()) for one in create_trading_curriculum()]
    return _make(problem, contest, experts, (tuple(stages), ease_orders, keep_figures))


def _make(
    problem: Problem,
    contest: Contest,
    experts: Mapping[str, Parameters],
    plan: tuple[tuple[CurriculumStage, ...], Change, Figures],
) -> tuple[ProblemStage, ...]:
    stages, change, figures = plan
    last = stages[-1]

    def source_of(stage: CurriculumStage) -> ScenarioSource[ScenarioArrays]:
        if stage is last:
            return problem.training
        return ChangedSource(
            source=problem.training, change=lambda drawn: change(drawn, stage, last)
        )

    players = {name: problem.experts[name].player(tuned) for name, tuned in experts.items()}
    return make_stages(stages, source_of, contest=contest, experts=players, figures=figures)


def _part(stage: CurriculumStage, last: CurriculumStage, name: str) -> float:
    return stage.number(name) / last.number(name)


def _narrow(values: np.ndarray, part: float) -> np.ndarray:
    """Bring values nearer to their mean over time, axis 1; none falls below zero."""
    mean = values.mean(1, keepdims=True)
    narrowed: np.ndarray = np.maximum(mean + part * (values - mean), 0.0).astype(values.dtype)
    return narrowed
