"""What an agent says about itself."""

from __future__ import annotations

import pytest

from ai_agents.cards import AgentCard, describe
from ai_agents.resource_allocation_agent import ResourceAllocationAgent
from tests.serving import make_artifact

pytestmark = pytest.mark.anyio


async def test_a_card_says_what_asking_costs_once_that_is_known():
    agent = ResourceAllocationAgent(make_artifact())
    assert describe(agent).seconds_per_decision is None
    await agent.setup()
    cost = describe(agent).seconds_per_decision
    assert cost is not None
    assert 0 < cost < 60


async def test_a_card_outlives_a_journey_as_json():
    async with ResourceAllocationAgent(make_artifact()) as agent:
        card = describe(agent)
    assert AgentCard.model_validate_json(card.model_dump_json()) == card
    assert card.tags[0] == card.domain == "resource_allocation"
    assert card.request_schema["additionalProperties"] is False
    assert agent.parse(card.examples[0]) == agent.example_request()
