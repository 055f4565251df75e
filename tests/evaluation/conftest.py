"""A tiny world whose best play can be worked out on paper, and the preset on synthetic demand."""

from __future__ import annotations

import numpy as np
import pytest

from data.scenario import WorkloadScenarios
from data.workload import SyntheticWorkload
from rl.domains.resource_allocation import AllocationConfig, ServiceSpec
from rl.domains.shared_services import shared_services

LOOKBACK = 3


def make_scenarios(demand, capacity, priority, price):
    """Build one episode from nested lists."""
    demand = np.asarray([demand], np.float32)
    steps = demand.shape[1]
    return WorkloadScenarios(
        history=np.zeros((1, LOOKBACK, demand.shape[2]), np.float32),
        demand=demand,
        capacity=np.asarray([capacity], np.float32),
        priority=np.asarray([priority], np.float32),
        price=np.asarray([price], np.float32),
        time_of_day=np.arange(steps, dtype=np.float32)[None] / 288,
    )


@pytest.fixture
def tiny_world():
    """A cheap service that cannot wait, a dear one that can wait a step, one resource of 10."""
    config = AllocationConfig(
        services=(
            ServiceSpec(name="cheap", priority=1.0, patience=1, usage=(1.0,)),
            ServiceSpec(name="dear", priority=3.0, patience=2, usage=(2.0,)),
        ),
        resources=("compute",),
        capacity=(10.0,),
        price=(0.5,),
        max_steps=3,
        lookback=LOOKBACK,
    )
    demand = [[6, 4], [6, 3], [2, 9]]
    scenarios = make_scenarios(demand, [[10], [10], [10]], [1.0, 3.0], [0.5])
    return config, scenarios


@pytest.fixture(scope="session")
def preset():
    """Return the allocation config and eight synthetic episodes."""
    world = shared_services(4)
    source = SyntheticWorkload(world.synthetic, world.training_world)
    return world.allocation, source.draw(8, np.random.default_rng(3))
