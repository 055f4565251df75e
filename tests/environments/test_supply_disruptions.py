"""Bills of materials, perishing and disruptions, beside a slow reference in plain loops."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.scenario import BankConfig, FixedSource, ScenarioBank, ScenarioError
from data.supply_demand import MeanDemand, Stage
from data.supply_disruptions import KINDS, DisruptionLaw, draw_disruptions
from rl.domains.supply_business import PRODUCTS, five_product
from rl.domains.supply_chain import SupplyDomain
from rl.domains.supply_experts import EXPERTS, SupplyExperts
from rl.domains.supply_network import Recipe
from rl.domains.supply_presets import make_source, serial
from rl.environments.base_environment import AgentConfig
from rl.environments.conformance import check_environment
from rl.environments.supply_chain_environment import EventType, SupplyChainEnvironment
from rl.environments.supply_network_environment import BatchedSupplyNetwork, SupplyOptions
from rl.environments.torch_tools import view_to_numpy
from utils.errors import ConfigError

CONTENT = {"raw_material_1": 1.0, "raw_material_2": 1.0, "component_1": 6.0}
CONTENT |= {"component_2": 2.0, "finished_product": 18.0}
"""Units of raw material in one unit: what production keeps."""


def draw(config, seed, *, episodes=2, probability=0.3, stage=None, kinds=KINDS):
    law = DisruptionLaw(probability=probability, kinds=kinds)
    markets = (MeanDemand(base=10.0),) * len(config.network.markets)
    source = make_source(config, markets, law, stage)
    return source.draw(episodes, np.random.default_rng(seed))


def build(config, scenarios, **options):
    episodes = scenarios.num_episodes
    bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=episodes), 0)
    choice = {"num_envs": episodes, "shuffle": False} | options
    return BatchedSupplyNetwork(config, bank, SupplyOptions(**choice), 0)


class Ledger:
    """One copy in plain loops and dicts."""

    def __init__(self, config, scenarios, episode):
        self.network, self.config = config.network, config
        self.rows = {name: value[episode].astype(float) for name, value in vars(scenarios).items()}
        self.node = {node.name: n for n, node in enumerate(config.network.nodes)}
        self.spec = {node.name: node for node in config.network.nodes}
        self.on = {
            p.name: self.rows["product_active"][n] for n, p in enumerate(config.network.products)
        }
        self.stock = {
            (s.node, s.product): s.initial_stock * self.here(s.node) * self.on[s.product]
            for s in config.network.shelves
        }
        self.arrivals = defaultdict(list)
        self.waiting = dict.fromkeys(range(len(config.network.markets)), 0.0)
        self.inflow = self.scrapped = self.sold = self.perished = 0.0
        self.on_the_way = defaultdict(list)
        self.earned = defaultdict(float)
        """Money of each node in the step."""

    def here(self, node):
        return self.rows["node_active"][self.node[node]]

    def ship(self, number, flow, order, t, left, free):
        is_recipe = isinstance(flow, Recipe)
        supplier = flow.node if is_recipe else flow.supplier
        buyer = flow.node if is_recipe else flow.buyer
        order *= self.here(supplier) * self.here(buyer) * self.on[flow.product]
        at = self.node[supplier]
        if not is_recipe:
            order *= 1 - self.rows["shortage"][t, at]
        allowed = 1 - self.rows["capacity_loss"][t, at]
        order = min(order, flow.capacity * allowed)
        if is_recipe:
            needs = {(flow.node, c.product): c.units / flow.output_yield for c in flow.components}
        elif self.network.is_source(supplier):
            needs = {}
        else:
            needs = {(supplier, flow.product): 1.0 / self.spec[supplier].output_yield}
        if not is_recipe:
            free.setdefault(supplier, self.spec[supplier].capacity * allowed)
            order = min(order, max(free[supplier], 0.0))
        order = min([order, *(max(left[shelf], 0.0) / units for shelf, units in needs.items())])
        for shelf, units in needs.items():
            left[shelf] -= order * units
        if not is_recipe:
            free[supplier] -= order
        if not needs:
            self.inflow += order * CONTENT[flow.product]
        due = t + flow.lead_time + int(self.rows["delay"][t, number])
        self.arrivals[due].append(((buyer, flow.product), order))
        self.on_the_way[due].append((buyer, order * flow.holding_cost))
        self.pay(flow, supplier, buyer, order)
        return order

    def pay(self, flow, supplier, buyer, units):
        self.earned[buyer] -= flow.setup_cost * (units > 1e-4)
        if isinstance(flow, Recipe):
            self.earned[buyer] -= units * flow.operating_cost
            return
        node = self.spec[supplier]
        self.earned[buyer] -= units * (flow.price + flow.transport_cost)
        self.earned[supplier] += units * (flow.price - node.operating_cost / node.output_yield)

    def step(self, t, orders):
        left, free = dict(self.stock), {}
        self.earned.clear()
        shipped = [
            self.ship(number, flow, orders[number], t, left, free)
            for number, flow in enumerate((*self.network.links, *self.network.recipes))
        ]
        for shelf, units in self.arrivals.pop(t, []):
            lost = units * self.rows["quality_loss"][t, self.node[shelf[0]]]
            left[shelf] += units - lost
            self.scrapped += lost * CONTENT[shelf[1]]
        for number, market in enumerate(self.network.markets):
            active = (
                self.here(market.retailer) * self.here(market.customer) * self.on[market.product]
            )
            wanted = self.rows["demand"][t, number] * active + self.waiting[number]
            shelf = (market.retailer, market.product)
            sold = min(wanted, left[shelf])
            left[shelf] -= sold
            self.sold += sold * CONTENT[market.product]
            self.waiting[number] = wanted - sold
            self.earned[market.retailer] += market.price * sold - market.penalty * (wanted - sold)
        product_of = {product.name: product for product in self.network.products}
        rate = {product.name: product.perish_rate for product in self.network.products}
        for shelf, units in left.items():
            self.perished += units * rate[shelf[1]] * CONTENT[shelf[1]]
            left[shelf] = units * (1 - rate[shelf[1]])
            disposal = product_of[shelf[1]].disposal_cost
            self.earned[shelf[0]] -= units * rate[shelf[1]] * disposal
        for shelf in self.network.shelves:
            self.earned[shelf.node] -= left[shelf.node, shelf.product] * shelf.holding_cost
        self.on_the_way.pop(t, None)
        for buyer, cost in (pair for due in self.on_the_way.values() for pair in due):
            self.earned[buyer] -= cost
        self.stock = left
        return shipped

    def content(self):
        on_the_way = [pair for due in self.arrivals.values() for pair in due]
        held = [*self.stock.items(), *on_the_way]
        return sum(units * CONTENT[shelf[1]] for shelf, units in held)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), nodes=st.integers(4, 9), scale=st.floats(0.1, 1.0))
def test_batched_program_equals_plain_loops_and_makes_nothing_from_nothing(seed, nodes, scale):
    config = five_product(nodes, max_steps=25).config
    stage = Stage(late_share=0.3, inactive_nodes=(seed % 2 * 3,) if nodes > 7 else ())
    scenarios = draw(config, seed, stage=stage)
    environment = build(config, scenarios, precision="double")
    ledgers = [Ledger(config, scenarios, episode) for episode in range(2)]
    first = [ledger.content() for ledger in ledgers]
    flows = len(environment.domain.index.flows)
    generator = torch.Generator().manual_seed(seed % 2**31)
    for t in range(25):
        shares = torch.rand((2, flows), generator=generator, dtype=torch.float64) * scale
        orders = shares * environment.domain.max_order
        expected = environment.domain.project(shares, environment.view)
        environment.step(environment.place(orders))
        for episode, ledger in enumerate(ledgers):
            shipped = ledger.step(t, orders[episode].tolist())
            np.testing.assert_allclose(expected[episode], shipped, rtol=1e-9, atol=1e-9)
            if t < 24:
                stock = environment.state.stock[episode]
                np.testing.assert_allclose(stock, list(ledger.stock.values()), rtol=1e-9, atol=1e-8)
    for ledger, content in zip(ledgers, first, strict=True):
        spent = ledger.sold + ledger.scrapped + ledger.perished
        assert ledger.content() == pytest.approx(content + ledger.inflow - spent, rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_every_node_earns_what_a_ledger_in_plain_loops_says(seed):
    preset = five_product(8, max_steps=20)
    network = preset.config.network
    dear = tuple(replace(product, disposal_cost=7.0) for product in network.products)
    links = tuple(replace(link, setup_cost=11.0) for link in network.links)
    nodes = tuple(replace(node, operating_cost=2.0, output_yield=0.9) for node in network.nodes)
    network = replace(network, products=dear, links=links, nodes=nodes)
    config = replace(preset.config, network=network, discount=0.9)
    scenarios = draw(config, seed, stage=Stage(late_share=0.3, inactive_nodes=(4,)))
    environment = build(config, scenarios, view="nodes", precision="double")
    ledgers = [Ledger(config, scenarios, episode) for episode in range(2)]
    flows = len(environment.domain.index.flows)
    generator = torch.Generator().manual_seed(seed)
    for t in range(20):
        shares = torch.rand((2, flows), generator=generator, dtype=torch.float64)
        shares = shares * (torch.rand((2, flows), generator=generator) < 0.7)
        orders = 0.6 * shares * environment.domain.max_order
        record = environment.step(environment.place(orders))
        for episode, ledger in enumerate(ledgers):
            ledger.step(t, orders[episode].tolist())
            earned = [0.9**t * ledger.earned[name] for name in environment.agent_ids]
            np.testing.assert_allclose(record.reward[episode], earned, rtol=1e-9, atol=1e-7)


def play(config, scenarios, share=0.4):
    """One episode with steady orders; metrics `[time, env]` and the environment."""
    environment = build(config, scenarios)
    action = torch.full((scenarios.num_episodes, 1, environment.action_size), share)
    records = [environment.step(action) for _ in range(config.max_steps)]
    return {n: torch.stack([r.metrics[n] for r in records]) for n in records[0].metrics}


def strike(scenarios, name, value):
    """From the third step on, everywhere."""
    changed = np.array(getattr(scenarios, name))
    changed[:, 3:] = value
    return replace(scenarios, **{name: changed})


DAMAGE = [
    ("shortage", 0.5, "shipped_units"),
    ("delay", 3.0, "received_units"),
    ("quality_loss", 0.3, "scrapped_units"),
    ("capacity_loss", 0.9, "shipped_units"),
    ("demand", 25.0, "demand"),
]


@pytest.mark.parametrize(("name", "value", "metric"), DAMAGE)
def test_a_disruption_switches_on_and_changes_the_world(name, value, metric):
    config = five_product(4, max_steps=20).config
    quiet = draw(config, 1, probability=0.0)
    calm, struck = (play(config, s)[metric] for s in (quiet, strike(quiet, name, value)))
    assert torch.equal(calm[:3], struck[:3])
    grows = name in {"quality_loss", "demand"}
    assert ((struck - calm)[3:].sum(0) > 0).all() == grows
    assert not torch.equal(calm[3:], struck[3:])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_disruption_is_drawn(kind):
    config = five_product(4, max_steps=40).config
    scenarios = draw(config, 3, episodes=16, kinds=(kind,))
    quiet = draw(config, 3, episodes=16, probability=0.0)
    name = {
        "demand_spike": "demand_mean",
        "supplier_shortage": "shortage",
        "logistics_delay": "delay",
        "quality_issue": "quality_loss",
        "regulation": "capacity_loss",
    }
    for field in set(name.values()):
        same = np.array_equal(getattr(scenarios, field), getattr(quiet, field))
        assert same == (field != name[kind])
    assert {event.value for event in EventType} == set(KINDS)


def test_a_switched_off_node_is_out_of_the_world():
    config = five_product(8, max_steps=15).config
    everyone = draw(config, 0, probability=0.0)
    without = draw(config, 0, probability=0.0, stage=Stage(inactive_nodes=(3, 5)))
    environment = build(config, without, view="nodes")
    record = environment.reset()
    assert record.agent_alive[0].tolist() == [True, True, True, False, True, False, True, True]
    assert not record.action_mask[:, [3, 5]].any()
    for _ in range(15):
        record = environment.step(torch.ones((2, 8, environment.action_size)))
        assert (record.reward[:, [3, 5]] == 0).all()
        assert (record.reward[:, 0] != 0).all()
    assert play(config, without)["demand"].sum() < 0.7 * play(config, everyone)["demand"].sum()
    index = environment.domain.index
    dark = [s for s, node in enumerate(index.shelf_node) if node in {3, 5}]
    assert (environment.state.stock[:, dark] == 0).all()


def test_a_switched_off_product_is_neither_shipped_nor_made_nor_paid_for():
    config = five_product(4, max_steps=8).config
    environment = build(
        config, draw(config, 0, probability=0.0, stage=Stage(inactive_products=(1,)))
    )
    index = environment.domain.index
    of_product = [n for n, flow in enumerate(index.flows) if flow.product == 1]
    orders = torch.zeros((2, len(index.flows)))
    orders[:, of_product] = 50.0
    assert not environment.reset().action_mask[:, 0, of_product].any()
    for _ in range(8):
        record = environment.step(environment.place(orders))
        assert (record.metrics["ordered_units"] == 0).all()
        assert (record.metrics["shipped_units"] == 0).all()
        assert (record.reward_terms["purchases"] == 0).all()
    dark = [s for s, product in enumerate(index.shelf_product) if product == 1]
    assert (environment.state.stock[:, dark] == 0).all()


def test_stages_change_the_world_and_no_shape():
    config = five_product(8, max_steps=30).config
    base = draw(config, 0, probability=0.0)
    environment = build(config, base)
    outcomes = {}
    stages = {
        "all": (Stage(), 0.0),
        "suppliers": (Stage(inactive_nodes=(0, 4)), 0.0),
        "products": (Stage(inactive_products=(1,)), 0.0),
        "variability": (Stage(variability=0.3), 0.0),
        "lead times": (Stage(late_share=0.5), 0.0),
        "disruptions": (Stage(), 0.5),
    }
    for name, (stage, probability) in stages.items():
        scenarios = draw(config, 0, probability=probability, stage=stage)
        bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=2), 0)
        environment.use_bank(bank, seed=0)
        action = torch.full((2, 1, environment.action_size), 0.4)
        records = [environment.step(action) for _ in range(30)]
        outcomes[name] = [
            sum(float(r.metrics[metric].sum()) for r in records)
            for metric in ("profit", "demand", "received_units", "shipped_units")
        ]
    for name in stages:
        assert name == "all" or outcomes[name] != outcomes["all"], name
    assert outcomes["variability"][1] != outcomes["all"][1]
    assert outcomes["lead times"][2] < outcomes["all"][2]
    assert outcomes["lead times"][1] == outcomes["all"][1]
    assert outcomes["suppliers"][3] < outcomes["all"][3]


def test_a_later_bank_with_longer_delays_than_the_world_is_refused_too():
    config = five_product(4, max_steps=5).config
    scenarios = draw(config, 0, probability=0.0)
    environment = build(config, scenarios)
    late = FixedSource(strike(scenarios, "delay", 9.0))
    with pytest.raises(ConfigError, match="raise max_delay"):
        environment.use_bank(ScenarioBank(late, BankConfig(num_episodes=2), 0), seed=0)


@pytest.mark.parametrize("sizes", [(3, 40), (40, 3)])
@pytest.mark.parametrize("kind", KINDS[1:])
def test_what_begins_strikes_something(kind, sizes):
    nodes, flows = sizes
    drawn = draw_disruptions(
        DisruptionLaw(probability=1.0, kinds=(kind,), duration=(1, 1)),
        (50, 10, nodes),
        num_flows=flows,
        has_disruptions=True,
        max_delay=5,
        generator=np.random.default_rng(0),
    )
    name = {"supplier_shortage": "shortage", "logistics_delay": "delay"} | {
        "quality_issue": "quality_loss",
        "regulation": "capacity_loss",
    }
    struck = getattr(drawn, name[kind]) > 0
    assert struck.any(-1).all()
    assert struck.mean() < 0.5


def test_a_switched_off_market_is_not_expected_to_ask():
    preset = serial()
    source = replace(preset.source, stage=Stage(inactive_nodes=(1,)))
    environment = build(preset.config, source.draw(2, np.random.default_rng(0)))
    assert (environment.view.known_mean == 0).all()
    experts = SupplyExperts(preset.config, informed=True)
    orders = [experts.order(name, view_to_numpy(environment.view)) for name in EXPERTS]
    assert max(order[:, 1:].max() for order in orders) < 3.0


def test_experts_order_nothing_from_whom_there_is_not():
    config = five_product(12, max_steps=5).config
    environment = build(config, draw(config, 0, stage=Stage(inactive_nodes=(2, 4))))
    view = view_to_numpy(environment.view)
    active = environment.domain.flows_active(environment.view).numpy() > 0
    everyone = build(config, draw(config, 0))
    experts = SupplyExperts(config, informed=False)
    orders, before = (experts.newsvendor(v) for v in (view, view_to_numpy(everyone.view)))
    assert (orders[~active] == 0).all()
    buys = [f for f, flow in enumerate(environment.domain.index.flows) if flow.buyer == 3]
    assert orders[:, buys].sum() == pytest.approx(before[:, buys].sum())
    assert not active[:, buys].all()


def test_variability_widens_demand():
    config = five_product(4, max_steps=50).config
    spread = [
        draw(config, 5, episodes=64, probability=0.0, stage=Stage(variability=v)).demand.var()
        for v in (0.0, 0.3)
    ]
    assert spread[0] == pytest.approx(10.0, rel=0.1)
    assert spread[1] == pytest.approx(10.0 + 9.0, rel=0.1)


@pytest.mark.parametrize("view", ["planner", "nodes"])
def test_examiner(view):
    preset = five_product(5, max_steps=7)

    def make():
        bank = ScenarioBank(preset.source, BankConfig(num_episodes=6), 0)
        return BatchedSupplyNetwork(preset.config, bank, SupplyOptions(num_envs=2, view=view), 0)

    check_environment(make, num_steps=9, seeds=(0,), max_steps=7)


def test_observation_equals_the_domain_on_numpy():
    from rl.domains.supply_observation import SupplyObserver

    config = five_product(6, max_steps=12).config
    environment = build(config, draw(config, 2), view="nodes")
    observer = SupplyObserver(SupplyDomain(config))
    for _ in range(11):
        record = environment.step(torch.rand((2, 6, environment.action_size)))
        everything = observer.encode(view_to_numpy(environment.view))
        np.testing.assert_allclose(record.global_state, everything, rtol=0, atol=2e-6)
        seen = observer.encode_agents(everything)
        np.testing.assert_allclose(record.observation, seen, rtol=0, atol=2e-6)
        action = np.random.default_rng(0).random((2, len(environment.domain.index.flows)))
        view = environment.view
        there = environment.domain.project(torch.as_tensor(action, dtype=torch.float32), view)
        here = SupplyDomain(config).project(action.astype(np.float32), view_to_numpy(view))
        np.testing.assert_allclose(there, here, rtol=1e-6, atol=1e-5)


def test_trajectory_does_not_depend_on_the_batch():
    config = five_product(6, max_steps=10).config
    scenarios = draw(config, 4, episodes=7)
    many = build(config, scenarios)
    for copies in (1, 3):
        few = build(config, scenarios, num_envs=copies)
        many.reset(0)
        for step in range(9):
            generator = torch.Generator().manual_seed(step)
            action = torch.rand((7, 1, many.action_size), generator=generator)
            large, small = many.step(action), few.step(action[:copies])
            assert torch.equal(small.observation, large.observation[:copies])
            assert torch.equal(small.reward, large.reward[:copies])


@pytest.mark.parametrize("agents", [1, 2, 3, 4, 5, 16, 128])
def test_one_to_128_agents(agents):
    configs = [AgentConfig(agent_id=f"agent_{number}") for number in range(agents)]
    environment = SupplyChainEnvironment(configs, max_steps=3, seed=1)
    environment.reset()
    actions = {a: np.full(environment.action_space(a).shape, 0.3) for a in environment.agents}
    for _ in range(3):
        _, rewards, _, truncated, _ = environment.step(actions)
    assert len(rewards) == agents
    assert all(truncated.values())
    metrics = environment.get_supply_chain_metrics()
    assert metrics["steps"] == 3
    assert 0 < metrics["fill_rate"] <= 1


def test_pettingzoo_checker():
    from pettingzoo.test import parallel_api_test

    configs = [AgentConfig(agent_id=name) for name in "abcd"]
    parallel_api_test(SupplyChainEnvironment(configs, max_steps=15), num_cycles=30)


def test_bad_worlds_and_scenarios_are_refused():
    one = [AgentConfig(agent_id="a")]
    with pytest.raises(ConfigError, match="different names"):
        SupplyChainEnvironment(one * 2)
    with pytest.raises(ConfigError, match="max_steps=1000000000"):
        SupplyChainEnvironment(one, max_steps=10**9)
    with pytest.raises(ConfigError, match="products must be"):
        SupplyChainEnvironment(one, products=PRODUCTS[:2])
    with pytest.raises(ConfigError, match="num_nodes must lie in"):
        five_product(129)
    with pytest.raises(ConfigError, match="unknown kinds"):
        DisruptionLaw(kinds=("meteor",))
    with pytest.raises(ConfigError, match="inactive_nodes must lie in"):
        draw(five_product(4).config, 0, stage=Stage(inactive_nodes=(99,)))
    config = five_product(4, max_steps=5).config
    scenarios = draw(config, 0, probability=0.0)
    with pytest.raises(ScenarioError, match="demand holds negative or non-finite"):
        strike(scenarios, "demand", np.nan)
    with pytest.raises(ScenarioError, match="shortage holds values above 1"):
        strike(scenarios, "shortage", 1.5)
    with pytest.raises(ScenarioError, match="delay must hold whole steps"):
        strike(scenarios, "delay", 0.5)
    with pytest.raises(ConfigError, match="raise max_delay"):
        build(config, strike(scenarios, "delay", 9.0))
    with pytest.raises(ConfigError, match="draw scenarios for this config"):
        build(replace(config, max_steps=6), scenarios)


def test_disruptions_of_the_coming_step_are_seen_and_delays_in_longest_ones():
    config = five_product(4, max_steps=8).config
    quiet = draw(config, 1, probability=0.0)
    environment = build(config, strike(strike(quiet, "delay", 3.0), "shortage", 0.25))
    calm = environment.reset().observation
    for step in range(8):
        struck = step >= 3
        view, seen = environment.view, environment.observer.encode(environment.view)
        assert (view.shortage == 0.25 * struck).all()
        columns = {"shortage": 0.25, "delay": 3.0 / 5.0}
        for share in columns.values():
            assert bool((seen == torch.tensor(share)).any()) >= struck
        if step < 7:
            environment.step(torch.zeros((2, 1, environment.action_size)))
    assert not (calm == 0.25).any()
    assert seen.shape[-1] == calm.shape[-1]


def test_a_disruption_lasts_as_long_as_drawn_and_the_worse_of_two_counts():
    law = DisruptionLaw(
        probability=0.1, kinds=("regulation",), magnitude=(0.2, 0.2), duration=(4, 4)
    )
    shape = (400, 40, 1)
    drawn = draw_disruptions(
        law,
        shape,
        num_flows=1,
        has_disruptions=True,
        max_delay=0,
        generator=np.random.default_rng(0),
    )
    share = (drawn.capacity_loss[:, 10:] > 0).mean()
    assert share == pytest.approx(1 - 0.9**4, abs=0.02)
    both = draw_disruptions(
        replace(law, probability=1.0, magnitude=(0.1, 0.9)),
        shape,
        num_flows=1,
        has_disruptions=True,
        max_delay=0,
        generator=np.random.default_rng(0),
    )
    # The largest of four uniform magnitudes.
    assert both.capacity_loss[:, 10:].mean() == pytest.approx(0.1 + 0.8 * 4 / 5, abs=0.01)
