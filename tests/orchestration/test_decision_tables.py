"""Every kind of decision is drawn with the expert's answer beside it, or without."""

from __future__ import annotations

import pytest
from rich.console import Console

from ai_agents.base_agent import InvocationContext
from ai_agents.domains import DOMAINS
from ai_agents.policy_agent import PolicyAgent
from orchestration.cli.decision_tables import decision_table
from tests.business_policies import (
    chain_policy,
    desk_policy,
    investor_policy,
    seller_policy,
    serial_policy,
)
from tests.serving import make_artifact

pytestmark = pytest.mark.anyio
EXPECTED = {
    "resource_allocation": ("storefront", "the expert grants", "nobody"),
    "supply_chain": ("A-100", "depot_1", "the expert", "cover, days"),
    "serial_inventory": ("stage_2", "source", "the expert"),
    "order_desks": ("sells now", "almgren_chriss", "risk charge, bp", "times an even slice"),
    "execution": ("sells now", "almgren_chriss", "to go."),
    "portfolio": ("SYM4", "the expert", "cash", "of it traded"),
}
ARTIFACTS = (
    make_artifact,
    chain_policy,
    serial_policy,
    desk_policy,
    seller_policy,
    investor_policy,
)


@pytest.mark.parametrize("make", ARTIFACTS, ids=lambda one: one.__name__)
async def test_a_decision_is_drawn(make):
    artifact = make()
    async with PolicyAgent(artifact, DOMAINS[artifact.domain](artifact)) as agent:
        request = agent.example_request().model_copy(update={"compare": True})
        context = InvocationContext(request_id="r")
        drawn = draw(await agent.invoke(request, context))
        for words in EXPECTED[artifact.domain]:
            assert words in drawn
        alone = request.model_copy(update={"compare": False})
        assert "expert" not in draw(await agent.invoke(alone, context))


def draw(decision) -> str:
    console = Console(width=250)
    with console.capture() as captured:
        console.print(decision_table(decision))
    return captured.get()
