"""Limits of portfolios: against linear programs and simulation, played, beaten by nobody."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from data.market import MarketRegime
from data.market_config import PLAIN, SymbolLaw, SyntheticMarketConfig
from data.market_generator import SyntheticMarket
from data.scenario import BankConfig, ScenarioBank
from rl.domains.portfolio import PortfolioConfig, PortfolioView
from rl.domains.portfolio_experts import EXPERTS, ConstantProportion, Rebalanced
from rl.environments.lockstep import LockstepOptions
from rl.environments.portfolio_environment import BatchedPortfolio
from rl.evaluation.portfolio_bounds import (
    CASH,
    compute_best_constant_portfolio,
    compute_hindsight_path,
    compute_merton_portfolio,
)
from utils.errors import ConfigError

CONFIG = PortfolioConfig(num_steps=40, cost_bps=50.0, cash_rate=0.0001)
MARKET = SyntheticMarketConfig(max_symbols=4, max_steps=40, lookback=60, num_symbols=3)


def make_environment(config, market, *, episodes, seed=0):
    bank = ScenarioBank(SyntheticMarket(market), BankConfig(num_episodes=episodes), seed)
    options = LockstepOptions(num_envs=episodes, shuffle=False)
    return BatchedPortfolio(config, bank, options, 0)


def play(environment, decide):
    """Growth of the logarithm of wealth over one episode, `[env, agent]`."""
    environment.reset(0)
    total = torch.zeros((environment.num_envs, environment.num_agents), dtype=torch.float64)
    for time in range(environment.config.num_steps):
        record = environment.step(decide(time))
        total += record.reward_terms["market"] + record.reward_terms["cost"]
    return total.numpy()


def follow(environment, expert):
    def decide(time):
        del time
        view = PortfolioView(**{k: v.numpy() for k, v in vars(environment.view).items()})
        return torch.from_numpy(expert(view, environment.config))

    return decide


def solve_linear_program(log_return, config):
    """Largest final wealth from 1 in cash; variables per step: bought, sold, held, cash."""
    steps, symbols = log_return.shape
    growth, cost, size = np.exp(log_return), config.cost, 3 * symbols + 1
    rows, right = [], []
    for t in range(steps):
        bought, sold, held = (t * size + symbols * k + np.arange(symbols) for k in range(3))
        cash = t * size + 3 * symbols
        for i in range(symbols):
            row = np.zeros(steps * size)
            row[[held[i], bought[i], sold[i]]] = 1, -1, 1
            if t:
                row[held[i] - size] = -growth[t - 1, i]
            rows.append(row)
            right.append(0.0)
        row = np.zeros(steps * size)
        row[cash], row[bought], row[sold] = 1, 1 + cost, -(1 - cost)
        if t:
            row[cash - size] = -(1 + config.cash_rate)
        rows.append(row)
        right.append(0.0 if t else 1.0)
    final = np.zeros(steps * size)
    final[-1] = -(1 + config.cash_rate)
    final[-1 - symbols : -1] = -growth[-1]
    return -linprog(final, A_eq=np.asarray(rows), b_eq=right).fun


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cost_bps=st.floats(0, 300))
def test_hindsight_equals_the_linear_program(seed, cost_bps):
    moves = np.random.default_rng(seed).normal(0, 0.02, (1, 8, 3))
    config = replace(CONFIG, num_steps=8, cost_bps=cost_bps)
    path = compute_hindsight_path(moves, np.ones((1, 3)), config)
    wealth = solve_linear_program(moves[0], config)
    assert np.exp(path.log_growth[0]) == pytest.approx(wealth, rel=1e-8)


def test_the_hindsight_path_is_played_to_its_value_and_beaten_by_nobody():
    environment = make_environment(CONFIG, MARKET, episodes=16)
    scenarios = environment.bank.scenarios
    path = compute_hindsight_path(
        scenarios.log_return.astype(float), scenarios.symbol_active, CONFIG
    )
    wanted = torch.zeros((40, 16, 1, 4))
    for time, episode in np.argwhere(path.holding.T != CASH):
        wanted[time, episode, 0, path.holding[episode, time]] = 1.0
    assert (path.holding < 3).all()
    played = play(environment, lambda time: wanted[time])[:, 0]
    np.testing.assert_allclose(played, path.log_growth, atol=1e-5)
    for expert in EXPERTS.values():
        assert (play(environment, follow(environment, expert))[:, 0] <= path.log_growth).all()
    draw = torch.Generator().manual_seed(0)
    noisy = play(environment, lambda time: wanted[time] * torch.rand((16, 1, 4), generator=draw))
    assert (noisy[:, 0] <= path.log_growth).all()


def test_hindsight_keeps_cash_where_nothing_pays():
    moves = np.full((1, 3, 2), 0.004)  # less than the cost of entering
    config = replace(CONFIG, num_steps=3, cost_bps=150.0)
    path = compute_hindsight_path(moves, np.ones((1, 2)), config)
    assert (path.holding == CASH).all()
    assert path.log_growth[0] == pytest.approx(3 * np.log1p(0.0001))


def test_hindsight_with_short_positions_is_refused():
    for changes in ({"max_short": 0.1}, {"max_leverage": 1.5}):
        with pytest.raises(ConfigError, match="long-only"):
            compute_hindsight_path(np.zeros((1, 2, 1)), np.ones((1, 1)), replace(CONFIG, **changes))


def test_best_constant_portfolio_of_cover():
    """Cover's example: cash, and a symbol that doubles and halves in turn; half and half."""
    moves = np.log(np.tile([[2.0], [0.5]], (10, 1)))
    config = replace(CONFIG, cash_rate=0.0)
    best = compute_best_constant_portfolio(moves, config)
    np.testing.assert_allclose(best.weights, [0.5], atol=1e-5)
    assert best.log_growth == pytest.approx(10 * np.log(9 / 8))
    assert best.log_growth <= best.log_growth_bound <= best.log_growth + 1e-5


def test_no_constant_weights_beat_the_best():
    generator = np.random.default_rng(5)
    moves = generator.standard_t(4, (300, 5)) * 0.01 + 0.0005
    best = compute_best_constant_portfolio(moves, CONFIG)
    others = generator.dirichlet(np.full(6, 0.5), 3000)
    growth = np.exp(moves) @ others[:, :5].T + others[:, 5] * (1 + CONFIG.cash_rate)
    reached = np.log(growth).sum(0)
    assert reached.max() <= best.log_growth_bound
    assert best.log_growth > reached.max() - 0.05


def test_merton_by_hand():
    covariance = np.diag([0.04, 0.16])
    found = compute_merton_portfolio(np.asarray([0.06, 0.10]), covariance, cash_rate=0.02)
    np.testing.assert_allclose(found.weights, [1.0, 0.5])
    assert found.growth == pytest.approx(0.02 + 0.04**2 / 0.08 + 0.08**2 / 0.32)
    averse = compute_merton_portfolio(
        np.asarray([0.06, 0.10]), covariance, cash_rate=0.02, risk_aversion=2.0
    )
    np.testing.assert_allclose(averse.weights, [0.5, 0.25])


def test_merton_s_growth_is_reached_and_no_constant_weight_beats_it():
    """Daily steps of geometric Brownian motion, without costs; every weight on the same prices.

    Volatility 0.1 and drift 0.9 of 0.01 a year above cash: half a year of a year's weight 0.7.
    """
    days, copies, rate = 252, 4000, 0.02
    weights = (0.1, 0.4, 0.7, 1.0, 1.3, 1.9)
    volatility, excess = 0.4, 0.7 * 0.4**2
    law = SymbolLaw(volatility=(volatility / 0.1,), drift=(rate + excess,))
    market = SyntheticMarketConfig(
        max_symbols=1, max_steps=days, lookback=3, law=PLAIN, symbols=law
    )
    assert MarketRegime.SIDEWAYS.volatility == 0.1
    assert MarketRegime.SIDEWAYS.drift == 0
    config = PortfolioConfig(
        num_steps=days,
        num_agents=len(weights),
        cost_bps=0.0,
        cash_rate=float(np.expm1(rate / days)),
        max_leverage=2.0,
    )
    environment = make_environment(config, market, episodes=copies)
    measured = environment.bank.scenarios.log_return.astype(float)
    assert measured.std() * np.sqrt(days) == pytest.approx(volatility, rel=0.01)
    action = torch.tensor(weights)[None, :, None].expand(copies, -1, -1) / config.max_leverage
    growth = play(environment, lambda time: action)
    merton = compute_merton_portfolio(
        np.asarray([rate + excess]), np.asarray([[volatility**2]]), cash_rate=rate
    )
    assert merton.weights[0] == pytest.approx(0.7)
    assert merton.growth == pytest.approx(rate + excess**2 / (2 * volatility**2))
    error = growth[:, 2].std() / np.sqrt(copies)
    assert growth[:, 2].mean() == pytest.approx(merton.growth, abs=3 * error)
    assert error < 0.005
    for other in (0, 1, 3, 4, 5):
        lead = growth[:, 2] - growth[:, other]
        shortfall = (weights[other] - 0.7) ** 2 * volatility**2 / 2
        assert lead.mean() == pytest.approx(shortfall, abs=3 * lead.std() / np.sqrt(copies))


def test_a_constant_proportion_grows_less_than_the_best_one():
    environment = make_environment(replace(CONFIG, cost_bps=0.0), MARKET, episodes=4)
    expert = Rebalanced(rule=ConstantProportion(weights=(0.2, 0.3, 0.1, 0.0)), every=1)
    played = play(environment, follow(environment, expert))[:, 0]
    for reached, moves in zip(played, environment.bank.scenarios.log_return, strict=True):
        best = compute_best_constant_portfolio(moves[:, :3].astype(float), CONFIG)
        assert reached <= best.log_growth_bound


def test_best_constant_portfolio_of_falling_prices_is_cash_and_its_interest():
    best = compute_best_constant_portfolio(np.full((20, 2), -0.01), CONFIG)
    np.testing.assert_allclose(best.weights, 0, atol=1e-6)
    assert best.log_growth == pytest.approx(20 * np.log1p(0.0001), rel=1e-3)
