"""Selling one order: conservation, a fair price, exact gradients, costs as in the closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test

from data.price_shocks import NormalShocks, ShockConfig
from data.scenario import BankConfig, ScenarioBank
from rl.domains.execution import ExecutionConfig, ExecutionDomain, ExecutionView, almgren_chriss
from rl.domains.execution_experts import EXPERTS
from rl.environments.base_environment import InvalidActionError
from rl.environments.conformance import check_environment
from rl.environments.execution_environment import BatchedExecution
from rl.environments.faces import DictEnvironment
from rl.environments.gymnasium_faces import SingleAgentEnvironment
from rl.environments.lockstep import LockstepOptions
from rl.evaluation.execution_bounds import compute_execution_bound, compute_moments
from utils.errors import ConfigError

QUARTERS = ExecutionConfig(
    shares=3e5,
    horizon_days=2.0,
    num_steps=8,
    volatility=1.7,
    half_spread=0.03,
    permanent_impact=9e-7,
    temporary_impact=4e-6,
    risk_aversion=4e-6,
)
"""Steps of a quarter of a day: at the preset's whole days, per day and per step are the same."""
ORDERS = [*(almgren_chriss(value) for value in (0.0, 1e-6, 2e-6, 1e-5)), QUARTERS]
COSTS = ("half_spread", "temporary_impact", "permanent_impact")
seeds = st.integers(0, 2**32 - 1)


def make_environment(
    config=None, *, num_envs=4, seed=0, antithetic=False, episodes=None, shuffle=False
):
    config = config or almgren_chriss()
    source = NormalShocks(ShockConfig(num_steps=config.num_steps, antithetic=antithetic))
    bank = ScenarioBank(source, BankConfig(num_episodes=episodes or num_envs), seed)
    options = LockstepOptions(num_envs=num_envs, shuffle=shuffle)
    return BatchedExecution(config, bank, options, seed)


def as_numpy(view):
    return ExecutionView(**{name: value.detach().numpy() for name, value in vars(view).items()})


def play(environment, decide):
    """One episode; `decide(view, step)` returns the share to sell. Sums of terms and metrics."""
    environment.reset(0)
    sums = {}
    for step in range(environment.config.num_steps):
        action = torch.as_tensor(decide(environment.view, step), dtype=torch.float32)
        action = action.expand(environment.num_envs).reshape(-1, 1, 1)
        record = environment.step(action)
        terms = {name: value[:, 0] for name, value in record.reward_terms.items()}
        for name, value in (*terms.items(), ("reward", record.reward[:, 0])):
            sums[name] = sums.get(name, 0.0) + value.double()
        sums["shortfall"] = sums.get("shortfall", 0.0) + record.metrics["shortfall"].double()
    assert record.truncated.all()
    return sums | {"wealth_change": record.metrics["wealth_change"].double()}


def keeps_its_books(environment, record):
    """Terms without the penalty are what the shortfall says, and nothing is sold twice."""
    assert (environment.view.remaining >= 0).all()
    if not record.reward_terms:
        return
    change = sum(value[:, 0] for name, value in record.reward_terms.items() if "risk" not in name)
    torch.testing.assert_close(change, -record.metrics["shortfall"], rtol=1e-5, atol=1.0)
    assert all((record.reward_terms[name] <= 0).all() for name in (*COSTS, "risk_penalty"))


def test_examiner():
    check_environment(
        lambda: make_environment(num_envs=3, episodes=8, shuffle=True),
        num_steps=23,
        max_steps=5,
        invariants=(keeps_its_books,),
    )


def test_gymnasium_checker():
    environment = SingleAgentEnvironment(make_environment(num_envs=1, episodes=8))
    check_env(environment, skip_render_check=True)


def test_pettingzoo_checker():
    parallel_api_test(DictEnvironment(make_environment(num_envs=1, episodes=8)), num_cycles=20)


@settings(max_examples=100, deadline=None)
@given(
    seed=seeds,
    num_steps=st.integers(1, 30),
    volatility=st.floats(0.01, 20),
    half_spread=st.floats(0, 1),
    gamma=st.floats(0, 1e-6),
)
def test_wealth_comes_from_price_moves_and_goes_into_costs(
    seed, num_steps, volatility, half_spread, gamma
):
    config = ExecutionConfig(
        num_steps=num_steps,
        volatility=volatility,
        half_spread=half_spread,
        permanent_impact=gamma,
        temporary_impact=1e-5,
    )
    environment = make_environment(config, num_envs=16)
    draw = torch.Generator().manual_seed(seed)
    moved, paid = torch.zeros(16).double(), torch.zeros(16).double()
    for _ in range(num_steps):
        record = environment.step(torch.rand((16, 1, 1), generator=draw) * 1.4 - 0.2)
        terms = {name: value[:, 0].double() for name, value in record.reward_terms.items()}
        moved += terms["price_move"]
        paid += sum(terms[name] for name in COSTS)
        wealth = record.metrics["wealth_change"].double()
        initial_wealth = config.shares * config.arrival_price
        assert ((wealth - (moved + paid)).abs() <= 1e-6 * initial_wealth).all()
        gross = config.shares * volatility * np.sqrt(config.horizon_days) - paid
        assert ((wealth - (moved + paid)).abs() <= 1e-5 * gross).all()
    assert record.truncated.all()


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_price_is_fair(seed):
    """No rule that reads clock, price and last move earns on average before costs."""
    environment = make_environment(num_envs=4096, seed=seed % 97)
    weight = torch.randn(4, generator=torch.Generator().manual_seed(seed)) * 2

    def decide(view, step):
        return torch.sigmoid(
            weight[0]
            + weight[1] * view.price_change
            + weight[2] * view.last_move
            + weight[3] * step
        )

    profit = play(environment, decide)["price_move"]
    assert profit.mean().abs() < 5 * profit.std() / np.sqrt(len(profit))


@settings(max_examples=60, deadline=None)
@given(schedule=st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_schedules_earn_nothing_on_mirrored_prices(schedule):
    environment = make_environment(num_envs=64, antithetic=True)
    profit = play(environment, lambda view, step: schedule[step])["price_move"]
    assert abs(float(profit.mean())) <= 1e-6 * environment.config.shares


@pytest.mark.parametrize("name", EXPERTS)
@pytest.mark.parametrize("config", ORDERS, ids=["0", "1e-6", "2e-6", "1e-5", "quarters"])
def test_simulated_cost_equals_the_closed_form(name, config):
    environment = make_environment(config, num_envs=20_000)
    held = []

    def decide(view, step):
        held.append(float(view.remaining[0]))
        return torch.as_tensor(EXPERTS[name](as_numpy(view), config)[:, 0])

    sums = play(environment, decide)
    holdings = np.asarray([*held[1:], 0.0], np.float64) * config.shares
    expected = compute_moments(holdings, config)
    shortfall = sums["shortfall"].numpy()
    error = max(float(expected.deviation), 1.0) / np.sqrt(len(shortfall))
    assert shortfall.mean() == pytest.approx(float(expected.expected_cost), abs=3 * error)
    assert shortfall.std() == pytest.approx(float(expected.deviation), rel=0.02, abs=2.0)
    disutility = -(sums["reward"] - sums["price_move"]).numpy()
    assert disutility == pytest.approx(float(expected.disutility(config.risk_aversion)), rel=1e-5)
    if name == "almgren_chriss":
        bound = compute_execution_bound(config)
        np.testing.assert_allclose(holdings, bound.holdings, atol=1.0)
        assert disutility == pytest.approx(bound.disutility, rel=1e-5)


def test_one_step_by_hand():
    """A quarter of the order: sold at 50 less 0.0625 less 0.625, then 0.0625 and a shock."""
    environment = make_environment(almgren_chriss(1e-6), num_envs=2)
    shock = environment.bank.scenarios.shocks[:, 0].astype(np.float64)
    record = environment.step(torch.full((2, 1, 1), 0.25))
    terms = {name: value[:, 0].numpy() for name, value in record.reward_terms.items()}
    np.testing.assert_allclose(terms["price_move"], 750_000 * 0.95 * shock, rtol=1e-6)
    np.testing.assert_allclose(terms["half_spread"], -15_625, rtol=1e-6)
    np.testing.assert_allclose(terms["temporary_impact"], -156_250, rtol=1e-6)
    np.testing.assert_allclose(terms["permanent_impact"], -46_875, rtol=1e-6)
    np.testing.assert_allclose(terms["risk_penalty"], -507_656.25, rtol=1e-6)
    cash = 250_000 * (50 - 0.0625 - 0.625)
    wealth = cash + 750_000 * (50 - 0.0625 + 0.95 * shock) - 50_000_000
    np.testing.assert_allclose(record.metrics["wealth_change"], wealth, atol=1.0)
    np.testing.assert_allclose(environment.view.price_change, 0.95 * shock - 0.0625, rtol=1e-5)


def test_observation_equals_the_domain_on_numpy():
    environment = make_environment(num_envs=8)
    domain = ExecutionDomain(environment.config)
    draw = torch.Generator().manual_seed(0)
    for _ in range(7):
        seen = environment.step(torch.rand((8, 1, 1), generator=draw)).observation[:, 0].numpy()
        expected = domain.encode(as_numpy(environment.view))
        np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-6)


def test_trajectory_does_not_depend_on_the_batch():
    few, many = make_environment(num_envs=2, episodes=8), make_environment(num_envs=8)
    for _ in range(4):
        small, large = (e.step(torch.full((e.num_envs, 1, 1), 0.3)) for e in (few, many))
        assert torch.equal(small.reward, large.reward[:2])
        assert torch.equal(small.observation, large.observation[:2])


def episode_return(environment, actions):
    """Return of each copy, in millions; actions `[time, env]`."""
    environment.reset(0)
    return sum(environment.step(a[:, None, None]).reward[:, 0] for a in actions) / 1e6


def test_gradient_equals_central_differences():
    """100 points, each with its own shocks, inside the range, where the return is smooth."""
    environment = make_environment(almgren_chriss(1e-6), num_envs=100)
    draw = torch.Generator().manual_seed(4)
    point = 0.1 + 0.8 * torch.rand((5, 100), generator=draw)
    direction = torch.randn((5, 100), generator=draw)
    point.requires_grad_()
    (gradient,) = torch.autograd.grad(episode_return(environment, point).sum(), point)
    slope = (gradient * direction).sum(0)
    with torch.no_grad():
        width = 0.003
        up, down = (episode_return(environment, point + s * width * direction) for s in (1, -1))
    error = (slope - (up - down) / (2 * width)).abs()
    scale = gradient.norm(dim=0) * direction.norm(dim=0)
    assert (error <= 0.01 * torch.maximum(slope.abs(), 0.01 * scale)).all()
    assert (gradient[:4].abs().amin(1) < gradient[:4].abs().amax(1)).all()
    assert (gradient[4] == 0).all()


def test_gradients_change_no_bit():
    environment = make_environment(num_envs=6)
    actions = torch.rand((5, 6), generator=torch.Generator().manual_seed(1))
    plain = episode_return(environment, actions)
    assert torch.equal(plain, episode_return(environment, actions.requires_grad_()).detach())


def test_bad_actions_are_refused():
    environment = make_environment()
    with pytest.raises(InvalidActionError, match="shape"):
        environment.step(torch.zeros(4, 1))
    with pytest.raises(InvalidActionError, match="not finite"):
        environment.step(torch.full((4, 1, 1), float("inf")))


def test_bank_of_another_length_is_refused():
    bank = ScenarioBank(NormalShocks(ShockConfig(num_steps=3)), BankConfig(num_episodes=2), 0)
    with pytest.raises(ConfigError, match="3 steps, the order has 5"):
        BatchedExecution(almgren_chriss(), bank, LockstepOptions(), 0)
    with pytest.raises(ConfigError, match="num_envs"):
        LockstepOptions(num_envs=0)
