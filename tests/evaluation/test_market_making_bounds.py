"""The best quotes: found by brute force too, worth what they earn, beaten by nobody."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.order_flow import OrderFlowConfig, PoissonOrderFlow
from data.scenario import BankConfig, ScenarioBank
from rl.domains.market_making import MarketMakingConfig, MarketMakingView, avellaneda_stoikov
from rl.domains.market_making_experts import EXPERTS, FixedSpread, as_action
from rl.environments.lockstep import LockstepOptions
from rl.environments.market_making_environment import BatchedMarketMaking
from rl.evaluation.market_making_bounds import (
    OrderFlowLaw,
    compute_expected_return,
    compute_market_making_bound,
    tune_fixed_spread,
)
from utils.errors import ConfigError

LAW = OrderFlowLaw()
TINY = MarketMakingConfig(
    horizon=0.04,
    num_steps=4,
    lowest_distance=0.0,
    highest_distance=2.0,
    inventory_limit=2,
    liquidation_cost=0.15,
    risk_aversion=1.0,
)
TINY_LAW = OrderFlowLaw(volatility=2.0, arrival_rate=60.0)


def test_equals_brute_force_over_a_grid_of_quotes():
    """Plain loops over fills, inventories and quotes; the grid may only come close from below."""
    step, variance = 0.01, 4.0 * 0.01
    grid = np.linspace(0, 2, 401)
    chance = np.minimum(1, 60 * step * np.exp(-1.5 * grid))
    value = {q: -0.15 * abs(q) for q in range(-2, 3)}
    for _ in range(4):
        held = {q: value[q] - 0.5 * variance * q * q for q in value}
        for q in value:
            x = chance[:, None] * (q < 2)
            y = chance[None, :] * (q > -2)
            worth = 0.0
            for bid, ask in product((0, 1), repeat=2):
                odds = (x if bid else 1 - x) * (y if ask else 1 - y)
                gain = bid * grid[:, None] + ask * grid[None, :]
                worth = worth + odds * (gain + held.get(q + bid - ask, 0.0))
            value[q] = worth.max()
    for first in (0, 2):
        config = replace(TINY, initial_inventory=first)
        bound = compute_market_making_bound(config, TINY_LAW)
        assert bound.expected_return == pytest.approx(value[first], abs=1e-4)
        assert bound.expected_return >= value[first] - 1e-12


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_table_of_quotes_beats_the_bound(data):
    config = replace(TINY, initial_inventory=data.draw(st.integers(-2, 2)))
    seed = data.draw(st.integers(0, 2**32 - 1))
    near = data.draw(st.floats(0, 0.5))
    bound = compute_market_making_bound(config, TINY_LAW)
    noise = np.random.default_rng(seed).normal(0, near, bound.distances.shape)
    other = replace(bound, distances=np.clip(bound.distances + noise, 0, 2))
    assert compute_expected_return(other, config, TINY_LAW) <= bound.expected_return + 1e-6


@pytest.mark.parametrize("risk_aversion", [0.0, 0.01, 0.1, 0.5])
def test_no_expert_beats_the_bound(risk_aversion):
    config = avellaneda_stoikov(risk_aversion)
    bound = compute_market_making_bound(config, LAW)
    best = compute_expected_return(bound, config, LAW)
    assert best == pytest.approx(bound.expected_return, abs=1e-5)
    for expert in EXPERTS.values():
        assert compute_expected_return(expert, config, LAW) <= best


def test_without_risk_the_best_distance_is_one_over_k():
    config = replace(avellaneda_stoikov(0.0), inventory_limit=200)
    bound = compute_market_making_bound(config, LAW)
    np.testing.assert_allclose(bound.distances[:, 200], 1 / 1.5, atol=1e-9)
    assert bound.expected_return == pytest.approx(2 * 140 * np.exp(-1) / 1.5)
    assert tune_fixed_spread(config, LAW).distance == pytest.approx(1 / 1.5, abs=1e-3)


def test_tuned_spread_is_the_best_of_a_grid():
    config = avellaneda_stoikov(0.1)
    tuned = compute_expected_return(tune_fixed_spread(config, LAW), config, LAW)
    for distance in np.linspace(0.2, 2.0, 19):
        other = compute_expected_return(FixedSpread(distance=float(distance)), config, LAW)
        assert other <= tuned + 1e-6


@pytest.mark.parametrize("name", [*EXPERTS, "bound"])
def test_the_environment_pays_what_is_computed(name):
    config = replace(TINY, num_steps=20, horizon=0.2, initial_inventory=1)
    copies, law = 40_000, TINY_LAW
    expert = EXPERTS.get(name) or compute_market_making_bound(config, law)
    flow = OrderFlowConfig(num_steps=20, volatility=law.volatility, arrival_rate=law.arrival_rate)
    bank = ScenarioBank(PoissonOrderFlow(flow), BankConfig(num_episodes=copies), 3)
    options = LockstepOptions(num_envs=copies, shuffle=False)
    environment = BatchedMarketMaking(config, bank, options, 0)
    total = torch.zeros(copies, dtype=torch.float64)
    for _ in range(config.num_steps):
        view = MarketMakingView(**{k: v.numpy() for k, v in vars(environment.view).items()})
        record = environment.step(torch.from_numpy(expert(view, config))[:, None])
        total += record.reward[:, 0]
    expected = compute_expected_return(expert, config, law)
    assert float(total.mean()) == pytest.approx(expected, abs=3.5 * float(total.std()) / 200)


def test_quotes_that_may_have_several_optima_are_refused():
    with pytest.raises(ConfigError, match="liquidation_cost"):
        compute_market_making_bound(replace(TINY, liquidation_cost=5.0), TINY_LAW)


def test_actions_of_distances_are_undone_by_the_projection():
    distance = np.asarray([[0.3, 1.9]])
    width = TINY.highest_distance - TINY.lowest_distance
    np.testing.assert_allclose(as_action(distance, TINY) * width, distance, rtol=1e-6)
