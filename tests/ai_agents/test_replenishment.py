"""Replenishment: training's orders, within every limit, in words, whoever decides."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_agents.base_agent import InvocationContext, RequestError
from ai_agents.domains import DOMAINS
from ai_agents.policy_agent import PolicyAgent
from ai_agents.replenishment_domain import ReplenishmentDecisions
from ai_agents.replenishment_schema import ReplenishmentDecision, ReplenishmentRequest
from data.chain_scenarios import ChainSource
from data.demand import PoissonDemand
from data.scenario import fixed_bank
from data.shop_demand import SyntheticShop
from data.supply_disruptions import DisruptionLaw
from rl.deployment.guardrails import FallbackReason
from rl.deployment.policy_runtime import PolicyRuntime
from rl.domains.echelon_levels import EchelonLevels
from rl.domains.retail_chain import SYNTHETIC_LAW, chain_shape
from rl.domains.supply_network import Network
from rl.environments.echelon_environment import BatchedEchelonChain
from rl.environments.inventory_environment import BatchedInventory, InventoryOptions
from rl.environments.supply_network_environment import SupplyOptions
from tests.business_policies import (
    CHAIN,
    SERIAL,
    WAITING_CHAIN,
    broken,
    chain_policy,
    serial_policy,
)
from utils.errors import ConfigError

pytestmark = pytest.mark.anyio
CONTEXT = InvocationContext(request_id="r1")
PLACES = [shelf.node for shelf in CHAIN.network.shelves]
STAGES = [f"stage_{number}" for number in range(SERIAL.num_stages)]
LARGEST = 1e9


async def ready(artifact) -> PolicyAgent:
    agent = PolicyAgent(artifact, DOMAINS[artifact.domain](artifact))
    await agent.setup()
    return agent


def orders_of(decision: ReplenishmentDecision) -> np.ndarray:
    return np.asarray([[line.order for line in one.orders] for one in decision.products])


def shipments_of(decision: ReplenishmentDecision) -> np.ndarray:
    return np.asarray(
        [[line.expected_shipment for line in one.orders] for one in decision.products]
    )


def example(artifact) -> dict:
    request = DOMAINS[artifact.domain](artifact).example_request()
    return request.model_dump(exclude_none=True)


def chain_request(view, slots, demand, t: int, usual: float = 20.0) -> ReplenishmentRequest:
    """Word the first copy of an environment's view, in multiples of other usual sales."""
    unit = usual / CHAIN.unit_scale
    on_the_way = {place: [0.0] * 6 for place in PLACES}
    for (flow, day), units in zip(slots, view.in_transit[0].tolist(), strict=True):
        on_the_way[PLACES[flow]][day] = units * unit
    nodes = [node.name for node in CHAIN.network.nodes]
    trouble = [
        {
            "place": name,
            "shortage": float(view.shortage[0, n]),
            "capacity_loss": float(view.capacity_loss[0, n]),
            "quality_loss": float(view.quality_loss[0, n]),
            "delay": int(view.delay[0, PLACES.index(name)]) if name in PLACES else 0,
        }
        for n, name in enumerate(nodes)
    ]
    stock = dict(zip(PLACES, (view.stock[0] * unit).tolist(), strict=True))
    leads = [flow.lead_time + CHAIN.max_delay for flow in CHAIN.network.links]
    return ReplenishmentRequest.model_validate(
        {
            "products": [
                {
                    "name": "A",
                    "stock": stock,
                    "on_the_way": {
                        p: days[:way] for (p, days), way in zip(on_the_way.items(), leads,
                                                                strict=True)
                    },
                    "recent_demand": [float(units) * unit for units in demand[:t]],
                    "usual_sales": usual,
                }
            ],
            "trouble": trouble,
            "days_left": CHAIN.max_steps - t,
        }
    )  # fmt: skip


@pytest.mark.parametrize("usual", [20.0, 370.0])
async def test_a_chain_is_ordered_for_as_in_training(usual):
    artifact = chain_policy()
    law = DisruptionLaw(probability=0.7, kinds=("supplier_shortage", "logistics_delay"))
    source = ChainSource(
        shape=chain_shape(CHAIN),
        demand=SyntheticShop(law=SYNTHETIC_LAW),
        disruptions=law,
        late_share=0.3,
    )
    scenarios = source.draw(1, np.random.default_rng(3))
    bank = fixed_bank(scenarios)
    world = BatchedEchelonChain(CHAIN, bank, SupplyOptions(num_envs=1, shuffle=False), 0)
    record = world.reset()
    levels, runtime = EchelonLevels(world.domain), PolicyRuntime(artifact)
    agent = await ready(artifact.with_card(replace(artifact.card, validated_for=())))
    refused = 0.0
    for t in range(15):
        view = world.view
        action = torch.from_numpy(runtime.act(record.observation[0].numpy()))
        orders = levels.orders(action, view)
        shipped = world.domain.ship(orders, view)
        request = chain_request(view, world.domain.slots, scenarios.demand[0, :, 0], t, usual)
        decision = await agent.invoke(request, CONTEXT)
        unit = usual / CHAIN.unit_scale
        assert decision.decided_by == "policy"
        highest = levels.highest_days * usual
        np.testing.assert_allclose(
            orders_of(decision), orders.numpy() * unit, rtol=1e-5, atol=1e-6 * highest
        )
        np.testing.assert_allclose(
            shipments_of(decision), shipped.numpy() * unit, rtol=1e-5, atol=1e-6 * highest
        )
        refused += float((orders - shipped).sum())
        record = world.step(action[None])
    assert refused > 1.0


async def test_a_serial_chain_is_ordered_for_as_in_training():
    artifact = serial_policy()
    scenarios = PoissonDemand(mean=20.0, max_steps=30).draw(1, np.random.default_rng(1))
    options = InventoryOptions(num_envs=1, shuffle=False)
    world = BatchedInventory(SERIAL, fixed_bank(scenarios), options, 0)
    record = world.reset()
    runtime = PolicyRuntime(artifact)
    agent = await ready(artifact.with_card(replace(artifact.card, validated_for=())))
    waited = 0.0
    for t in range(30):
        view = world.view
        action = torch.from_numpy(runtime.act(record.observation[0].numpy()))
        request = {
            "products": [
                {
                    "name": "A",
                    "stock": dict(zip(STAGES, view.stock[0].tolist(), strict=True)),
                    "on_the_way": {
                        name: view.in_transit[0, n, :lead].tolist()
                        for n, (name, lead) in enumerate(zip(STAGES, SERIAL.lead_time, strict=True))
                    },
                    "recent_demand": scenarios.demand[0, :t].tolist(),
                    "waiting": float(view.unmet[0, 0]),
                    "waiting_orders": dict(zip(STAGES, view.unmet[0, 1:].tolist(), strict=True)),
                }
            ],
            "days_left": SERIAL.max_steps - t,
        }
        decision = await agent.invoke(agent.parse(request), CONTEXT)
        wanted = world.domain.round_orders(world.domain.scale_orders(action[0]))
        shipped = world.domain.project(action[0], view)
        np.testing.assert_allclose(orders_of(decision), [wanted.tolist()])
        np.testing.assert_allclose(shipments_of(decision), shipped.numpy(), atol=1e-4)
        waited += float(view.unmet.sum())
        record = world.step(action[None])
    assert waited > 1.0


def amounts(places, top: float = LARGEST) -> st.SearchStrategy:
    units = st.one_of(st.just(0.0), st.floats(0, 300), st.floats(0, top))
    return st.fixed_dictionaries(dict.fromkeys(places, units))


@st.composite
def chain_requests(draw) -> dict:
    units = st.one_of(st.floats(0, 60), st.floats(0, LARGEST))
    share = st.floats(0, 1)
    products = [
        {
            "name": f"p{n}",
            "stock": draw(amounts(PLACES)),
            "on_the_way": {p: draw(st.lists(units, max_size=4)) for p in PLACES},
            "recent_demand": draw(st.lists(units, max_size=9)),
            "usual_sales": draw(st.one_of(st.just(20.0), st.floats(1e-3, LARGEST))),
        }
        for n in range(draw(st.integers(1, 3)))
    ]
    trouble = [
        {
            "place": place,
            "shortage": draw(share),
            "capacity_loss": draw(share),
            "quality_loss": draw(share),
            "delay": draw(st.integers(0, 3)),
        }
        for place in draw(st.sets(st.sampled_from([*PLACES, "materials"])))
    ]
    days = draw(st.one_of(st.none(), st.integers(1, 100)))
    return {"products": products, "trouble": trouble, "days_left": days, "compare": True}


@settings(max_examples=30)
@given(request=chain_requests(), seed=st.integers(0, 3))
async def test_orders_of_any_request_can_be_shipped(request, seed):
    agent = await ready(chain_policy(seed=seed))
    decision = await agent.invoke(agent.parse(request), CONTEXT)
    lost = {one["place"]: one["capacity_loss"] for one in request["trouble"]}
    answers = [decision.products, decision.expert.products]
    for product, *lines in zip(request["products"], *answers, strict=True):
        for one in lines:
            for n, line in enumerate(one.orders):
                most = CHAIN.network.links[n].max_order / CHAIN.unit_scale * product["usual_sales"]
                assert 0.0 <= line.order <= most * (1 + 1e-12)
                assert 0.0 <= line.expected_shipment <= line.order
                if n + 1 < len(PLACES):
                    assert line.order <= product["stock"][PLACES[n + 1]]
                capacity = 1e9 * (1 - lost.get(line.supplier, 0.0)) * product["usual_sales"] / 20
                assert line.order <= capacity * (1 + 1e-12)
                assert line.reason.endswith(".")
    assert ReplenishmentDecision.model_validate_json(decision.model_dump_json()) == decision


@st.composite
def serial_requests(draw) -> dict:
    units = st.one_of(st.floats(0, 60), st.floats(0, LARGEST))
    ways = dict(zip(STAGES, SERIAL.lead_time, strict=True))
    product = {
        "name": "p",
        "stock": draw(amounts(STAGES)),
        "on_the_way": {p: draw(st.lists(units, max_size=way)) for p, way in ways.items()},
        "recent_demand": draw(st.lists(units, max_size=9)),
        "waiting": draw(units),
        "waiting_orders": draw(amounts(STAGES)),
    }
    days = draw(st.one_of(st.none(), st.integers(1, 30)))
    return {"products": [product], "days_left": days, "compare": True}


@settings(max_examples=30)
@given(request=serial_requests(), seed=st.integers(0, 3))
async def test_orders_of_a_serial_chain_are_whole_and_within_capacity(request, seed):
    agent = await ready(serial_policy(replace(SERIAL, capacity=(100.0, 90.5, 80.0)), seed))
    decision = await agent.invoke(agent.parse(request), CONTEXT)
    product = request["products"][0]
    for one in (decision.products[0], decision.expert.products[0]):
        for line, capacity in zip(one.orders, (100.0, 90.5, 80.0), strict=True):
            assert line.order == int(line.order)
            assert 0.0 <= line.order <= capacity
            waiting = product["waiting_orders"].get(line.place, 0.0)
            assert line.expected_shipment <= min(line.order + waiting, capacity)
            if line.supplier in product["stock"]:
                assert line.expected_shipment <= product["stock"][line.supplier]


async def test_a_pipeline_shifted_by_a_day_would_be_seen():
    agent = await ready(serial_policy())
    request = example(agent.artifact)
    product = request["products"][0]
    product["on_the_way"]["stage_2"] = [60.0] + [0.0] * 9
    soon = await agent.invoke(agent.parse(request), CONTEXT)
    product["on_the_way"]["stage_2"] = [0.0] * 9 + [60.0]
    late = await agent.invoke(agent.parse(request), CONTEXT)
    assert (orders_of(soon) != orders_of(late)).any()


def wrong(path: str, value) -> dict:
    request = {**example(chain_policy()), "trouble": [{"place": "shop", "shortage": 0.1}]}
    target = request = copy.deepcopy(request)
    *steps, last = path.split("/")
    for step in steps:
        target = target[int(step) if step.isdigit() else step]
    target[last] = value
    return request


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("products/0/stock/shop", -1.0, "products[0].stock.shop"),
        ("products/0/stock/shop", float("nan"), "products[0].stock.shop"),
        ("products/0/stock/shop", float("inf"), "products[0].stock.shop"),
        ("products/0/stock/moon", 1.0, "products[0].stock.moon"),
        ("products/0/stock", {"shop": 1.0, "factory": 1.0}, "products[0].stock.depot_1"),
        ("products/0/on_the_way/moon", [1.0], "products[0].on_the_way.moon"),
        ("products/0/on_the_way/shop", [1.0] * 5, "products[0].on_the_way.shop"),
        ("products/0/recent_demand", ["many"], "products[0].recent_demand[0]"),
        ("products/0/recent_demand", [1.0] * 513, "products[0].recent_demand"),
        ("products/0/usual_sales", 0.0, "products[0].usual_sales"),
        ("products/0/waiting", 3.0, "products[0].waiting"),
        ("products/0/waiting_orders", {"shop": 1.0}, "products[0].waiting_orders"),
        ("products/0/colour", "red", "products[0].colour"),
        ("products", [], "products"),
        ("trouble/0/place", "moon", "trouble[0].place"),
        ("trouble/0/shortage", 1.5, "trouble[0].shortage"),
        ("trouble/0/delay", 4, "trouble[0].delay"),
        ("days_left", 101, "days_left"),
        ("days_left", 2.5, "days_left"),
    ],
)
async def test_a_malformed_request_is_refused_by_its_field(path, value, field):
    agent = await ready(chain_policy())
    with pytest.raises(RequestError) as caught:
        await agent.invoke(agent.parse(wrong(path, value)), CONTEXT)
    assert [one.field for one in caught.value.problems] == [field]


async def test_names_given_twice_and_worlds_without_trouble_are_refused():
    request = wrong("days_left", None)
    request["products"] *= 2
    request["trouble"] *= 2
    agent = await ready(chain_policy())
    with pytest.raises(RequestError) as caught:
        await agent.invoke(agent.parse(request), CONTEXT)
    assert [one.field for one in caught.value.problems] == ["products[1].name", "trouble[1].place"]
    serial = await ready(serial_policy())
    request = example(serial.artifact) | {"trouble": [{"place": "stage_0", "shortage": 0.1}]}
    request["products"][0]["usual_sales"] = 3.0
    with pytest.raises(RequestError) as caught:
        await serial.invoke(serial.parse(request), CONTEXT)
    named = [one.field for one in caught.value.problems]
    assert named == ["products[0].usual_sales", "trouble[0].place"]


@pytest.mark.parametrize("artifact", [chain_policy(), serial_policy()], ids=["chain", "serial"])
async def test_far_from_training_the_expert_orders_and_says_so(artifact):
    agent = await ready(artifact)
    request = example(artifact)
    place = next(iter(request["products"][0]["stock"]))
    request["products"][0]["stock"][place] = 901.0
    decision = await agent.invoke(agent.parse(request), CONTEXT)
    assert decision.fallback_reason is FallbackReason.OUTSIDE_VALIDATED_RANGE
    assert decision.decided_by == "base_stock"
    assert decision.products == decision.expert.products
    assert f"products[0].stock.{place} = 901" in decision.warnings[0]
    assert decision.guardrails == []


async def test_ranges_are_multiples_of_usual_sales():
    agent = await ready(chain_policy())
    request = example(agent.artifact)
    request["products"][0]["usual_sales"] = 200.0
    request["products"][0]["stock"]["shop"] = 8_999.0
    decision = await agent.invoke(agent.parse(request), CONTEXT)
    assert decision.decided_by == "policy"
    request["products"][0]["stock"]["shop"] = 9_001.0
    decision = await agent.invoke(agent.parse(request), CONTEXT)
    assert decision.warnings == [
        "products[0].stock.shop = 9001: validated for 0 to 9000 only"
    ]  # fmt: skip


@pytest.mark.parametrize("artifact", [chain_policy(), serial_policy()], ids=["chain", "serial"])
async def test_a_policy_of_no_numbers_falls_back(artifact):
    agent = await ready(broken(artifact))
    decision = await agent.invoke(agent.example_request(), CONTEXT)
    assert decision.fallback_reason is FallbackReason.NOT_FINITE
    assert decision.products == decision.expert.products


@pytest.mark.parametrize("artifact", [chain_policy(), serial_policy()], ids=["chain", "serial"])
async def test_a_batch_is_its_requests(artifact):
    agent = await ready(artifact)
    requests = []
    for number in range(1, 5):
        request = example(artifact)
        product = request["products"][0]
        product["recent_demand"] = [7.0 * number, 11.0, 30.0 - number]
        request["products"] = [product | {"name": f"p{n}"} for n in range(number)]
        requests.append(agent.parse(request))
    together = await agent.invoke_batch(requests, CONTEXT)
    for request, decision in zip(requests, together, strict=True):
        alone = await agent.invoke(request, CONTEXT)
        np.testing.assert_allclose(orders_of(decision), orders_of(alone), rtol=1e-5, atol=1e-4)
        assert [one.name for one in decision.products] == [one.name for one in request.products]


async def test_customers_who_wait_count():
    agent = await ready(chain_policy(WAITING_CHAIN))
    request = example(agent.artifact)
    asked = [agent.parse(request)]
    request["products"][0]["waiting"] = 30.0
    asked.append(agent.parse(request))
    before, after = await agent.invoke_batch(asked, CONTEXT)
    held = [agent.domain.read(one).state.position[0, 0] for one in asked]
    assert held[0] - held[1] == pytest.approx(30.0)
    assert after.expert.products != before.expert.products


async def test_the_example_is_answered_by_the_policy_and_says_what_bound_it():
    agent = await ready(chain_policy())
    request = agent.example_request()
    decision = await agent.invoke(request, CONTEXT)
    assert decision.decided_by == "policy"
    assert decision.warnings == []
    assert agent.domain.describe().startswith("Says how much shop, depot_1, factory order")
    stock = dict.fromkeys(PLACES, 5.0)
    product = request.products[0].model_copy(update={"stock": stock, "on_the_way": {}})
    short = await agent.invoke(request.model_copy(update={"products": [product]}), CONTEXT)
    line = short.products[0].orders[0]
    assert (line.order, line.reason.rsplit("; ", 1)[1]) == (5.0, "cut to what depot_1 has.")
    assert "stock.depot_1" in short.guardrails


async def test_gaps_in_recent_demand_are_said():
    agent = await ready(chain_policy())
    request = example(agent.artifact) | {"days_left": 50}
    request["products"][0]["recent_demand"] = [10.0, 20.0]
    decision = await agent.invoke(agent.parse(request), CONTEXT)
    assert decision.warnings == [
        "A-100: 2 of 6 days of recent_demand given; the earlier ones are taken as their mean"
    ]


async def test_days_that_nobody_knows_are_usual_ones_in_the_callers_units():
    agent = await ready(chain_policy())
    orders = {}
    for usual in (20.0, 2000.0):
        request = example(agent.artifact) | {"days_left": 50}
        request["products"] = [
            {"name": "new", "stock": dict.fromkeys(PLACES, 3.0 * usual), "usual_sales": usual}
        ]
        decision = await agent.invoke(agent.parse(request), CONTEXT)
        (warning,) = decision.warnings
        assert warning.endswith(f"the earlier ones are taken as {usual:g} a day")
        lines = decision.products[0].orders
        assert lines[0].expected_cover_days == pytest.approx(3.0 + lines[0].order / usual)
        orders[usual] = [line.order / usual for line in lines]
        state = agent.domain.read(agent.parse(request)).state
        assert (state.average * state.scale).tolist() == [20.0]
    assert orders[20.0] == pytest.approx(orders[2000.0], rel=1e-5)


def test_artifacts_that_do_not_fit_are_refused():
    artifact = chain_policy()
    with pytest.raises(ConfigError, match="serves supply_chain and serial_inventory"):
        ReplenishmentDecisions(replace(artifact, domain="order_desks"))
    with pytest.raises(ConfigError, match="knows continuous levels"):
        ReplenishmentDecisions(replace(artifact, action=replace(artifact.action, meaning="pace")))
    other = artifact.domain_config.replace('"window": 6', '"window": 5')
    with pytest.raises(ConfigError, match="does not fit its own world"):
        ReplenishmentDecisions(replace(artifact, domain_config=other))
    card = replace(artifact.card, baseline=replace(artifact.card.baseline, parameters=()))
    with pytest.raises(ConfigError, match="gap_days, trust"):
        ReplenishmentDecisions(artifact.with_card(card))


def test_what_a_supplier_wastes_is_kept_back():
    """With a yield below one, what is taken from the shelf is more than what is shipped."""
    nodes = tuple(replace(node, output_yield=0.3) for node in CHAIN.network.nodes)
    network = Network(**{**vars(CHAIN.network), "nodes": nodes})
    domain = ReplenishmentDecisions(chain_policy(replace(CHAIN, network=network)))
    for number in range(200):
        request = domain.example_request()
        stock = dict(zip(PLACES, (0.1 * number, 0.7 * number, 1.1 * number), strict=True))
        product = request.products[0].model_copy(update={"stock": stock, "on_the_way": {}})
        situation = domain.read(request.model_copy(update={"products": [product]}))
        orders = domain.project(np.full((1, 3), 1e6), situation.state).orders[0]
        assert orders[0] / 0.3 <= stock["depot_1"]
        assert orders[1] / 0.3 <= stock["factory"]
