"""Experts as published with gym-invmgmt, the hindsight bound and the rolling program."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from data.supply_demand import MeanDemand, Stage
from data.supply_scenarios import make_quiet_scenarios
from data.traces import locate_traces
from rl.domains.supply_business import five_product
from rl.domains.supply_experts import EXPERTS, SupplyExperts
from rl.domains.supply_network import (
    Component,
    Link,
    Market,
    Network,
    Node,
    NodeType,
    Product,
    Recipe,
    Shelf,
)
from rl.domains.supply_presets import multi_echelon, serial
from rl.evaluation.supply_bounds import RollingPlanner, SupplyProgram, supply_hindsight_bound
from rl.evaluation.supply_scores import score_on_seeds, score_policy
from utils.errors import ConfigError

COLUMNS = {"newsvendor": "Newsvendor_I", "s_S": "sS_I", "echelon_base_stock": "EchelonApprox_I"}
TIES = 0.05
"""At a mean of 20 the order quantity is 20 too, and a position often equals its reorder point; the
package's running sums then decide by their rounding."""


def published():
    folder = locate_traces()
    if folder is None:
        pytest.skip("the published table is not there")
    with (folder / "published_gym_invmgmt_results.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["Block"][0] in "AB"]


def world(row):
    build = {"base": multi_echelon, "serial": serial}[row["Network"]]
    flags = {"goodwill": row["Goodwill"] == "True", "backlog": row["Backlog"] == "True"}
    preset = build(row["Demand"], **flags)
    network = preset.config.network
    links = tuple(replace(link, max_order=3100.0) for link in network.links)
    return replace(preset.config, network=replace(network, links=links)), preset.source.markets[0]


@pytest.mark.parametrize("expert", EXPERTS)
def test_published_rows_are_reproduced(expert):
    rows = published()
    assert len(rows) == 20
    for row in rows[1::3]:
        config, law = world(row)
        scores = score_on_seeds(getattr(SupplyExperts(config, informed=True), expert), config, law)
        room = TIES if expert == "s_S" and row["Demand"] == "stationary" else 1e-9
        assert scores.profit.mean() == pytest.approx(
            float(row[f"{COLUMNS[expert]}_Profit"]), abs=room
        )
        if room < TIES:
            bullwhip = float(row[f"{COLUMNS[expert]}_BullwhipRatio"])
            assert scores.bullwhip.mean() == pytest.approx(bullwhip, rel=1e-9)


@pytest.mark.parametrize("preset", [serial("trend+seasonal", backlog=False), multi_echelon()])
def test_nobody_beats_the_bound(preset):
    config = preset.config
    scenarios = preset.source.draw(4, np.random.default_rng(7))
    bound = supply_hindsight_bound(scenarios, config)
    experts = SupplyExperts(config, informed=True)
    rolling = score_policy(RollingPlanner(config), scenarios, config).profit
    assert (rolling <= bound + 1e-6).all()
    for name in EXPERTS:
        scores = score_policy(lambda view, name=name: experts.order(name, view), scenarios, config)
        assert (scores.profit <= bound + 1e-6).all()
        assert scores.profit.mean() < rolling.mean()


@pytest.mark.parametrize("off", [(1,), (0,), (3,), (1, 2, 3)])
def test_what_is_switched_off_counts_for_nothing_in_the_bound(off):
    """Customers pay nothing, so that the best is to owe little: the bound must not owe for them."""
    preset = serial(backlog=False)
    network = preset.config.network
    poor = replace(network.markets[0], price=0.0, penalty=5.0)
    config = replace(preset.config, network=replace(network, markets=(poor,)))
    source = replace(preset.source, stage=Stage(inactive_nodes=off))
    scenarios = source.draw(2, np.random.default_rng(0))
    bound = supply_hindsight_bound(scenarios, config)
    idle = score_policy(lambda view: np.zeros((2, 3)), scenarios, config).profit
    rolling = score_policy(RollingPlanner(config), scenarios, config).profit
    assert (idle <= bound + 1e-6).all()
    assert (rolling <= bound + 1e-6).all()
    if 0 in off or 1 in off:
        assert bound == pytest.approx(idle, rel=0.03)


def test_rolling_program_with_perfect_forecasts_earns_the_bound():
    """Demand equal to its mean and no safety: the plan comes true, step by step."""
    config = replace(serial().config, known_horizon=30)
    mean = MeanDemand(base=20.0, season=0.3).over(60)[None, :, None]
    network = config.network
    scenarios = make_quiet_scenarios(
        mean[:, :30], mean, num_nodes=len(network.nodes), num_products=1
    )
    bound = supply_hindsight_bound(scenarios, config)
    earned = score_policy(RollingPlanner(config, safety=0.0), scenarios, config).profit
    assert earned == pytest.approx(bound, rel=1e-9)


def test_bound_of_a_bakery_by_hand():
    """Two units of flour make a loaf in one step; a third of what is left goes stale.

    Ten in stock, price 4, disposal 1: step 1 sells 3, from step 2 on loaves can come; flour costs
    1 a unit and 0.5 to bake. Customers ask 3, 3, 3 and do not wait. Stock at the start is 6 loaves:
    3 are sold, 3 left, 1 stale, 2 sold in step 2; one more loaf for step 2 and three for step 3.
    """
    flour, loaf = Product(name="flour"), Product(name="loaf", perish_rate=1 / 3, disposal_cost=1.0)
    network = Network(
        products=(flour, loaf),
        nodes=(
            Node(name="mill", type=NodeType.SUPPLIER),
            Node(name="bakery", type=NodeType.MANUFACTURER),
            Node(name="town", type=NodeType.CUSTOMER),
        ),
        shelves=(
            Shelf(node="bakery", product="flour", initial_stock=2.0),
            Shelf(node="bakery", product="loaf", initial_stock=6.0),
        ),
        links=(Link(supplier="mill", buyer="bakery", product="flour", price=1.0),),
        recipes=(
            Recipe(
                node="bakery",
                product="loaf",
                components=(Component(product="flour", units=2.0),),
                lead_time=1,
                operating_cost=0.5,
            ),
        ),
        markets=(Market(retailer="bakery", customer="town", product="loaf", price=4.0),),
    )
    from rl.domains.supply_chain import SupplyConfig

    config = SupplyConfig(network=network, max_steps=3, backlog=False)
    demand = np.full((1, 3, 1), 3.0)
    scenarios = make_quiet_scenarios(demand, demand, num_nodes=3, num_products=2)
    bound = supply_hindsight_bound(scenarios, config)
    sold, stale, baked, bought = 9.0, 1.0, 4.0, 6.0
    assert bound[0] == pytest.approx(4 * sold - stale - 0.5 * baked - bought)


def test_programs_say_what_they_need():
    with pytest.raises(ConfigError, match="without them"):
        SupplyProgram(five_product(4).config, 3)
    with pytest.raises(ConfigError, match="known_horizon"):
        RollingPlanner(replace(serial().config, known_horizon=0))
    with pytest.raises(ConfigError, match="unknown expert"):
        SupplyExperts(serial().config, informed=True).order("oracle", None)


def test_covering_one_more_step_upstream_pays_where_things_are_made():
    preset = five_product(4, max_steps=60, disruption_probability=0.0)
    scenarios = preset.source.draw(4, np.random.default_rng(0))
    profit = [
        score_policy(
            SupplyExperts(preset.config, informed=False, extra_steps=extra).echelon_base_stock,
            scenarios,
            preset.config,
        ).profit.mean()
        for extra in (0, 1)
    ]
    assert profit[1] > profit[0]
