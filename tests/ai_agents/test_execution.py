"""Execution: training's slices in whole lots that add up, with cost and risk, whoever decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example as also
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_agents.base_agent import InvocationContext, RequestError
from ai_agents.domains import DOMAINS
from ai_agents.execution_domain import ExecutionDecisions, in_lots
from ai_agents.execution_schema import ExecutionDecision, FixedOrderRequest
from ai_agents.policy_agent import PolicyAgent
from data.desk_orders import DeskLaws, SyntheticDesks
from data.price_shocks import NormalShocks, ShockConfig
from data.scenario import fixed_bank
from rl.artifacts import PolicyArtifact
from rl.deployment.guardrails import FallbackReason
from rl.deployment.policy_runtime import PolicyRuntime
from rl.deployment.trading_exporter import desk_ranges
from rl.environments.execution_environment import BatchedExecution
from rl.environments.lockstep import LockstepOptions
from rl.environments.order_desks_environment import BatchedOrderDesks
from rl.evaluation.execution_bounds import compute_execution_bound
from tests.business_policies import DESKS, ORDER, broken, chain_policy, desk_policy, seller_policy
from utils.errors import ConfigError

pytestmark = pytest.mark.anyio
CONTEXT = InvocationContext(request_id="r1")
MANY = 10**10
"""Shares, so that whole lots round by less than a millionth."""
STEPS = 8


async def ready(artifact) -> PolicyAgent:
    agent = PolicyAgent(artifact, DOMAINS[artifact.domain](artifact))
    await agent.setup()
    return agent


def example(artifact) -> dict:
    return DOMAINS[artifact.domain](artifact).example_request().model_dump(exclude_none=True)


def desk_request(view, t: int) -> dict:
    """Word the first desk of the first copy of an environment's view."""
    volatility, change = float(view.volatility[0, 0]), float(view.price_change[0, 0])
    moves = view.moves[0, 0].numpy().astype(np.float64) * volatility / 1e4
    return {
        "shares_total": MANY,
        "shares_left": round(MANY * float(view.remaining[0, 0])),
        "slices_left": DESKS.num_steps - t,
        "arrival_price": 40.0,
        "price": 40.0 * (1.0 + change / 1e4),
        "recent_prices": [40.0, *(40.0 * np.cumprod(1.0 + moves)).tolist()],
        "volatility_bp": volatility,
        "impact_bp": float(view.impact[0, 0]),
        "risk_aversion": float(view.risk_aversion[0, 0]),
    }


async def test_a_desk_sells_as_in_training():
    artifact = desk_policy()
    laws = DeskLaws(num_desks=DESKS.num_desks, num_steps=DESKS.num_steps)
    scenarios = SyntheticDesks(laws).draw(1, np.random.default_rng(5))
    options = LockstepOptions(num_envs=1, shuffle=False)
    world = BatchedOrderDesks(DESKS, fixed_bank(scenarios), options, 0)
    record = world.reset()
    runtime = PolicyRuntime(artifact)
    agent = await ready(artifact.with_card(replace(artifact.card, validated_for=())))
    for t in range(STEPS):
        action = torch.from_numpy(runtime.act(record.observation.numpy()))
        sold = float(world.domain.project(action, world.view)[0, 0])
        decision = await agent.invoke(agent.parse(desk_request(world.view, t)), CONTEXT)
        assert decision.decided_by == "policy"
        assert decision.next_slice / MANY == pytest.approx(sold, abs=1e-6)
        assert decision.warnings == []
        record = world.step(action)


async def test_one_order_is_sold_as_in_training():
    artifact = seller_policy()
    scenarios = NormalShocks(ShockConfig(num_steps=5)).draw(1, np.random.default_rng(2))
    options = LockstepOptions(num_envs=1, shuffle=False)
    world = BatchedExecution(ORDER, fixed_bank(scenarios), options, 0)
    record = world.reset()
    runtime, shares = PolicyRuntime(artifact), int(ORDER.shares)
    agent = await ready(artifact)
    for t in range(4):
        view = world.view
        price = ORDER.arrival_price + float(view.price_change[0])
        request = FixedOrderRequest(
            shares_total=shares,
            shares_left=round(shares * float(view.remaining[0])),
            slices_left=ORDER.num_steps - t,
            arrival_price=ORDER.arrival_price,
            price=price,
            previous_price=price - float(view.last_move[0]),
        )
        action = torch.from_numpy(runtime.act(record.observation.numpy()))
        sold = float(world.domain.project(action[0], view)[0])
        decision = await agent.invoke(request, CONTEXT)
        assert decision.next_slice / shares == pytest.approx(sold, abs=3e-6)
        record = world.step(action)


async def test_the_experts_plan_costs_what_almgren_and_chriss_say():
    agent = await ready(seller_policy())
    decision = await agent.invoke(agent.example_request(), CONTEXT)
    optimum = compute_execution_bound(ORDER)
    theirs = decision.expert.outlook
    assert sum(theirs.slices) == 10**6
    charge = theirs.risk_charge_bp / 1e4 * ORDER.arrival_price * ORDER.shares
    assert theirs.expected_cost + charge == pytest.approx(optimum.disutility, rel=1e-5)
    ours = decision.outlook
    own_charge = ours.risk_charge_bp / 1e4 * ORDER.arrival_price * ORDER.shares
    assert ours.expected_cost + own_charge >= optimum.disutility * (1 - 1e-6)
    assert own_charge == pytest.approx(ORDER.risk_aversion * ours.deviation**2)


async def test_a_desks_outlook_comes_true_where_prices_stand_still():
    artifact = desk_policy()
    laws = DeskLaws(num_desks=DESKS.num_desks, num_steps=DESKS.num_steps)
    drawn = SyntheticDesks(laws).draw(1, np.random.default_rng(6))
    still = replace(drawn, shock=np.zeros_like(drawn.shock), history=np.ones_like(drawn.history))
    options = LockstepOptions(num_envs=1, shuffle=False)
    world = BatchedOrderDesks(DESKS, fixed_bank(still), options, 0)
    world.reset()
    agent = await ready(artifact.with_card(replace(artifact.card, validated_for=())))
    request = agent.parse(desk_request(world.view, 0))
    outlook = (await agent.invoke(request, CONTEXT)).outlook
    paid = 0.0
    for n, slices in enumerate(outlook.slices):
        left = MANY - sum(outlook.slices[:n])
        pace = slices / max(left, 1) * (DESKS.num_steps - n) / DESKS.num_steps
        action = torch.full((1, DESKS.num_desks, 1), pace**0.5)
        before = world.view
        sold = world.domain.project(action, before)[0, 0]
        world.step(action)
        held = world.view.remaining[0, 0] if n + 1 < DESKS.num_steps else torch.tensor(0.0)
        impact = before.impact[0, 0]
        paid += float(sold * (DESKS.half_spread + DESKS.num_steps * impact * sold))
        paid += float(held * DESKS.permanent_share * impact * sold)
    assert outlook.expected_cost_bp == pytest.approx(paid, rel=1e-4)
    assert outlook.expected_cost == pytest.approx(paid / 1e4 * 40.0 * MANY, rel=1e-4)


@st.composite
def desk_requests(draw) -> dict:
    price = st.one_of(st.floats(30.0, 60.0), st.floats(1e-6, 1e9))
    lot = draw(st.sampled_from([1, 7, 100]))
    total = draw(st.integers(1, 10**6))
    return {
        "shares_total": total * lot,
        "shares_left": draw(st.integers(1, total)) * lot,
        "lot": lot,
        "slices_left": draw(st.integers(1, DESKS.num_steps)),
        "arrival_price": draw(price),
        "price": draw(price),
        "recent_prices": draw(st.lists(price, min_size=2, max_size=70)),
        "volatility_bp": draw(st.one_of(st.floats(100, 400), st.floats(0.01, 1e5))),
        "impact_bp": draw(st.one_of(st.floats(100, 1000), st.floats(0.01, 1e6))),
        "risk_aversion": draw(st.one_of(st.floats(1e-4, 1e-2), st.floats(1e-9, 1e3))),
        "compare": True,
    }


@st.composite
def seller_requests(draw) -> dict:
    price = st.one_of(st.floats(45.0, 55.0), st.floats(1e-6, 1e9))
    return {
        "shares_total": 10**6,
        "shares_left": draw(st.integers(1, 10**4)) * 100,
        "lot": 100,
        "slices_left": draw(st.integers(1, 5)),
        "arrival_price": draw(price),
        "price": draw(price),
        "previous_price": draw(st.one_of(st.none(), price)),
        "compare": True,
    }


async def check_feasible(artifact, request: dict) -> None:
    agent = await ready(artifact)
    decision = await agent.invoke(agent.parse(request), CONTEXT)
    left, lot = request["shares_left"], request["lot"]
    assert decision.next_slice + decision.shares_after == left
    for outlook in (decision.outlook, decision.expert.outlook):
        assert len(outlook.slices) == request["slices_left"]
        assert sum(outlook.slices) == left
        assert min(outlook.slices) >= 0
        assert all(one % lot == 0 for one in outlook.slices)
        assert min(outlook.expected_cost_bp, outlook.deviation_bp, outlook.risk_charge_bp) >= 0
    assert decision.outlook.slices[0] == decision.next_slice
    assert decision.reason.endswith(".")
    assert ExecutionDecision.model_validate_json(decision.model_dump_json()) == decision


@settings(max_examples=40)
@given(request=desk_requests(), seed=st.integers(0, 3))
async def test_slices_of_any_desk_are_whole_lots_that_add_up(request, seed):
    await check_feasible(desk_policy(seed=seed), request)


@settings(max_examples=40)
@given(request=seller_requests(), seed=st.integers(0, 3))
async def test_slices_of_the_one_order_are_whole_lots_that_add_up(request, seed):
    await check_feasible(seller_policy(seed=seed), request)


@given(
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=8), lots=st.integers(1, 50)
)  # fmt: skip
@also(shares=[0.5, 0.5], lots=1)
@also(shares=[1.0, 1.0], lots=3)
def test_rounding_never_sells_more_than_is_left(shares, lots):
    order = FixedOrderRequest(
        shares_total=100 * lots + 100,
        shares_left=100 * lots,
        lot=100,
        slices_left=len(shares),
        arrival_price=1.0,
        price=1.0,
    )
    slices = in_lots(np.asarray(shares), order)
    assert sum(slices) == order.shares_left
    assert all(one >= 0 and one % 100 == 0 for one in slices)


def wrong(artifact, **changes) -> dict:
    return example(artifact) | changes


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"shares_left": 100_100}, "shares_left"),
        ({"shares_left": 0}, "shares_left"),
        ({"shares_left": 10.0}, "shares_left"),
        ({"shares_left": 12_345}, "shares_left"),
        ({"lot": 0}, "lot"),
        ({"slices_left": 21}, "slices_left"),
        ({"slices_left": 0}, "slices_left"),
        ({"arrival_price": 0.0}, "arrival_price"),
        ({"price": float("nan")}, "price"),
        ({"recent_prices": [50.0]}, "recent_prices"),
        ({"recent_prices": [50.0, float("inf")]}, "recent_prices[1]"),
        ({"recent_prices": [50.0, -1.0]}, "recent_prices[1]"),
        ({"recent_prices": [50.0] * 1025}, "recent_prices"),
        ({"volatility_bp": 0.0}, "volatility_bp"),
        ({"impact_bp": "much"}, "impact_bp"),
        ({"risk_aversion": -1.0}, "risk_aversion"),
        ({"side": "buy"}, "side"),
    ],
)
async def test_a_malformed_order_is_refused_by_its_field(changes, field):
    agent = await ready(desk_policy())
    with pytest.raises(RequestError) as caught:
        await agent.invoke(agent.parse(wrong(agent.artifact, **changes)), CONTEXT)
    assert [one.field for one in caught.value.problems] == [field]


async def test_a_price_in_another_unit_than_the_recent_ones_is_said():
    agent = await ready(desk_policy())
    newest = example(agent.artifact)["recent_prices"][-1]
    decision = await agent.invoke(agent.parse(wrong(agent.artifact, price=0.05)), CONTEXT)
    assert f"price = 0.05, but recent_prices end at {newest:g}" in decision.warnings


async def test_a_shipped_policy_lets_the_expert_sell_what_is_far_behind():
    content = (Path(__file__).parents[2] / "shipped" / "trading.safetensors").read_bytes()
    agent = await ready(PolicyArtifact.from_bytes(content))
    late = example(agent.artifact) | {"slices_left": 2, "compare": True}
    decision = await agent.invoke(agent.parse(late), CONTEXT)
    assert decision.decided_by == "almgren_chriss"
    assert decision.next_slice == pytest.approx(15_100, abs=200)  # the policy sells all 30,000


def test_how_far_prices_go_is_measured_in_deviations_of_the_horizon():
    drawn = SyntheticDesks(DeskLaws(num_desks=1, num_steps=4)).draw(1, np.random.default_rng(0))
    shock = np.asarray([2.0, 2.0, -1.0, -7.0], np.float32).reshape(1, 4, 1)
    terms = {"volatility": 100.0, "impact": 300.0}
    told = {name: np.full((1, 1), value, np.float32) for name, value in terms.items()}
    ranges = {one.field: one for one in desk_ranges([replace(drawn, shock=shock, **told)])}
    change = ranges["order.price_change"]
    assert (change.low, change.high) == (-4.0 / 2.0 - 3.0 / 2.0, 4.0 / 2.0)


async def test_another_order_than_the_one_is_refused():
    agent = await ready(seller_policy())
    with pytest.raises(RequestError) as caught:
        await agent.invoke(agent.parse(wrong(agent.artifact, shares_total=2_000_000)), CONTEXT)
    assert caught.value.problems[0].field == "shares_total"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"volatility_bp": 1_000.0}, "order.volatility = 1000: validated for 100 to 400 only"),
        ({"recent_prices": [50.0, 80.0]}, "order.moves ="),
        ({"price": 50_000.0}, "order.price_change ="),
        (
            {"shares_left": 60_000, "slices_left": 3},
            "shares_left = 60000: validated for 0 to 30000 only",
        ),
    ],
)
async def test_far_from_training_the_expert_sells_and_says_so(changes, words):
    agent = await ready(desk_policy())
    decision = await agent.invoke(agent.parse(wrong(agent.artifact, **changes)), CONTEXT)
    assert decision.fallback_reason is FallbackReason.OUTSIDE_VALIDATED_RANGE
    assert decision.decided_by == "almgren_chriss"
    assert decision.warnings[0].startswith(words)
    assert decision.outlook == decision.expert.outlook


@pytest.mark.parametrize("artifact", [desk_policy(), seller_policy()], ids=["desk", "seller"])
async def test_a_policy_of_no_numbers_falls_back(artifact):
    agent = await ready(broken(artifact))
    decision = await agent.invoke(agent.example_request(), CONTEXT)
    assert decision.fallback_reason is FallbackReason.NOT_FINITE
    assert decision.outlook == decision.expert.outlook


@pytest.mark.parametrize("artifact", [desk_policy(), seller_policy()], ids=["desk", "seller"])
async def test_a_batch_is_its_requests(artifact):
    agent = await ready(artifact)
    changes = [{"slices_left": n, "shares_left": 10_000 * n} for n in (1, 4, 2, 5)]
    requests = [agent.parse(wrong(artifact, **one)) for one in changes]
    together = await agent.invoke_batch(requests, CONTEXT)
    for request, decision in zip(requests, together, strict=True):
        alone = await agent.invoke(request, CONTEXT)
        np.testing.assert_allclose(decision.outlook.slices, alone.outlook.slices, atol=request.lot)


async def test_the_last_slice_sells_the_rest_and_says_so():
    agent = await ready(desk_policy())
    request = wrong(agent.artifact, slices_left=1, shares_left=3_000)
    decision = await agent.invoke(agent.parse(request), CONTEXT)
    assert (decision.next_slice, decision.shares_after) == (3_000, 0)
    assert decision.reason == "Last slice: sells all 3,000 shares that are left."
    assert decision.outlook.risk_charge_bp == 0.0


async def test_the_example_is_answered_by_the_policy():
    agent = await ready(desk_policy())
    decision = await agent.invoke(agent.example_request(), CONTEXT)
    assert decision.decided_by == "policy"
    (warning,) = decision.warnings
    assert warning.startswith("recent_prices: 12 of 60 moves given; the earlier ones are taken to")
    assert decision.reason.startswith(f"Sells {decision.next_slice:,} of 30,000 shares left")


def test_artifacts_that_do_not_fit_are_refused():
    artifact = desk_policy()
    with pytest.raises(ConfigError, match="serves order_desks and execution"):
        ExecutionDecisions(chain_policy())
    with pytest.raises(ConfigError, match="knows continuous pace"):
        ExecutionDecisions(replace(artifact, action=replace(artifact.action, meaning="levels")))
    with pytest.raises(ConfigError, match="does not fit its own world"):
        ExecutionDecisions(
            replace(
                seller_policy(),
                domain="order_desks",
                action=artifact.action,
                domain_config=artifact.domain_config,
            )
        )
    card = replace(artifact.card, baseline=replace(artifact.card.baseline, expert="guess"))
    with pytest.raises(ConfigError, match="expert 'guess'"):
        ExecutionDecisions(artifact.with_card(card))
