"""Supply networks: equal to gym-invmgmt, conserving, differentiable, and as the examiner wants."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from data.scenario import BankConfig, FixedSource, ScenarioBank
from data.supply_demand import MeanDemand, Stage
from data.supply_scenarios import make_quiet_scenarios
from rl.domains.supply_chain import Goodwill, SupplyConfig
from rl.domains.supply_network import Link, Market, Network, Node, NodeType, Product, Shelf
from rl.domains.supply_presets import (
    FAMILIES,
    make_source,
    multi_echelon,
    network_management,
    serial,
)
from rl.environments.conformance import check_environment
from rl.environments.gymnasium_faces import SingleAgentEnvironment
from rl.environments.supply_network_environment import BatchedSupplyNetwork, SupplyOptions
from rl.evaluation.supply_scores import CANONICAL_SEEDS, draw_in_order, score_policy

DATA = Path(__file__).parent.parent / "data"
RECORDED = np.load(DATA / "gym_invmgmt.npz")


def small_network():
    """The custom network of benchmarks/gym_invmgmt_trajectories.py."""
    units = {"product": "units"}
    return Network(
        products=(Product(name="units"),),
        nodes=(
            Node(name="0", type=NodeType.CUSTOMER),
            Node(name="1", type=NodeType.CUSTOMER),
            Node(name="2", type=NodeType.RETAILER),
            Node(name="3", type=NodeType.RETAILER),
            Node(
                name="4",
                type=NodeType.MANUFACTURER,
                capacity=40.0,
                output_yield=0.8,
                operating_cost=0.02,
            ),
            Node(name="5", type=NodeType.SUPPLIER),
        ),
        shelves=(
            Shelf(node="2", initial_stock=60.0, holding_cost=0.05, **units),
            Shelf(node="3", initial_stock=45.0, holding_cost=0.07, **units),
            Shelf(node="4", initial_stock=150.0, holding_cost=0.01, **units),
        ),
        links=(
            Link(supplier="2", buyer="3", lead_time=0, price=1.3, setup_cost=1.0, **units),
            Link(
                supplier="4",
                buyer="2",
                lead_time=2,
                price=1.0,
                holding_cost=0.01,
                setup_cost=3.0,
                **units,
            ),
            Link(supplier="4", buyer="3", lead_time=1, price=1.1, holding_cost=0.02, **units),
            Link(
                supplier="5",
                buyer="4",
                lead_time=1,
                price=0.4,
                holding_cost=0.005,
                setup_cost=8.0,
                **units,
            ),
        ),
        markets=(
            Market(retailer="2", customer="0", price=3.0, penalty=0.2, **units),
            Market(retailer="2", customer="1", price=2.5, penalty=0.1, **units),
            Market(retailer="3", customer="1", price=2.8, penalty=0.3, **units),
        ),
    )


def quiet_scenarios(config, demand):
    """Demand as given; nothing goes wrong and everything is in the world."""
    network = config.network
    return make_quiet_scenarios(
        demand,
        np.zeros_like(demand),
        num_nodes=len(network.nodes),
        num_products=len(network.products),
    )


def build(config, scenarios, *, seed=0, **options):
    episodes = scenarios.num_episodes
    bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=episodes), seed)
    choice = {"num_envs": episodes, "shuffle": False} | options
    return BatchedSupplyNetwork(config, bank, SupplyOptions(**choice), seed)


WORLDS = {
    "serial": lambda: serial().config,
    "network": lambda: multi_echelon().config,
    "custom": lambda: SupplyConfig(network=small_network(), discount=0.97),
}
LAWS = [{}, {}, {}, {"decay": 0.8, "growth": 1.05}]
"""Goodwill of the recorded episodes, in turn."""


def recorded_episodes(world, *, backlog, goodwill, turn=slice(None)):
    key = f"{world}.{'backlog' if backlog else 'lost'}.{'goodwill' if goodwill else 'plain'}."
    names = [name for name in RECORDED.files if name.startswith(key)]
    return {name.removeprefix(key): RECORDED[name][turn] for name in names}


def replay(world, *, backlog, goodwill, turn, **options):
    """Play recorded episodes of one law with their demand and orders."""
    chosen = slice(turn, None, len(LAWS))
    recorded = recorded_episodes(world, backlog=backlog, goodwill=goodwill, turn=chosen)
    config = replace(WORLDS[world](), backlog=backlog, known_horizon=0)
    memory = Goodwill(response="recorded", **LAWS[turn]) if goodwill else None
    scenarios = quiet_scenarios(config, recorded["demand"].astype(np.float32))
    environment = build(replace(config, goodwill=memory), scenarios, **options)
    orders = torch.as_tensor(recorded["orders"] / 4)
    records = [
        environment.step(environment.place(order.to(environment.state.stock.dtype)))
        for order in orders.unbind(1)
    ]
    return recorded, records


recorded_worlds = pytest.mark.parametrize(
    ("world", "backlog", "goodwill"), list(itertools.product(WORLDS, (False, True), (False, True)))
)


@recorded_worlds
def test_rewards_equal_gym_invmgmt(world, backlog, goodwill):
    for turn in range(len(LAWS)):
        recorded, records = replay(
            world, backlog=backlog, goodwill=goodwill, turn=turn, precision="double"
        )
        rewards = torch.stack([record.reward[:, 0] for record in records], 1)
        np.testing.assert_allclose(rewards, recorded["reward"], rtol=1e-9, atol=1e-9)
        totals = {
            name: torch.stack([record.metrics[name] for record in records], 1)
            for name in ("sentiment", "shipped_units", "unmet_units", "stock_units")
        }
        np.testing.assert_allclose(totals["shipped_units"].sum(1), recorded["shipped"].sum(1))
        np.testing.assert_allclose(totals["unmet_units"].sum(1), recorded["unmet"].sum(1))
        np.testing.assert_allclose(
            totals["stock_units"][:, -1], recorded["stock"].sum(1), atol=1e-9
        )
        if goodwill:
            np.testing.assert_allclose(totals["sentiment"], recorded["sentiment"], rtol=1e-12)


@recorded_worlds
def test_single_precision_keeps_a_millionth_of_what_changes_hands(world, backlog, goodwill):
    for turn in range(len(LAWS)):
        recorded, records = replay(world, backlog=backlog, goodwill=goodwill, turn=turn)
        rewards = torch.stack([record.reward[:, 0] for record in records], 1)
        paid = torch.stack(
            [sum(t.abs() for t in r.reward_terms.values())[:, 0] for r in records], 1
        )
        room = 1e-6 * (1.0 + paid.numpy())
        assert (np.abs(rewards.numpy() - recorded["reward"]) <= room).all()


@recorded_worlds
def test_each_node_earns_what_it_earns_in_gym_invmgmt(world, backlog, goodwill):
    recorded, records = replay(
        world, backlog=backlog, goodwill=goodwill, turn=0, precision="double", view="nodes"
    )
    rewards = torch.stack([record.reward for record in records], 1)
    np.testing.assert_allclose(rewards, recorded["node_reward"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(rewards.sum(-1), recorded["reward"], rtol=1e-9, atol=1e-9)


def keeps_its_books(environment, record):
    """Shelves are never negative; profit is the sum of the rewards."""
    state = environment.state
    assert (state.stock >= 0).all()
    assert (state.in_transit >= 0).all()
    assert (state.unmet >= 0).all()
    if record.metrics:
        torch.testing.assert_close(
            record.metrics["profit"], record.reward.sum(-1), rtol=1e-4, atol=1e-2
        )


@pytest.mark.parametrize("view", ["planner", "nodes"])
@pytest.mark.parametrize("goodwill", [False, True])
def test_examiner(view, goodwill):
    preset = multi_echelon("trend+seasonal+shock", goodwill=goodwill)
    config = replace(preset.config, max_steps=9)
    source = make_source(config, preset.source.markets)

    def make():
        bank = ScenarioBank(source, BankConfig(num_episodes=8), 0)
        return BatchedSupplyNetwork(config, bank, SupplyOptions(num_envs=3, view=view), 0)

    check_environment(make, num_steps=22, max_steps=9, invariants=(keeps_its_books,))


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_rewards_equal_or_gym_network_management(version):
    recorded = np.load(DATA / "or_gym_network.npz")
    config = network_management(lost_sales=version == "v1").config
    demand = recorded[f"{version}.demand"].astype(np.float32)[..., None]
    environment = build(
        replace(config, known_horizon=0), quiet_scenarios(config, demand), precision="double"
    )
    orders = torch.as_tensor(recorded[f"{version}.orders"], dtype=torch.float64)
    records = [environment.step(environment.place(order)) for order in orders.unbind(1)]
    rewards = torch.stack([record.reward[:, 0] for record in records], 1)
    np.testing.assert_allclose(rewards, recorded[f"{version}.reward"], rtol=1e-9, atol=1e-9)
    left = records[-1].metrics["stock_units"]
    np.testing.assert_allclose(left, recorded[f"{version}.stock"].sum(1), atol=1e-9)


def test_preset_draws_the_demand_of_the_canonical_seeds():
    for family in ("stationary", "trend+seasonal", "trend+seasonal+shock"):
        mean = FAMILIES[family].over(30)
        drawn = draw_in_order(mean, CANONICAL_SEEDS, np.ones((10, 30)))
        assert np.array_equal(drawn[..., 0], RECORDED[f"canonical.{family}"])


def test_one_step_by_hand():
    """Serial-v0: 10, 20 and 30 units ordered; 25 asked for."""
    config = replace(serial().config, known_horizon=0)
    environment = build(config, quiet_scenarios(config, np.full((1, 30, 1), 25.0, np.float32)))
    record = environment.step(environment.place(torch.tensor([[10.0, 20.0, 30.0]])))
    terms = {name: float(value) for name, value in record.reward_terms.items()}
    assert environment.state.stock[0].tolist() == [75.0, 90.0, 210.0]
    assert terms == pytest.approx(
        {
            "sales": 50.0,
            "purchases": -15.0,
            "operating": -0.2,
            "penalty": 0.0,
            "holding": -(75 * 0.03 + 90 * 0.02 + 210 * 0.01 + 10 * 0.01 + 20 * 0.005),
        }
    )
    assert float(record.reward) == pytest.approx(sum(terms.values()), rel=1e-6)


def test_gymnasium_checker():
    preset = multi_echelon(informed=False)
    bank = ScenarioBank(preset.source, BankConfig(num_episodes=4), 0)
    environment = BatchedSupplyNetwork(preset.config, bank, SupplyOptions(num_envs=1), 0)
    check_env(SingleAgentEnvironment(environment), skip_render_check=True)


@pytest.mark.parametrize(
    ("mean", "point", "level", "cost"), [(10, 6, 40, 35.022), (20, 14, 62, 49.173)]
)
def test_reorder_points_cost_what_theory_says(mean, point, level, cost):
    """One shelf, no lead time, setup 64, holding 1, penalty 9: cost per step of the best (s, S)."""
    units = {"product": "units"}
    network = Network(
        products=(Product(name="units"),),
        nodes=(
            Node(name="mill", type=NodeType.SUPPLIER),
            Node(name="shop", type=NodeType.RETAILER),
            Node(name="town", type=NodeType.CUSTOMER),
        ),
        shelves=(Shelf(node="shop", initial_stock=float(level), holding_cost=1.0, **units),),
        links=(Link(supplier="mill", buyer="shop", setup_cost=64.0, max_order=500.0, **units),),
        markets=(Market(retailer="shop", customer="town", price=0.0, penalty=9.0, **units),),
    )
    config = SupplyConfig(network=network, max_steps=300)
    demand = np.random.default_rng(0).poisson(mean, (1000, 300, 1)).astype(np.float32)

    def order(view):
        position = view.stock - view.unmet
        return np.where(position <= point, level - position, 0.0)

    scores = score_policy(order, quiet_scenarios(config, demand), config)
    assert -scores.profit.mean() / 300 == pytest.approx(cost, rel=0.004)


def test_a_market_without_a_base_asks_for_nothing_whatever_the_goodwill():
    config = serial(goodwill=True).config
    source = make_source(config, (MeanDemand(base=0.0),))
    environment = build(config, source.draw(32, np.random.default_rng(0)))
    idle = torch.zeros((32, 1, environment.action_size))
    assert sum(environment.step(idle).metrics["demand"].sum() for _ in range(30)) == 0


def test_metrics_by_hand():
    """25 and 35 asked for; 10, 20 and 30 units ordered, then none."""
    config = replace(serial().config, known_horizon=0)
    demand = np.full((1, 30, 1), 35.0, np.float32)
    demand[:, 0] = 25.0
    environment = build(config, quiet_scenarios(config, demand))
    first = environment.step(environment.place(torch.tensor([[10.0, 20.0, 30.0]]))).metrics
    second = environment.step(torch.zeros((1, 1, 3))).metrics
    wanted = {
        "demand": (25.0, 35.0),
        "demand_squared": (625.0, 1225.0),
        "sold_units": (25.0, 35.0),
        "ordered_units": (60.0, 0.0),
        "ordered_units_squared": (3600.0, 0.0),
        "shipped_units": (60.0, 0.0),
        "received_units": (30.0, 0.0),
        "in_transit_units": (30.0, 30.0),
        "stock_units": (375.0, 340.0),
        "forecast_error": (25.0, 10.0),
    }
    for name, values in wanted.items():
        assert (float(first[name]), float(second[name])) == pytest.approx(values), name


def test_what_is_seen_of_time_and_coming_demand_by_hand():
    preset = serial("trend")
    environment = build(preset.config, preset.source.draw(2, np.random.default_rng(0)))
    for step in range(3):
        seen = environment.reset() if not step else environment.step(torch.zeros((2, 1, 3)))
        observation = seen.observation[0, 0]
        assert observation[-1] == pytest.approx(1.0 - step / 30)
        ahead = 20.0 * (1.0 + 0.05 * np.arange(step, step + 13)) / 20.0
        np.testing.assert_allclose(environment.view.known_mean[0, :, 0], 20.0 * ahead, rtol=1e-6)
        others = 5 + 1 + 2
        """Nodes, products, sentiment and time come last."""
        assert not environment.config.disruptions
        np.testing.assert_allclose(observation[-others - 13 : -others], ahead, rtol=1e-6)


def test_a_customer_who_is_not_there_asks_for_nothing():
    preset = serial()
    source = replace(preset.source, stage=Stage(inactive_nodes=(0,)))
    environment = build(preset.config, source.draw(2, np.random.default_rng(0)))
    record = environment.step(torch.zeros((2, 1, 3)))
    assert record.metrics["demand"].tolist() == [0.0, 0.0]
    assert (record.reward_terms["penalty"] == 0).all()
