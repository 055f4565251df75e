"""What decisions of every domain give, how far two are apart, and what they were worth."""

from __future__ import annotations

import numpy as np
import pytest

from ai_agents.base_agent import Header
from ai_agents.node_domain import NodeDecisions
from ai_agents.outcomes import read_amounts
from ai_agents.portfolio_domain import PortfolioDecisions
from ai_agents.view_domain import ViewDecisions
from ai_agents.workforce_domain import WorkforceDecisions
from orchestration.rollout.comparison import compare
from rl.domains.view_worlds import VIEW_WORLDS
from tests.ai_agents.test_overrides import call, load
from tests.business_policies import investor_policy
from tests.cards import make_header
from tests.views import make_artifact

DOMAINS = {
    "resource_allocation": lambda: load("resource_allocator")[0],
    "cluster_placement": lambda: load("cluster_placement")[0],
    "replenishment": lambda: load("supply_chain")[0],
    "execution": lambda: load("trading")[0],
    "portfolio": lambda: PortfolioDecisions(investor_policy()),
    "nodes": lambda: NodeDecisions(make_artifact("distributed_nodes")),
    "people": lambda: WorkforceDecisions(make_artifact("workforce")),
    **{name: lambda name=name: ViewDecisions(make_artifact(name)) for name in VIEW_WORLDS},
}


def header() -> Header:
    return make_header()


def decide(domain, request, wish=None):
    situation = domain.read(request)
    if wish is not None:
        return domain.override(situation, wish, header=header())
    action = domain.plan([situation]).actions[0]
    return domain.decide(situation, action, header=header(), expert=None)


@pytest.mark.parametrize("name", DOMAINS)
def test_what_a_decision_gives_tells_decisions_apart(name):
    domain = DOMAINS[name]()
    request = domain.example_request()
    situation = domain.read(request)
    ours = decide(domain, request)
    (row,) = domain.ask_expert([situation])
    expert = domain.decide(situation, row, header=header(), expert=None)
    same, other = (compare(ours, one, domain, situation) for one in (ours, expert))
    assert (same.outcome, same.distance) == ("equal", 0.0)
    assert domain.amounts(ours)
    if domain.amounts(ours) != domain.amounts(expert):
        assert 0.0 < other.distance <= 1.0
        assert other.outcome == "different"
    back = compare(expert, ours, domain, situation)
    assert back.distance == pytest.approx(other.distance)
    assert back.regret == pytest.approx(None if other.regret is None else -other.regret)


def test_the_same_place_is_equal_whatever_score_it_got_and_whoever_chose_it():
    domain, request = load("cluster_placement")
    ours = decide(domain, request)
    other = ours.placement.model_copy(update={"score": ours.placement.score - 1.0})
    again = ours.model_copy(update={"placement": other, "alternatives": [], "reason": "FGD."})
    assert compare(ours, again, domain, domain.read(request)).outcome == "equal"


@pytest.mark.parametrize("told", [10**400, 1e300, -1.0, True, "3", None, float("nan")])
def test_what_is_no_amount_is_not_known(told):
    assert read_amounts({"a": 1.0, "b": told}, ["a", "b"]) is None
    assert read_amounts({"a": 1, "b": 2.5}, ["b", "a"]).tolist() == [2.5, 1.0]


def test_a_portfolio_is_worth_what_prices_made_of_it():
    domain = PortfolioDecisions(investor_policy())
    request = domain.example_request()
    symbols = [one.symbol for one in request.holdings]
    prices = {one.symbol: one.prices[-1] for one in request.holdings}
    up = {**prices, symbols[0]: 1.1 * prices[symbols[0]]}
    came = domain.realised(request, {"prices": up}, None)
    assert came == pytest.approx([0.1] + [0.0] * (len(symbols) - 1))
    decision = decide(domain, request, {"weights": {symbols[0]: 0.5, symbols[1]: 0.5}})
    situation, cost = domain.read(request), decision.portfolio.cost
    invested = (decision.wealth - cost) * 0.5
    assert domain.worth(situation, decision, came) == pytest.approx(0.1 * invested - cost)
    assert domain.worth(situation, decision, None) is None
    after = [
        one.model_copy(update={"prices": [*one.prices[1:], up[one.symbol]]})
        for one in request.holdings
    ]
    following = request.model_copy(update={"holdings": after})
    assert domain.realised(request, None, following) == pytest.approx(came)
    assert domain.realised(request, None, request) is None
    assert domain.realised(request, {"prices": {symbols[0]: 1.0}}, None) is None
    assert domain.realised(request, {"prices": {**up, symbols[0]: float("nan")}}, None) is None
    assert domain.realised(request, None, None) is None


def test_an_order_is_worth_what_the_price_made_of_what_was_held():
    domain, request = load("trading")
    situation = domain.read(request)
    slow, fast = (decide(domain, request, {"next_slice": lots * request.lot}) for lots in (1, 10))
    falls = domain.realised(request, {"price": request.price - 1.0}, None)
    assert falls == pytest.approx(-1.0)
    gain = domain.worth(situation, fast, falls) - domain.worth(situation, slow, falls)
    cheaper = slow.outlook.expected_cost - fast.outlook.expected_cost
    assert gain == pytest.approx(cheaper + 9 * request.lot)
    point = request.arrival_price * request.shares_total * 1e-4
    expected = slow.outlook.expected_cost + slow.outlook.risk_charge_bp * point
    assert domain.worth(situation, slow, None) == pytest.approx(-expected)
    following = request.model_copy(
        update={"slices_left": request.slices_left - 1, "price": request.price + 0.5}
    )
    assert domain.realised(request, None, following) == pytest.approx(0.5)
    assert domain.realised(request, None, request) is None
    another = following.model_copy(update={"shares_total": request.shares_total + request.lot})
    assert domain.realised(request, None, another) is None
    assert domain.realised(request, {"price": "high"}, None) is None


def test_a_shift_is_worth_wages_and_those_missing():
    domain = WorkforceDecisions(make_artifact("workforce"))
    request = domain.example_request()
    person = next(one for one in request.employees if not one.worked_last_shift)
    decision = decide(domain, request, call(person.skills[0], person.name))
    situation, config = domain.read(request), domain.config
    needed = {skill: 2.0 * (skill == person.skills[0]) for skill in request.skills}
    came = domain.realised(request, {"needed": needed}, None)
    worth = domain.worth(situation, decision, came)
    one_missing = config.understaffing_penalty * config.shift_hours
    assert worth == pytest.approx(-decision.wages - one_missing)
    forecast = np.asarray([request.forecast[0][skill] for skill in request.skills])
    called = np.asarray([len(one.called) for one in decision.staffing])
    missing = np.maximum(forecast - called, 0.0).sum()
    assert domain.worth(situation, decision, None) == pytest.approx(
        -decision.wages - one_missing * missing
    )
    assert domain.realised(request, {"needed": {}}, None) is None


def test_nodes_are_worth_the_workloads_they_take():
    domain = NodeDecisions(make_artifact("distributed_nodes"))
    request = domain.example_request()
    wish = {"placements": [{"workload": "import", "node": request.nodes[0].name}]}
    assert domain.worth(domain.read(request), decide(domain, request, wish), None) == 1.0
