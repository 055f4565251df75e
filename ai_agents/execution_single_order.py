"""The one order that an execution policy was trained for, its market known whole."""

from __future__ import annotations

import json
from collections.abc import Sequence

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
from ai_agents.execution_schema import FixedOrderRequest
from ai_agents.policy_checks import check_policy, problem_of, range_warning
from rl.artifacts import PolicyArtifact
from rl.deployment.execution_exporter import SHARE_OF_REST
from rl.deployment.guardrails import find_out_of_range
from rl.domains.execution import (
    OBSERVATION_SIZE,
    ExecutionConfig,
    ExecutionDomain,
    ExecutionView,
)
from rl.domains.execution_experts import EXPERTS
from utils.config import from_json


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
        check_policy(artifact, SHARE_OF_REST, OBSERVATION_SIZE, 1)
        self.expert_name = known_expert(artifact, EXPERTS)
        self._expert = EXPERTS[self.expert_name]
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
        config, problems = self._config, [*order_problems(request, self._config.num_steps)]
        if request.shares_total != config.shares:
            text = f"this agent was trained for an order of {config.shares:g} shares, no other"
            problems.append(problem_of("shares_total", text))
        if problems:
            raise RequestError(problems)
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

    def observe(self, view: ExecutionView, known: None) -> Float32:
        """Return what the policy sees.

        Args:
            view: From `roll`.
            known: Not used.
        """
        del known
        return np.asarray(self._domain.encode(view), np.float32)

    def ask_expert(self, view: ExecutionView, known: None) -> Float32:
        """Return the expert's action.

        Args:
            view: From `roll`.
            known: Not used.
        """
        del known
        return self._expert(view, self._config)

    def roll(self, situations: Sequence[OrderSituation], choose: Choose) -> Schedules:
        """Play orders to their ends.

        Args:
            situations: At least one.
            choose: Who decides.
        """
        view = ExecutionView(**stack_numbers(situations))
        impact = self._config.permanent_impact * self._config.shares
        first = choose(view, None)
        wished = view.remaining.astype(np.float64) * first[:, 0]
        sold = []
        for number in range(int(view.steps_left.max())):
            now = self._domain.project(choose(view, None) if number else first, view)
            sold.append(now)
            view = ExecutionView(
                remaining=view.remaining - now,
                steps_left=view.steps_left - 1.0,
                price_change=view.price_change - impact * now,
                last_move=-impact * now,
            )
        return Schedules(wished=wished, sold=np.stack(sold, -1).astype(np.float64))
