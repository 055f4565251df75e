"""From an agent to an artifact, and the ranges that scenarios span."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.workload import SyntheticWorkload
from rl.algorithms.apg_agent import APGAgent
from rl.algorithms.apg_config import APGConfig
from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.artifacts import PolicyArtifact
from rl.deployment.exporters import export_allocation_planner, validated_ranges
from rl.deployment.policy_runtime import PolicyRuntime
from rl.domains.resource_allocation import COVERAGE_SIZE, AllocationDomain
from rl.domains.shared_services import shared_services
from tests.serving import WORLD, make_card
from utils.errors import ConfigError

PRESET = shared_services(4)


def make_agent(observation_size: int, action_size: int = 8) -> PPOAgent:
    return PPOAgent(
        "p", observation_size, action_size, PPOConfig(hidden_dims=(8,)), discrete=False, seed=0
    )


def test_a_ppo_agent_becomes_an_artifact():
    agent = make_agent(AllocationDomain(WORLD).observation_size)
    artifact = export_allocation_planner(agent, WORLD, make_card())
    again = PolicyArtifact.from_bytes(artifact.to_bytes())
    assert (again.domain, again.action.size, len(again.layers)) == ("resource_allocation", 8, 2)


def test_an_apg_agent_that_covers_needs_becomes_an_artifact():
    size = AllocationDomain(WORLD).observation_size
    numbers = COVERAGE_SIZE * len(WORLD.services)
    agent = APGAgent("p", size, numbers, APGConfig(hidden_dims=(8,)), seed=0)
    observation = torch.randn(20, 1, size)
    artifact = export_allocation_planner(agent, WORLD, make_card(), action="coverage")
    expected = agent.act(observation, None).action[:, 0].clamp(0.0, 1.0)
    got = PolicyRuntime(artifact).act(observation[:, 0].numpy())
    np.testing.assert_allclose(got, expected, atol=1e-5)
    with pytest.raises(ConfigError, match=f"into {numbers}, one of this"):
        export_allocation_planner(agent, WORLD, make_card(), action="shares")


def test_another_world_is_refused():
    with pytest.raises(ConfigError, match="turns 5 numbers into"):
        export_allocation_planner(make_agent(5), WORLD, make_card())


def test_ranges_span_the_scenarios():
    source = SyntheticWorkload(PRESET.synthetic, PRESET.training_world)
    sets = [source.draw(6, np.random.default_rng(seed)) for seed in (1, 2)]
    ranges = {one.field: one for one in validated_ranges(WORLD, sets)}
    demand = np.concatenate([np.concatenate([s.history, s.demand], 1) for s in sets])
    storefront = ranges["services.storefront.recent_demand"]
    assert storefront.low == pytest.approx(demand[..., 0].min())
    assert storefront.high == pytest.approx(demand[..., 0].max())
    memory = np.concatenate([s.capacity[..., 1] for s in sets])
    assert ranges["capacity.memory"].low == pytest.approx(memory.min())
    assert ranges["services.holding.memory"].high == pytest.approx(memory.max())
    two_steps = demand[:, :-1, 1] + demand[:, 1:, 1]
    assert ranges["services.search.waiting"].high == pytest.approx(two_steps.max(), rel=1e-5)
    assert ranges["services.telemetry.waiting"].high == 0.0
