"""What the agent foresees is what the environment then does, where demand is as expected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ai_agents.allocation_schema import AllocationRequest
from ai_agents.base_agent import InvocationContext
from ai_agents.resource_allocation_agent import ResourceAllocationAgent
from data.scenario import BankConfig, FixedSource, ScenarioBank, WorkloadScenarios
from rl.environments.resource_allocation_environment import (
    BatchedResourceAllocation,
    EnvironmentConfig,
)
from tests.serving import WORLD, make_artifact, make_card

pytestmark = pytest.mark.anyio
STEPS = 6


def constant_scenario() -> WorkloadScenarios:
    demand = np.asarray([22.0, 30.0, 25.0, 20.0], np.float32)
    capacity = np.asarray([70.0, 55.0], np.float32)

    def repeated(values: np.ndarray, steps: int) -> np.ndarray:
        return np.tile(values, (1, steps, 1))

    return WorkloadScenarios(
        history=repeated(demand, WORLD.lookback),
        demand=repeated(demand, WORLD.max_steps),
        capacity=repeated(capacity, WORLD.max_steps),
        priority=np.asarray([[service.priority for service in WORLD.services]], np.float32),
        price=np.asarray([WORLD.price], np.float32),
        time_of_day=np.full((1, WORLD.max_steps), 0.25, np.float32),
    )


def request_of(view) -> AllocationRequest:
    services = [
        {
            "name": service.name,
            "waiting": view.backlog[0, index, : service.patience].tolist(),
            "recent_demand": view.recent_demand[0, index].tolist(),
            "priority": float(view.priority[0, index]),
            "holding": dict(zip(WORLD.resources, view.allocation[0, index].tolist(), strict=True)),
        }
        for index, service in enumerate(WORLD.services)
    ]
    return AllocationRequest.model_validate(
        {
            "services": services,
            "capacity": dict(zip(WORLD.resources, view.capacity[0].tolist(), strict=True)),
            "price": dict(zip(WORLD.resources, view.price[0].tolist(), strict=True)),
            "time_of_day": float(view.time_of_day[0]),
        }
    )


async def test_value_served_and_lost_work_come_true():
    source = FixedSource(constant_scenario())
    bank = ScenarioBank(source, BankConfig(num_episodes=1), seed=0)
    options = EnvironmentConfig(num_envs=1, shuffle=False)
    environment = BatchedResourceAllocation(WORLD, bank, options, 0)
    environment.reset()
    artifact = make_artifact(bias=0.1).with_card(replace(make_card(), validated_for=()))
    lost = 0.0
    async with ResourceAllocationAgent(artifact) as agent:
        for _ in range(STEPS):
            view = environment.view
            decision = await agent.invoke(request_of(view), InvocationContext(request_id="r"))
            assert decision.decided_by == "policy"
            granted = np.asarray([list(one.allocation.values()) for one in decision.services])
            share = granted / view.capacity[0].numpy()
            action = torch.as_tensor(share, dtype=torch.float32).reshape(1, 1, -1)
            record = environment.step(action)
            foreseen = decision.services
            served = sum(one.expected_served_work for one in foreseen)
            lost = sum(one.expected_lost_work for one in foreseen)
            assert served == pytest.approx(float(record.metrics["served_work"][0]), rel=1e-4)
            assert lost == pytest.approx(float(record.metrics["lost_work"][0]), rel=1e-3, abs=1e-3)
            assert decision.expected_value == pytest.approx(float(record.reward[0, 0]), rel=1e-3)
    assert lost > 1.0
