"""Portfolios: training's weights, within every limit, with trades that pay for themselves."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ai_agents.base_agent import InvocationContext, RequestError
from ai_agents.domains import DOMAINS
from ai_agents.policy_agent import PolicyAgent
from ai_agents.portfolio_domain import PortfolioDecisions
from ai_agents.portfolio_schema import PortfolioDecision
from data.market_config import SyntheticMarketConfig
from data.market_generator import SyntheticMarket
from data.scenario import fixed_bank
from rl.deployment.guardrails import FallbackReason
from rl.deployment.policy_runtime import PolicyRuntime
from rl.domains.portfolio import PortfolioDomain
from rl.domains.portfolio_experts import EXPERTS
from rl.environments.lockstep import LockstepOptions
from rl.environments.portfolio_environment import BatchedPortfolio
from tests.business_policies import (
    NUM_PRICES,
    NUM_SYMBOLS,
    TASK,
    broken,
    chain_policy,
    investor_policy,
)
from tests.cards import make_header
from utils.errors import ConfigError

pytestmark = pytest.mark.anyio
CONTEXT = InvocationContext(request_id="r1")
LEVERED = replace(TASK, action="weights", max_leverage=1.5, max_short=0.3)
STEPS = 6


async def ready(artifact) -> PolicyAgent:
    agent = PolicyAgent(artifact, DOMAINS[artifact.domain](artifact))
    await agent.setup()
    return agent


def example(artifact=None) -> dict:
    return PortfolioDecisions(artifact or investor_policy()).example_request().model_dump()


def weights_of(portfolio) -> np.ndarray:
    return np.asarray([one.target_weight for one in portfolio.positions])


@pytest.mark.parametrize("task", [TASK, LEVERED], ids=["rebalancing", "levered"])
async def test_a_portfolio_is_held_as_in_training(task):
    artifact = investor_policy(task)
    market = SyntheticMarketConfig(
        max_symbols=NUM_SYMBOLS, max_steps=task.num_steps, lookback=NUM_PRICES
    )
    scenarios = SyntheticMarket(market).draw(1, np.random.default_rng(4))
    options = LockstepOptions(num_envs=1, shuffle=False)
    world = BatchedPortfolio(task, fixed_bank(scenarios), options, 0)
    record = world.reset()
    runtime, wealth = PolicyRuntime(artifact), 1e6
    agent = await ready(artifact.with_card(replace(artifact.card, validated_for=())))
    for _ in range(STEPS):
        view = world.view
        held = view.weights[0, 0].numpy().astype(np.float64)
        moves = view.returns[0, 0].numpy().astype(np.float64)
        prices = 50.0 * np.exp(np.cumsum(np.vstack([np.zeros(NUM_SYMBOLS), moves]), axis=0))
        request = {
            "holdings": [
                {
                    "symbol": f"S{n}",
                    "prices": prices[:, n].tolist(),
                    "shares": float(held[n] * wealth / prices[-1, n]),
                }
                for n in range(NUM_SYMBOLS)
            ],
            "cash": float(wealth * (1.0 - held.sum())),
            "days_left": int(view.steps_left[0, 0]),
        }
        action = torch.from_numpy(runtime.act(record.observation.numpy()))
        target = PortfolioDomain(task, torch).project(action, view)[0, 0].numpy()
        decision = await agent.invoke(agent.parse(request), CONTEXT)
        assert decision.decided_by == "policy"
        np.testing.assert_allclose(weights_of(decision.portfolio), target, atol=2e-6)
        record = world.step(action)
        assert decision.portfolio.turnover == pytest.approx(
            float(record.metrics["turnover"][0]), abs=1e-5
        )
        assert decision.portfolio.cost / wealth == pytest.approx(
            float(record.metrics["cost_share"][0]), abs=1e-6
        )


@st.composite
def requests(draw, *, shorts: bool) -> dict:
    price = st.one_of(st.floats(20.0, 80.0), st.floats(1e-6, 1e9))
    count = draw(st.integers(1, NUM_SYMBOLS))
    days = draw(st.sampled_from([3, NUM_PRICES - 1, NUM_PRICES, NUM_PRICES + 3]))
    least = -100.0 if shorts else 0.0
    holdings = []
    for n in range(count):
        last = draw(price)
        prices = [last * (1.0 + 0.01 * ((7 * n + 3 * d) % 5 - 2)) for d in range(days)]
        if draw(st.booleans()):
            prices[draw(st.integers(0, days - 1))] = draw(price)
        shares = draw(st.one_of(st.just(0.0), st.floats(least, 100.0), st.floats(0, 1e12)))
        prices = [min(max(one, 1e-6), 1e9) for one in prices]
        holdings.append({"symbol": f"S{n}", "prices": prices, "shares": shares})
    gross = sum(abs(one["shares"]) * one["prices"][-1] for one in holdings)
    net = sum(one["shares"] * one["prices"][-1] for one in holdings)
    wealth = gross / 50.0 + draw(st.floats(0.1, 1e6))
    cash = wealth - net + draw(st.floats(0, 1e9))
    assume(abs(cash) < 1e15)
    return {
        "holdings": holdings,
        "cash": cash,
        "days_left": draw(st.integers(1, TASK.num_steps)),
        "compare": True,
    }


async def check_feasible(artifact, task, request: dict) -> None:
    agent = await ready(artifact)
    decision = await agent.invoke(agent.parse(request), CONTEXT)
    wealth = decision.wealth
    for portfolio in (decision.portfolio, decision.expert.portfolio):
        weights = weights_of(portfolio)
        assert np.abs(weights).sum() <= task.max_leverage
        assert weights.min() >= -task.max_short
        if task.max_leverage == 1.0:
            assert min(portfolio.cash_weight, portfolio.cash_after) >= 0.0
        traded = sum(one.trade_value for one in portfolio.positions)
        scale = max(wealth, *(abs(one.trade_value) for one in portfolio.positions))
        paid = portfolio.cash_after + traded + portfolio.cost
        assert paid == pytest.approx(request["cash"], abs=1e-9 * max(scale, abs(request["cash"])))
        assert portfolio.cost == pytest.approx(sum(one.cost for one in portfolio.positions))
        assert all(one.reason.endswith(".") for one in portfolio.positions)
    assert PortfolioDecision.model_validate_json(decision.model_dump_json()) == decision


@settings(max_examples=40)
@given(request=requests(shorts=False), seed=st.integers(0, 3))
async def test_any_portfolio_stays_long_and_within_its_budget(request, seed):
    await check_feasible(investor_policy(seed=seed), TASK, request)


@settings(max_examples=15)
@given(
    request=requests(shorts=False),
    expert=st.sampled_from(["merton", "maximum_sharpe", "risk_parity", "minimum_variance"]),
)
async def test_any_market_is_answered_by_any_expert(request, expert):
    await check_feasible(investor_policy(expert=expert), TASK, request)


async def test_an_expert_that_finds_no_weights_keeps_what_is_held_and_says_so(monkeypatch):
    def fail(view, config):
        raise ArithmeticError("weights still move")

    monkeypatch.setitem(EXPERTS, "equal", fail)
    agent = await ready(broken(investor_policy()))
    decision = await agent.invoke(agent.example_request(), CONTEXT)
    held = [one.weight_now for one in decision.portfolio.positions]
    np.testing.assert_allclose(weights_of(decision.portfolio), held, atol=1e-9)
    assert decision.warnings[-1].startswith("equal found no weights for these prices")


@settings(max_examples=40)
@given(request=requests(shorts=True), seed=st.integers(0, 3))
async def test_any_levered_portfolio_stays_within_its_limits(request, seed):
    artifact = investor_policy(LEVERED, seed)
    await check_feasible(artifact, LEVERED, request)


@pytest.mark.parametrize("expert", ["buy_and_hold", "inverse_volatility", "minimum_variance"])
async def test_experts_hold_what_they_say(expert):
    artifact = investor_policy(expert=expert)
    agent = await ready(artifact)
    request = agent.parse(example() | {"days_left": TASK.num_steps})
    decision = await agent.invoke(request, CONTEXT)
    weights = weights_of(decision.expert.portfolio)
    assert weights.sum() == pytest.approx(1.0, abs=1e-6)
    assert decision.expert.name == expert
    if expert == "buy_and_hold":
        np.testing.assert_allclose(weights, 1 / NUM_SYMBOLS, atol=1e-6)


async def test_on_the_first_day_all_is_set_up_and_later_part_of_the_way():
    agent = await ready(investor_policy())
    cash = copy.deepcopy(example())
    for one in cash["holdings"]:
        one["shares"] = 0.0
    decision = await agent.invoke(agent.parse(cash | {"days_left": TASK.num_steps}), CONTEXT)
    np.testing.assert_allclose(weights_of(decision.portfolio), 0.25, atol=1e-6)
    assert decision.portfolio.positions[0].reason == (
        "Bought from 0.00% to 25.00% of wealth; an equal share is 25.00%."
    )
    later = await agent.invoke(agent.parse(cash | {"days_left": 5}), CONTEXT)
    assert 0.0 < weights_of(later.portfolio).sum() < 1.0
    assert later.portfolio.cash_after > 0.0


def test_a_share_that_costs_alone_raise_is_said_to_be_sold():
    domain = PortfolioDecisions(investor_policy())
    holdings = domain.example_request().holdings
    shares = [0.7, 0.3, 0.0, 0.0]
    request = domain.example_request().model_copy(
        update={
            "cash": 0.0,
            "holdings": [
                one.model_copy(update={"shares": 1000.0 * share / one.prices[-1]})
                for one, share in zip(holdings, shares, strict=True)
            ],
        }
    )
    wish = {one.symbol: w for one, w in zip(holdings, (0.0, 0.3002, 0.6998, 0.0), strict=True)}
    situation = domain.read(request)
    decision = domain.override(situation, {"weights": wish}, header=make_header())
    line = decision.portfolio.positions[1]
    assert line.trade_value < 0 < line.target_weight - line.weight_now
    assert line.reason.startswith("Sold from 30.00% to 30.02%")


async def test_wishes_beyond_a_limit_are_named():
    domain = PortfolioDecisions(investor_policy(LEVERED))
    situation = domain.read(domain.example_request())
    allowed = domain.project(np.asarray([1.0, 1.0, 1.0, -0.9]), situation)
    assert allowed.cuts == ["max_short", "max_leverage"]
    assert np.abs(allowed.weights).sum() <= 1.5
    assert allowed.weights[3] < 0
    fine = domain.project(np.asarray([0.5, 0.2, 0.0, -0.1]), situation)
    assert fine.cuts == []
    np.testing.assert_allclose(fine.weights, [0.5, 0.2, 0.0, -0.1], atol=1e-9)


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("holdings/1/symbol", "SYM1", "holdings[1].symbol"),
        ("holdings/1/symbol", "", "holdings[1].symbol"),
        ("holdings/1/prices", [50.0] * 29, "holdings[1].prices"),
        ("holdings/1/prices", [50.0] * 2, "holdings[1].prices"),
        ("holdings/1/prices/3", 0.0, "holdings[1].prices[3]"),
        ("holdings/1/prices/3", float("nan"), "holdings[1].prices[3]"),
        ("holdings/1/shares", -5.0, "holdings[1].shares"),
        ("holdings/1/shares", float("inf"), "holdings[1].shares"),
        ("holdings/1/colour", "red", "holdings[1].colour"),
        ("holdings", [], "holdings"),
        ("cash", -1e12, "cash"),
        ("cash", "much", "cash"),
        ("days_left", 0, "days_left"),
        ("days_left", 21, "days_left"),
    ],
)
async def test_a_malformed_request_is_refused_by_its_field(path, value, field):
    agent = await ready(investor_policy())
    request = target = example()
    *steps, last = path.split("/")
    for step in steps:
        target = target[int(step) if step.isdigit() else step]
    target[int(last) if last.isdigit() else last] = value
    with pytest.raises(RequestError) as caught:
        await agent.invoke(agent.parse(request), CONTEXT)
    assert [one.field for one in caught.value.problems] == [field]


async def test_too_many_symbols_no_wealth_and_too_much_debt_are_refused():
    agent = await ready(investor_policy())
    request = example()
    crowd = [{**request["holdings"][0], "symbol": f"S{n}"} for n in range(NUM_SYMBOLS + 1)]
    with pytest.raises(RequestError, match="5 symbols; this agent takes at most 4"):
        await agent.invoke(agent.parse(request | {"holdings": crowd}), CONTEXT)
    value = sum(one["shares"] * one["prices"][-1] for one in request["holdings"])
    with pytest.raises(RequestError, match="must be worth something together"):
        await agent.invoke(agent.parse(request | {"cash": -value}), CONTEXT)
    with pytest.raises(RequestError, match="times the wealth"):
        await agent.invoke(agent.parse(request | {"cash": -value * 0.995}), CONTEXT)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r["holdings"].pop(), "symbols.count = 3"),
        (lambda r: [one["prices"].pop() for one in r["holdings"]], "prices.count = 29"),
        (lambda r: r["holdings"][0]["prices"].__setitem__(5, 90.0), "prices.daily_return = "),
        (lambda r: r.__setitem__("cash", -500.0), "cash = -500"),
    ],
)
async def test_far_from_training_the_expert_holds_and_says_so(change, words):
    agent = await ready(investor_policy())
    request = example()
    change(request)
    decision = await agent.invoke(agent.parse(request), CONTEXT)
    assert decision.fallback_reason is FallbackReason.OUTSIDE_VALIDATED_RANGE
    assert decision.decided_by == "equal"
    assert decision.warnings[0].startswith(words)
    assert decision.portfolio == decision.expert.portfolio
    assert weights_of(decision.portfolio).sum() <= 1.0


async def test_only_the_newest_prices_count():
    agent = await ready(investor_policy())
    request = example()
    plain = await agent.invoke(agent.parse(request), CONTEXT)
    for one in request["holdings"]:
        one["prices"] = [1.0, 900.0, *one["prices"]]
    longer = await agent.invoke(agent.parse(request), CONTEXT)
    assert longer.portfolio == plain.portfolio


async def test_a_policy_of_no_numbers_falls_back():
    agent = await ready(broken(investor_policy()))
    decision = await agent.invoke(agent.example_request(), CONTEXT)
    assert decision.fallback_reason is FallbackReason.NOT_FINITE
    assert decision.portfolio == decision.expert.portfolio


async def test_a_batch_is_its_requests_whatever_their_look_back():
    artifact = investor_policy()
    agent = await ready(artifact.with_card(replace(artifact.card, validated_for=())))
    asked = []
    for days in (30, 12, 30, 5):
        request = example()
        for one in request["holdings"]:
            one["prices"] = one["prices"][-days:]
        asked.append(agent.parse(request | {"cash": 100.0 * days}))
    together = await agent.invoke_batch(asked, CONTEXT)
    for request, decision in zip(asked, together, strict=True):
        alone = await agent.invoke(request, CONTEXT)
        np.testing.assert_allclose(
            weights_of(decision.portfolio), weights_of(alone.portfolio), atol=1e-6
        )


async def test_the_example_is_answered_by_the_policy():
    agent = await ready(investor_policy())
    decision = await agent.invoke(agent.example_request(), CONTEXT)
    assert decision.decided_by == "policy"
    assert decision.warnings == []
    assert len(decision.portfolio.positions) == NUM_SYMBOLS


def test_artifacts_that_do_not_fit_are_refused():
    artifact = investor_policy()
    with pytest.raises(ConfigError, match="serves portfolio"):
        PortfolioDecisions(chain_policy())
    with pytest.raises(ConfigError, match="knows continuous rebalancing"):
        PortfolioDecisions(replace(artifact, action=replace(artifact.action, meaning="weights")))
    with pytest.raises(ConfigError, match="expert 'guess'"):
        PortfolioDecisions(investor_policy(expert="guess"))
