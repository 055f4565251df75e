"""The allocation curriculum in shared services: up to 12 services ask for up to 8 resources."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from data.scenario import ScenarioArrays, ScenarioBank, fixed_bank
from data.workload import SyntheticWorkload, WorldConfig
from data.workload_stages import StagedWorkload, WorkloadStage
from rl.domains.allocation_experts import EXPERTS, ExpertParameters
from rl.domains.resource_allocation import AllocationConfig
from rl.domains.service_market import MarketConfig
from rl.domains.shared_services import IDLE_PRICE, shared_services
from rl.environments.allocation_options import EnvironmentConfig
from rl.environments.base_environment import StepRecord
from rl.environments.resource_allocation_environment import BatchedResourceAllocation
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.contest import Contest
from rl.evaluation.players import Player
from rl.training.curricula import create_resource_allocation_curriculum
from rl.training.curriculum_stage import CurriculumStage
from rl.training.curriculum_world import CurriculumWorld, count_return, make_stages

RESOURCES = ("compute", "memory", "network", "disk", "accelerator", "licence", "cache", "queue")
NUM_SERVICES = 12
CAPACITY = 600.0
"""Units of each resource in the last stage."""
DEMAND_SCALE = 2.5
"""Makes the 12 services of the preset need as large a part of 600 units as of their own 240."""
FULL_VARIABILITY = 0.4
"""The parameter at which demand varies as much as its laws say."""
RULES = ("proportional", "max_min", "weighted_max_min", "greedy_value", "urgent_value")
EVERY_BUDGET = 1e9
"""Currency nobody runs out of: prices move what idle units cost, and ration nothing."""
NOTES = (
    "capacity is in units of each resource.",
    f"demand_variability of {FULL_VARIABILITY} leaves demand as it is, 0 would leave its mean.",
    "fairness is no weight of the reward, but the least Jain index of a promotion.",
    "dynamic_pricing lets the price of an idle unit rise and fall with the use of its resource.",
)


def make_allocation_world() -> CurriculumWorld:
    """Return shared services of the largest stage, and the three stages in them."""
    config, source = make_services()

    def options(copies: int, action: Literal["shares", "coverage"]) -> EnvironmentConfig:
        return EnvironmentConfig(
            num_envs=copies,
            view="services",
            action=action,
            reward="losses",
            market=MarketConfig(budget=EVERY_BUDGET, dynamic_prices=True),
            counts_sharing=True,
            shuffle=action == "coverage",
        )

    def learn_in(bank: ScenarioBank[Any], num_envs: int, seed: int) -> BatchedResourceAllocation:
        return BatchedResourceAllocation(config, bank, options(num_envs, "coverage"), seed)

    def judge(
        scenarios: ScenarioArrays, action: Literal["shares", "coverage"]
    ) -> BatchedResourceAllocation:
        count = scenarios.num_episodes
        bank: ScenarioBank[Any] = fixed_bank(scenarios)
        chosen = replace(options(count, action), shuffle=False)
        return BatchedResourceAllocation(config, bank, chosen, 0)

    def make_contest(action: Literal["shares", "coverage"]) -> Contest:
        return Contest(
            make_environment=lambda scenarios: judge(scenarios, action),
            num_steps=config.max_steps,
            measure=count_return,
        )

    return CurriculumWorld(
        name="resource_allocation",
        stages=make_stages(
            create_resource_allocation_curriculum(),
            lambda stage: make_allocation_source(stage, source),
            contest=make_contest("coverage"),
            experts_contest=make_contest("shares"),
            experts={name: _player(name, config) for name in RULES},
        ),
        learn_in=learn_in,
        contest=make_contest("coverage"),
        notes=NOTES,
    )


def make_services() -> tuple[AllocationConfig, SyntheticWorkload]:
    """Return the world of the largest stage, and its demand before a stage changes it."""
    preset = shared_services(NUM_SERVICES)
    count = len(RESOURCES)
    prices, capacity = (IDLE_PRICE,) * count, (CAPACITY,) * count
    config = replace(
        preset.allocation,
        services=tuple(
            replace(one, usage=tuple(one.usage[k % len(one.usage)] for k in range(count)))
            for one in preset.allocation.services
        ),
        resources=RESOURCES,
        capacity=capacity,
        price=prices,
    )
    world: WorldConfig = replace(preset.training_world, capacity=capacity, price=prices)
    return config, SyntheticWorkload(preset.synthetic, world)


def make_allocation_source(stage: CurriculumStage, source: SyntheticWorkload) -> StagedWorkload:
    """Return what is played in a stage.

    Args:
        stage: Of the allocation curriculum.
        source: Of the largest stage's demand.
    """
    return StagedWorkload(
        source,
        WorkloadStage(
            active_services=round(stage.number("num_agents")),
            active_resources=round(stage.number("num_resources")),
            capacity_scale=stage.number("capacity") / CAPACITY,
            demand_scale=DEMAND_SCALE,
            demand_variability=stage.number("demand_variability") / FULL_VARIABILITY,
            price_response=stage.number("dynamic_pricing"),
        ),
    )


def _player(name: str, config: AllocationConfig) -> Player:
    """Ask for what a planner's rule would hand out; absent resources are no limit to it."""
    shape = (len(config.services), len(config.resources))

    def act(environment: Any, record: StepRecord) -> Tensor:
        view = view_to_numpy(environment.view)
        absent = environment.rows["resource_active"].cpu().numpy() == 0
        known = replace(view, capacity=np.where(absent, 1e9, view.capacity).astype(np.float32))
        shares = EXPERTS[name](known, config, ExpertParameters())
        asked = torch.from_numpy(shares).reshape(-1, *shape)
        return asked.to(record.observation.device)

    return act
