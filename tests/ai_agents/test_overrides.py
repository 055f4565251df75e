"""People decide in the words of every domain; what cannot be carried out is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_agents.base_agent import Header, RequestError
from ai_agents.domains import DOMAINS
from ai_agents.portfolio_domain import PortfolioDecisions
from rl.artifacts import PolicyArtifact
from tests.business_policies import investor_policy

SHIPPED = Path(__file__).parents[2] / "shipped"
HEADER = Header(
    agent="a", version="1", request_id="r", decision_id="d", decided_by="token:ann",
    fallback_used=False, fallback_reason=None, duration_seconds=0.0, warnings=[],
)  # fmt: skip


def load(name):
    artifact = PolicyArtifact.from_bytes((SHIPPED / f"{name}.safetensors").read_bytes())
    domain = DOMAINS[artifact.domain](artifact)
    return domain, domain.example_request()


def override(domain, request, wish):
    return domain.override(domain.read(request), wish, header=HEADER)


def refused(domain, request, wish):
    with pytest.raises(RequestError) as caught:
        override(domain, request, wish)
    return caught.value.problems[0].field


def test_a_person_places_a_pod():
    domain, request = load("cluster_placement")
    usual = domain.decide(
        domain.read(request),
        domain.plan([domain.read(request)]).actions[0],
        header=HEADER,
        expert=None,
    )
    assert usual.alternatives
    wanted = usual.alternatives[0]
    decision = override(domain, request, {"node": wanted.node})
    assert (decision.placement.node, decision.placement.gpus) == (wanted.node, wanted.gpus)
    assert (decision.alternatives, decision.guardrails) == ([], [])
    assert decision.reason == "Decided by token:ann."
    assert refused(domain, request, {"node": "elsewhere"}) == "node"
    assert refused(domain, request, {"node": wanted.node, "gpu": 9}) == "gpu"
    assert refused(domain, request, {}) == "node"
    huge = request.model_copy(update={"pod": request.pod.model_copy(update={"cpu_milli": 10**6})})
    assert refused(domain, huge, {"node": wanted.node}) == "node"


def test_a_person_sells():
    domain, request = load("trading")
    lot = request.lot
    decision = override(domain, request, {"next_slice": 3 * lot})
    assert decision.next_slice == 3 * lot
    assert decision.shares_after == request.shares_left - 3 * lot
    assert sum(decision.outlook.slices) == request.shares_left
    assert decision.reason == "Decided by token:ann."
    for wrong in (request.shares_left + lot, -1, 1.5, float("nan")):
        assert refused(domain, request, {"next_slice": wrong}) == "next_slice"
    if lot > 1:
        assert refused(domain, request, {"next_slice": lot + 1}) == "next_slice"
    last = request.model_copy(update={"slices_left": 1})
    assert refused(domain, last, {"next_slice": lot}) == "next_slice"


def test_a_person_orders():
    domain, request = load("supply_chain")
    names = [one.name for one in request.products]
    place = domain._chain.terms.places[0]
    wish = {"products": [{"name": name, "orders": {place: 2.0}} for name in names]}
    decision = override(domain, request, wish)
    for product in decision.products:
        assert {line.place: line.order for line in product.orders if line.order} == {place: 2.0}
    wish["products"][0]["orders"] = {place: 1e9}
    assert refused(domain, request, wish).split(".")[-1] in {place, *domain._chain.terms.suppliers}
    wish["products"][0]["orders"] = {"nowhere": 1.0}
    assert refused(domain, request, wish) == f"products.{names[0]}.orders.nowhere"
    wish["products"][0]["orders"] = {place: -1.0}
    assert refused(domain, request, wish).startswith("products[0].orders")
    assert refused(domain, request, {"products": [{"name": "other", "orders": {}}]}) == "products"


def test_a_person_splits_wealth():
    domain = PortfolioDecisions(investor_policy())
    request = domain.example_request()
    symbols = [one.symbol for one in request.holdings]
    decision = override(domain, request, {"weights": {symbols[0]: 0.4, symbols[1]: 0.3}})
    weights = {one.symbol: one.target_weight for one in decision.portfolio.positions}
    assert weights == pytest.approx(
        {**dict.fromkeys(symbols, 0.0), symbols[0]: 0.4, symbols[1]: 0.3}
    )
    limit = domain.config.max_leverage
    assert refused(domain, request, {"weights": {symbols[0]: limit + 0.1}}) == "max_leverage"
    short = {"weights": {symbols[0]: -domain.config.max_short - 0.1}}
    assert refused(domain, request, short) == "max_short"
    assert refused(domain, request, {"weights": {"other": 0.1}}) == "weights.other"
