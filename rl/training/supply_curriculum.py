"""The supply-chain curriculum in a network of ten products from eight suppliers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from data.scenario import ScenarioArrays, ScenarioBank, fixed_bank
from data.supply_demand import SupplySource
from rl.domains.dual_sourcing import dual_sourcing
from rl.domains.supply_experts import EXPERTS, SupplyExperts
from rl.environments.base_environment import StepRecord
from rl.environments.supply_network_environment import BatchedSupplyNetwork, SupplyOptions
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.contest import Contest
from rl.evaluation.players import Player
from rl.training.curricula import create_supply_chain_curriculum
from rl.training.curriculum_stage import CurriculumStage
from rl.training.curriculum_world import CurriculumWorld, count_return, make_stages

NOTES = (
    "demand_variability is the deviation of a product's mean demand, drawn anew every step.",
    "lead_time_variability is the share of shipments that come one to three steps late.",
    "disruption_probability is that something begins to go wrong in a step.",
)


def make_supply_world(*, max_steps: int = 30) -> CurriculumWorld:
    """Return the network of the largest stage, and the three stages in it.

    Args:
        max_steps: Of an episode.
    """
    config = dual_sourcing(max_steps=max_steps).config

    def learn_in(bank: ScenarioBank[Any], num_envs: int, seed: int) -> BatchedSupplyNetwork:
        return BatchedSupplyNetwork(config, bank, SupplyOptions(num_envs=num_envs), seed)

    def judge(scenarios: ScenarioArrays) -> BatchedSupplyNetwork:
        count = scenarios.num_episodes
        bank: ScenarioBank[Any] = fixed_bank(scenarios)
        return BatchedSupplyNetwork(config, bank, SupplyOptions(num_envs=count, shuffle=False), 0)

    rules = SupplyExperts(config, informed=False)
    contest = Contest(make_environment=judge, num_steps=max_steps, measure=count_return)
    return CurriculumWorld(
        name="supply_chain",
        stages=make_stages(
            create_supply_chain_curriculum(),
            lambda stage: make_supply_source(stage, max_steps=max_steps),
            contest=contest,
            experts={name: _player(name, rules) for name in EXPERTS},
            figures=add_fill_rate,
        ),
        learn_in=learn_in,
        contest=contest,
        notes=NOTES,
    )


def make_supply_source(stage: CurriculumStage, *, max_steps: int) -> SupplySource:
    """Return what is played in a stage.

    Args:
        stage: Of the supply-chain curriculum.
        max_steps: Of an episode.
    """
    return dual_sourcing(
        num_suppliers=round(stage.number("num_suppliers")),
        num_products=round(stage.number("num_products")),
        demand_variability=stage.number("demand_variability"),
        disruption_probability=stage.number("disruption_probability"),
        late_share=stage.number("lead_time_variability"),
        max_steps=max_steps,
    ).source


def add_fill_rate(metrics: Mapping[str, float]) -> Mapping[str, float]:
    """Add units sold over units asked for; late deliveries count, so it may exceed 1.

    Args:
        metrics: Of the network, means over steps.
    """
    return {**metrics, "fill_rate": metrics["sold_units"] / max(metrics["demand"], 1e-9)}


def _player(name: str, rules: SupplyExperts) -> Player:
    def act(environment: Any, record: StepRecord) -> Tensor:
        del record
        orders = rules.order(name, view_to_numpy(environment.view))
        action: Tensor = environment.place(torch.from_numpy(orders).float())
        return action

    return act
