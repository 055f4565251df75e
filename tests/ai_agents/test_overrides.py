"""People decide in the words of every domain; what cannot be carried out is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ai_agents.base_agent import Header, RequestError
from ai_agents.domains import DOMAINS
from ai_agents.node_domain import NodeDecisions
from ai_agents.portfolio_domain import PortfolioDecisions
from ai_agents.view_domain import ViewDecisions
from ai_agents.workforce_domain import WorkforceDecisions
from rl.artifacts import PolicyArtifact
from rl.domains.view_worlds import VIEW_WORLDS
from tests.business_policies import investor_policy
from tests.views import make_artifact

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


def test_a_person_puts_workloads_on_nodes():
    domain = NodeDecisions(make_artifact("distributed_nodes"))
    request = domain.example_request()
    free = request.nodes[0].name
    wish = {"placements": [{"workload": "report", "node": free}]}
    decision = override(domain, request, wish)
    assert [(one.workload, one.node) for one in decision.placements] == [
        ("import", None),
        ("report", free),
    ]
    assert decision.guardrails == []
    assert {one.reason for one in decision.placements} == {"Decided by token:ann."}
    both = [{"workload": name, "node": free} for name in ("import", "report")]
    assert override(domain, request, {"placements": both}).placements[1].node == free
    half = request.nodes[4].name  # 40 of its 100 units are in use
    assert refused(domain, request, {"placements": [{"workload": "report", "node": half}]}) == (
        "placements.report"
    )
    larger = request.workloads[0].model_copy(
        update={"need": {name: units + 3.0 for name, units in request.workloads[0].need.items()}}
    )
    together = request.model_copy(update={"workloads": [larger, request.workloads[1]]})
    assert refused(domain, together, {"placements": both}) == "placements.report"
    elsewhere = {"placements": [{"workload": "report", "node": "elsewhere"}]}
    assert refused(domain, request, elsewhere) == "placements.report"
    assert refused(domain, request, {"placements": both * 2}) == "placements"
    assert refused(domain, request, {"placements": [{"workload": "x", "node": free}]}) == (
        "placements"
    )


def test_a_person_calls_people():
    domain = WorkforceDecisions(make_artifact("workforce"))
    request = domain.example_request()
    can_come = next(one for one in request.employees if not one.worked_last_shift)
    rests = next(one for one in request.employees if one.worked_last_shift)
    skill = can_come.skills[0]
    decision = override(domain, request, call(skill, can_come.name))
    assert [one.called for one in decision.staffing if one.skill == skill] == [[can_come.name]]
    assert sum(len(one.called) for one in decision.staffing) == 1
    hours = domain.config.shift_hours + domain.config.overtime_premium * decision.overtime_hours
    assert decision.wages == pytest.approx(domain.config.wage * hours)
    other = next(name for name in request.skills if name not in can_come.skills)
    for name, of in ((rests.name, rests.skills[0]), ("nobody", skill), (can_come.name, other)):
        assert refused(domain, request, call(of, name)) == f"staffing.{of}.{name}"
    twice = call(skill, can_come.name, can_come.name)
    assert refused(domain, request, twice) == f"staffing.{skill}.{can_come.name}"
    assert refused(domain, request, call("pilot", can_come.name)) == "staffing"


def call(skill, *names):
    return {"staffing": [{"skill": skill, "called": list(names)}]}


@pytest.mark.parametrize("world", sorted(VIEW_WORLDS))
def test_a_person_decides_in_any_world_that_is_asked_by_its_view(world):
    domain = ViewDecisions(make_artifact(world))
    request = domain.example_request()
    (row,) = domain.ask_expert([domain.read(request)])
    usual = domain.decide(domain.read(request), row, header=HEADER, expert=None)
    decision = override(domain, request, {"action": usual.action})
    assert np.allclose(decision.action, usual.action)
    assert decision.reason == "Decided by token:ann."
    assert refused(domain, request, {"action": [[1.0] * 3] * 77}) == "action"
    beyond = np.full(np.shape(usual.action), 1e8).tolist()
    assert refused(domain, request, {"action": beyond}) == "action"
    assert refused(domain, request, {"action": np.full_like(usual.action, np.nan).tolist()})
    assert refused(domain, request, {}).startswith("action")
