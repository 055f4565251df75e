"""Synthetic markets have the volatility, correlation, drift and memory that their settings say."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.market import REGIMES, MarketRegime
from data.market_config import (
    PLAIN,
    PriceLaw,
    SymbolLaw,
    SyntheticMarketConfig,
    VolatilityScale,
    VolumeLaw,
)
from data.market_generator import SyntheticMarket, compute_kernel
from data.scenario import BankConfig, ScenarioBank, hash_scenarios
from utils.config import from_json, to_json
from utils.errors import ConfigError


def draw(num_episodes, *, seed=0, **choices):
    source = SyntheticMarket(SyntheticMarketConfig(**choices))
    return source.draw(num_episodes, np.random.default_rng(seed))


def annual_volatility(scenarios, steps_per_year=252):
    return scenarios.log_return.astype(float).std() * math.sqrt(steps_per_year)


@pytest.mark.parametrize("law", [PLAIN, PriceLaw()], ids=["plain", "default"])
@pytest.mark.parametrize("regime", REGIMES)
def test_every_regime_has_its_volatility(regime, law):
    scenarios = draw(2000, regime=regime, law=law, lookback=1)
    assert annual_volatility(scenarios) == pytest.approx(regime.volatility, rel=0.04)
    assert (scenarios.regime == REGIMES.index(regime)).all()


@pytest.mark.parametrize("regime", REGIMES)
def test_the_price_grows_by_the_drift_of_its_regime(regime):
    chosen = {"regime": regime, "law": PLAIN, "lookback": 1, "volatility": 0.2}
    growth = np.exp(draw(4000, **chosen).log_return.astype(float).sum(1)).mean()
    assert growth == pytest.approx(math.exp(regime.drift), abs=0.006)


@pytest.mark.parametrize("steps_per_year", [12, 252, 252 * 78])
def test_a_year_has_the_same_volatility_however_it_is_cut(steps_per_year):
    scenarios = draw(600, steps_per_year=steps_per_year, law=PLAIN, regime=MarketRegime.CRISIS)
    assert annual_volatility(scenarios, steps_per_year) == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("law", [PLAIN, PriceLaw()], ids=["plain", "default"])
@pytest.mark.parametrize("regime", [MarketRegime.CRISIS, MarketRegime.BULL])
def test_a_martingale_pays_nobody_on_average(regime, law):
    chosen = {"regime": regime, "law": law, "martingale": True, "regime_switching": True}
    chosen["symbols"] = SymbolLaw(drift=(5.0,))
    gain = np.expm1(draw(20_000, max_steps=20, lookback=1, **chosen).log_return.astype(float))
    error = gain.std() / math.sqrt(gain.size)
    assert abs(gain.mean()) < 4 * error
    # Nor one who trades on what he saw: momentum of the last step, and the volatility of it.
    for signal in (np.sign(gain[:, :-1]), np.abs(gain[:, :-1])):
        profit = signal * gain[:, 1:]
        assert abs(profit.mean()) < 4 * profit.std() / math.sqrt(profit.size)


@pytest.mark.parametrize("jump_mean", [3.0, -3.0])
def test_jumps_that_all_go_one_way_are_made_fair(jump_mean):
    law = dataclasses.replace(PLAIN, jump_probability=0.05, jump_mean=jump_mean, jump_deviation=0.5)
    chosen = {"law": law, "regime": MarketRegime.VOLATILE, "martingale": True, "lookback": 1}
    gain = np.expm1(draw(4000, max_steps=50, **chosen).log_return.astype(float))
    assert abs(gain.mean()) < 4 * gain.std() / math.sqrt(gain.size)


def test_with_a_drift_it_does_pay():
    gain = np.expm1(draw(20_000, max_steps=20, lookback=1, regime=MarketRegime.BULL).log_return)
    assert gain.mean() > 4 * gain.std() / math.sqrt(gain.size)


def test_without_switching_each_episode_stays_in_one_regime_of_its_own():
    regime = draw(2000, regime=None, max_steps=5).regime
    assert (regime == regime[:, :1]).all()
    counts = np.bincount(regime[:, 0], minlength=len(REGIMES))
    assert counts == pytest.approx(400, abs=5 * math.sqrt(320))


def test_regimes_switch_as_often_as_set_and_to_any():
    scenarios = draw(400, regime_switching=True, max_steps=1000)
    changed = np.diff(scenarios.regime.astype(int), axis=1) != 0
    # One in five draws gives the same regime again.
    assert changed.mean() == pytest.approx(0.003 * 0.8, rel=0.1)
    assert (scenarios.regime[:, 0] == REGIMES.index(MarketRegime.SIDEWAYS)).all()
    last = np.bincount(scenarios.regime[:, -1], minlength=len(REGIMES)) / 400
    assert last == pytest.approx(0.2, abs=0.1)


def test_after_a_switch_returns_have_the_volatility_of_the_new_regime():
    chosen = {"regime_switching": True, "switch_probability": 0.05, "law": PLAIN}
    scenarios = draw(400, max_steps=500, **chosen)
    for index, regime in enumerate(REGIMES):
        returns = scenarios.log_return[scenarios.regime == index].astype(float)
        assert returns.std() * math.sqrt(252) == pytest.approx(regime.volatility, rel=0.02)


def test_the_multiplier_of_volatility_acts():
    calm, wild = (draw(500, volatility=factor, law=PLAIN) for factor in (1.0, 3.0))
    assert annual_volatility(wild) == pytest.approx(3 * annual_volatility(calm), rel=0.01)


def test_zero_volatility_leaves_the_drift_alone():
    still = draw(3, volatility=0.0, regime=MarketRegime.BULL)
    np.testing.assert_allclose(still.log_return, 0.15 / 252, rtol=1e-6)


def test_symbols_beyond_the_stage_are_out_and_the_first_are_the_same():
    few, all_of_them = (draw(20, max_symbols=5, num_symbols=count) for count in (2, 5))
    assert few.symbol_active.tolist() == [[1, 1, 0, 0, 0]] * 20
    assert all_of_them.symbol_active.all()
    for name in ("log_return", "volume", "noise"):
        assert not getattr(few, name)[..., 2:].any()
        assert getattr(all_of_them, name)[..., 2:].any()
        np.testing.assert_array_equal(
            getattr(few, name)[..., :2], getattr(all_of_them, name)[..., :2]
        )
    assert (np.ptp(few.history[..., 2:], axis=1) == 0).all()
    np.testing.assert_array_equal(few.history[..., :2], all_of_them.history[..., :2])


@pytest.mark.parametrize("law", [PLAIN, PriceLaw()], ids=["plain", "default"])
def test_symbols_correlate_as_their_loadings_say(law):
    symbols = SymbolLaw(
        loadings=((0.9, 0.0), (0.6, 0.5), (0.0, -0.5)), volatility=(1.0, 2.0, 0.5), shared_jumps=1.0
    )
    returns = draw(1500, max_symbols=3, law=law, symbols=symbols, lookback=1).log_return
    flat = returns.reshape(-1, 3).astype(float)
    assert flat.std(0) * math.sqrt(252) == pytest.approx([0.1, 0.2, 0.05], rel=0.03)
    if law is PLAIN:
        expected = [[1, 0.54, 0], [0.54, 1, -0.25], [0, -0.25, 1]]
        np.testing.assert_allclose(np.corrcoef(flat.T), expected, atol=0.01)
    else:
        assert np.corrcoef(flat.T)[0, 1] > 0.3


def test_volatility_has_the_autocovariance_of_its_scales():
    scales = (
        VolatilityScale(half_life=2.0, deviation=0.3),
        VolatilityScale(half_life=30.0, deviation=0.4),
    )
    law = dataclasses.replace(PLAIN, scales=scales)
    persistence, _, covariance = compute_kernel(law)
    returns = draw(3000, law=law, lookback=1, max_steps=60).log_return[..., 0].astype(float)
    # E log|r_t| log|r_u| - product of means is the covariance of the log-volatilities.
    logs = np.log(np.abs(returns))
    logs -= logs.mean()
    for lag in (1, 5, 20):
        expected = (persistence**lag @ covariance).sum()
        for start in (0, 30):
            product = logs[:, start : start + 10] * logs[:, start + lag : start + lag + 10]
            error = product.mean(1).std() / math.sqrt(len(product))
            assert abs(product.mean() - expected) < 5 * error, (lag, start)


def test_a_fall_raises_the_volatility_that_follows():
    def reply(leverage):
        law = PriceLaw(leverage=leverage, jump_probability=0.0)
        returns = draw(3000, law=law, lookback=1, max_steps=20).log_return[..., 0].astype(float)
        return np.corrcoef(returns[:, :-1].ravel(), returns[:, 1:].ravel() ** 2)[0, 1]

    assert reply(-0.8) < -0.05
    assert abs(reply(0.0)) < 0.02
    assert reply(0.8) > 0.05


def test_innovations_have_the_kurtosis_set():
    law = dataclasses.replace(PLAIN, innovation_kurtosis=1.0)
    returns = draw(4000, law=law, volatility=0.1).log_return.astype(float)
    assert (returns**4).mean() / (returns**2).mean() ** 2 == pytest.approx(4.0, abs=0.15)


def test_jumps_are_as_frequent_as_set_and_keep_the_variance():
    law = dataclasses.replace(PLAIN, jump_probability=0.02, jump_mean=0.0, jump_deviation=5.0)
    scenarios = draw(2000, law=law, lookback=1)
    assert annual_volatility(scenarios) == pytest.approx(0.1, rel=0.02)
    in_deviations = scenarios.log_return * math.sqrt(252) / 0.1
    # P(|N(0, 5^2)| > 5) = 0.3173, and none of the rest, of deviation 0.71, comes so far.
    assert (np.abs(in_deviations) > 5).mean() == pytest.approx(0.02 * 0.33, rel=0.06)


def test_shared_jumps_hit_all_at_once():
    law = dataclasses.replace(PLAIN, jump_probability=0.005, jump_deviation=12.0)
    counts = []
    for shared in (0.0, 1.0):
        symbols = SymbolLaw(loadings=((0.0,),), shared_jumps=shared)
        moved = draw(400, max_symbols=2, law=law, symbols=symbols).log_return / (0.1 / 252**0.5)
        counts.append((np.abs(moved) > 5).all(-1).mean())
    assert counts[0] < 0.0005
    assert counts[1] > 0.002


def test_volume_has_its_mean_and_rises_with_volatility():
    scenarios = draw(3000, volume=VolumeLaw(mean=5e4), max_steps=60)
    assert scenarios.volume.mean() == pytest.approx(5e4, rel=0.02)
    size = np.log(np.abs(scenarios.log_return) + 1e-9).ravel()
    assert np.corrcoef(size, np.log(scenarios.volume).ravel())[0, 1] > 0.3
    silent = VolumeLaw(volatility_response=0.0, move_response=0.0)
    scenarios = draw(3000, volume=silent, max_steps=60)
    size = np.log(np.abs(scenarios.log_return) + 1e-9).ravel()
    assert abs(np.corrcoef(size, np.log(scenarios.volume).ravel())[0, 1]) < 0.02


def test_history_ends_at_the_first_price_and_goes_on_in_the_returns():
    scenarios = draw(400, lookback=100, first_price=(7.0, 9.0), law=PLAIN, max_symbols=2)
    assert scenarios.history.shape == (400, 100, 2)
    newest = scenarios.history[:, -1]
    assert newest.min() >= 7
    assert newest.max() <= 9
    moves = np.diff(np.log(scenarios.history.astype(float)), axis=1)
    assert moves.std() * math.sqrt(252) == pytest.approx(0.1, rel=0.02)


def test_the_history_runs_forward():
    rising = draw(3, volatility=0.0, regime=MarketRegime.BULL, lookback=5).history.astype(float)
    np.testing.assert_allclose(rising[:, 1:] / rising[:, :-1], math.exp(0.15 / 252), rtol=1e-6)


def test_the_same_seed_gives_the_same_market():
    chosen = {"max_symbols": 3, "regime_switching": True}
    same = [hash_scenarios(draw(5, **chosen)) for _ in range(2)]
    assert same[0] == same[1] != hash_scenarios(draw(5, seed=1, **chosen))
    source = SyntheticMarket(SyntheticMarketConfig(max_symbols=2, num_symbols=1))
    assert ScenarioBank(source, BankConfig(num_episodes=4), 0).scenarios.num_episodes == 4


@given(
    num_episodes=st.integers(1, 4),
    max_symbols=st.integers(1, 4),
    switched_on=st.floats(0, 1),
    lookback=st.integers(1, 6),
    max_steps=st.integers(1, 6),
    regime=st.sampled_from([None, *REGIMES]),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=40)
def test_any_size_makes_whole_episodes(
    num_episodes, max_symbols, switched_on, lookback, max_steps, regime, seed
):
    num_symbols = 1 + round(switched_on * (max_symbols - 1))
    scenarios = draw(
        num_episodes,
        seed=seed,
        max_symbols=max_symbols,
        num_symbols=num_symbols,
        lookback=lookback,
        max_steps=max_steps,
        regime=regime,
        regime_switching=True,
    )
    assert scenarios.history.shape == (num_episodes, lookback, max_symbols)
    assert scenarios.log_return.shape == (num_episodes, max_steps, max_symbols)
    assert scenarios.symbol_active.sum(1).tolist() == [num_symbols] * num_episodes
    assert (scenarios.history[:, -1] >= 100).all()
    assert (scenarios.history[:, -1] <= 500).all()
    assert (scenarios.volume[..., :num_symbols] > 0).all()


def test_settings_survive_json():
    config = SyntheticMarketConfig(
        max_symbols=2,
        regime=MarketRegime.CRISIS,
        law=PLAIN,
        symbols=SymbolLaw(loadings=((0.1,), (0.2,))),
    )
    assert from_json(SyntheticMarketConfig, json.loads(json.dumps(to_json(config)))) == config


def test_one_known_price_is_enough():
    assert draw(2, lookback=1, max_steps=1).history.shape == (2, 1, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SyntheticMarketConfig(max_symbols=0), "max_symbols"),
        (lambda: SyntheticMarketConfig(max_symbols=2, num_symbols=3), "num_symbols is 3"),
        (lambda: SyntheticMarketConfig(max_steps=0), "max_steps"),
        (lambda: SyntheticMarketConfig(lookback=0), "lookback"),
        (lambda: SyntheticMarketConfig(steps_per_year=0), "steps_per_year"),
        (lambda: SyntheticMarketConfig(switch_probability=1.5), "switch_probability"),
        (lambda: SyntheticMarketConfig(volatility=-1.0), "volatility is -1"),
        (lambda: SyntheticMarketConfig(volatility=math.nan), "volatility is nan"),
        (lambda: SyntheticMarketConfig(first_price=(0.0, 1.0)), "first_price"),
        (
            lambda: SyntheticMarketConfig(max_symbols=3, symbols=SymbolLaw(drift=(0.1, 0.2))),
            "symbols.drift has 2 entries; give one, or max_symbols=3",
        ),
        (lambda: SymbolLaw(volatility=()), "volatility is empty"),
        (lambda: SymbolLaw(volatility=(0.0,)), "volatility of a symbol is 0"),
        (lambda: SymbolLaw(loadings=((0.8, 0.8),)), "more than all variance"),
        (lambda: SymbolLaw(loadings=((0.8,), (0.1, 0.1))), "unequal length"),
        (lambda: SymbolLaw(shared_jumps=2.0), "shared_jumps"),
        (lambda: PriceLaw(leverage=-1.0), "leverage"),
        (lambda: PriceLaw(innovation_kurtosis=-1.0), "innovation_kurtosis"),
        (lambda: PriceLaw(jump_probability=0.2), "jumps alone have"),
        (lambda: VolatilityScale(half_life=0.0, deviation=0.1), "half_life"),
        (lambda: VolatilityScale(half_life=1.0, deviation=-0.1), "deviation"),
        (lambda: VolumeLaw(mean=-1.0), "volume mean"),
        (lambda: VolumeLaw(noise_persistence=1.0), "noise_persistence"),
    ],
)
def test_settings_that_make_no_market_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
