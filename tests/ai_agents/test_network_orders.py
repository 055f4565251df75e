"""The network planner as a business agent: requests read, orders cut, expert, words."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ai_agents.base_agent import InvocationContext, RequestError
from ai_agents.network_orders_domain import NetworkOrdersDecisions
from ai_agents.network_orders_schema import NetworkOrdersRequest
from ai_agents.policy_agent import PolicyAgent
from data.network_demand import NetworkDemandSource
from data.scenario import BankConfig, ScenarioBank
from rl.deployment.planner_exporter import PlannerPolicy
from rl.deployment.policy_runtime import PolicyRuntime
from rl.domains.planner_experts import EXPERT
from rl.domains.supply_presets import multi_echelon, serial
from rl.environments.lockstep import LockstepOptions
from rl.environments.network_planner_environment import BatchedNetworkPlanner
from rl.environments.torch_tools import view_to_numpy
from tests.business_policies import network_policy
from tests.cards import make_header
from utils.errors import ConfigError

pytestmark = pytest.mark.anyio


async def ask(artifact, request):
    async with PolicyAgent(artifact, NetworkOrdersDecisions(artifact)) as agent:
        return await agent.invoke(request, InvocationContext(request_id="r"))


def orders_by_link(decision):
    return {line.link: line.order for line in decision.orders}


@pytest.mark.parametrize(("build", "horizon"), [(multi_echelon, 22), (serial, 13), (serial, 0)])
async def test_example_is_answered_by_the_policy_within_what_can_be_shipped(build, horizon):
    artifact = network_policy(build, horizon, bias=2.0)
    domain = NetworkOrdersDecisions(artifact)
    request = domain.example_request()
    decision = await ask(artifact, request)
    assert decision.decided_by == "policy"
    assert decision.expert.name == EXPERT
    wish, _ = domain.plan([domain.read(request)])
    shipped = PlannerPolicy(artifact)(domain.read(request).view)
    np.testing.assert_allclose([line.order for line in decision.orders], shipped[0], rtol=1e-4)
    assert (wish[0] >= shipped[0] - 1e-3).all()
    nodes = {node.name: node for node in domain.config.network.nodes}
    for supplier in {line.supplier for line in decision.orders}:
        sent = sum(line.order for line in decision.orders if line.supplier == supplier)
        assert sent <= nodes[supplier].capacity
        assert sent <= request.stock.get(supplier, np.inf)


def request_of(env, step, row):
    """Say in words what one copy of the world is in."""
    view, planner = view_to_numpy(env.view), env.planner
    links = [f"{one.supplier}->{one.buyer}" for one in env.config.network.links]
    coming = {link: [] for link in links}
    for (number, _), units in zip(planner.slots, view.in_transit[row].tolist(), strict=True):
        coming[links[number]].append(units)
    left = env.config.max_steps - step
    places = [one.node for one in env.config.network.shelves]
    return NetworkOrdersRequest(
        stock=dict(zip(places, view.stock[row].tolist(), strict=True)),
        on_the_way={link: units for link, units in coming.items() if units},
        undelivered=float(view.unmet[row]),
        customers_wait=bool(view.waits[row]),
        customers_remember=bool(view.remembers[row]),
        sentiment=float(view.sentiment[row]),
        expected_demand=view.known_mean[row, :left].tolist(),
        recent_demand=[] if env.config.horizon else view.history[row, left:].tolist(),
        periods_left=left,
    )


@pytest.mark.parametrize(("build", "horizon"), [(multi_echelon, 22), (serial, 0)])
def test_a_network_is_ordered_for_as_in_training(build, horizon):
    artifact = network_policy(build, horizon, bias=1.0)
    domain, runtime = NetworkOrdersDecisions(artifact), PolicyRuntime(artifact)
    bank = ScenarioBank(NetworkDemandSource(), BankConfig(num_episodes=64), 0)
    env = BatchedNetworkPlanner(domain.config, bank, LockstepOptions(num_envs=8), 0)
    record, cut = env.reset(0), set()
    for step in range(domain.config.max_steps):
        situations = [domain.read(request_of(env, step, row)) for row in range(env.num_envs)]
        wish = domain.plan(situations).actions
        acted = runtime.act(record.observation[:, 0].numpy())
        np.testing.assert_allclose(wish, domain.config.unit_scale * np.logaddexp(acted, 0), 1e-4)
        record = env.step(torch.from_numpy(acted)[:, None])
        for row, situation in enumerate(situations):
            decision = domain.decide(situation, wish[row], header=make_header(), expert=None)
            ordered = sum(line.order for line in decision.orders)
            assert ordered == pytest.approx(float(record.metrics["ordered_units"][row]), rel=1e-4)
            cut |= set(decision.guardrails)
    assert any(name.startswith("stock.") for name in cut)


async def test_a_cut_order_names_what_cut_it():
    artifact = network_policy(bias=2.0)
    domain = NetworkOrdersDecisions(artifact)
    example = domain.example_request()
    request = example.model_copy(update={"stock": {**example.stock, "4": 0.0}})
    decision = await ask(artifact, request)
    assert orders_by_link(decision)["4->2"] == orders_by_link(decision)["4->3"] == 0.0
    assert "stock.4" in decision.guardrails
    assert "cut to what 4 has" in {line.link: line.reason for line in decision.orders}["4->2"]


async def test_far_from_training_the_expert_answers():
    artifact = network_policy()
    example = NetworkOrdersDecisions(artifact).example_request()
    request = example.model_copy(update={"stock": {**example.stock, "2": 5_000.0}})
    decision = await ask(artifact, request)
    assert decision.decided_by == EXPERT
    assert decision.fallback_used


async def test_requests_of_a_batch_are_answered_as_alone():
    artifact = network_policy()
    domain = NetworkOrdersDecisions(artifact)
    generator = np.random.default_rng(3)
    situations = [domain.read(domain.vary(generator)) for _ in range(5)]
    together = domain.plan(situations).actions
    alone = np.concatenate([domain.plan([one]).actions for one in situations])
    np.testing.assert_allclose(together, alone, rtol=1e-4)
    experts = domain.ask_expert(situations)
    np.testing.assert_array_equal(experts[2], domain.ask_expert([situations[2]])[0])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"stock": {"1": 5.0}}, "stock.2"),
        ({"on_the_way": {"9->9": [1.0]}}, "on_the_way.9->9"),
        ({"on_the_way": {"2->1": [1.0] * 6}}, "on_the_way.2->1"),
        ({"periods_left": 31}, "periods_left"),
        ({"recent_demand": [1.0] * 11}, "recent_demand"),
        ({"expected_demand": [20.0]}, "expected_demand"),
        ({"sentiment": 2.0}, "sentiment"),
    ],
)
def test_what_does_not_fit_is_named(change, field):
    domain = NetworkOrdersDecisions(network_policy())
    request = domain.example_request().model_copy(update=change)
    with pytest.raises(RequestError) as caught:
        domain.read(request)
    assert field in [problem.field for problem in caught.value.problems]


def test_a_blind_agent_takes_no_forecast():
    domain = NetworkOrdersDecisions(network_policy(serial, 0))
    request = domain.example_request().model_copy(update={"expected_demand": [20.0] * 20})
    with pytest.raises(RequestError, match="past demand only"):
        domain.read(request)


def test_a_person_orders_by_link():
    domain = NetworkOrdersDecisions(network_policy(serial, 13))
    situation = domain.read(domain.example_request())
    assert domain.to_action(situation, {"orders": {"2->1": 7.0}}).tolist() == [7.0, 0.0, 0.0]
    with pytest.raises(RequestError, match="unknown link"):
        domain.to_action(situation, {"orders": {"1->2": 7.0}})


def test_other_artifacts_are_refused():
    with pytest.raises(ConfigError, match="acts in"):
        PlannerPolicy(network_policy(meaning="levels"))
