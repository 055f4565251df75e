"""The promised dict API of trading: its call, market data, summary, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from data.market import MarketRegime
from data.scenario import ScenarioError
from data.traces import TRACES_SETTING, TraceError, locate_traces
from data.trading_scenarios import TradingStage
from rl.domains.indicators import annualise, begin_indicators, read_indicators
from rl.domains.trading_config import BackgroundConfig
from rl.environments import trading_environment
from rl.environments.base_environment import AgentConfig, AgentRole
from rl.environments.trading_environment import TradingEnvironment
from tests.environments.trading_worlds import make_bank, make_config, make_path, make_world
from utils.errors import ConfigError


def make_traders(count=2):
    return [
        AgentConfig(agent_id=f"trader_{n}", role=AgentRole.EXECUTOR, initial_balance=100_000)
        for n in range(count)
    ]


def make_environment(**changes):
    settings = {"agent_configs": make_traders(), "symbols": ["AAPL", "GOOGL"], "max_steps": 30}
    return TradingEnvironment(**{**settings, **changes})


def test_the_promised_call():
    env = TradingEnvironment(
        agent_configs=make_traders(4),
        symbols=["AAPL", "GOOGL"],
        market_regime=MarketRegime.VOLATILE,
        transaction_cost=0.001,
        market_impact_factor=0.0001,
        use_synthetic_data=True,
        max_steps=1000,
    )
    observations, info = env.reset()
    assert set(observations) == set(info) == {f"trader_{n}" for n in range(4)}
    actions = {agent: env.action_space.sample() for agent in env.agents}
    observations, rewards, terminated, truncated, _ = env.step(actions)
    assert env.observation_space("trader_0").contains(observations["trader_0"])
    assert all(isinstance(value, float) for value in rewards.values())
    assert not any((*terminated.values(), *truncated.values()))


def test_pettingzoo_checkers():
    parallel_api_test(make_environment(), num_cycles=60)
    parallel_seed_test(lambda: make_environment(seed=3), num_cycles=40)


def test_summary_after_the_end():
    """Two episodes; the summary is of the one that ended, and agrees with what was earned."""
    env = make_environment(initial_prices={"AAPL": 50.0}, transaction_cost=0.0)
    for seed in (0, None):
        env.reset(seed)
        assert env.get_market_data("AAPL")["AAPL"].price == pytest.approx(50)
        earned = dict.fromkeys(env.agents, 0.0)
        path = [1.0]
        while env.agents:
            action = {agent: env.action_space(agent).sample() for agent in env.agents}
            _, rewards, _, _, _ = env.step(action)
            for agent, reward in rewards.items():
                earned[agent] += reward
            path.append(1 + earned["trader_0"])
        summary = env.get_trading_summary()
        for agent, total in earned.items():
            assert summary[agent].total_return == pytest.approx(total, abs=1e-5)
            assert summary[agent].total_trades > 20
            assert summary[agent].winning_trades + summary[agent].losing_trades > 0
            assert summary[agent].costs > 0
        path = np.asarray(path)
        returns = path[1:] / path[:-1] - 1
        first = summary["trader_0"]
        fall = (1 - path / np.maximum.accumulate(path)).max()
        assert first.max_drawdown == pytest.approx(fall, abs=1e-5)
        assert first.volatility == pytest.approx(returns.std() * 252**0.5, rel=1e-2)
        sharpe = returns.mean() / returns.std() * 252**0.5
        assert first.sharpe_ratio == pytest.approx(sharpe, rel=2e-2, abs=0.01)


def test_figures_of_the_ruined_end_with_their_ruin():
    """Steps that an agent only looks on have no returns: they would make its account calm."""
    env = make_environment(transaction_cost=0.3, max_steps=40)
    env.reset(0)
    equity = {name: [100_000.0] for name in env.agents}
    lost = env.agents[0]
    sizes = env.action_space(lost).sample() * 0
    while env.agents:
        sizes[::3] = 1.0 if len(equity[lost]) % 2 else -1.0
        env.step({lost: sizes} if lost in env.agents else {})
        for name, one in env.get_trading_summary().items():
            equity[name].append(one.equity)
    assert env.get_trading_summary()[lost].is_out
    path = np.asarray(equity[lost])
    last = np.flatnonzero(np.diff(path))[-1] + 1
    assert last < 35
    returns = np.diff(path[: last + 1]) / path[:last]
    summary = env.get_trading_summary()[lost]
    assert summary.volatility == pytest.approx(returns.std() * 252**0.5, rel=1e-3)
    sharpe = returns.mean() / returns.std() * 252**0.5
    assert summary.sharpe_ratio == pytest.approx(sharpe, rel=1e-3)


def test_market_data_is_computed_from_the_prices():
    env = make_environment(market_regime="crisis")
    env.reset(1)
    world = env.core
    history = world.rows["history"][0].double().numpy()
    prices = [*history]
    for _ in range(25):
        volume = world.rows["volume"][0, world.t].tolist()
        env.step({"trader_0": env.action_space.sample()})
        prices.append(world.state.price[0].double().numpy())
    expected = read_indicators(begin_indicators(np.asarray(prices)))
    data = env.get_market_data()
    assert list(data) == ["AAPL", "GOOGL"]
    for index, one in enumerate(data.values()):
        assert one.price == pytest.approx(prices[-1][index])
        assert one.prices == pytest.approx([row[index] for row in prices[-21:]])
        assert one.volume == volume[index]
        assert one.rsi == pytest.approx(expected.rsi[index], abs=0.01)
        assert one.macd == pytest.approx(expected.macd[index], abs=0.01)
        assert one.macd_signal == pytest.approx(expected.macd_signal[index], abs=0.01)
        assert one.upper_band == pytest.approx(expected.upper_band[index], rel=1e-4)
        assert one.lower_band == pytest.approx(expected.lower_band[index], rel=1e-4)
        assert one.volatility == pytest.approx(annualise(expected.volatility[index]), rel=1e-3)


def test_regime_changes_the_market():
    moves = {}
    for regime in ("sideways", MarketRegime.CRISIS):
        env = make_environment(market_regime=regime, max_steps=200)
        env.reset(0)
        moves[regime] = np.std([env.core.rows["log_return"].numpy()])
    assert moves[MarketRegime.CRISIS] > 3 * moves["sideways"]


@pytest.mark.skipif(locate_traces() is None, reason=f"no real traces; set {TRACES_SETTING}")
def test_real_prices_are_played():
    env = make_environment(symbols=["AAPL", "MSFT"], use_synthetic_data=False, max_steps=300)
    env.reset(0)
    env.step({})
    returns = env.core.rows["log_return"][0].numpy()
    assert np.abs(returns).max() > 0.03
    assert list(env.get_market_data()) == ["AAPL", "MSFT"]
    with pytest.raises(TraceError, match="TSLA"):
        make_environment(symbols=["TSLA"], use_synthetic_data=False)


def test_no_real_prices(monkeypatch):
    monkeypatch.setattr(trading_environment, "locate_traces", lambda: None)
    with pytest.raises(ConfigError, match=f"real prices, and there are none; set {TRACES_SETTING}"):
        make_environment(use_synthetic_data=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initial_prices": {"TSLA": 1.0}}, "initial_prices names .*TSLA.*AAPL, GOOGL"),
        ({"initial_prices": {"AAPL": 0.0}}, "initial_prices.*AAPL.*above 0"),
        ({"initial_prices": {"AAPL": float("nan")}}, "initial_prices.*nan"),
        ({"symbols": ["A", "A"]}, "symbols.*of its own"),
        ({"symbols": []}, "symbols.*one name or more"),
        ({"symbols": "GLD"}, "symbols='GLD'"),
        ({"symbols": [1]}, "symbols.*a text"),
        ({"max_steps": 10**9}, "max_steps=1000000000: .*1,000,000"),
        ({"market_regime": "sunny"}, "market_regime 'sunny' is unknown; known: bull"),
        ({"agent_configs": []}, "agents .*at least one"),
        ({"agent_configs": make_traders(1) * 2}, "agents .*each once"),
        ({"agent_configs": make_traders(129)}, "128 at most"),
        ({"transaction_cost": -0.1}, "transaction_cost is -0.1"),
        ({"transaction_cost": float("nan")}, "transaction_cost is nan"),
        ({"market_impact_factor": float("nan")}, "market_impact_factor is nan"),
        ({"max_steps": 0}, "max_steps"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        make_environment(**changes)


def test_unknown_symbol_has_no_data():
    with pytest.raises(ConfigError, match="'MSFT' is unknown; there are AAPL, GOOGL"):
        make_environment().get_market_data("MSFT")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initial_balance": (1.0, 2.0, 3.0)}, "initial_balance holds 3"),
        ({"initial_balance": (-1.0,)}, "initial_balance must be finite"),
        ({"leverage_limit": 0.0}, "leverage_limit is 0.0"),
        ({"leverage_limit": 4.0}, "margin_call 0.25 would close"),
        ({"short_limit": float("nan")}, "short_limit is nan"),
    ],
)
def test_bad_markets_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        make_config(**changes)


def test_negative_background_is_refused():
    with pytest.raises(ConfigError, match="background noise is -1"):
        BackgroundConfig(noise=-1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_agents": 5}, "num_agents is 5 of max_agents 4"),
        ({"max_agents": 129}, "1 to 128"),
        ({"max_position": 0.0}, "max_position is 0.0"),
        ({"first_prices": (-1.0,)}, "first_prices holds -1.0"),
    ],
)
def test_bad_stages_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        TradingStage(**changes)


def test_arrays_that_do_not_fit_are_refused():
    config = make_config(agents=2, symbols=2, steps=4)
    with pytest.raises(ConfigError, match="first_prices holds 3 prices, the market has 2"):
        make_bank(config, TradingStage(max_agents=2, first_prices=(1.0, None, 2.0)))
    with pytest.raises(ConfigError, match=r"\(4, 2, 2\), the market has \(5, 2, 2\)"):
        make_world(make_config(steps=5), bank=make_bank(config))
    with pytest.raises(ScenarioError, match="zeros and ones"):
        make_path(config, np.zeros(4), agent_active=np.full((1, 2), 0.5, np.float32))
    with pytest.raises(ScenarioError, match="transaction_cost"):
        make_path(config, np.zeros(4), transaction_cost=np.full(1, -1, np.float32))
    with pytest.raises(ScenarioError, match="not finite"):
        make_path(config, np.full(4, np.nan))
