"""Trading: books that balance, no free lunch, orders that act, stages that change the world."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from data.market import MarketRegime
from data.trading_scenarios import TradingStage
from rl.domains.trading import TradingDomain
from rl.domains.trading_config import BackgroundConfig
from rl.domains.trading_experts import EXPERTS
from rl.environments.conformance import check_environment
from rl.environments.gradient_check import check_gradients
from tests.environments.trading_worlds import (
    FREE,
    as_numpy,
    make_bank,
    make_config,
    make_path,
    make_world,
    order,
    play_expert,
)

seeds = st.integers(0, 2**32 - 1)
BACKGROUND = BackgroundConfig(noise=500.0, momentum=300.0, market_makers=400.0)


def random_actions(world, seed, scale=1.0):
    draw = torch.Generator().manual_seed(seed)
    shape = (world.num_envs, world.num_agents, world.action_size)
    return [
        scale * (2 * torch.rand(shape, generator=draw) - 1) for _ in range(world.config.max_steps)
    ]


def keeps_its_books(world, record):
    """Nobody owns more than allowed, and those who are out own cash only."""
    state = world.state
    assert (state.shares[state.alive == 0] == 0).all()
    assert (state.price > 0).all()
    if record.reward_terms:
        for name in ("commission", "spread"):
            assert (record.reward_terms[name] <= 0).all()


def test_examiner():
    config = make_config(agents=3, steps=14, leverage_limit=3.0, ruin=0.9, background=BACKGROUND)
    stage = TradingStage(max_agents=3, max_position=3.0)
    check_environment(
        lambda: make_world(config, stage, copies=3, shuffle=True, volatility=4.0),
        num_steps=32,
        max_steps=14,
        invariants=(keeps_its_books,),
    )


@settings(max_examples=25, deadline=None)
@given(
    seed=seeds,
    impact=st.floats(0, 0.05),
    fee=st.floats(0, 0.01),
    leverage=st.floats(0.5, 3.0),
    background=st.booleans(),
)
def test_books_balance(seed, impact, fee, leverage, background):
    """Cash and shares, kept a second time in double precision from what was filled."""
    config = make_config(
        leverage_limit=leverage,
        market_impact_factor=impact,
        temporary_impact_factor=impact / 2,
        margin_call=0.1,
        background=BACKGROUND if background else BackgroundConfig(),
    )
    stage = TradingStage(max_agents=2, transaction_cost=fee, max_position=3.0)
    world = make_world(config, stage, copies=8, seed=seed % 97, volatility=3.0)
    cash = np.full((8, 2), 100_000.0)
    earned = np.zeros((8, 2))
    for action in random_actions(world, seed):
        before = as_numpy(world.view)
        ahead = TradingDomain(config).project(action.numpy(), before).shares.astype(float)
        price, first = before.price.astype(float), before.first_price.astype(float)
        push = impact / 1000 * first
        drift = world.rows["log_return"][:, world.t].double().numpy()
        record = world.step(action)
        after = world.newest
        middle = after.price.double().numpy() / np.exp(drift)
        fill = (price + middle)[:, None] / 2
        value = np.abs(ahead) * price[:, None]
        paid = (value * (fee + config.half_spread) + push[:, None] / 2 * ahead**2).sum(-1)
        cash -= (ahead * fill).sum(-1) + paid
        earned += record.reward.double().numpy() * 100_000
        out = after.alive.numpy() == 0
        if not background:
            np.testing.assert_allclose(middle, price + push * ahead.sum(1), rtol=1e-5)
        if out.any():
            return
        shares = after.shares.double().numpy()
        np.testing.assert_allclose(shares, before.shares + ahead, rtol=1e-4, atol=1e-2)
        np.testing.assert_allclose(after.cash, cash, rtol=0, atol=2.0)
        closing = push[:, None] / 2 * shares.sum(1, keepdims=True)
        held = shares * (after.price.double().numpy()[:, None] - closing)
        np.testing.assert_allclose(after.equity, cash + held.sum(-1), rtol=0, atol=2.0)
        np.testing.assert_allclose(earned, cash + held.sum(-1) - 100_000, rtol=0, atol=5.0)


def test_one_step_by_hand():
    """25,000 at 100 is 250 shares: 25 commission, 5 spread, push and impact of 1 % per 1,000."""
    config = make_config(
        agents=1, symbols=1, steps=2, market_impact_factor=0.01, temporary_impact_factor=0.01
    )
    world = make_path(config, [np.log(1.1), 0.0], fee=0.001)
    record = world.step(order(world, 1.0))
    terms = {name: float(value) * 100_000 for name, value in record.reward_terms.items()}
    state = world.state
    assert float(state.shares) == pytest.approx(250)
    assert float(state.price) == pytest.approx(100.25 * 1.1)
    assert float(state.cash) == pytest.approx(100_000 - 250 * 100.125 - 25 - 5 - 62.5)
    assert float(state.entry) == pytest.approx(100.125)
    assert terms["commission"] == pytest.approx(-25)
    assert terms["spread"] == pytest.approx(-5)
    assert terms["impact"] == pytest.approx(-62.5)
    assert terms["price_move"] == pytest.approx(250 * 10.025, rel=1e-5)
    closing = 0.5 * 0.001 * 250**2
    value = float(state.cash) + 250 * 110.275 - closing
    assert float(state.equity) == pytest.approx(value)
    assert value - 100_000 == pytest.approx(sum(terms.values()), abs=0.1)


@pytest.mark.parametrize("sizes", [(1.0, 0.5), (-1.0, 0.3), (0.2, -1.0)])
def test_flat_prices_create_no_wealth(sizes):
    config = make_config(agents=1, symbols=2, steps=6, market_impact_factor=0.05)
    world = make_path(config, np.zeros(6))
    paid = torch.zeros(1, 1)
    for step in range(6):
        record = world.step(order(world, *(sizes if step < 3 else (-s for s in sizes))))
        assert (record.reward <= 1e-6).all()
        assert (record.reward_terms["price_move"] == 0).all()
        paid += record.reward
    assert (paid < 0).all()
    free = make_path(make_config(agents=1, symbols=2, steps=6, **FREE), np.zeros(6))
    for _ in range(6):
        assert (free.step(order(free, *sizes)).reward == 0).all()


def test_own_pushes_earn_nothing():
    """Buying in slices lifts the price; without costs the account is worth what it was."""
    config = make_config(agents=1, symbols=1, steps=9, **FREE | {"market_impact_factor": 0.2})
    world = make_path(config, np.zeros(9))
    for size in (0.3, 0.3, 0.3, -0.5, -0.2, 1.0, -1.0, -1.0):
        world.step(order(world, size))
        assert float(world.state.equity) == pytest.approx(100_000, abs=0.5)
    assert float(world.state.price) != pytest.approx(100.0)


@pytest.mark.parametrize("ruin", [0.0, 0.98])
def test_pushes_of_all_together_earn_nothing(ruin):
    """Whoever buys or sells, and even where an agent is sold out: what one gains others lose."""
    config = make_config(
        agents=4, symbols=1, steps=9, ruin=ruin, **FREE | {"market_impact_factor": 1.0}
    )
    world = make_path(config, np.zeros(9))
    together = world.step(order(world, 1.0)).reward
    assert together.abs().max() < 1e-5
    gained = 0.0
    for step in range(7):
        sizes = order(world, 1.0 if step < 4 else -1.0)
        sizes[:, step % 4] *= -1.0
        record = world.step(sizes)
        assert float(record.reward.sum()) == pytest.approx(0, abs=2e-5)
        gained = max(gained, float(record.reward.max()))
        assert float(world.state.equity.sum()) == pytest.approx(400_000, abs=2.0)
    assert gained > 1e-3
    assert bool((world.state.alive == 0).any()) == (ruin > 0)


@pytest.mark.parametrize("costs", [True, False])
@pytest.mark.parametrize("name", [name for name in EXPERTS if name != "hold_cash"])
def test_no_free_lunch(name, costs):
    """A fair price: mean profit over 1,024 markets is not above zero, one-sided, level 0.001."""
    config = make_config(
        agents=1, symbols=2, steps=40, leverage_limit=1.5, **({} if costs else FREE)
    )
    stage = TradingStage(max_agents=1, transaction_cost=0.001 if costs else 0.0)
    market = {"martingale": True, "regime": None, "regime_switching": True, "episodes": 1024}
    world = make_world(config, stage, copies=1024, seed=11, **market)
    total = play_expert(world, EXPERTS[name])
    profit = total["reward"][:, 0].numpy()
    assert profit.std() > 0
    assert stats.ttest_1samp(profit, 0.0, alternative="greater").pvalue > 0.001
    paid = (total["reward"] - total["price_move"])[:, 0]
    assert (paid < 0).all() if costs else (paid == 0).all()


def test_trend_is_found_where_there_is_one():
    """The test above has power: with a drift, buying and holding earns."""
    config = make_config(agents=1, symbols=2, steps=40, **FREE)
    stage = TradingStage(max_agents=1, transaction_cost=0.0)
    world = make_world(config, stage, copies=1024, seed=11, regime=MarketRegime.BULL)
    profit = play_expert(world, EXPERTS["buy_and_hold"])["reward"][:, 0].numpy()
    assert stats.ttest_1samp(profit, 0.0, alternative="greater").pvalue < 1e-6


def test_holding_cash_changes_nothing():
    world = make_world(copies=4, volatility=3.0)
    total = play_expert(world, EXPERTS["hold_cash"])
    assert all((value == 0).all() for value in total.values())


@pytest.mark.parametrize(
    ("size", "move", "stop", "take", "closes"),
    [
        (1.0, -0.06, 0.5, 0.0, True),
        (1.0, -0.04, 0.5, 0.0, False),
        (1.0, -0.06, -1.0, 0.0, False),
        (1.0, 0.06, 0.0, 0.25, True),
        (1.0, 0.04, 0.0, 0.25, False),
        (-1.0, 0.06, 0.5, 0.0, True),
        (-1.0, -0.06, 0.5, 0.25, True),
        (-1.0, -0.04, 0.5, 0.25, False),
    ],
)
def test_stop_and_take_profit_act(size, move, stop, take, closes):
    """Half of the largest stop is 5 %, a quarter of the largest take-profit 5 %."""
    config = make_config(agents=1, symbols=1, steps=3, **FREE)
    world = make_path(config, [np.log1p(move), 0.0, 0.0], fee=0.001)
    world.step(order(world, size, stop=stop, take=take))
    held = float(world.state.shares)
    record = world.step(order(world, size))
    assert (float(record.metrics["stopped_positions"]) == 1) == closes
    assert (float(world.state.shares) == 0) == closes
    if closes:
        paid = abs(held) * 100 * (1 + move) * 0.001
        assert float(record.reward_terms["commission"]) * 1e5 == pytest.approx(-paid, rel=1e-3)
        assert (float(record.metrics["winning_trades"]) == 1) == (size * move > 0)
        assert (float(record.metrics["losing_trades"]) == 1) == (size * move < 0)


@pytest.mark.parametrize(("size", "move"), [(1.0, -0.3), (-1.0, 0.3)])
def test_margin_call_closes_at_cost(size, move):
    """Shorts as longs: it is the size of the positions that equity is held against."""
    config = make_config(
        agents=1,
        symbols=1,
        steps=4,
        leverage_limit=2.5,
        short_limit=2.5,
        order_share=2.4,
        ruin=0.0,
        **FREE,
    )
    world = make_path(
        config,
        [np.log1p(move), 0.0, 0.0, 0.0],
        fee=0.001,
        max_position=np.full(1, 3.0, np.float32),
    )
    world.step(order(world, size))
    value = float((world.state.shares * world.state.price).abs())
    assert 0 < float(world.state.equity) / value < 0.25
    record = world.step(order(world, size))
    assert float(record.metrics["margin_calls"]) == 1
    assert float(world.state.shares) == 0
    assert float(record.reward_terms["commission"]) < 0
    assert record.agent_alive.all()


def test_entry_is_the_mean_of_purchases_and_stays_when_part_is_sold():
    config = make_config(agents=1, symbols=1, steps=4, **FREE)
    world = make_path(config, [np.log(1.1), 0.0, np.log(1.2), 0.0])
    world.step(order(world, 1.0))
    world.step(order(world, 1.0))
    more = 0.25 * 102_500 / 110
    mean = (250 * 100 + more * 110) / (250 + more)
    assert float(world.state.entry) == pytest.approx(mean)
    world.step(order(world, -0.5))
    assert 0 < float(world.state.shares) < 250 + more
    assert float(world.state.entry) == pytest.approx(mean)


def test_drawdown_is_a_cost_from_the_highest_equity():
    config = make_config(agents=1, symbols=1, steps=3, **FREE)
    world = make_path(config, [np.log(1.2), np.log(0.9), 0.0])
    world.step(order(world, 1.0))
    record = world.step(order(world, 0.0))
    assert float(record.cost[0, 0, 1]) == pytest.approx(250 * 12 / 105_000, rel=1e-4)


def test_ruined_agents_pay_for_being_sold_out():
    """2,000 shares less the fee, bought at 100 and sold at 55."""
    config = make_config(agents=1, symbols=1, steps=2, leverage_limit=2.0, order_share=2.0, **FREE)
    largest = np.full(1, 3.0, np.float32)
    world = make_path(config, [np.log(0.55), 0.0], fee=0.001, max_position=largest)
    record = world.step(order(world, 1.0))
    shares = 2000 / 1.002
    paid = shares * (100 + 55) * 0.001
    assert not record.agent_alive.any()
    assert float(record.reward_terms["commission"]) * 1e5 == pytest.approx(-paid, rel=1e-4)
    assert float(world.state.cash) == pytest.approx(100_000 - 45 * shares - paid, abs=0.1)


def test_ruined_agents_are_out():
    config = make_config(agents=2, symbols=1, steps=4, leverage_limit=2.0, order_share=2.0, **FREE)
    world = make_path(
        config, [np.log(0.55), 0.0, 0.0, 0.0], max_position=np.full(1, 3.0, np.float32)
    )
    action = order(world, 1.0)
    action[:, 1] = 0
    record = world.step(action)
    assert record.agent_alive.tolist() == [[False, True]]
    assert float(record.reward[0, 0]) == pytest.approx(-0.9, abs=0.01)
    assert not record.action_mask[0, 0].any()
    for _ in range(2):
        record = world.step(order(world, 1.0))
        assert float(record.reward[0, 0]) == 0
        assert (record.observation[0, 0] == 0).all()
    assert float(world.state.shares[0, 0]) == 0


@pytest.mark.parametrize("size", [1.0, -1.0])
def test_orders_move_the_price_their_way_for_everybody(size):
    config = make_config(agents=2, symbols=2, steps=2, market_impact_factor=0.01)
    world = make_path(config, np.zeros(2))
    world.step(order(world, 0.5, 0.0))
    action = order(world, size, 0.0)
    action[:, 1] = 0
    record = world.step(action)
    price = world.newest.price[0]
    assert float(price[1]) == 100
    assert float(price[0] - 100.25) * size > 0
    assert float(record.reward_terms["impact"][0, 1]) * size > 0
    assert float(record.reward_terms["impact"].sum()) < 0


@settings(max_examples=40, deadline=None)
@given(
    seed=seeds, leverage=st.floats(0.3, 3.0), short=st.floats(0, 2.0), largest=st.floats(0.1, 2.0)
)
def test_orders_keep_to_the_limits(seed, leverage, short, largest):
    """Whatever is asked for; where prices moved an account over a limit, it only comes down."""
    config = make_config(
        agents=2, symbols=3, steps=8, leverage_limit=leverage, short_limit=short, margin_call=0.0
    )
    stage = TradingStage(max_agents=2, transaction_cost=0.003, max_position=largest)
    world = make_world(config, stage, copies=8, seed=seed % 97, volatility=5.0)
    domain = TradingDomain(config)
    for action in random_actions(world, seed):
        view = as_numpy(world.view)
        orders = domain.project(2 * action.numpy(), view)
        after = view.shares + orders.shares
        price, worth = view.price[:, None], view.equity
        costs = sum(domain.cost(orders.shares, view))

        def gross(shares, price=price):
            return (np.abs(shares) * price).sum(-1)

        limit = np.maximum(leverage * (worth - costs), gross(view.shares))
        assert (gross(after) <= limit + 1e-4 * worth).all()
        shorts = [gross(np.minimum(one, 0)) for one in (after, view.shares)]
        assert (shorts[0] <= np.maximum(short * worth, shorts[1]) + 1e-4 * worth).all()
        one = np.maximum(largest * worth[..., None], np.abs(view.shares) * price)
        assert (np.abs(after) * price <= one + 1e-4 * worth[..., None]).all()
        if leverage <= 1:
            assert (world.state.cash >= -0.01 * worth.min()).all()
        world.step(2 * action)


def test_orders_are_cut_in_proportion():
    config = make_config(agents=1, symbols=2, steps=2, order_share=1.0, **FREE)
    world = make_path(config, np.zeros(2))
    world.step(order(world, 0.9, 0.6))
    np.testing.assert_allclose(world.state.shares[0, 0], [600, 400], rtol=1e-5)
    assert float(world.state.cash) == pytest.approx(0, abs=0.1)


def test_observation_equals_the_domain_on_numpy():
    config = make_config(agents=3, steps=20, background=BACKGROUND)
    world = make_world(config, copies=8, volatility=2.0)
    domain = TradingDomain(config)
    for action in random_actions(world, 0)[:-1]:
        seen = world.step(action).observation.numpy()
        view = as_numpy(world.view)
        np.testing.assert_allclose(seen, domain.encode(view), rtol=0, atol=1e-6)
        np.testing.assert_allclose(
            domain.project(action.numpy(), view).shares,
            world.domain.project(action, world.view).shares,
            rtol=1e-5,
            atol=1e-3,
        )


def test_trajectory_does_not_depend_on_the_batch():
    config = make_config(agents=3, symbols=5, steps=10, background=BACKGROUND)
    few, many = (make_world(config, copies=n, episodes=64, volatility=2.0) for n in (2, 64))
    for action in random_actions(many, 3):
        small, large = few.step(action[:2]), many.step(action)
        assert torch.equal(small.reward, large.reward[:2])
        assert torch.equal(small.final_observation, large.final_observation[:2])


def test_gradients():
    config = make_config(steps=6, market_impact_factor=0.1, temporary_impact_factor=0.1)
    report = check_gradients(
        lambda copies: make_world(config, copies=copies, episodes=copies),
        inside=(0.53, 0.65),
        spacing=3e-4,
        num_points=1500,
    )
    assert report.num_smooth >= 100


@pytest.mark.parametrize("background", ["noise", "momentum", "market_makers"])
def test_background_traders_move_prices(background):
    config = make_config(steps=6)
    loud = make_config(steps=6, background=BackgroundConfig(**{background: 3000.0}))
    quiet, moved = (make_world(one, volatility=2.0) for one in (config, loud))
    still = order(quiet, 0.0, 0.0)
    for _ in range(5):
        quiet.step(still)
        moved.step(still)
    assert (quiet.state.price != moved.state.price).any()


def test_market_makers_lean_against_the_move():
    config = make_config(
        agents=1, symbols=1, steps=4, background=BackgroundConfig(market_makers=1000.0)
    )
    world = make_path(config, [0.05, 0.0, 0.0, 0.0])
    world.step(order(world, 0.0))
    high = float(world.state.price)
    world.step(order(world, 0.0))
    assert float(world.state.price) < high


def stage_of(**changes):
    return TradingStage(max_agents=3, **changes)


def test_stages_switch_symbols_and_agents_off():
    """Fewer symbols and agents in arrays of the same shape; who is off changes nothing."""
    config = make_config(agents=3, symbols=4, steps=8)
    world = make_world(config, stage_of(), episodes=16)
    record = world.reset(0)
    assert record.action_mask.all()
    assert record.agent_alive.all()
    shape = record.observation.shape
    record = world.use_bank(
        make_bank(config, stage_of(num_agents=2), episodes=16, num_symbols=2), seed=0
    )
    assert record.observation.shape == shape
    assert record.agent_alive.tolist() == [[True, True, False]] * 4
    assert record.action_mask[:, :2, :6].all()
    assert not record.action_mask[:, :, 6:].any()
    for action in random_actions(world, 1)[:-1]:
        record = world.step(action)
        assert (world.state.shares[:, :, 2:] == 0).all()
        assert (world.state.shares[:, 2] == 0).all()
        assert (record.reward[:, 2] == 0).all()
        assert (world.state.price[:, 2:] == world.view.first_price[:, 2:]).all()


def test_stages_change_volatility_fee_and_positions():
    config = make_config(agents=3, symbols=2, steps=8)
    world = make_world(config, stage_of())

    def play(stage, **market):
        world.use_bank(make_bank(config, stage, episodes=16, **market), seed=0)
        moved, fees, held = 0.0, 0.0, 0.0
        for action in random_actions(world, 2)[:-1]:
            record = world.step(action)
            moved += float(record.reward_terms["price_move"].abs().mean())
            fees += float(record.reward_terms["commission"].mean())
            held = max(held, float((world.state.shares * world.state.price[:, None]).abs().max()))
        return moved, fees, held

    calm, wild = play(stage_of(), volatility=0.5), play(stage_of(), volatility=5.0)
    assert wild[0] > 4 * calm[0]
    free, dear = play(stage_of(transaction_cost=0.0)), play(stage_of(transaction_cost=0.01))
    assert free[1] == 0 > dear[1]
    small, large = play(stage_of(max_position=0.1)), play(stage_of(max_position=1.0))
    assert small[2] < 11_500 < large[2]


@pytest.mark.parametrize("agents", [1, 128])
def test_one_to_128_agents(agents):
    world = make_world(make_config(agents=agents, steps=3), copies=2)
    for action in random_actions(world, 0):
        record = world.step(action)
    assert record.reward.shape == (2, agents)
    assert record.truncated.all()


def test_risk_penalty_is_a_term_of_its_own():
    world = make_world(make_config(risk_aversion=2.0))
    record = world.step(order(world, 1.0, 1.0))
    move = record.reward_terms["price_move"]
    torch.testing.assert_close(record.reward_terms["risk_penalty"], -2 * move**2)
    assert "risk_penalty" not in make_world().step(order(world, 1.0, 1.0)).reward_terms


def test_costs_are_leverage_and_drawdown():
    config = make_config(agents=1, symbols=1, steps=3, leverage_limit=2.0, order_share=2.0, **FREE)
    world = make_path(config, [np.log(0.9), 0.0, 0.0], max_position=np.full(1, 3.0, np.float32))
    cost = world.step(order(world, 1.0)).cost[0, 0].tolist()
    assert cost == pytest.approx([1.8 / 0.8 - 2.0, 0.2], abs=1e-4)
