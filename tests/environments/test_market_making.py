"""Two quotes: the books balance, the price is fair, only the spread earns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test

from data.order_flow import OrderFlowConfig, OrderFlowScenarios, PoissonOrderFlow
from data.scenario import BankConfig, FixedSource, ScenarioBank
from rl.domains.market_making import (
    MarketMakingConfig,
    MarketMakingDomain,
    MarketMakingView,
    avellaneda_stoikov,
)
from rl.domains.market_making_experts import EXPERTS, FixedSpread
from rl.environments.conformance import check_environment
from rl.environments.faces import DictEnvironment
from rl.environments.gymnasium_faces import SingleAgentEnvironment
from rl.environments.lockstep import LockstepOptions
from rl.environments.market_making_environment import BatchedMarketMaking
from utils.errors import ConfigError

SHORT = MarketMakingConfig(
    horizon=0.1, num_steps=20, inventory_limit=3, liquidation_cost=0.2, risk_aversion=0.5
)
seeds = st.integers(0, 2**32 - 1)


def make_bank(config, *, episodes, seed=0, **law):
    source = PoissonOrderFlow(OrderFlowConfig(num_steps=config.num_steps, **law))
    return ScenarioBank(source, BankConfig(num_episodes=episodes), seed)


def make_environment(config=SHORT, *, num_envs=4, episodes=None, shuffle=False, seed=0, **law):
    bank = make_bank(config, episodes=episodes or num_envs, seed=seed, **law)
    options = LockstepOptions(num_envs=num_envs, shuffle=shuffle)
    return BatchedMarketMaking(config, bank, options, seed)


def as_numpy(view):
    return MarketMakingView(**{name: value.numpy() for name, value in vars(view).items()})


def play(environment, decide):
    """One episode; sums of the reward terms and the last metrics, `[env]` each."""
    environment.reset(0)
    sums = {}
    for _ in range(environment.config.num_steps):
        record = environment.step(decide(environment)[:, None])
        for name, value in record.reward_terms.items():
            sums[name] = sums.get(name, 0.0) + value[:, 0].double()
    return sums | {name: value.double() for name, value in record.metrics.items()}


def quote(expert):
    def decide(environment):
        return torch.from_numpy(expert(as_numpy(environment.view), environment.config))

    return decide


def keeps_its_limit(environment, record):
    assert (environment.view.inventory.abs() <= environment.config.inventory_limit).all()


def test_examiner():
    check_environment(
        lambda: make_environment(num_envs=3, episodes=8, shuffle=True),
        num_steps=50,
        max_steps=20,
        invariants=(keeps_its_limit,),
    )


def test_gymnasium_checker():
    environment = SingleAgentEnvironment(make_environment(num_envs=1, episodes=8))
    check_env(environment, skip_render_check=True)


def test_pettingzoo_checker():
    parallel_api_test(DictEnvironment(make_environment(num_envs=1, episodes=8)), num_cycles=30)


@settings(max_examples=25, deadline=None)
@given(
    seed=seeds,
    first=st.integers(-3, 3),
    liquidation_cost=st.floats(0, 2),
    lowest=st.floats(-2, 0.5),
    volatility=st.floats(0, 20),
)
def test_wealth_is_cash_and_shares_at_the_mid_price(
    seed, first, liquidation_cost, lowest, volatility
):
    config = replace(
        SHORT,
        initial_inventory=first,
        liquidation_cost=liquidation_cost,
        lowest_distance=lowest,
    )
    environment = make_environment(config, num_envs=16, volatility=volatility)
    draw = torch.Generator().manual_seed(seed)
    mid, held = np.full(16, config.initial_price), np.full(16, float(first))
    cash, earned, paid = np.zeros(16), np.zeros(16), np.zeros(16)
    for step in range(config.num_steps):
        before = environment.view
        action = torch.rand((16, 1, 2), generator=draw) * 1.4 - 0.2
        distance = environment.domain.project(action[:, 0])
        chance = environment.domain.compute_fill_probability(distance, before)
        filled = (environment.rows["fill_uniform"][:, step] < chance).double().numpy()
        price = mid[:, None] + np.asarray([-1.0, 1.0]) * distance.double().numpy()
        cash += (filled * price * np.asarray([-1.0, 1.0])).sum(-1)
        held += filled @ np.asarray([1.0, -1.0])
        record = environment.step(action)
        mid = record.metrics["mid_price"].double().numpy()
        if step + 1 == config.num_steps:
            cash -= liquidation_cost * np.abs(held)
        terms = {name: value[:, 0].double().numpy() for name, value in record.reward_terms.items()}
        paid += terms.pop("inventory_penalty")
        earned += sum(terms.values())
        wealth = cash + held * mid - first * config.initial_price
        np.testing.assert_allclose(record.metrics["wealth_change"], wealth, atol=2e-3)
        np.testing.assert_allclose(earned, wealth, atol=2e-3)
        np.testing.assert_array_equal(record.metrics["inventory"], held)
        assert (np.abs(held) <= config.inventory_limit).all()
    assert record.truncated.all()
    assert (paid <= 0).all()


def test_two_steps_by_hand():
    """dt 0.005, A dt 0.7: at distance 0.5 a quote fills with probability 0.7 exp(-0.75) = 0.33."""
    config = replace(SHORT, num_steps=2, horizon=0.01)
    flow = OrderFlowScenarios(
        shocks=np.asarray([[1.0, -0.5]] * 2, np.float32),
        fill_uniform=np.asarray(
            [[[0.33, 0.34], [0.99, 0.99]], [[0.34, 0.33], [0.0, 0.99]]], np.float32
        ),
        volatility=np.full(2, 2.0, np.float32),
        arrival_rate=np.full(2, 140.0, np.float32),
    )
    bank = ScenarioBank(FixedSource(flow), BankConfig(num_episodes=2), 0)
    options = LockstepOptions(num_envs=2, shuffle=False)
    environment = BatchedMarketMaking(config, bank, options, 0)
    action = torch.full((2, 1, 2), 1.5 / 4.0)  # distances from -1 to 3
    move = 2 * 0.005**0.5
    record = environment.step(action)
    terms = {name: value[:, 0].tolist() for name, value in record.reward_terms.items()}
    assert record.metrics["inventory"].tolist() == [1, -1]
    assert terms["spread"] == pytest.approx([0.5, 0.5])
    assert terms["price_move"] == pytest.approx([move, -move])
    assert record.metrics["adverse_move"].tolist() == pytest.approx([-move, move])
    assert terms["inventory_penalty"] == pytest.approx([-0.5 * 0.5 * 4 * 0.005] * 2)
    assert terms["liquidation"] == [0, 0]
    record = environment.step(action)
    terms = {name: value[:, 0].tolist() for name, value in record.reward_terms.items()}
    assert record.metrics["inventory"].tolist() == [1, 0]
    assert terms["liquidation"] == pytest.approx([-0.2, 0])
    wealth = [0.5 + move - 0.5 * move - 0.2, 0.5 - move + 0.5]
    assert record.metrics["wealth_change"].tolist() == pytest.approx(wealth)
    assert record.metrics["mid_price"].tolist() == pytest.approx([100 + 0.5 * move] * 2)


@pytest.mark.parametrize(("first", "side"), [(3, 0), (-3, 1)])
def test_a_full_book_quotes_one_side_only(first, side):
    environment = make_environment(replace(SHORT, initial_inventory=first), num_envs=64)
    record = environment.step(torch.zeros((64, 1, 2)))  # so near that both would fill
    assert (record.metrics["inventory"] == first - np.sign(first)).all()
    distance = torch.full((64, 2), -1.0)
    environment.reset(0)
    chance = environment.domain.compute_fill_probability(distance, environment.view)
    assert (chance[:, side] == 0).all()
    assert (chance[:, 1 - side] == 1).all()


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_no_rule_earns_from_the_price(seed):
    """Quotes that read clock, price, last move and inventory: the spread is all that they earn."""
    environment = make_environment(num_envs=4096, seed=seed % 89, volatility=5.0)
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn((6, 2), generator=draw) * 2

    def decide(world):
        observation = world.domain.encode(world.view)
        return torch.sigmoid(observation @ weight - 1.0)

    sums = play(environment, decide)
    profit = sums["price_move"]
    assert profit.mean().abs() <= 5 * profit.std() / np.sqrt(len(profit))  # 0 if nobody trades


def test_quotes_at_the_mid_price_earn_nothing():
    environment = make_environment(replace(SHORT, liquidation_cost=0.0), num_envs=20_000)
    sums = play(environment, quote(FixedSpread(distance=0.0)))
    assert sums["spread"].abs().max() < 1e-5
    profit = sums["wealth_change"]
    assert profit.std() > 0.1
    assert profit.mean().abs() < 4 * profit.std() / np.sqrt(len(profit))


def test_the_example_of_avellaneda_and_stoikov():
    """Their table for gamma 0.1, recalled: profit 65 +- 6.6 and 68 +- 12.7; q +- 2.9 and 8.4."""
    environment = make_environment(avellaneda_stoikov(0.1), num_envs=4000)
    leaning, symmetric = (
        play(environment, quote(EXPERTS[name])) for name in ("avellaneda_stoikov", "symmetric")
    )
    assert leaning["wealth_change"].mean() == pytest.approx(65, abs=0.7)
    assert leaning["wealth_change"].std() == pytest.approx(6.6, abs=0.3)
    assert leaning["inventory"].std() == pytest.approx(2.9, abs=0.15)
    assert symmetric["wealth_change"].mean() == pytest.approx(68, abs=1.0)
    assert symmetric["wealth_change"].std() == pytest.approx(12.7, abs=1.2)
    assert symmetric["inventory"].std() == pytest.approx(8.4, abs=0.3)


def test_observation_equals_the_domain_on_numpy():
    environment = make_environment(num_envs=8)
    domain = MarketMakingDomain(environment.config)
    draw = torch.Generator().manual_seed(0)
    for _ in range(25):
        action = torch.rand((8, 1, 2), generator=draw)
        seen = environment.step(action).observation[:, 0].numpy()
        view = as_numpy(environment.view)
        np.testing.assert_allclose(seen, domain.encode(view), rtol=0, atol=1e-6)
        ours = environment.domain.project(action[:, 0])
        np.testing.assert_allclose(ours, domain.project(action[:, 0].numpy()), atol=1e-6)
        chance = environment.domain.compute_fill_probability(ours, environment.view)
        expected = domain.compute_fill_probability(ours.numpy(), view)
        np.testing.assert_allclose(chance, expected, atol=1e-6)


def test_trajectory_does_not_depend_on_the_batch():
    few, many = make_environment(num_envs=2, episodes=8), make_environment(num_envs=8)
    for _ in range(SHORT.num_steps):
        small, large = (e.step(torch.full((e.num_envs, 1, 2), 0.3)) for e in (few, many))
        assert torch.equal(small.reward, large.reward[:2])
        assert torch.equal(small.observation, large.observation[:2])


def test_stages_change_the_world():
    environment = make_environment(num_envs=32)
    still = make_bank(SHORT, episodes=32, volatility=0.0)
    deserted = make_bank(SHORT, episodes=32, arrival_rate=0.0)
    near = quote(FixedSpread(distance=0.2))
    usual = play(environment, near)
    environment.use_bank(still, seed=0)
    calm = play(environment, near)
    environment.use_bank(deserted, seed=0)
    assert (environment.view.volatility == 2).all()
    assert (environment.view.arrival_rate == 0).all()
    idle = play(environment, near)
    assert usual["price_move"].abs().max() > 0.1
    assert calm["price_move"].abs().max() == 0
    assert calm["spread"].max() > 0.4
    assert idle["spread"].abs().max() == 0
    assert idle["inventory"].abs().max() == 0


def test_bank_of_another_length_is_refused():
    with pytest.raises(ConfigError, match="200 steps, the task has 20"):
        BatchedMarketMaking(
            SHORT, make_bank(avellaneda_stoikov(), episodes=2), LockstepOptions(), 0
        )


@pytest.mark.parametrize(
    "changes",
    [
        {"horizon": 0.0},
        {"decay": float("nan")},
        {"num_steps": 0},
        {"lowest_distance": 3.0},
        {"highest_distance": float("inf")},
        {"inventory_limit": 0},
        {"initial_inventory": -31},
        {"liquidation_cost": -0.1},
        {"risk_aversion": float("inf")},
    ],
)
def test_impossible_tasks_are_refused(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        MarketMakingConfig(**changes)
