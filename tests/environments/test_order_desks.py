"""Selling several orders: conservation, exact gradients, costs as in the closed form, the bound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.desk_orders import DeskLaws, SyntheticDesks
from data.market_config import PLAIN
from data.scenario import BankConfig, FixedSource, ScenarioBank
from rl.domains.execution import ExecutionConfig
from rl.domains.order_desks import EXPERTS, DeskView, OrderDesksConfig, OrderDesksDomain
from rl.environments.conformance import check_environment
from rl.environments.lockstep import LockstepOptions
from rl.environments.order_desks_environment import BatchedOrderDesks
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.execution_bounds import compute_execution_bound, compute_moments
from rl.evaluation.order_desk_bounds import compute_desk_bound, project_to_simplex
from utils.errors import ConfigError

LAWS = DeskLaws(num_desks=3, num_steps=10, lookback=12)
CONFIG = OrderDesksConfig(num_desks=3, num_steps=10)


def make_environment(num_envs=4, seed=0, *, scenarios=None):
    source = SyntheticDesks(LAWS) if scenarios is None else FixedSource(scenarios)
    bank = ScenarioBank(source, BankConfig(num_episodes=num_envs), seed)
    options = LockstepOptions(num_envs=num_envs, shuffle=scenarios is None)
    return BatchedOrderDesks(CONFIG, bank, options, seed)


def draw(count, seed=0, laws=LAWS, prices=PLAIN):
    return SyntheticDesks(laws, prices).draw(count, np.random.default_rng(seed))


def play(environment, decide):
    """One episode; returns rewards `[env, desk]`, sums of terms and metrics, the last record."""
    record = environment.reset()
    total, sums = 0.0, {}
    for _ in range(CONFIG.num_steps):
        record = environment.step(decide(environment))
        total = total + record.reward
        for name, value in {**record.reward_terms, **record.metrics}.items():
            sums[name] = sums.get(name, 0.0) + value
    return total, sums, record


def expert(name):
    def decide(environment):
        return torch.from_numpy(EXPERTS[name](view_to_numpy(environment.view), CONFIG))

    return decide


def test_it_keeps_the_rules_of_an_environment():
    check_environment(make_environment)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_cash_and_holdings_add_up(seed):
    generator = torch.Generator().manual_seed(seed)

    def decide(environment):
        return torch.rand((environment.num_envs, 3, 1), generator=generator)

    total, sums, last = play(make_environment(seed=seed), decide)
    terms = sum(sums[name] for name in last.reward_terms)
    torch.testing.assert_close(total, terms, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(
        sums["shortfall"], -last.metrics["wealth_change"], rtol=1e-4, atol=0.1
    )
    torch.testing.assert_close(last.metrics["remaining_share"], torch.zeros(4))
    torch.testing.assert_close(sums["sold_share"], torch.ones(4), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", EXPERTS)
def test_schedules_cost_what_the_closed_form_says(name):
    """A desk's order is an `ExecutionConfig` of one share and one day a step."""
    scenarios = draw(2)
    environment = make_environment(2, scenarios=scenarios)
    record, held, costs = environment.reset(), [], 0.0
    for _ in range(CONFIG.num_steps):
        record = environment.step(expert(name)(environment))
        held.append(environment.state.remaining.double().numpy())
        terms = record.reward_terms
        fair = ("price_move", "risk_penalty")
        costs = costs - sum(value for key, value in terms.items() if key not in fair)
    held[-1] = np.zeros((2, 3))
    for copy in range(2):
        for desk in range(3):
            order = as_order(scenarios, copy, desk)
            schedule = np.asarray([row[copy, desk] for row in held])
            exact = compute_moments(schedule, order)
            assert float(costs[copy, desk]) == pytest.approx(float(exact.expected_cost), rel=1e-4)
            if name == "almgren_chriss":
                best = compute_execution_bound(order)
                np.testing.assert_allclose(schedule, best.holdings, atol=1e-5)


def test_the_risk_charge_has_the_mean_of_the_variance():
    count = 4_000
    one = draw(1, seed=3)
    scenarios = draw(count, seed=4)
    terms = ("volatility", "impact", "risk_aversion")
    fixed = {name: np.repeat(getattr(one, name), count, 0) for name in terms}
    scenarios = replace(scenarios, **fixed)
    environment = make_environment(count, scenarios=scenarios)
    total, sums, _ = play(environment, expert("twap"))
    for desk in range(3):
        order = as_order(one, 0, desk)
        even = compute_moments(1.0 - np.arange(1, 11) / 10, order)
        charge = -float(sums["risk_penalty"][:, desk].mean())
        assert charge == pytest.approx(order.risk_aversion * float(even.variance), rel=0.1)
        spread = float(sums["price_move"][:, desk].std())
        assert spread == pytest.approx(float(even.deviation), rel=0.1)
        error = total[:, desk].std() / count**0.5
        best = float(even.disutility(order.risk_aversion))
        assert abs(float(total[:, desk].mean()) + best) < 5 * float(error)


def test_gradients_are_those_of_finite_differences():
    environment = make_environment(2)
    action = torch.full((2, 3, 1), 0.4)

    def value(first):
        environment.reset(1)
        total = environment.step(first).reward.sum()
        for _ in range(CONFIG.num_steps - 1):
            total = total + environment.step(torch.full((2, 3, 1), 0.35)).reward.sum()
        return total

    leaf = action.clone().requires_grad_()
    value(leaf).backward()
    step = torch.zeros_like(action)
    step[1, 2, 0] = 1e-2
    difference = (value(action + step) - value(action - step)) / 2e-2
    assert float(leaf.grad[1, 2, 0]) == pytest.approx(float(difference), rel=2e-2)


def test_what_is_observed_is_the_same_in_numpy_and_sees_no_future():
    environment = make_environment()
    environment.step(torch.full((4, 3, 1), 0.3))
    view = environment.view
    ours = OrderDesksDomain(CONFIG, torch).encode(view).numpy()
    theirs = OrderDesksDomain(CONFIG).encode(view_to_numpy(view))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    scenarios = draw(1)
    later = replace(scenarios, shock=np.where(np.arange(10)[:, None] >= 4, 9.0, scenarios.shock))
    seen = []
    for one in (scenarios, replace(later, shock=later.shock.astype(np.float32))):
        world = make_environment(1, scenarios=one)
        records = [world.reset()] + [world.step(torch.full((1, 3, 1), 0.3)) for _ in range(5)]
        seen.append(torch.stack([record.observation for record in records]))
    assert torch.equal(seen[0][:5], seen[1][:5])
    assert not torch.equal(seen[0][5], seen[1][5])


def test_the_action_that_sells_evenly_and_the_one_that_sells_all():
    view = DeskView(
        remaining=np.array([0.8]), steps_left=np.array([4.0]), price_change=np.zeros(1),
        moves=np.zeros((1, 12)), volatility=np.ones(1), impact=np.ones(1),
        risk_aversion=np.ones(1),
    )  # fmt: skip
    domain = OrderDesksDomain(CONFIG)
    assert domain.project(np.array([[10**-0.5]]), view)[0] == pytest.approx(0.2)
    assert domain.project(np.array([[1.0]]), view)[0] == pytest.approx(0.8)
    assert domain.project(np.array([[-3.0]]), view)[0] == 0.0
    last = replace(view, steps_left=np.array([1.0]))
    assert domain.project(np.array([[0.0]]), last)[0] == pytest.approx(0.8)


def test_nobody_beats_the_bound_and_the_hindsight_schedule_reaches_it():
    laws = replace(LAWS, num_desks=1)
    scenarios = draw(3, laws=laws)
    config = replace(CONFIG, num_desks=1)
    bound = compute_desk_bound(scenarios, config)
    generator = np.random.default_rng(0)
    sold = generator.dirichlet(np.full(10, 0.7), size=4000)
    for episode in range(3):
        values = kpi_of(sold, scenarios, episode)
        assert values.max() <= bound[episode] + 1e-6
        point = sold[values.argmax()]
        for scale in (0.3, 0.1, 0.03, 0.01, 0.003):
            for _ in range(40):
                near = project_to_simplex(point + scale * generator.standard_normal((50, 10)))
                near[0] = point
                point = near[kpi_of(near, scenarios, episode).argmax()]
        reached = kpi_of(point[None], scenarios, episode)[0]
        assert reached == pytest.approx(bound[episode], rel=1e-2)


def kpi_of(sold, scenarios, episode):
    """KPI of schedules `[schedule, time]`, written down apart from world and bound."""
    term = {
        name: float(getattr(scenarios, name)[episode, 0])
        for name in ("volatility", "impact", "risk_aversion")
    }
    move = term["volatility"] * scenarios.shock[episode, :, 0]
    price, gain, held, risk = 0.0, 0.0, 1.0, 0.0
    for step in range(10):
        slice_ = sold[:, step]
        gain = gain + slice_ * (price - CONFIG.half_spread - 10 * term["impact"] * slice_)
        held = held - slice_
        risk = risk + term["risk_aversion"] * (held * move[step]) ** 2
        price = price + move[step] - CONFIG.permanent_share * term["impact"] * slice_
    return gain - risk


def as_order(scenarios, copy, desk):
    impact = float(scenarios.impact[copy, desk])
    return ExecutionConfig(
        shares=1.0,
        horizon_days=10.0,
        num_steps=10,
        volatility=float(scenarios.volatility[copy, desk]),
        half_spread=CONFIG.half_spread,
        permanent_impact=CONFIG.permanent_share * impact,
        temporary_impact=10.0 * impact,
        risk_aversion=float(scenarios.risk_aversion[copy, desk]),
    )


def test_impossible_orders_and_banks_that_do_not_fit_are_refused():
    for desks in (0, 1_000_000):
        with pytest.raises(ConfigError, match=r"num_desks must lie in 1 \.\. 1024"):
            OrderDesksConfig(num_desks=desks)
    with pytest.raises(ConfigError, match="permanent_share"):
        OrderDesksConfig(permanent_share=2.0)
    bank = ScenarioBank(SyntheticDesks(LAWS), BankConfig(num_episodes=2), 0)
    with pytest.raises(ConfigError, match="same DeskLaws"):
        BatchedOrderDesks(replace(CONFIG, num_desks=2), bank, LockstepOptions(num_envs=2), 0)
