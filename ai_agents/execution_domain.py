"""Execution: from an order that is partly done to the next slice, the plan after it, its cost."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_agents.base_agent import Header
from ai_agents.decision_domain import DecisionDomain, Plan
from ai_agents.execution_desk import DeskMarket
from ai_agents.execution_markets import (
    BASIS_POINTS,
    Array64,
    Float32,
    OrderMarket,
    OrderSituation,
    Schedules,
)
from ai_agents.execution_schema import (
    ExecutionDecision,
    ExpertSlice,
    OrderRequest,
    ScheduleOutlook,
)
from ai_agents.execution_single_order import FixedMarket
from ai_agents.outcomes import read_amounts
from ai_agents.wishes import SliceWish, read_wish, refuse
from rl.artifacts import PolicyArtifact
from rl.deployment.execution_exporter import EXECUTION
from rl.deployment.guardrails import finite_rows
from rl.deployment.policy_runtime import PolicyRuntime
from rl.deployment.trading_exporter import ORDER_DESKS
from utils.errors import ConfigError

MARKETS: Mapping[str, Callable[[PolicyArtifact], OrderMarket]] = {
    ORDER_DESKS: DeskMarket,
    EXECUTION: FixedMarket,
}
SLICES_LEFT, SHARES_LEFT = "slices_left", "shares_left"
"""Guardrails: the last slice sells the rest; no more is sold than is left."""
CUT = 1e-6
"""Share of the order that a wish may be off before it counts as cut."""


class ExecutionDecisions(DecisionDomain[OrderRequest, ExecutionDecision, OrderSituation]):
    """How many shares of an order are sold now."""

    title = "Execution agent"
    tags = ("trading", "order", "slices", "market impact")
    decision_type = ExecutionDecision

    def __init__(self, artifact: PolicyArtifact) -> None:
        """Read world and expert from the artifact.

        Args:
            artifact: Of an order of either kind.

        Raises:
            ConfigError: It is of another domain, or its parts do not fit one another.
        """
        if artifact.domain not in MARKETS:
            known = " and ".join(MARKETS)
            raise ConfigError(f"this agent serves {known}, not {artifact.domain}")
        self._market = MARKETS[artifact.domain](artifact)
        self.request_type = self._market.request_type
        self.expert_name = self._market.expert_name
        self._runtime = PolicyRuntime(artifact)

    def describe(self) -> str:
        """Say in a sentence what is decided."""
        return (
            f"Says how much of {self._market.subject} is sold in the next slice, so that spread, "
            "impact and the charge for price risk together are as small as can be by the end."
        )

    def example_request(self) -> OrderRequest:
        """Return an order that the policy answers for."""
        return self._market.example()

    def vary(self, generator: np.random.Generator) -> OrderRequest:
        """Return the example's order after any number of slices, the price a little moved.

        Args:
            generator: The only source of chance.
        """
        example = self.example_request()
        slices = int(generator.integers(1, example.slices_left + 1))
        lots = int(generator.integers(1, example.shares_left // example.lot + 1))
        price = example.price * (1.0 + 0.01 * float(generator.standard_normal()))
        return example.model_copy(
            update={"slices_left": slices, "shares_left": lots * example.lot, "price": price}
        )

    def read(self, request: OrderRequest) -> OrderSituation:
        """Turn a request into the numbers of its market.

        Args:
            request: Well formed.

        Raises:
            RequestError: It does not fit; each problem names its field.
        """
        return self._market.read(request)

    def plan(self, situations: Sequence[OrderSituation]) -> Plan:
        """Let the policy play the orders to their ends, all at once.

        Args:
            situations: At least one.
        """
        usable = np.ones(len(situations), np.bool_)

        def choose(view: Any, known: Any) -> Float32:
            output = self._runtime.output(self._market.observe(view, known))
            finite = finite_rows(output)
            np.logical_and(usable, finite, out=usable)
            chosen = self._runtime.choose(np.where(finite[:, None], output, np.float32(0)))
            return np.asarray(chosen, np.float32)

        return Plan(_join(self._market.roll(situations, choose)), usable)

    def ask_expert(self, situations: Sequence[OrderSituation]) -> NDArray[Any]:
        """Let the expert play the orders to their ends, all at once.

        Args:
            situations: At least one.
        """
        return _join(self._market.roll(situations, self._market.ask_expert))

    def decide(
        self,
        situation: OrderSituation,
        action: NDArray[Any],
        *,
        header: Header,
        expert: NDArray[Any] | None,
    ) -> ExecutionDecision:
        """Cut a schedule to whole lots that add up to what is left, and say what it costs.

        Args:
            situation: The order.
            action: Wish for the next slice, then the schedule, as shares of the whole order.
            header: What every decision says.
            expert: The expert's, if it is to be compared.
        """
        order = situation.order
        slices = in_lots(action[1:], order)
        compared = None
        if expert is not None:
            theirs = in_lots(expert[1:], order)
            compared = ExpertSlice(
                name=self.expert_name, next_slice=theirs[0], outlook=foresee(theirs, situation)
            )
        wish, left = float(action[0]), order.shares_left / order.shares_total
        return ExecutionDecision(
            **header,
            guardrails=[] if header["fallback_used"] else _name_cuts(wish, left, order),
            next_slice=slices[0],
            shares_after=order.shares_left - slices[0],
            reason=_reason(slices, order),
            outlook=foresee(slices, situation),
            expert=compared,
        )

    def amounts(self, decision: ExecutionDecision) -> Mapping[Hashable, float]:
        """Return the shares that are sold now, and those that are not.

        Args:
            decision: Of policy, expert or person.
        """
        return {"now": decision.next_slice, "later": decision.shares_after}

    def realised(
        self,
        request: OrderRequest,
        outcome: Mapping[str, Any] | None,
        following: OrderRequest | None,
    ) -> float | None:
        """Return how far the price moved by the next slice, in currency a share.

        Args:
            request: What was asked.
            outcome: The next slice's `price`, without the effect of own sales, if it was reported.
            following: The agent's next request; if it is about the same order one slice later, its
                price counts, the lasting effect of own sales included.
        """
        told = read_amounts(outcome, ["price"])
        if told is not None:
            return float(told[0]) - request.price
        if following is None or _slice_of(following, 1) != _slice_of(request, 0):
            return None
        return following.price - request.price

    def worth(
        self, situation: OrderSituation, decision: ExecutionDecision, came: float | None
    ) -> float:
        """Return minus what a schedule costs, in currency: expected, or as the price moved.

        Args:
            situation: The order.
            decision: Of policy, expert or person.
            came: How far the price moved; without it the charge for its risk counts.
        """
        outlook, order = decision.outlook, situation.order
        if came is not None:
            return came * decision.shares_after - outlook.expected_cost
        point = order.arrival_price * order.shares_total / BASIS_POINTS
        return -outlook.expected_cost - outlook.risk_charge_bp * point

    def to_action(self, situation: OrderSituation, wish: Mapping[str, Any]) -> Array64:
        """Return a schedule that begins with what a person sells now and goes on evenly.

        Args:
            situation: The order.
            wish: `next_slice`.

        Raises:
            RequestError: It is no whole number of lots, more than is left, or leaves some over.
        """
        order, now = situation.order, read_wish(SliceWish, wish).next_slice
        is_last = order.slices_left == 1
        if now > order.shares_left or now % order.lot or (is_last and now != order.shares_left):
            raise refuse(
                "next_slice",
                f"{now:,} shares: sell whole lots of {order.lot:,}, at most the "
                f"{order.shares_left:,} that are left, and all of them in the last slice",
            )
        rest = (order.shares_left - now) / max(order.slices_left - 1, 1)
        slices = np.full(order.slices_left, rest)
        slices[0] = now
        return np.concatenate([[now], slices]) / order.shares_total


def in_lots(schedule: Array64, order: OrderRequest) -> list[int]:
    """Round a schedule to whole lots that add up to exactly what is left.

    What has been sold by the end of each slice is rounded, so that no rounding adds up.

    Args:
        schedule: `[slice]`: shares of the whole order, not negative.
        order: Says what is left.

    Returns:
        Shares of every slice that is left.
    """
    count, lots = order.slices_left, order.shares_left // order.lot
    by_then = np.cumsum(np.maximum(schedule[:count], 0.0)) * order.shares_total / order.lot
    whole = np.minimum(np.floor(by_then + 0.5), lots)
    whole[-1] = lots
    sold = np.diff(np.maximum.accumulate(whole), prepend=0.0)
    return [int(number) * order.lot for number in sold.tolist()]


def foresee(slices: Sequence[int], situation: OrderSituation) -> ScheduleOutlook:
    """Say what slices cost, and how far prices may move them.

    Args:
        slices: Shares of every slice that is left.
        situation: The order and its market.
    """
    order, terms = situation.order, situation.terms
    sold = np.asarray(slices, np.float64) / order.shares_total
    held = np.maximum(order.shares_left / order.shares_total - np.cumsum(sold), 0.0)
    cost = (
        terms.spread * float(sold.sum())
        + terms.temporary * float(sold @ sold)
        + terms.permanent * float(sold @ held)
    )
    variance = terms.deviation**2 * float(held @ held)
    point = order.arrival_price * order.shares_total / BASIS_POINTS
    return ScheduleOutlook(
        slices=list(slices),
        expected_cost_bp=cost,
        expected_cost=cost * point,
        deviation_bp=variance**0.5,
        deviation=variance**0.5 * point,
        risk_charge_bp=terms.risk_aversion * variance,
    )


def _slice_of(order: OrderRequest, slices_ago: int) -> tuple[int, float, int]:
    return order.shares_total, order.arrival_price, order.slices_left + slices_ago


def _join(schedules: Schedules) -> Array64:
    """Return `[row, 1 + slice]`: the wish, then the schedule."""
    return np.concatenate([schedules.wished[:, None], schedules.sold], -1)


def _name_cuts(wish: float, left: float, order: OrderRequest) -> list[str]:
    if order.slices_left == 1:
        return [SLICES_LEFT] if wish < left - CUT else []
    return [SHARES_LEFT] if wish > left + CUT else []


def _reason(slices: Sequence[int], order: OrderRequest) -> str:
    if order.slices_left == 1:
        return f"Last slice: sells all {order.shares_left:,} shares that are left."
    even = order.shares_left / order.slices_left
    part = f"Sells {slices[0]:,} of {order.shares_left:,} shares left"
    if slices[0] == order.shares_left:
        early = order.slices_left - 1
        return f"{part}: all at once, {early} slice{'s' if early > 1 else ''} early."
    pace = slices[0] / even
    return f"{part}: {pace:.2f} times an even slice of {even:,.0f}, {order.slices_left} to go."
