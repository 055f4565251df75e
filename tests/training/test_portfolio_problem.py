"""The portfolio's problem: shuffled training, a locked window, and actions that rebalance."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import torch

from data.market_config import SyntheticMarketConfig
from data.market_generator import SyntheticMarket
from data.price_traces import load_stocks
from data.scenario import ScenarioBank
from data.traces import locate_traces
from rl.domains.portfolio import PortfolioConfig, PortfolioDomain, PortfolioView
from rl.training import portfolio_problem as module
from rl.training.agents import make_agent
from rl.training.portfolio_problem import ShuffledSymbols, cut_days, portfolio_problem

needs_prices = pytest.mark.skipif(locate_traces() is None, reason="no price files")


@pytest.fixture
def synthetic(monkeypatch):
    """The problem as it is where no price files are."""
    monkeypatch.setattr(module, "locate_traces", lambda: None)
    monkeypatch.setattr(module, "NUM_SYNTHETIC", 4)
    monkeypatch.setattr(module, "YEAR", 30)
    return portfolio_problem()


def make_view(weights, *, steps_left=5.0, active=(1.0, 1.0, 1.0, 0.0)):
    return PortfolioView(
        returns=np.zeros((1, 4, 4)),
        active=np.array([active]),
        weights=np.array([weights]),
        steps_left=np.array([steps_left]),
    )


def test_rebalancing_goes_part_of_the_way_and_all_of_it_first():
    domain = PortfolioDomain(PortfolioConfig(num_steps=9, action="rebalancing"))
    held = (0.5, 0.3, 0.2, 0.0)
    nothing, half = np.zeros((1, 4)), np.full((1, 4), 0.5)
    np.testing.assert_allclose(domain.project(nothing, make_view(held))[0], held)
    expected = 0.5 * np.array(held) + 0.5 * np.array([1 / 3, 1 / 3, 1 / 3, 0.0])
    np.testing.assert_allclose(domain.project(half, make_view(held))[0], expected)
    first = domain.project(nothing, make_view((0.0,) * 4, steps_left=9.0))[0]
    np.testing.assert_allclose(first, [1 / 3, 1 / 3, 1 / 3, 0.0])
    one_sided = domain.project(np.array([[0.0, 1.0, 1.0, 1.0]]), make_view(held))[0]
    assert one_sided.sum() == pytest.approx(1.0)


def test_shuffling_keeps_every_symbol_whole():
    source = SyntheticMarket(SyntheticMarketConfig(max_symbols=6, max_steps=8, lookback=4))
    plain = source.draw(20, np.random.default_rng(0))
    shuffled = ShuffledSymbols(source).draw(20, np.random.default_rng(0))

    def columns(one, episode):
        parts = [one.history[episode], one.log_return[episode], one.volume[episode]]
        return np.concatenate([*parts, one.symbol_active[episode][None]])

    moved = 0
    for episode in range(20):
        ours, theirs = columns(shuffled, episode), columns(plain, episode)
        assert sorted(map(tuple, ours.T.tolist())) == sorted(map(tuple, theirs.T.tolist()))
        moved += not np.array_equal(ours, theirs)
    assert moved >= 18


def test_without_price_files_it_is_synthetic_and_says_so(synthetic):
    assert "no price files" in synthetic.training_data
    assert synthetic.validation.sha256 != synthetic.held_out.sha256
    rule = synthetic.experts["equal"]
    kpi = synthetic.contest.play(rule.player(rule.tune()), synthetic.held_out).kpi
    assert (kpi < synthetic.bound(synthetic.held_out.scenarios)).all()


def test_a_policy_plays_in_the_judges_world_as_it_learnt(synthetic):
    """The judge's world takes weights; a policy's parts of the way come to the same growth."""
    settings = synthetic.settings_of("apg")
    bank = ScenarioBank(synthetic.training, replace(synthetic.bank, num_episodes=4), 0)
    agent = make_agent(settings.config, synthetic.learn_in(bank, 4, 0), seed=0)
    ours = synthetic.contest.play_policy(agent, synthetic.held_out).kpi
    scenarios = synthetic.held_out.scenarios
    world = module.judge_in(PortfolioConfig(num_steps=30, action="rebalancing"), scenarios)
    record, growth = world.reset(), 0.0
    with torch.no_grad():
        for _ in range(30):
            action = agent.act(record.observation, record.action_mask).action
            record = world.step(action)
            growth = growth + record.metrics["log_growth"].double()
    np.testing.assert_allclose(ours, growth.numpy(), atol=1e-5)


@needs_prices
def test_the_locked_days_are_in_no_other_set():
    problem = portfolio_problem()
    table = load_stocks(locate_traces())
    first = np.datetime64(module.FIRST_LOCKED_DAY, "D")
    days = table.dates[1:]
    moves = np.round(table.log_return, 5)
    locked = {tuple(row) for row in moves[days >= first].astype(np.float32).tolist()}

    def rows(scenarios):
        flat = np.round(scenarios.log_return.astype(np.float64), 5).astype(np.float32)
        return {tuple(row) for row in flat.reshape(-1, flat.shape[-1]).tolist()}

    assert not rows(problem.validation.scenarios) & locked
    assert rows(problem.held_out.scenarios) <= locked
    trained = problem.training.draw(64, np.random.default_rng(0))
    ordered = np.sort(np.round(trained.log_return.astype(np.float64), 5).astype(np.float32), -1)
    seen = {tuple(row) for row in ordered.reshape(-1, ordered.shape[-1]).tolist()}
    later = days >= np.datetime64(module.FIRST_VALIDATION_DAY, "D")
    unseen = {tuple(sorted(row)) for row in moves[later].astype(np.float32).tolist()}
    assert not seen & unseen


@needs_prices
def test_a_cut_begins_on_its_day():
    table = load_stocks(locate_traces())
    cut = cut_days(table, date(2018, 1, 2), 3)
    row = int(np.searchsorted(table.dates, np.datetime64("2018-01-02")))
    np.testing.assert_allclose(cut.log_return[0], table.log_return[row - 1 : row + 2], atol=1e-6)
