"""Every kind of decision is drawn with the expert's answer beside it, or without."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from ai_agents.base_agent import InvocationContext
from ai_agents.domains import DOMAINS
from ai_agents.policy_agent import PolicyAgent
from orchestration.cli.decision_tables import decision_table
from rl.artifacts import PolicyArtifact
from tests.business_policies import (
    chain_policy,
    desk_policy,
    investor_policy,
    seller_policy,
    serial_policy,
)
from tests.serving import make_artifact
from tests.views import make_artifact as make_view_artifact

pytestmark = pytest.mark.anyio
SHIPPED = Path(__file__).parents[2] / "shipped"


def shipped_placement() -> PolicyArtifact:
    return PolicyArtifact.from_bytes((SHIPPED / "cluster_placement.safetensors").read_bytes())


EXPECTED = {
    "resource_allocation": ("storefront", "the expert grants", "nobody"),
    "supply_chain": ("A-100", "depot_1", "the expert", "cover, days"),
    "serial_inventory": ("stage_2", "source", "the expert"),
    "network_planner": ("2->1", "the expert", "awaits"),
    "order_desks": ("sells now", "almgren_chriss", "risk charge, bp", "times an even slice"),
    "execution": ("sells now", "almgren_chriss", "to go."),
    "cluster_placement": ("node-a", "fgd", "takes it", "GPUs"),
    "distributed_nodes": ("import", "the expert", "exceeds the need least"),
    "workforce": ("skill-1", "the expert calls", "hours of overtime"),
    "market_making": ("distances of (bid, ask)", "avellaneda_stoikov"),
    "portfolio": ("SYM4", "the expert", "cash", "of it traded"),
}
ARTIFACTS = (
    make_artifact,
    chain_policy,
    serial_policy,
    desk_policy,
    seller_policy,
    investor_policy,
    shipped_placement,
    partial(make_view_artifact, "distributed_nodes"),
    partial(make_view_artifact, "workforce"),
    partial(make_view_artifact, "market_making"),
)


@pytest.mark.parametrize("make", ARTIFACTS, ids=range(len(ARTIFACTS)))
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
