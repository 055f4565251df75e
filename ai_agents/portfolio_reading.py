"""From a portfolio request to arrays: names and sizes matched, wealth added up, ranges checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_agents.base_agent import FieldProblem, RequestError
from ai_agents.decision_domain import Situation
from ai_agents.outcomes import continues, read_amounts
from ai_agents.policy_checks import problem_of, range_warning
from ai_agents.portfolio_schema import PortfolioRequest
from rl.artifacts import ValidRange
from rl.deployment.guardrails import OutOfRange, find_out_of_range
from rl.deployment.portfolio_exporter import DAILY_RETURN, PRICES, SYMBOLS
from rl.domains.portfolio import PortfolioConfig, PortfolioView

Array64 = NDArray[np.float64]
LARGEST_LEVERAGE = 100.0
LEAST_WEALTH = 1e-6


@dataclass(frozen=True, kw_only=True)
class PortfolioSituation(Situation):
    """A request in the arrays of the market; columns beyond the request's symbols are idle."""

    symbols: tuple[str, ...]
    prices: Array64
    """`[symbol]`: the last ones."""
    wealth: float
    returns: Array64
    """`[lookback, column]`"""
    weights: Array64
    """`[column]`"""
    active: Array64
    """`[column]`"""
    days_left: int


class PortfolioReader:
    """Reads requests about one task."""

    def __init__(
        self, config: PortfolioConfig, num_symbols: int, valid: Sequence[ValidRange]
    ) -> None:
        """Prepare the constants.

        Args:
            config: The task.
            num_symbols: Columns of the policy.
            valid: The validated ranges of the card.
        """
        self._config, self._columns = config, num_symbols
        self._valid = tuple(valid)
        known = {one.field: one for one in valid}
        self._most_prices = int(known[PRICES].high) if PRICES in known else None
        cost = config.cost
        self._most_leverage = min(LARGEST_LEVERAGE, 0.5 / cost) if cost else LARGEST_LEVERAGE

    def read(self, request: PortfolioRequest) -> PortfolioSituation:
        """Match names and sizes, add up wealth.

        Args:
            request: Well formed.

        Raises:
            RequestError: It does not fit; each problem names its field.
        """
        problems = list(self._problems(request))
        if problems:
            raise RequestError(problems)
        holdings = request.holdings
        prices = np.array([one.prices for one in holdings]).T
        value = np.array([one.shares for one in holdings]) * prices[-1]
        wealth = float(request.cash + value.sum())
        self._check_wealth(wealth, value)
        if self._most_prices is not None:
            prices = prices[-self._most_prices :]
        count = len(holdings)
        returns = np.zeros((len(prices) - 1, self._columns))
        returns[:, :count] = np.diff(np.log(prices), axis=0)
        weights, active = np.zeros(self._columns), np.zeros(self._columns)
        weights[:count], active[:count] = value / wealth, 1.0
        outside = self._outside(prices, request.cash, wealth)
        return PortfolioSituation(
            symbols=tuple(one.symbol for one in holdings),
            prices=prices[-1],
            wealth=wealth,
            returns=returns,
            weights=weights,
            active=active,
            days_left=request.days_left,
            outside=outside,
            warnings=tuple(map(range_warning, outside)),
        )

    def _outside(self, prices: Array64, cash: float, wealth: float) -> tuple[OutOfRange, ...]:
        moves = prices[1:] / prices[:-1] - 1.0
        values = {
            PRICES: [float(prices.shape[0])],
            SYMBOLS: [float(prices.shape[1])],
            DAILY_RETURN: [float(moves.min()), float(moves.max())],
        }
        found = find_out_of_range(values, self._valid)
        if self._config.max_leverage > 1.0 or cash >= -LEAST_WEALTH * wealth:
            return found
        valid = ValidRange(field="cash", low=0.0, high=wealth)
        return (*found, OutOfRange(field="cash", value=cash, valid=valid))

    def _check_wealth(self, wealth: float, value: Array64) -> None:
        gross = float(np.abs(value).sum())
        if not wealth >= LEAST_WEALTH:
            text = f"wealth is {wealth:g}: cash and positions must be worth something together"
        elif gross > self._most_leverage * wealth:
            text = (
                f"positions are worth {gross / wealth:.3g} times the wealth of {wealth:g}; this "
                f"agent takes at most {self._most_leverage:g}"
            )
        else:
            return
        raise RequestError([problem_of("cash", text)])

    def _problems(self, request: PortfolioRequest) -> Iterator[FieldProblem]:
        config, holdings = self._config, request.holdings
        if request.days_left > config.num_steps:
            yield problem_of("days_left", f"at most {config.num_steps}: no longer plan is known")
        if len(holdings) > self._columns:
            text = f"{len(holdings)} symbols; this agent takes at most {self._columns}"
            yield problem_of("holdings", text)
        seen: set[str] = set()
        wanted = len(holdings[0].prices)
        for number, one in enumerate(holdings):
            where = f"holdings[{number}]"
            if one.symbol in seen:
                yield problem_of(f"{where}.symbol", f"{one.symbol} is named twice")
            seen.add(one.symbol)
            if len(one.prices) != wanted:
                text = f"{len(one.prices)} prices; holdings[0] has {wanted}"
                yield problem_of(f"{where}.prices", text)
            if one.shares < 0 and not config.max_short:
                yield problem_of(f"{where}.shares", "negative; this agent holds no short positions")


def stack_views(situations: Sequence[PortfolioSituation]) -> PortfolioView:
    """Put situations of one look-back behind one another, in the precision of training.

    Args:
        situations: At least one.
    """

    def stack(name: str) -> NDArray[np.float32]:
        return np.stack([getattr(one, name) for one in situations]).astype(np.float32)

    return PortfolioView(
        returns=stack("returns"),
        active=stack("active"),
        weights=stack("weights"),
        steps_left=np.array([one.days_left for one in situations], np.float32),
    )


def find_returns(
    request: PortfolioRequest,
    outcome: Mapping[str, Any] | None,
    following: PortfolioRequest | None,
) -> Array64 | None:
    """Return `[symbol]`: what each gained on the day after a request; None if unknown.

    It is told as an outcome's `prices`, by symbol; or by the following request, if its prices are
    this one's and one day more, for every symbol.

    Args:
        request: What was asked.
        outcome: What was reported later.
        following: The agent's next request.
    """
    before = {one.symbol: one.prices for one in request.holdings}
    last = np.asarray([prices[-1] for prices in before.values()])
    told = read_amounts((outcome or {}).get("prices"), before)
    if told is not None:
        return np.asarray(told / last - 1.0)
    if following is None:
        return None
    after = {one.symbol: one.prices for one in following.holdings}
    if not all(continues(before[name], after.get(name, ())) for name in before):
        return None
    return np.asarray([after[name][-1] for name in before] / last - 1.0)
