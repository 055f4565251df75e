"""What a planner of a network sees and orders, by hand; the laws that demand is drawn from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.network_demand import FAMILY, DemandSpread, NetworkDemand, NetworkDemandSource
from data.scenario import ScenarioError
from rl.domains.network_planner import ENDS, NetworkPlanner, PlannerConfig, PlannerView
from rl.domains.planner_experts import PlannerExpert
from rl.domains.supply_network import Product
from rl.domains.supply_presets import FAMILIES, multi_echelon, serial
from utils.errors import ConfigError

SERIAL, BASE = serial().config.network, multi_echelon().config.network


def view_of(planner, **changes):
    """Empty but for what is changed."""
    config, shelves = planner.config, planner.index.num_shelves
    parts = {
        "stock": np.zeros((1, shelves)),
        "in_transit": np.zeros((1, len(planner.slots))),
        "known_mean": np.zeros((1, config.horizon)),
        "history": np.zeros((1, config.max_steps)),
        "sentiment": np.ones(1),
        **{name: np.zeros(1) for name in ("unmet", "waits", "remembers", "steps_taken")},
    } | changes
    return PlannerView(**{k: np.asarray(v, np.float32) for k, v in parts.items()})


def test_what_an_informed_planner_sees_by_hand():
    planner = NetworkPlanner(PlannerConfig(network=SERIAL, horizon=3))
    way = np.zeros((1, 8))
    way[0, 1], way[0, 4] = 40.0, 60.0
    view = view_of(
        planner,
        stock=[[20.0, 40.0, 100.0]],
        in_transit=way,
        unmet=[10.0],
        waits=[1.0],
        sentiment=[0.9],
        steps_taken=[24.0],
        known_mean=[[20.0, 40.0, 0.0]],
    )
    seen = planner.encode(view)[0].tolist()
    assert len(seen) == planner.observation_size
    assert seen[:3] == [1.0, 2.0, 5.0]
    assert seen[3:11] == [0.0, 2.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0]
    assert seen[11:14] == pytest.approx([2.5, 7.5, 12.5])
    assert seen[14] == 0.5
    assert seen[15:18] == pytest.approx([0.9, 1.8, 0.0])
    assert seen[18:22] == pytest.approx([1.0, 0.0, 0.9, 0.8])
    assert seen[22:] == pytest.approx([min(6.0 / end, 1.0) for end in ENDS])
    leaving = replace(view, waits=np.zeros(1, np.float32))
    assert planner.encode(leaving)[0, 11:14].tolist() == pytest.approx([3.0, 8.0, 13.0])


def test_what_a_blind_planner_sees_of_the_past_by_hand():
    planner = NetworkPlanner(PlannerConfig(network=SERIAL, horizon=0))
    history = np.zeros((1, 30))
    history[0, -3:] = [10.0, 20.0, 60.0]
    seen = planner.encode(view_of(planner, history=history, steps_taken=[3.0]))[0]
    assert len(seen) == planner.observation_size
    assert seen[42:45].tolist() == [0.5, 1.0, 3.0]
    assert seen[45:48].tolist() == pytest.approx([2.0, 1.5, 1.5])


def test_suppliers_serve_their_links_in_order_from_what_they_have_and_can_ship():
    planner = NetworkPlanner(PlannerConfig(network=BASE, horizon=0))
    names = [(link.supplier, link.buyer) for link in BASE.links]
    orders = np.full((1, 11), 70.0, np.float32)
    stock = np.array([[100.0, 50.0, 80.0, 400.0, 350.0, 75.0]], np.float32)
    shipped = dict(zip(names, planner.ship(orders, stock)[0].tolist(), strict=True))
    assert shipped["2", "1"] == 50.0
    assert shipped["3", "1"] == 70.0
    assert (shipped["4", "2"], shipped["4", "3"]) == (70.0, 20.0)
    assert (shipped["6", "2"], shipped["6", "3"]) == (70.0, 5.0)
    assert (shipped["8", "5"], shipped["8", "6"]) == (70.0, 70.0)


def test_outputs_are_read_as_orders_above_nothing():
    planner = NetworkPlanner(PlannerConfig(network=SERIAL, horizon=0))
    orders = planner.orders(np.array([-10.0, 0.0, 5.0], np.float32))
    assert orders.tolist() == pytest.approx([9.08e-4, 13.863, 100.134], rel=1e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"horizon": -1}, "horizon >= 0"), ({"unit_scale": 0.0}, "unit_scale > 0")],
)
def test_settings_that_cannot_work_are_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        PlannerConfig(**({"network": SERIAL, "horizon": 3} | change))


def test_networks_that_a_planner_cannot_see_are_refused():
    perishing = replace(SERIAL, products=(Product(name="units", perish_rate=0.1),))
    with pytest.raises(ConfigError, match="perish"):
        PlannerConfig(network=perishing, horizon=3)
    first, *others = SERIAL.links
    costly = replace(SERIAL, links=(replace(first, setup_cost=1.0), *others))
    with pytest.raises(ConfigError, match="setup"):
        PlannerConfig(network=costly, horizon=3)


def test_the_expert_stops_before_sales_end():
    expert = PlannerExpert(PlannerConfig(network=SERIAL, horizon=13))
    planner = NetworkPlanner(PlannerConfig(network=SERIAL, horizon=13))
    busy = expert(view_of(planner, known_mean=np.full((1, 13), 20.0)))
    assert (busy > 0).all()
    known = np.zeros((1, 13))
    known[0, 0] = 20.0
    ending = expert(view_of(planner, known_mean=known, stock=[[90.0, 90.0, 90.0]]))
    assert ending.sum() < 0.01 * busy.sum()


def test_the_family_is_the_package_s_own_law():
    mean = FAMILY.draw(400, 30, np.random.default_rng(0))
    laws = [
        FAMILIES[name].over(30) for name in ("stationary", "trend+seasonal", "trend+seasonal+shock")
    ]
    nearest = [min(range(3), key=lambda n: np.abs(row - laws[n]).max()) for row in mean]
    assert all(np.allclose(row, laws[n]) for row, n in zip(mean, nearest, strict=True))
    assert np.bincount(nearest) / 400 == pytest.approx([0.2, 0.4, 0.4], abs=0.06)


def test_draws_are_fixed_by_their_seed_and_as_wide_as_asked():
    source = NetworkDemandSource(wide_share=0.5)
    one, two = (source.draw(600, np.random.default_rng(3)) for _ in range(2))
    assert all(np.array_equal(getattr(one, n), getattr(two, n)) for n in vars(one))
    first = one.mean[:, 0]
    assert np.isclose(first, 20.0).mean() == pytest.approx(0.5, abs=0.06)
    assert 12.0 <= first.min() < 13.0
    assert 29.0 < first.max() <= 30.0
    assert one.waits.mean() == pytest.approx(0.5, abs=0.06)
    assert one.remembers.mean() == pytest.approx(0.5, abs=0.06)
    assert abs(np.corrcoef(one.waits, one.remembers)[0, 1]) < 0.1


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("mean", np.zeros((2, 30), np.float32), "not above 0"),
        ("normal", np.full((2, 30), np.nan, np.float32), "not finite"),
        ("normal", np.zeros((2, 29), np.float32), "shape"),
        ("waits", np.full(2, 0.5, np.float32), "0 or 1"),
    ],
)
def test_scenarios_that_cannot_be_are_refused(name, value, words):
    drawn = vars(NetworkDemandSource().draw(2, np.random.default_rng(0)))
    with pytest.raises(ScenarioError, match=words):
        NetworkDemand(**(drawn | {name: value}))


def test_spans_that_run_backwards_are_refused():
    with pytest.raises(ConfigError, match="trend must run"):
        DemandSpread(trend=(0.1, 0.0))
    with pytest.raises(ConfigError, match="wide_share"):
        NetworkDemandSource(wide_share=1.5)
