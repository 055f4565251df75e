"""Exact optima beside the published ones, and the same costs when the worlds are played."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rl.domains.inventory_experts import base_stock, reorder
from rl.domains.inventory_presets import clark_scarf, fixed_order_cost, newsvendor
from rl.evaluation.bounds import BoundError
from rl.evaluation.inventory_scores import score_policy
from rl.evaluation.stock_dynamic_program import StockProblem, solve_stock_problem
from rl.evaluation.stock_optima import (
    NormalDemand,
    newsvendor_normal,
    newsvendor_poisson,
    reorder_poisson,
    serial_normal,
)

STEPS, WARM_UP = 500, 100


def test_newsvendor():
    normal = newsvendor_normal(NormalDemand(mean=50, deviation=8), holding=0.18, shortage=0.70)
    assert (normal.level, normal.cost) == pytest.approx((56.604, 1.9976), abs=1e-3)
    whole = newsvendor_poisson(20, holding=1, shortage=4)
    assert (whole.level, whole.cost) == pytest.approx((24, 6.4380), abs=1e-4)


@pytest.mark.parametrize(
    ("mean", "point", "level", "cost"),
    [
        (10, 6, 40, 35.022),
        (15, 10, 49, 42.698),
        (20, 14, 62, 49.173),
        (25, 19, 56, 54.262),
        (30, 23, 66, 57.819),
        (40, 33, 87, 64.512),
        (50, 42, 108, 70.975),
    ],
)
def test_reorder_policy_equals_zheng_and_federgruen_s_table(mean, point, level, cost):
    found = reorder_poisson(mean, holding=1, shortage=9, setup=64)
    assert (found.reorder_point, found.level) == (point, level)
    assert found.cost == pytest.approx(cost, abs=6e-4)


def test_cheap_orders_are_small():
    found = reorder_poisson(6, holding=1, shortage=4, setup=5)
    assert (found.reorder_point, found.level) == (4, 10)
    assert found.cost == pytest.approx(8.0341, abs=1e-4)


def test_without_setup_cost_the_newsvendor_s_level_is_restored_every_step():
    found = reorder_poisson(20, holding=1, shortage=4, setup=0)
    assert (found.reorder_point, found.level) == (23, 24)
    assert found.cost == pytest.approx(6.4380, abs=1e-4)


def test_serial_chain_of_three_stages():
    found = serial_normal(
        NormalDemand(mean=5, deviation=1),
        echelon_holding=(3, 2, 2),
        lead_time=(1, 1, 2),
        shortage=37.12,
    )
    assert found.levels == pytest.approx((6.484, 12.028, 22.72), abs=0.02)
    assert found.cost == pytest.approx(47.665, abs=0.01)


def test_serial_chain_of_two_stages():
    found = serial_normal(
        NormalDemand(mean=100, deviation=15),
        echelon_holding=(1, 1),
        lead_time=(1, 1),
        shortage=15,
    )
    assert found.levels == pytest.approx((123.439, 228.488), abs=0.1)
    assert found.cost == pytest.approx(166.27, abs=0.05)


def test_one_stage_is_the_newsvendor():
    demand = NormalDemand(mean=50, deviation=8)
    serial = serial_normal(demand, echelon_holding=(0.18,), lead_time=(1,), shortage=0.70)
    known = newsvendor_normal(demand, holding=0.18, shortage=0.70)
    assert (serial.levels[0], serial.cost) == pytest.approx((known.level, known.cost), abs=0.05)


def test_finite_horizon():
    demand = NormalDemand(mean=100, deviation=20)
    plan = solve_stock_problem(
        StockProblem(num_steps=10, holding=1, shortage=20, unit_cost=2, setup=50, demand=demand)
    )
    assert (plan.reorder_point[0], plan.level[0]) == (110, 133)
    assert (plan.reorder_point[-1], plan.level[-1]) == (111, 126)
    assert plan.cost == pytest.approx(3016.44, rel=5e-4)


def test_the_plan_costs_what_it_says_also_where_demand_varies_much():
    demand = NormalDemand(mean=20, deviation=16)
    plan = solve_stock_problem(
        StockProblem(num_steps=6, holding=1, shortage=9, unit_cost=1, setup=64, demand=demand)
    )
    draw = np.random.default_rng(0)
    stock, cost = np.zeros(100_000), np.zeros(100_000)
    for point, level in zip(plan.reorder_point, plan.level, strict=True):
        order = np.where(stock <= point, level - stock, 0.0)
        stock = stock + order
        cost += 64 * (order > 0) + order
        stock = stock - np.round(draw.normal(20, 16, len(stock)))
        cost += np.where(stock > 0, stock, -9 * stock)
    cost += np.where(stock > 0, stock, -9 * stock)
    assert plan.cost == pytest.approx(cost.mean(), abs=4 * cost.std() / len(cost) ** 0.5)


@pytest.mark.parametrize("field", ["holding", "setup"])
def test_negative_costs_are_refused(field):
    demand = NormalDemand(mean=100, deviation=20)
    problem = StockProblem(num_steps=2, holding=1, shortage=2, unit_cost=0, setup=0, demand=demand)
    with pytest.raises(BoundError, match="finite costs >= 0"):
        replace(problem, **{field: -1.0})
    with pytest.raises(BoundError, match="must be above 0"):
        newsvendor_poisson(20, holding=-1, shortage=4)


@pytest.mark.parametrize("mean", [0.0, -3.0, float("nan")])
def test_demand_without_a_mean_is_refused(mean):
    with pytest.raises(BoundError, match="mean demand must be"):
        newsvendor_poisson(mean, holding=1, shortage=4)
    with pytest.raises(BoundError, match="mean demand must be"):
        reorder_poisson(mean, holding=1, shortage=4, setup=8)
    with pytest.raises(BoundError, match="setup must be"):
        reorder_poisson(20, holding=1, shortage=4, setup=-1)


def play(preset, policy, *, episodes, seed=0, warm_up=WARM_UP):
    """Return the mean cost of a step and its standard error, after the shelves have settled."""
    whole = preset.chain.max_steps
    scenarios = preset.demand.draw(episodes, np.random.default_rng(seed))
    total = -score_policy(policy, scenarios, preset.chain).profit
    begun = np.zeros(episodes)
    if warm_up:
        short = replace(preset.chain, max_steps=warm_up)
        first = replace(scenarios, demand=scenarios.demand[:, :warm_up])
        begun = -score_policy(policy, first, short).profit
    cost = (total - begun) / (whole - warm_up)
    return cost.mean(), cost.std(ddof=1) / np.sqrt(episodes)


def test_the_newsvendor_s_world_costs_what_the_optimum_says():
    preset, best = newsvendor(), newsvendor_poisson(20, holding=1, shortage=4)
    policy = lambda view: base_stock(view, preset.chain, np.asarray([best.level]))  # noqa: E731
    cost, error = play(preset, policy, episodes=20_000, warm_up=0)
    assert abs(cost - best.cost) < 3 * error
    assert error < 0.05


@pytest.mark.parametrize("mean", [10.0, 20.0, 50.0])
def test_the_shelf_with_setup_costs_costs_what_the_optimum_says(mean):
    preset = fixed_order_cost(mean, max_steps=STEPS)
    best = reorder_poisson(mean, holding=1, shortage=9, setup=64)
    point, level = np.asarray([best.reorder_point]), np.asarray([best.level])
    policy = lambda view: reorder(view, preset.chain, point, level)  # noqa: E731
    cost, error = play(preset, policy, episodes=150)
    assert abs(cost - best.cost) < 3 * error
    assert error < 0.005 * best.cost
    worse = lambda view: reorder(view, preset.chain, point + 6, level + 6)  # noqa: E731
    assert play(preset, worse, episodes=150)[0] > best.cost + 3 * error


def test_clark_and_scarf_s_world_costs_what_the_optimum_says():
    preset = clark_scarf(STEPS)
    best = serial_normal(
        NormalDemand(mean=5, deviation=1),
        echelon_holding=(3, 2, 2),
        lead_time=(1, 1, 2),
        shortage=37.12,
    )
    levels = np.asarray(best.levels)
    cost, error = play(preset, lambda view: base_stock(view, preset.chain, levels), episodes=150)
    assert abs(cost - best.cost) < 3 * error
    assert error < 0.002 * best.cost
    for other in (levels - 0.5, levels + 0.5, levels + np.asarray([0.0, 1.0, 0.0])):
        policy = lambda view, other=other: base_stock(view, preset.chain, other)  # noqa: E731
        assert play(preset, policy, episodes=150)[0] > cost
