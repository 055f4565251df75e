"""Portfolios: wealth comes from prices and goes into costs; switched-off symbols are not there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test

from data.market import MarketScenarios
from data.market_config import SyntheticMarketConfig
from data.market_generator import SyntheticMarket
from data.scenario import BankConfig, FixedSource, ScenarioBank
from rl.domains.portfolio import RUIN, PortfolioConfig, PortfolioDomain, PortfolioView
from rl.domains.portfolio_experts import EXPERTS, as_action
from rl.environments.conformance import check_environment
from rl.environments.faces import DictEnvironment
from rl.environments.gymnasium_faces import SingleAgentEnvironment
from rl.environments.lockstep import LockstepOptions
from rl.environments.portfolio_environment import BatchedPortfolio
from utils.errors import ConfigError

YEAR = PortfolioConfig(num_steps=12)
LEVERED = PortfolioConfig(
    num_steps=12, num_agents=2, max_short=0.5, max_leverage=2.0, cash_rate=0.0002, risk_aversion=3.0
)
MARKET = SyntheticMarketConfig(max_symbols=3, max_steps=12, lookback=30)
seeds = st.integers(0, 2**32 - 1)


def make_bank(market=MARKET, *, episodes=4, seed=0):
    return ScenarioBank(SyntheticMarket(market), BankConfig(num_episodes=episodes), seed)


def make_environment(
    config=YEAR, market=MARKET, *, num_envs=4, episodes=None, shuffle=False, seed=0
):
    bank = make_bank(market, episodes=episodes or num_envs, seed=seed)
    options = LockstepOptions(num_envs=num_envs, shuffle=shuffle)
    return BatchedPortfolio(config, bank, options, seed)


def make_market(log_return, active=None):
    """Markets of given moves, `[episode, time, symbol]`, after a history at 100."""
    log_return = np.asarray(log_return, np.float32)
    episodes, steps, symbols = log_return.shape
    active = np.ones(symbols) if active is None else np.asarray(active)
    return MarketScenarios(
        history=np.full((episodes, 4, symbols), 100.0, np.float32),
        log_return=log_return,
        volume=np.zeros_like(log_return),
        regime=np.zeros((episodes, steps), np.int8),
        noise=np.zeros_like(log_return),
        symbol_active=np.tile(active, (episodes, 1)).astype(np.float32),
    )


def play_on(scenarios, config, actions):
    """Step through `actions` `[time, env, symbol]`; the records."""
    copies = scenarios.num_episodes
    bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=copies), 0)
    options = LockstepOptions(num_envs=copies, shuffle=False)
    environment = BatchedPortfolio(config, bank, options, 0)
    return [environment.step(torch.as_tensor(a).float()[:, None]) for a in actions], environment


def as_numpy(view):
    return PortfolioView(**{name: value.detach().numpy() for name, value in vars(view).items()})


@pytest.mark.parametrize("config", [YEAR, LEVERED], ids=["long_only", "levered"])
@pytest.mark.parametrize("num_symbols", [3, 2])
def test_examiner(config, num_symbols):
    market = replace(MARKET, num_symbols=num_symbols)

    def stays_in_bounds(environment, record):
        assert (environment.view.weights[..., num_symbols:] == 0).all()
        if record.metrics:
            assert (record.metrics["leverage"] <= config.max_leverage + 1e-5).all()
            assert (record.metrics["drawdown"] >= 0).all()

    check_environment(
        lambda: make_environment(config, market, num_envs=3, episodes=8, shuffle=True),
        num_steps=30,
        max_steps=12,
        invariants=(stays_in_bounds,),
    )


def test_gymnasium_checker():
    environment = SingleAgentEnvironment(make_environment(num_envs=1, episodes=8))
    check_env(environment, skip_render_check=True)


def test_pettingzoo_checker():
    environment = make_environment(LEVERED, num_envs=1, episodes=8)
    parallel_api_test(DictEnvironment(environment), num_cycles=30)


@settings(max_examples=25, deadline=None)
@given(
    seed=seeds,
    cost_bps=st.floats(0, 200),
    max_short=st.floats(0, 1),
    max_leverage=st.floats(1, 2),
    cash_rate=st.floats(-0.001, 0.001),
)
def test_wealth_is_cash_and_shares_at_their_prices(
    seed, cost_bps, max_short, max_leverage, cash_rate
):
    """An account kept in shares and currency, in float64, by somebody who knows no weights."""
    config = replace(
        LEVERED,
        cost_bps=cost_bps,
        max_short=max_short,
        max_leverage=max_leverage,
        cash_rate=cash_rate,
    )
    environment = make_environment(config, num_envs=8, seed=seed % 97)
    draw = torch.Generator().manual_seed(seed)
    price = environment.bank.scenarios.history[:, -1].astype(np.float64)[:, None]
    shares, cash = np.zeros((8, 2, 3)), np.full((8, 2), 1e4)
    moved, paid = np.zeros((8, 2)), np.zeros((8, 2))
    for step in range(config.num_steps):
        action = torch.rand((8, 2, 3), generator=draw) * 1.4 - 0.2
        target = environment.domain.project(action, environment.view).double().numpy()
        held = shares * price
        before = cash + held.sum(-1)
        kept = environment.domain.compute_kept_share(
            torch.as_tensor(held / before[..., None]), torch.as_tensor(target)
        ).numpy()
        bought = (target * (kept * before)[..., None] - held) / price
        fee = (np.abs(bought) * price).sum(-1) * config.cost
        cash = cash - (bought * price).sum(-1) - fee
        shares = shares + bought
        np.testing.assert_allclose(cash + (shares * price).sum(-1), kept * before, rtol=1e-12)
        record = environment.step(action)
        price = price * np.exp(environment.bank.scenarios.log_return[:, step, None].astype(float))
        cash = cash * (1 + config.cash_rate)
        wealth = cash + (shares * price).sum(-1)
        terms = {name: value.double().numpy() for name, value in record.reward_terms.items()}
        moved += terms["market"]
        paid += terms["cost"]
        np.testing.assert_allclose(1e4 * np.exp(moved + paid), wealth, rtol=2e-5)
        np.testing.assert_allclose(terms["risk_penalty"], -(terms["market"] ** 2), atol=1e-6)
        seen = record.metrics["wealth"].double().numpy()
        np.testing.assert_allclose(seen, (wealth / 1e4).mean(-1), rtol=2e-5)
        assert (paid <= 0).all()
    assert record.truncated.all()


def test_two_steps_by_hand():
    """1 % cost: half into A and half into B, A doubles, then all into cash."""
    market = make_market(np.log([[[2.0, 1.0], [1.0, 1.0]]]))
    config = PortfolioConfig(num_steps=2, cost_bps=100)
    records, _ = play_on(market, config, [[[0.5, 0.5]], [[0.0, 0.0]]])
    first, last = records
    assert float(first.metrics["cost_share"]) == pytest.approx(1 - 1 / 1.01)
    assert float(first.metrics["turnover"]) == pytest.approx(1 / 1.01)
    assert float(first.metrics["wealth"]) == pytest.approx(1.5 / 1.01)
    assert float(first.reward_terms["market"]) == pytest.approx(np.log(1.5))
    assert float(last.metrics["wealth"]) == pytest.approx(1.5 / 1.01 * 0.99)
    assert float(last.metrics["cash"]) == 1
    assert float(last.metrics["drawdown"]) == pytest.approx(0.01)


def test_weights_drift_with_prices():
    market = make_market(np.log([[[2.0, 1.0], [1.0, 1.0]]]))
    _, environment = play_on(market, PortfolioConfig(num_steps=2), [[[0.5, 0.25]]])
    np.testing.assert_allclose(environment.view.weights[0, 0], [1.0 / 1.5, 0.25 / 1.5], rtol=1e-6)
    assert float(environment.view.cash) == pytest.approx(0.25 / 1.5)


def test_holding_costs_nothing_and_flat_prices_make_nobody_rich():
    market = make_market(np.zeros((1, 6, 2)))
    records, _ = play_on(market, PortfolioConfig(num_steps=6, cost_bps=0), [[[0.3, 0.4]]] * 6)
    assert max(abs(float(record.metrics["wealth"]) - 1) for record in records) == 0
    records, _ = play_on(market, PortfolioConfig(num_steps=6), [[[0.3, 0.4]]] * 6)
    assert float(records[0].metrics["turnover"]) == pytest.approx(0.7, rel=1e-3)
    assert max(float(record.metrics["turnover"]) for record in records[1:]) < 1e-6


def test_ruin_closes_the_account():
    config = PortfolioConfig(num_steps=2, max_leverage=3.0, cost_bps=0)
    market = make_market(np.log([[[0.5], [2.0]]]))
    records, environment = play_on(market, config, [[[1.0]]])
    assert float(records[0].metrics["wealth"]) == pytest.approx(RUIN)
    assert (environment.view.weights == 0).all()


@settings(max_examples=60, deadline=None)
@given(seed=seeds, cost_bps=st.floats(0, 2000), symbols=st.integers(1, 30))
def test_costs_are_consistent_with_what_is_left(seed, cost_bps, symbols):
    generator = np.random.default_rng(seed)
    config = PortfolioConfig(cost_bps=cost_bps, max_leverage=2.0, max_short=1.0)
    held = generator.dirichlet(np.full(symbols, 0.3), 50) * generator.choice([-1, 1, 2], (50, 1))
    target = generator.dirichlet(np.full(symbols, 0.3), 50) * generator.choice([-1, 1, 2], (50, 1))
    kept = PortfolioDomain(config).compute_kept_share(held, target)
    traded = np.abs(kept[:, None] * target - held).sum(-1)
    np.testing.assert_allclose(kept, 1 - config.cost * traded, atol=1e-13)


@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_no_rule_earns_on_a_fair_price(seed):
    """Rules that read everything observed, before costs: expected wealth stays what it was."""
    market = replace(MARKET, martingale=True, volatility=2.0)
    config = replace(YEAR, cost_bps=0.0, max_short=1.0, max_leverage=2.0)
    environment = make_environment(config, market, num_envs=4096, seed=seed % 89)
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn((environment.observation_size, 3), generator=draw)
    record = environment.reset(0)
    for _ in range(config.num_steps):
        record = environment.step(torch.sigmoid(record.observation @ weight))
    profit = record.metrics["wealth"].double() - 1
    assert profit.std() > 0.01
    assert profit.mean().abs() < 5 * profit.std() / np.sqrt(len(profit))


@pytest.mark.parametrize("name", EXPERTS)
def test_no_expert_earns_on_a_fair_price(name):
    market = replace(MARKET, martingale=True, max_steps=12, lookback=60, volatility=2.0)
    environment = make_environment(replace(YEAR, cost_bps=0.0), market, num_envs=2048)
    expert = replace(EXPERTS[name], every=EXPERTS[name].every and 4)
    for _ in range(12):
        action = expert(as_numpy(environment.view), environment.config)
        record = environment.step(torch.from_numpy(action))
    profit = record.metrics["wealth"].double() - 1
    assert profit.std() > 0.005
    assert profit.mean().abs() < 4 * profit.std() / np.sqrt(len(profit))


@pytest.mark.parametrize("config", [YEAR, LEVERED], ids=["long_only", "levered"])
def test_observation_equals_the_domain_on_numpy(config):
    market = replace(MARKET, num_symbols=2)
    environment = make_environment(config, market, num_envs=8)
    domain = PortfolioDomain(config)
    draw = torch.Generator().manual_seed(0)
    for _ in range(15):
        view = as_numpy(environment.view)
        action = torch.rand((8, config.num_agents, 3), generator=draw)
        target = environment.domain.project(action, environment.view)
        np.testing.assert_allclose(target, domain.project(action.numpy(), view), atol=1e-6)
        kept = environment.domain.compute_kept_share(environment.view.weights, target)
        expected = domain.compute_kept_share(view.weights, target.numpy())
        np.testing.assert_allclose(kept, expected, atol=1e-6)
        seen = environment.step(action).observation.numpy()
        ours = domain.encode(as_numpy(environment.view))
        np.testing.assert_allclose(seen, ours, rtol=0, atol=1e-6)


def test_observation_by_hand():
    market = make_market([[[0.02, 0.0], [-0.02, 0.0], [0.0, 0.0]]])
    _, environment = play_on(market, PortfolioConfig(num_steps=3, cost_bps=0), [[[0.5, 0.0]]])
    seen = environment.domain.encode(environment.view)[0, 0]
    deviation = 0.02 * np.sqrt(2) / 3  # of 0, 0, 0.02
    annual = deviation * np.sqrt(252)
    held = 0.5 * np.exp(0.02) / (0.5 + 0.5 * np.exp(0.02))
    momentum = 0.02 / (deviation * np.sqrt(3))
    first = [0.02 / deviation, momentum, momentum, momentum, annual, annual, held, 1]
    expected = [*first, 0, 0, 0, 0, 0, 0, 0, 1, 1 - held, 2 / 3]
    np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-6)


def test_trajectory_does_not_depend_on_the_batch():
    few, many = make_environment(num_envs=2, episodes=8), make_environment(num_envs=8)
    draw = torch.Generator().manual_seed(0)
    for _ in range(11):
        action = torch.rand((8, 1, 3), generator=draw)
        small, large = few.step(action[:2]), many.step(action)
        assert torch.equal(small.reward, large.reward[:2])
        assert torch.equal(small.observation, large.observation[:2])


def test_investors_do_not_see_one_another():
    config = replace(LEVERED, num_agents=3)
    together, alone = make_environment(config), make_environment(replace(config, num_agents=1))
    draw = torch.Generator().manual_seed(0)
    for _ in range(12):
        action = torch.rand((4, 3, 3), generator=draw)
        many, one = together.step(action), alone.step(action[:, 1:2])
        assert torch.equal(many.reward[:, 1], one.reward[:, 0])
        assert torch.equal(many.observation[:, 1], one.observation[:, 0])


def test_stages_change_the_world():
    environment = make_environment()
    wide = environment.reset(0)
    assert wide.action_mask.all()
    draw = torch.Generator().manual_seed(0)
    first = environment.step(torch.rand((4, 1, 3), generator=draw))
    environment.use_bank(make_bank(replace(MARKET, volatility=3.0)), seed=0)
    draw = torch.Generator().manual_seed(0)
    wild = environment.step(torch.rand((4, 1, 3), generator=draw))
    ratio = wild.reward_terms["market"].abs().mean() / first.reward_terms["market"].abs().mean()
    assert 2 < float(ratio) < 4
    narrow = environment.use_bank(make_bank(replace(MARKET, num_symbols=1)), seed=0)
    assert narrow.action_mask[0, 0].tolist() == [True, False, False]
    assert (narrow.observation[..., 8:24] == 0).all()
    record = environment.step(torch.ones((4, 1, 3)))
    assert (environment.view.weights[..., 1:] == 0).all()
    assert (record.metrics["turnover"] < 1).all()


def test_switched_off_symbols_have_no_effect():
    moves = np.random.default_rng(0).normal(0, 0.02, (1, 5, 3))
    other = moves.copy()
    other[..., 2] *= -7
    actions = np.random.default_rng(1).random((5, 1, 3))
    config = PortfolioConfig(num_steps=5)
    one, two = (play_on(make_market(m, [1, 1, 0]), config, actions)[0] for m in (moves, other))
    for left, right in zip(one, two, strict=True):
        assert torch.equal(left.reward, right.reward)
        assert torch.equal(left.final_observation, right.final_observation)


def test_continues_after_a_checkpoint_in_another_episode():
    """The returns that are kept per episode are those of the episode that was loaded."""
    one, two = (make_environment(episodes=8, shuffle=True, seed=s) for s in (0, 0))
    action = torch.full((4, 1, 3), 0.2)
    for _ in range(17):
        one.step(action)
    two.step(action)
    two.load_state_dict(one.state_dict())
    assert torch.equal(one.step(action).observation, two.step(action).observation)


def episode_return(environment, actions):
    """Return of each copy; actions `[time, env, agent, symbol]`."""
    environment.reset(0)
    return sum(environment.step(action).reward.double().sum(-1) for action in actions)


def branches(environment, actions):
    """Which side of every kink an episode takes, `[env, ...]`: trades, signs, whether scaled."""
    environment.reset(0)
    taken = []
    for action in actions:
        view, config = environment.view, environment.config
        target = environment.domain.project(action, view)
        kept = environment.domain.compute_kept_share(view.weights, target)[..., None]
        wanted = action * (config.max_leverage + config.max_short) - config.max_short
        is_scaled = wanted.abs().sum(-1, keepdim=True) > config.max_leverage
        taken += [(target * kept > view.weights), wanted > 0, is_scaled]
        environment.step(action)
    return torch.cat(taken, dim=-1).flatten(1)


@pytest.mark.parametrize("config", [YEAR, LEVERED], ids=["long_only", "levered"])
def test_gradient_equals_central_differences(config):
    """Points between which no kink lies, inside the range of actions."""
    copies, width = 400, 3e-3
    config = replace(config, cost_bps=50.0)
    environment = make_environment(config, replace(MARKET, volatility=3.0), num_envs=copies)
    draw = torch.Generator().manual_seed(4)
    point = 0.05 + 0.9 * torch.rand((12, copies, config.num_agents, 3), generator=draw)
    direction = torch.randn(point.shape, generator=draw)
    direction /= direction.abs().amax((0, 2, 3), keepdim=True)
    point.requires_grad_()
    (gradient,) = torch.autograd.grad(episode_return(environment, point).sum(), point)
    slope = (gradient * direction).sum((0, 2, 3))
    with torch.no_grad():
        ends = [point + side * width * direction for side in (1, -1)]
        up, down = (episode_return(environment, end) for end in ends)
        here, left, right = (branches(environment, one) for one in (point, *ends))
    smooth = ((here == left) & (here == right)).all(-1)
    assert int(smooth.sum()) >= 100
    scale = gradient.square().sum((0, 2, 3)).sqrt() * direction.square().sum((0, 2, 3)).sqrt()
    error = (slope - (up - down) / (2 * width)).abs()
    assert (error <= 0.01 * torch.maximum(slope.abs(), 0.1 * scale))[smooth].all()


def test_gradients_change_no_bit():
    environment = make_environment(num_envs=6)
    actions = torch.rand((12, 6, 1, 3), generator=torch.Generator().manual_seed(1))
    plain = episode_return(environment, actions)
    assert torch.equal(plain, episode_return(environment, actions.requires_grad_()).detach())


def test_actions_of_weights_are_undone_by_the_projection():
    environment = make_environment(LEVERED, num_envs=8)
    generator = np.random.default_rng(0)
    weights = generator.uniform(-0.4, 0.6, (8, 2, 3))
    action = torch.from_numpy(as_action(weights, LEVERED))
    target = environment.domain.project(action, environment.view)
    np.testing.assert_allclose(target, weights, atol=1e-6)


def test_banks_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="12 steps, the task has 252"):
        make_environment(PortfolioConfig())
    with pytest.raises(ConfigError, match="give at least 3 prices"):
        make_environment(YEAR, replace(MARKET, lookback=2))


@pytest.mark.parametrize(
    "changes",
    [
        {"num_steps": 0},
        {"num_agents": 0},
        {"max_leverage": 0.5},
        {"max_short": 1.5},
        {"cash_rate": float("nan")},
        {"risk_aversion": 0.5},
        {"cost_bps": -1.0},
        {"cost_bps": 5000.0},
    ],
)
def test_impossible_tasks_are_refused(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        PortfolioConfig(**changes)
