"""The bound of a chain is reached by its own plan, and by nobody else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.demand import InventoryScenarios
from rl.domains.inventory import inv_management, inv_management_demand
from rl.domains.inventory_experts import base_stock, tune_base_stock
from rl.evaluation.bounds import BoundError
from rl.evaluation.inventory_bounds import (
    InventoryProgram,
    ShrinkingHorizonPlanner,
    inventory_hindsight_bound,
)
from rl.evaluation.inventory_scores import base_stock_score, score_policy

LEVELS = {False: (92.0, 212.0, 416.0), True: (93.0, 213.0, 0.0)}
both = pytest.mark.parametrize("lost_sales", [False, True])


def draw(episodes, seed=1):
    return inv_management_demand().draw(episodes, np.random.default_rng(seed))


@both
def test_the_plan_with_foresight_earns_its_bound(lost_sales):
    config = inv_management(lost_sales=lost_sales)
    scenarios = draw(8)
    program = InventoryProgram(config, config.max_steps)
    stock, nothing = np.asarray(config.initial_stock), np.zeros((3, 10))
    plans = [
        program.solve(stock=stock, in_transit=nothing, waiting=0.0, demand=demand)
        for demand in scenarios.demand
    ]
    orders = np.stack([plan.orders for plan in plans])
    steps = iter(range(config.max_steps))

    def follow(view):
        return (orders[:, next(steps)] / np.asarray(config.capacity)).astype(np.float32)

    earned = score_policy(follow, scenarios, config).profit
    np.testing.assert_allclose(earned, [plan.profit for plan in plans], atol=1e-2)


@both
def test_nobody_beats_the_bound(lost_sales):
    config = inv_management(lost_sales=lost_sales)
    scenarios = draw(30, seed=2)
    bound = inventory_hindsight_bound(scenarios, config)
    generator = np.random.default_rng(0)
    levels = np.asarray(LEVELS[lost_sales])
    for policy in (
        lambda view: base_stock(view, config, levels),
        lambda view: (0.3 * generator.random(view.stock.shape)).astype(np.float32),
    ):
        assert (score_policy(policy, scenarios, config).profit <= bound + 1e-3).all()


def test_bound_of_an_episode_worked_out_on_paper():
    # One shelf of 5, lead time 1: 3 of the 8 wanted in step 1 must be made in step 0 at 0.5.
    # Sales 8 x 2, holding 5 x 0.1 after step 0, making 1.5; in the middle nothing is missing.
    config = replace(
        inv_management(lost_sales=True),
        initial_stock=(5.0,),
        capacity=(10.0,),
        lead_time=(1,),
        replenishment_cost=(1.5, 0.5),
        penalty=(0.1, 0.1),
        holding_cost=(0.1,),
        discount=1.0,
        max_steps=2,
    )
    scenarios = InventoryScenarios(demand=np.asarray([[0.0, 8.0]], np.float32))
    assert inventory_hindsight_bound(scenarios, config) == pytest.approx([16.0 - 0.5 - 1.5])


@pytest.mark.parametrize(("lost_sales", "expected"), [(False, 410.5), (True, 452.0)])
def test_base_stock_earns_its_reference_value(lost_sales, expected):
    config = inv_management(lost_sales=lost_sales)
    levels = np.asarray(LEVELS[lost_sales])
    scores = score_policy(lambda view: base_stock(view, config, levels), draw(5_000), config)
    assert scores.profit.mean() == pytest.approx(expected, abs=2.0)
    assert (scores.fill_rate <= 1.0 + 1e-6).all()


def test_random_orders_earn_what_they_earn_in_the_original():
    # or-gym 0.5.0 itself, 400 episodes each: -682 +- 8 (sd 166) and 2 +- 4 (sd 81).
    generator = np.random.default_rng(0)
    for lost_sales, expected in ((False, -682), (True, 2)):
        config = inv_management(lost_sales=lost_sales)
        capacity = np.asarray(config.capacity)

        def at_random(view, capacity=capacity):
            units = generator.integers(0, capacity.astype(int) + 1, view.stock.shape)
            return (units / capacity).astype(np.float32)

        profit = score_policy(at_random, draw(2_000), config).profit
        assert profit.mean() == pytest.approx(expected, abs=25)


def test_levels_can_be_tuned_on_training_scenarios():
    config = inv_management(lost_sales=False)
    score = base_stock_score(draw(16, seed=5), config)
    levels = tune_base_stock(score, num_stages=3, highest=480, spacing=96)
    held_out = score_policy(lambda view: base_stock(view, config, levels), draw(2_000), config)
    assert held_out.profit.mean() > 395


@both
def test_planning_on_the_mean_beats_base_stock(lost_sales):
    config = inv_management(lost_sales=lost_sales)
    scenarios = draw(4, seed=9)
    planner = ShrinkingHorizonPlanner(config, mean_demand=20.0)
    levels = np.asarray(LEVELS[lost_sales])
    planned = score_policy(planner, scenarios, config).profit
    ordered_up_to = score_policy(lambda view: base_stock(view, config, levels), scenarios, config)
    assert planned.mean() > ordered_up_to.profit.mean()
    assert (planned <= inventory_hindsight_bound(scenarios, config) + 1e-3).all()


def test_an_impossible_plan_is_an_error_not_a_number():
    program = InventoryProgram(inv_management(lost_sales=False), 30)
    with pytest.raises(BoundError, match="no plan"):
        program.solve(
            stock=np.full(3, -1000.0),
            in_transit=np.zeros((3, 10)),
            waiting=0.0,
            demand=np.zeros(30),
        )
