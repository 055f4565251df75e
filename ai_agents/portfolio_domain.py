"""Portfolios: from prices and what is held to target weights and the trades that lead to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_agents.base_agent import Header
from ai_agents.decision_domain import DecisionDomain, Plan
from ai_agents.policy_checks import check_policy
from ai_agents.portfolio_plan import NO_TRADE, word_plan
from ai_agents.portfolio_reading import (
    Array64,
    PortfolioReader,
    PortfolioSituation,
    find_returns,
    stack_views,
)
from ai_agents.portfolio_schema import (
    ExpertPortfolio,
    Holding,
    PortfolioDecision,
    PortfolioRequest,
)
from ai_agents.wishes import WeightsWish, read_wish, refuse
from rl.artifacts import PolicyArtifact
from rl.deployment.guardrails import finite_rows, fit_to_capacity
from rl.deployment.policy_runtime import PolicyRuntime
from rl.deployment.portfolio_exporter import PORTFOLIO, PRICES, SYMBOLS
from rl.domains.portfolio import (
    FEATURES_PER_AGENT,
    FEATURES_PER_SYMBOL,
    PortfolioConfig,
    PortfolioDomain,
    PortfolioView,
)
from rl.domains.portfolio_experts import EXPERTS
from utils.config import from_json
from utils.errors import ConfigError
from utils.logs import get_logger

logger = get_logger(__name__)
CUT = 1e-6


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """Weights within all limits."""

    weights: Array64
    """`[symbol]`"""
    cuts: list[str]
    """Limits that the wish went beyond."""


class PortfolioDecisions(DecisionDomain[PortfolioRequest, PortfolioDecision, PortfolioSituation]):
    """How wealth is split among symbols and cash."""

    title = "Portfolio agent"
    tags = ("trading", "weights", "rebalancing")
    request_type = PortfolioRequest
    decision_type = PortfolioDecision

    def __init__(self, artifact: PolicyArtifact) -> None:
        """Read task and expert from the artifact.

        Args:
            artifact: Of domain `portfolio`.

        Raises:
            ConfigError: It is of another domain, or its parts do not fit one another.
        """
        if artifact.domain != PORTFOLIO:
            raise ConfigError(f"this agent serves {PORTFOLIO}, not {artifact.domain}")
        self.config = from_json(PortfolioConfig, json.loads(artifact.domain_config))
        self._columns = artifact.action.size
        observed = FEATURES_PER_SYMBOL * self._columns + FEATURES_PER_AGENT
        check_policy(artifact, self.config.action, observed, self._columns)
        self.expert_name = artifact.card.baseline.expert
        if self.expert_name not in EXPERTS:
            raise ConfigError(f"expert {self.expert_name!r}; known: {', '.join(EXPERTS)}")
        self._valid = {one.field: one for one in artifact.card.validated_for}
        self._reader = PortfolioReader(self.config, self._columns, artifact.card.validated_for)
        self._runtime = PolicyRuntime(artifact)
        self._domain = PortfolioDomain(self.config)
        self._expert_task = replace(self.config, action="weights")
        self._expert_domain = PortfolioDomain(self._expert_task)

    def describe(self) -> str:
        """Say in a sentence what is decided."""
        return (
            f"Splits wealth among up to {self._columns} symbols and cash for the coming day, so "
            "that it grows as much as can be by the end of the plan, costs of trading paid."
        )

    def example_request(self) -> PortfolioRequest:
        """Return a request that the policy answers: a market made up, a portfolio gone adrift."""
        return self.vary(np.random.default_rng(0)).model_copy(
            update={"days_left": max(1, self.config.num_steps // 2)}
        )

    def vary(self, generator: np.random.Generator) -> PortfolioRequest:
        """Return a made-up market, a portfolio gone adrift in it, on any day.

        Args:
            generator: The only source of chance.
        """
        symbols, days = self._usual(SYMBOLS, self._columns), self._usual(PRICES, 253)
        moves = 1.0 + 0.01 * generator.standard_normal((symbols, days - 1))
        prices = np.round(50.0 * np.cumprod(moves, axis=1), 2)
        holdings = [
            Holding(
                symbol=f"SYM{number + 1}",
                prices=[50.0, *prices[number].tolist()],
                shares=float(90 + 20 * (number % 2)),
            )
            for number in range(symbols)
        ]
        days_left = int(generator.integers(1, self.config.num_steps + 1))
        return PortfolioRequest(holdings=holdings, cash=500.0, days_left=days_left, compare=True)

    def read(self, request: PortfolioRequest) -> PortfolioSituation:
        """Match names and sizes, add up wealth.

        Args:
            request: Well formed.

        Raises:
            RequestError: It does not fit; each problem names its field.
        """
        return self._reader.read(request)

    def plan(self, situations: Sequence[PortfolioSituation]) -> Plan:
        """Return the weights that the policy wants, allowed together or not.

        Args:
            situations: At least one.
        """
        usable = np.ones(len(situations), np.bool_)

        def ask(view: PortfolioView, rows: list[int]) -> NDArray[Any]:
            output = self._runtime.output(self._domain.encode(view))
            usable[rows] = finite = finite_rows(output)
            chosen = self._runtime.choose(np.where(finite[:, None], output, np.float32(0)))
            return np.asarray(self._domain.wish(chosen, view))

        return Plan(self._by_lookback(situations, ask), usable)

    def ask_expert(self, situations: Sequence[PortfolioSituation]) -> NDArray[Any]:
        """Return the weights that the expert wants; NaN where it finds none.

        Args:
            situations: At least one.
        """
        return np.stack([self._ask_expert(one) for one in situations])

    def decide(
        self,
        situation: PortfolioSituation,
        action: NDArray[Any],
        *,
        header: Header,
        expert: NDArray[Any] | None,
    ) -> PortfolioDecision:
        """Bring weights within all limits, exactly, and say what the trades cost.

        Args:
            situation: The market and what is held.
            action: `[column]`: weights wished for.
            header: What every decision says.
            expert: The expert's, if they are to be compared.
        """
        allowed = self.project(action, situation)
        compared = None
        if expert is not None:
            theirs = self.project(expert, situation)
            compared = ExpertPortfolio(
                name=self.expert_name, portfolio=word_plan(self._domain, theirs.weights, situation)
            )
        if header["fallback_used"] and np.isnan(action).any():
            header["warnings"].append(
                f"{self.expert_name} found no weights for these prices; what is held is kept as "
                "far as limits allow"
            )
        return PortfolioDecision(
            **header,
            guardrails=[] if header["fallback_used"] else allowed.cuts,
            wealth=situation.wealth,
            portfolio=word_plan(self._domain, allowed.weights, situation),
            expert=compared,
        )

    def amounts(self, decision: PortfolioDecision) -> Mapping[Hashable, float]:
        """Return the weights, that of cash included.

        Args:
            decision: Of policy, expert or person.
        """
        plan = decision.portfolio
        return {None: plan.cash_weight, **{one.symbol: one.target_weight for one in plan.positions}}

    def realised(
        self,
        request: PortfolioRequest,
        outcome: Mapping[str, Any] | None,
        following: PortfolioRequest | None,
    ) -> Array64 | None:
        """Return what the symbols gained on the day after a request, `[symbol]`, as shares.

        Args:
            request: What was asked.
            outcome: The next day's `prices`, by symbol, if they were reported.
            following: The agent's next request.
        """
        return find_returns(request, outcome, following)

    def worth(
        self, situation: PortfolioSituation, decision: PortfolioDecision, came: Array64 | None
    ) -> float | None:
        """Return what a portfolio gained in a day, costs of trading paid, in currency.

        Args:
            situation: What it was about.
            decision: Of policy, expert or person.
            came: What the symbols gained; nobody knows what to expect, so None without it.
        """
        if came is None:
            return None
        plan = decision.portfolio
        weights = np.asarray([one.target_weight for one in plan.positions])
        return float((situation.wealth - plan.cost) * (weights @ came) - plan.cost)

    def to_action(self, situation: PortfolioSituation, wish: Mapping[str, Any]) -> Array64:
        """Return the weights that a person names, `[column]`.

        Args:
            situation: The market and what is held.
            wish: `weights` by symbol.

        Raises:
            RequestError: A symbol is unknown.
        """
        weights = read_wish(WeightsWish, wish).weights
        unknown = [name for name in weights if name not in situation.symbols]
        if unknown:
            raise refuse(f"weights.{unknown[0]}", "not a symbol of the request")
        action = np.zeros(self._columns)
        action[: len(situation.symbols)] = [weights.get(name, 0.0) for name in situation.symbols]
        return action

    def project(self, wish: NDArray[Any], situation: PortfolioSituation) -> Allowed:
        """Bring weights within the short limit and the leverage limit, exactly.

        Args:
            wish: `[column]`: weights; NaN leaves a symbol as it is.
            situation: What is held.

        Returns:
            Weights whose magnitudes, added in any order, are at most `max_leverage`.
        """
        config, count = self.config, len(situation.symbols)
        held = situation.weights[:count]
        wanted = np.asarray(wish[:count], np.float64)
        keeps = (np.abs(wanted - held) < NO_TRADE) | np.isnan(wanted)
        wanted = np.where(keeps, held, wanted)
        above = np.maximum(wanted, -config.max_short)
        gross = float(np.abs(above).sum())
        scaled = above / max(gross / config.max_leverage, 1.0)
        limit = np.asarray([config.max_leverage])
        size = fit_to_capacity(np.abs(scaled)[:, None], limit)[:, 0]
        checks = {
            "max_short": bool((wanted < -config.max_short - CUT).any()),
            "max_leverage": gross > config.max_leverage + CUT,
        }
        cuts = [name for name, is_cut in checks.items() if is_cut]
        return Allowed(weights=np.copysign(size, scaled) + 0.0, cuts=cuts)  # no -0.0

    def _ask_expert(self, situation: PortfolioSituation) -> NDArray[Any]:
        """Ask about one market; rules that find nothing in it leave what is held as it is."""
        view = stack_views([situation])
        try:
            action = EXPERTS[self.expert_name](view, self._expert_task)
        except ArithmeticError as error:
            logger.warning("expert_found_no_weights", expert=self.expert_name, error=str(error))
            return np.full(self._columns, np.nan)
        wish: NDArray[Any] = self._expert_domain.wish(action, view)[0]
        return wish

    def _by_lookback(
        self,
        situations: Sequence[PortfolioSituation],
        ask: Callable[[PortfolioView, list[int]], NDArray[Any]],
    ) -> NDArray[Any]:
        """Ask about all situations of one look-back at once; `[row, column]`."""
        lengths: dict[int, list[int]] = {}
        for row, one in enumerate(situations):
            lengths.setdefault(len(one.returns), []).append(row)
        answers = np.zeros((len(situations), self._columns))
        for rows in lengths.values():
            answers[rows] = ask(stack_views([situations[row] for row in rows]), rows)
        return answers

    def _usual(self, field: str, otherwise: int) -> int:
        valid = self._valid.get(field)
        return otherwise if valid is None else int(valid.high)
