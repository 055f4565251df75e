"""The two trained worlds of execution: orders of any share on a desk, and one order known whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ai_agents.base_agent import FieldProblem, RequestError
from ai_agents.decision_domain import Situation
from ai_agents.execution_schema import DeskRequest, FixedOrderRequest, OrderRequest
from ai_agents.policy_checks import check_policy, problem_of, range_warning
from data.desk_orders import DeskLaws
from rl.artifacts import PolicyArtifact, ValidRange
from rl.deployment.execution_exporter import SHARE_OF_REST
from rl.deployment.guardrails import find_out_of_range
from rl.domains import execution_experts, order_desks
from rl.domains.execution import ExecutionConfig, ExecutionDomain, ExecutionView
from rl.domains.order_desks import DeskView, OrderDesksConfig, OrderDesksDomain
from utils.config import from_json
from utils.errors import ConfigError

Float32 = NDArray[np.float32]
Array64 = NDArray[np.float64]
PACE = "pace"
LOOKBACK = DeskLaws().lookback
"""Moves that desks know in training."""
LARGEST_MOVE = 1e6
"""In deviations; a price that did more than that is as unusual as can be."""
BASIS_POINTS = 1e4
Choose = Callable[[Any], Float32]
"""From a view to an action `[row, 1]`."""


@dataclass(frozen=True, kw_only=True)
class SlicingTerms:
    """What slices cost, in basis points of the whole order at the arrival price.

    With s the slices and h what is held after each, as shares of the order: spread * sum s +
    temporary * sum s^2 + permanent * sum s h; risk is deviation^2 * sum h^2.
    """

    spread: float
    temporary: float
    permanent: float
    deviation: float
    risk_aversion: float


@dataclass(frozen=True, kw_only=True)
class OrderSituation(Situation):
    """A request in the numbers of its market."""

    order: OrderRequest
    numbers: dict[str, Array64]
    """Of the view, by name; no batch axis."""
    terms: SlicingTerms


@dataclass(frozen=True, kw_only=True)
class Schedules:
    """What is sold from now on, `[row, slice]` each, as shares of the whole order."""

    wished: Array64
    """`[row]`: of the next slice, before it is cut to what is left."""
    sold: Array64


class OrderMarket(Protocol):
    """A trained world behind the agent."""

    @property
    def request_type(self) -> type[OrderRequest]:
        """What it is asked with."""
        ...

    @property
    def expert_name(self) -> str:
        """Who stands in for the policy."""
        ...

    @property
    def subject(self) -> str:
        """What it sells, for people."""
        ...

    def example(self) -> OrderRequest:
        """Return an order that the policy answers for."""
        ...

    def read(self, request: Any) -> OrderSituation:
        """Turn a request into numbers.

        Args:
            request: Of the market's request type.

        Raises:
            RequestError: It does not fit.
        """
        ...

    def observe(self, view: Any) -> Float32:
        """Return what the policy sees, `[row, observation]`.

        Args:
            view: From `roll`.
        """
        ...

    def ask_expert(self, view: Any) -> Float32:
        """Return the expert's action, `[row, 1]`.

        Args:
            view: From `roll`.
        """
        ...

    def roll(self, situations: Sequence[OrderSituation], choose: Choose) -> Schedules:
        """Play orders to their ends, prices standing still but for own sales.

        Args:
            situations: At least one.
            choose: Who decides.
        """
        ...


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
        check_policy(artifact, PACE, order_desks.OBSERVATION_SIZE, 1)
        self.expert_name = _known_expert(artifact, order_desks.EXPERTS)
        self._expert = order_desks.EXPERTS[self.expert_name]
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
        _refuse([*_order_problems(request, config.num_steps)])
        prices = np.asarray(request.recent_prices[-LOOKBACK - 1 :])
        moves = (prices[1:] / prices[:-1] - 1.0) * BASIS_POINTS / request.volatility_bp
        missing = LOOKBACK - len(moves)
        values = {
            "order.moves": [float(moves.min()), float(moves.max())],
            "order.volatility": [request.volatility_bp],
            "order.impact": [request.impact_bp],
            "order.risk_aversion": [request.risk_aversion],
        }
        outside = find_out_of_range(values, self._valid)
        words = list(map(range_warning, outside))
        if missing > 0:
            words.append(
                f"recent_prices: {len(moves)} of {LOOKBACK} moves given; the earlier ones are "
                "taken to be as large as volatility_bp"
            )
        change = (request.price / request.arrival_price - 1.0) * BASIS_POINTS
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

    def observe(self, view: DeskView) -> Float32:
        """Return what the policy sees.

        Args:
            view: From `roll`.
        """
        return np.asarray(self._domain.encode(view), np.float32)

    def ask_expert(self, view: DeskView) -> Float32:
        """Return the expert's action.

        Args:
            view: From `roll`.
        """
        return self._expert(view, self._config)

    def roll(self, situations: Sequence[OrderSituation], choose: Choose) -> Schedules:
        """Play orders to their ends; volatility stays as it was seen.

        Args:
            situations: At least one.
            choose: Who decides.
        """
        view = DeskView(**_stack(situations))
        fall = self._config.permanent_share * view.impact
        first = choose(view)
        pace = self._config.num_steps * np.square(first[:, 0].astype(np.float64))
        wished = view.remaining * pace / np.maximum(view.steps_left, 1.0)
        sold = []
        for number in range(int(view.steps_left.max())):
            now = self._domain.project(choose(view) if number else first, view)
            sold.append(now)
            view = replace(
                view,
                remaining=view.remaining - now,
                steps_left=view.steps_left - 1.0,
                price_change=view.price_change - fall * now,
            )
        return Schedules(wished=wished, sold=np.stack(sold, -1).astype(np.float64))


class FixedMarket:
    """One order whose market is all in the artifact."""

    request_type = FixedOrderRequest

    def __init__(self, artifact: PolicyArtifact) -> None:
        """Read the world and the expert.

        Args:
            artifact: Of domain `execution`.

        Raises:
            ConfigError: Network or expert do not fit.
        """
        self._config = from_json(ExecutionConfig, json.loads(artifact.domain_config))
        self._domain = ExecutionDomain(self._config)
        check_policy(artifact, SHARE_OF_REST, 4, 1)
        self.expert_name = _known_expert(artifact, execution_experts.EXPERTS)
        self._expert = execution_experts.EXPERTS[self.expert_name]
        self._valid = artifact.card.validated_for

    @property
    def subject(self) -> str:
        """What it sells, for people."""
        config = self._config
        return f"an order of {config.shares:,.0f} shares in {config.horizon_days:g} days"

    def example(self) -> FixedOrderRequest:
        """Return the order before its first slice."""
        shares, price = int(self._config.shares), self._config.arrival_price
        return FixedOrderRequest(
            shares_total=shares,
            shares_left=shares,
            slices_left=self._config.num_steps,
            arrival_price=price,
            price=price,
            compare=True,
        )

    def read(self, request: FixedOrderRequest) -> OrderSituation:
        """Turn a request into numbers.

        Args:
            request: Well formed.

        Raises:
            RequestError: It does not fit.
        """
        config, problems = self._config, [*_order_problems(request, self._config.num_steps)]
        if request.shares_total != config.shares:
            text = f"this agent was trained for an order of {config.shares:g} shares, no other"
            problems.append(problem_of("shares_total", text))
        _refuse(problems)
        change = request.price - request.arrival_price
        before = request.price if request.previous_price is None else request.previous_price
        move = request.price - before
        values = {"order.price_change": [change], "order.last_move": [move]}
        outside = find_out_of_range(values, self._valid)
        point = request.arrival_price / BASIS_POINTS
        return OrderSituation(
            order=request,
            outside=outside,
            warnings=tuple(map(range_warning, outside)),
            numbers={
                "remaining": np.asarray(request.shares_left / request.shares_total),
                "steps_left": np.asarray(float(request.slices_left)),
                "price_change": np.asarray(change),
                "last_move": np.asarray(move),
            },
            terms=SlicingTerms(
                spread=config.half_spread / point,
                temporary=config.temporary_impact * config.shares / config.step_days / point,
                permanent=config.permanent_impact * config.shares / point,
                deviation=config.step_deviation / point,
                risk_aversion=config.risk_aversion * config.shares * point,
            ),
        )

    def observe(self, view: ExecutionView) -> Float32:
        """Return what the policy sees.

        Args:
            view: From `roll`.
        """
        return np.asarray(self._domain.encode(view), np.float32)

    def ask_expert(self, view: ExecutionView) -> Float32:
        """Return the expert's action.

        Args:
            view: From `roll`.
        """
        return self._expert(view, self._config)

    def roll(self, situations: Sequence[OrderSituation], choose: Choose) -> Schedules:
        """Play orders to their ends.

        Args:
            situations: At least one.
            choose: Who decides.
        """
        view = ExecutionView(**_stack(situations))
        impact = self._config.permanent_impact * self._config.shares
        first = choose(view)
        wished = view.remaining.astype(np.float64) * first[:, 0]
        sold = []
        for number in range(int(view.steps_left.max())):
            now = self._domain.project(choose(view) if number else first, view)
            sold.append(now)
            view = ExecutionView(
                remaining=view.remaining - now,
                steps_left=view.steps_left - 1.0,
                price_change=view.price_change - impact * now,
                last_move=-impact * now,
            )
        return Schedules(wished=wished, sold=np.stack(sold, -1).astype(np.float64))


def _stack(situations: Sequence[OrderSituation]) -> dict[str, Float32]:
    names = situations[0].numbers
    return {
        name: np.stack([one.numbers[name] for one in situations]).astype(np.float32)
        for name in names
    }


def _known_expert(artifact: PolicyArtifact, known: dict[str, Any]) -> str:
    name = artifact.card.baseline.expert
    if name not in known:
        raise ConfigError(f"expert {name!r}; known: {', '.join(known)}")
    return name


def _order_problems(request: OrderRequest, most_slices: int) -> Iterator[FieldProblem]:
    if request.shares_left > request.shares_total:
        yield problem_of("shares_left", f"more than the whole order of {request.shares_total}")
    for name in ("shares_total", "shares_left"):
        if getattr(request, name) % request.lot:
            yield problem_of(name, f"not a multiple of the lot of {request.lot}")
    if request.slices_left > most_slices:
        yield problem_of("slices_left", f"at most {most_slices}: longer plans are not known")


def _refuse(problems: list[FieldProblem]) -> None:
    if problems:
        raise RequestError(problems)


def _middle(valid: ValidRange | None, otherwise: float) -> float:
    """Return the geometric middle of a range."""
    return otherwise if valid is None else float(np.sqrt(valid.low * valid.high))
