"""Experts of trading hold what they say they hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rl.domains.trading_experts import EXPERTS
from tests.environments.trading_worlds import FREE, as_numpy, make_config, make_path, play_expert


def end_weights(name, returns, **changes):
    """Weights at the end of a market that a single agent traded by one expert."""
    config = make_config(agents=1, symbols=2, steps=len(returns), **FREE, **changes)
    world = make_path(config, returns)
    play_expert(world, EXPERTS[name])
    state = world.newest
    return (state.shares[0, 0] * state.price[0] / state.equity[0, 0]).numpy()


def zigzag(drift, size=0.005, steps=40):
    return drift + size * (-1.0) ** np.arange(steps)


def test_equal_weight_comes_back_to_half():
    returns = np.zeros((20, 2))
    returns[6:10, 0] = 0.1
    np.testing.assert_allclose(end_weights("equal_weight", returns), 0.49, atol=0.03)
    bought = end_weights("buy_and_hold", returns)
    assert bought[0] == pytest.approx(0.49 * np.exp(0.4) / (0.49 * np.exp(0.4) + 0.51), abs=0.01)


def test_buy_and_hold_trades_once_only():
    config = make_config(agents=1, symbols=2, steps=12, **FREE)
    world = make_path(config, zigzag(0.01, steps=12))
    generator = np.random.default_rng(0)
    shares = []
    for _ in range(11):
        action = EXPERTS["buy_and_hold"](as_numpy(world.view), config, generator)
        world.step(torch.from_numpy(action))
        shares.append(world.state.shares[0, 0].numpy())
    np.testing.assert_array_equal(shares[3], shares[-1])
    assert (shares[-1] > 0).all()


@pytest.mark.parametrize(("drift", "sign"), [(0.004, 1), (-0.004, -1)])
def test_momentum_follows(drift, sign):
    accelerating = drift * np.linspace(0, 2, 30)
    assert (sign * end_weights("momentum", accelerating) > 0.1).all()


def test_mean_reversion_buys_what_fell():
    fallen, risen = zigzag(0, steps=30), zigzag(0, steps=30)
    fallen[-4:], risen[-4:] = -0.03, 0.03
    assert (end_weights("mean_reversion", fallen) > 0.3).all()
    np.testing.assert_allclose(end_weights("mean_reversion", risen), 0, atol=0.03)


def test_target_volatility_holds_less_of_what_moves_more():
    calm, wild = zigzag(0.003, 0.002), zigzag(0.003, 0.04)
    calm[-1] = wild[-1] = 0.01
    assert (end_weights("trend_volatility_target", calm) > 0.4).all()
    assert (end_weights("trend_volatility_target", wild) < 0.25).all()
    falling = zigzag(-0.01, 0.002)
    np.testing.assert_allclose(end_weights("trend_volatility_target", falling), 0, atol=0.03)
