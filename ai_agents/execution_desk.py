"""Orders of any share on a trained desk, as the execution agent needs them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ai_agents.base_agent import RequestError
from ai_agents.execution_markets import (
    BASIS_POINTS,
    Choose,
    Float32,
    OrderSituation,
    Schedules,
    SlicingTerms,
    known_expert,
    order_problems,
    stack_numbers,
)
from ai_agents.execution_schema import DeskRequest
from ai_agents.policy_checks import check_policy, range_warning
from data.desk_orders import DeskLaws
from rl.artifacts import PolicyArtifact, ValidRange
from rl.deployment.guardrails import OutOfRange, find_out_of_range
from rl.domains.order_desks import (
    EXPERTS,
    OBSERVATION_SIZE,
    DeskView,
    OrderDesksConfig,
    OrderDesksDomain,
)
from utils.config import from_json

PACE = "pace"
LOOKBACK = DeskLaws().lookback
"""Moves that desks know in training."""
LARGEST_MOVE = 1e6
"""In deviations; a price that did more than that is as unusual as can be."""
FAR_APART = 2.0
"""Times that own sales, at most, move a price away from what it is without them."""
BEHIND = 0.15
"""Share of the order by which a policy may be behind even slices. Training begins each order with
all slices to come and hardly ever gets there; policies then sell far too much at once."""


class DeskMarket:
    """Orders of shares whose volatility, impact and risk aversion the caller knows."""

    request_type = DeskRequest
    subject = "an order"

    def __init__(self, artifact: PolicyArtifact) -> None:
        """Read the world and the expert.

        Args:
            artifact: Of domain `order_desks`.

        Raises:
            ConfigError: Network or expert do not fit.
        """
        self._config = from_json(OrderDesksConfig, json.loads(artifact.domain_config))
        self._domain = OrderDesksDomain(self._config)
        check_policy(artifact, PACE, OBSERVATION_SIZE, 1)
        self.expert_name = known_expert(artifact, EXPERTS)
        self._expert = EXPERTS[self.expert_name]
        self._valid = artifact.card.validated_for

    def example(self) -> DeskRequest:
        """Return an order in the middle of what is validated, half done."""
        steps = self._config.num_steps
        known = {one.field: one for one in self._valid}
        volatility = round(_middle(known.get("order.volatility"), 200.0), 1)
        prices = [50.0]
        for turn in (0.9, -0.7, 0.4, -1.3, 0.8, 0.2, -0.5, 1.1, -0.9, 0.3, -0.6, 1.0):
            prices.append(round(prices[-1] * (1.0 + turn * volatility / BASIS_POINTS), 2))
        return DeskRequest(
            shares_total=100_000,
            shares_left=30_000,
            lot=100,
            slices_left=max(1, round(0.6 * steps)),
            arrival_price=prices[0],
            price=prices[-1],
            recent_prices=prices,
            volatility_bp=volatility,
            impact_bp=round(_middle(known.get("order.impact"), 400.0), 1),
            risk_aversion=float(f"{_middle(known.get('order.risk_aversion'), 1e-3):.3g}"),
            compare=True,
        )

    def read(self, request: DeskRequest) -> OrderSituation:
        """Turn a request into numbers.

        Args:
            request: Well formed.

        Raises:
            RequestError: It does not fit.
        """
        config = self._config
        problems = list(order_problems(request, config.num_steps))
        if problems:
            raise RequestError(problems)
        prices = np.asarray(request.recent_prices[-LOOKBACK - 1 :])
        moves = (prices[1:] / prices[:-1] - 1.0) * BASIS_POINTS / request.volatility_bp
        missing = LOOKBACK - len(moves)
        change = (request.price / request.arrival_price - 1.0) * BASIS_POINTS
        values = {
            "order.moves": [float(moves.min()), float(moves.max())],
            "order.price_change": [change / (request.volatility_bp * config.num_steps**0.5)],
            "order.volatility": [request.volatility_bp],
            "order.impact": [request.impact_bp],
            "order.risk_aversion": [request.risk_aversion],
        }
        outside = (*find_out_of_range(values, self._valid), *self._behind(request))
        words = list(map(range_warning, outside))
        newest = request.recent_prices[-1]
        if not newest / FAR_APART <= request.price <= newest * FAR_APART:
            words.append(f"price = {request.price:g}, but recent_prices end at {newest:g}")
        if missing > 0:
            words.append(
                f"recent_prices: {len(moves)} of {LOOKBACK} moves given; the earlier ones are "
                "taken to be as large as volatility_bp"
            )
        kept = np.clip(moves, -LARGEST_MOVE, LARGEST_MOVE)
        return OrderSituation(
            order=request,
            outside=outside,
            warnings=tuple(words),
            numbers={
                "remaining": np.asarray(request.shares_left / request.shares_total),
                "steps_left": np.asarray(float(request.slices_left)),
                "price_change": np.asarray(change),
                "moves": np.concatenate([np.ones(max(missing, 0)), kept]),
                "volatility": np.asarray(request.volatility_bp),
                "impact": np.asarray(request.impact_bp),
                "risk_aversion": np.asarray(request.risk_aversion),
            },
            terms=SlicingTerms(
                spread=config.half_spread,
                temporary=config.num_steps * request.impact_bp,
                permanent=config.permanent_share * request.impact_bp,
                deviation=request.volatility_bp,
                risk_aversion=request.risk_aversion,
            ),
        )

    def _behind(self, request: DeskRequest) -> tuple[OutOfRange, ...]:
        even = request.slices_left / self._config.num_steps
        valid = ValidRange(
            field="shares_left", low=0.0, high=(even + BEHIND) * request.shares_total
        )
        return find_out_of_range({"shares_left": [request.shares_left]}, (valid,))

    def observe(self, view: DeskView, known: Any) -> Float32:
        """Return what the policy sees.

        Args:
            view: From `roll`.
            known: Of the share, which slices do not change.
        """
        return np.asarray(self._domain.encode(view, known), np.float32)

    def ask_expert(self, view: DeskView, known: Any) -> Float32:
        """Return the expert's action.

        Args:
            view: From `roll`.
            known: Not used.
        """
        del known
        return self._expert(view, self._config)

    def roll(self, situations: Sequence[OrderSituation], choose: Choose) -> Schedules:
        """Play orders to their ends; volatility stays as it was seen.

        Args:
            situations: At least one.
            choose: Who decides.
        """
        view = DeskView(**stack_numbers(situations))
        fall = self._config.permanent_share * view.impact
        known = self._domain.read_market(view)
        first = choose(view, known)
        pace = self._config.num_steps * np.square(first[:, 0].astype(np.float64))
        wished = view.remaining * pace / np.maximum(view.steps_left, 1.0)
        sold = []
        for number in range(int(view.steps_left.max())):
            now = self._domain.project(choose(view, known) if number else first, view)
            sold.append(now)
            view = replace(
                view,
                remaining=view.remaining - now,
                steps_left=view.steps_left - 1.0,
                price_change=view.price_change - fall * now,
            )
        return Schedules(wished=wished, sold=np.stack(sold, -1).astype(np.float64))


def _middle(valid: ValidRange | None, otherwise: float) -> float:
    """Return the geometric middle of a range."""
    return otherwise if valid is None else float(np.sqrt(valid.low * valid.high))
