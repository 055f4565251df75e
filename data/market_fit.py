"""Fit the synthetic market to real returns, and say how close it came."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.fit_report import FitFigure, FitReport
from data.market import TRADING_DAYS, MarketRegime
from data.market_config import (
    PriceLaw,
    SymbolLaw,
    SyntheticMarketConfig,
    VolatilityScale,
    check_range,
)
from data.market_generator import SyntheticMarket
from data.stylised_facts import ReturnsError, StylisedFacts, check_returns, stylised_facts
from utils.seeding import make_generator

Values = NDArray[np.float64]
HALF_LIVES = (5.0, 50.0, 500.0)
"""Steps; what is fitted is how much each of the three scales swings."""
_LOWEST = np.asarray([0.01, 0.01, 0.01, -0.95, 0.05, 0.0])
_HIGHEST = np.asarray([0.8, 0.8, 0.8, 0.5, 6.0, 12.0])
_FIRST = np.asarray([0.2, 0.22, 0.26, -0.45, 1.25, 4.0])
_CORRELATION_ROUNDS, _CORRELATION_PATHS = 3, 4
_TOLERANCE = {
    "absolute_acf_1": 0.02,
    "absolute_acf_10": 0.02,
    "absolute_acf_50": 0.02,
    "kurtosis": 0.5,
    "kurtosis_20": 0.5,
    "hill": 0.2,
    "leverage": 0.01,
    "decay": 0.1,
}
"""Of the figures that are matched, in their own units; kurtosis, which a single day can double, in
those of its logarithm."""


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a fit is searched."""

    num_paths: int = 16
    """Series made per try, as long as the real one; the same chance in each try."""
    num_rounds: int = 5
    steps_per_year: int = TRADING_DAYS
    num_factors: int = 7
    """Common factors of several symbols, at most."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse searches that try nothing."""
        for name in ("num_paths", "num_rounds", "steps_per_year", "num_factors"):
            check_range(name, getattr(self, name), 1, 10**6)


def fit_market(
    returns: ArrayLike, settings: FitSettings = FitSettings()
) -> tuple[SyntheticMarketConfig, FitReport]:
    """Choose the law of the synthetic market that makes returns like these.

    Volatility, drift and correlations are matched directly, symbol by symbol. The law of the
    price, one for all symbols, is found by simulated moments (McFadden, 1989): the median facts of
    made series are brought to the median facts of the real ones by damped Gauss-Newton steps, with
    the same random numbers at each try, so a seed gives one answer.

    Args:
        returns: `[time]` or `[time, symbol]`, changes of the logarithm of the price.
        settings: How the fit is searched.

    Returns:
        The market, in one regime, with max_symbols as many as there are series; and what
        `compare_returns` says of fresh series, made with other random numbers than the search's.

    Raises:
        ReturnsError: A series cannot be measured; see `stylised_facts`.
    """
    table = np.asarray(returns, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or not table.size:
        raise ReturnsError(f"returns has shape {table.shape}; give [time] or [time, symbol]")
    real = _median_facts([check_returns(column) for column in table.T])
    law = _search_law(real, len(table), settings)
    config = SyntheticMarketConfig(
        max_symbols=table.shape[1],
        steps_per_year=settings.steps_per_year,
        regime=MarketRegime.SIDEWAYS,
        law=law,
        symbols=_match_symbols(table, law, settings),
    )
    fresh = dataclasses.replace(config, max_steps=len(table), lookback=1)
    generator = make_generator(settings.seed, "market fit, report")
    made = SyntheticMarket(fresh).draw(settings.num_paths, generator).log_return
    return config, compare_returns(table, made, steps_per_year=settings.steps_per_year)


def fit_loadings(correlation: Values, num_factors: int) -> Values:
    """Split correlations into common factors and what is a symbol's own.

    Args:
        correlation: `[symbol, symbol]`.
        num_factors: How many, at most one less than there are symbols.

    Returns:
        Loadings `[symbol, factor]` whose products are close to the correlations, by iterated
        principal factors; the squares of a row sum to 0.999 at most.
    """
    count = max(1, min(num_factors, len(correlation) - 1))
    reduced = correlation.copy()
    loadings = np.zeros((len(correlation), count))
    if len(correlation) == 1:
        return loadings
    for _ in range(50):
        values, vectors = np.linalg.eigh(reduced)
        loadings = vectors[:, -count:] * np.sqrt(np.maximum(values[-count:], 0))
        explained = (loadings**2).sum(1)
        loadings *= np.sqrt(np.minimum(1, 0.999 / np.maximum(explained, 1e-9)))[:, None]
        np.fill_diagonal(reduced, (loadings**2).sum(1))
    result: Values = loadings[:, ::-1]
    return result


def compare_returns(
    real: Values, made: ArrayLike, *, steps_per_year: int = TRADING_DAYS
) -> FitReport:
    """Measure real and made returns alike.

    Args:
        real: `[time, symbol]`.
        made: `[episode, time, symbol]`, best of the same length: several facts depend on it.
        steps_per_year: To annualise.

    Returns:
        The stylised facts, medians over symbols (and episodes); annual volatility, root
        mean square; and, where there are several, the mean of their correlations.

    Raises:
        ReturnsError: A series cannot be measured; see `stylised_facts`.
    """
    paths = np.asarray(made, dtype=np.float64)
    names = [field.name for field in fields(StylisedFacts)] + ["annual_volatility"]
    series = [path[:, symbol] for path in paths for symbol in range(path.shape[1])]
    figures = [
        [*facts.values(), np.sqrt(variance * steps_per_year)]
        for facts, variance in (
            (_median_facts(list(real.T)), real.var(axis=0).mean()),
            (_median_facts(series), paths.var(axis=1).mean()),
        )
    ]
    if real.shape[1] > 1:
        names.append("correlation")
        between = ~np.eye(real.shape[1], dtype=bool)
        figures[0].append(_correlate(real)[between].mean())
        figures[1].append(np.mean([_correlate(path)[between].mean() for path in paths]))
    return FitReport(
        figures=tuple(
            FitFigure(name=name, real=float(one), made=float(other))
            for name, one, other in zip(names, *figures, strict=True)
        )
    )


def _correlate(returns: ArrayLike) -> Values:
    """Return the correlations of `[time, symbol]`, as a table even for one symbol."""
    table: Values = np.atleast_2d(np.corrcoef(np.asarray(returns), rowvar=False))
    return table


def _median_facts(series: list[Values]) -> StylisedFacts:
    figures = np.median([stylised_facts(one).values() for one in series], axis=0)
    names = [field.name for field in fields(StylisedFacts)]
    return StylisedFacts(**dict(zip(names, map(float, figures), strict=True)))


def _make_law(parameters: Values) -> PriceLaw:
    *deviations, leverage, kurtosis, jump = map(float, parameters)
    scales = tuple(
        VolatilityScale(half_life=half_life, deviation=deviation)
        for half_life, deviation in zip(HALF_LIVES, deviations, strict=True)
    )
    return PriceLaw(
        scales=scales, leverage=leverage, innovation_kurtosis=kurtosis, jump_deviation=jump
    )


def _residuals(facts: StylisedFacts, real: StylisedFacts) -> Values:
    """Return distances in tolerances; what does not decay at all counts as decaying fast."""

    def distance(name: str) -> float:
        made, wanted = getattr(facts, name), getattr(real, name)
        if name.startswith("kurtosis"):
            made, wanted = math.log(max(made, 0.1)), math.log(max(wanted, 0.1))
        if name == "decay":
            made, wanted = (1.0 if math.isnan(one) else one for one in (made, wanted))
        return float(made - wanted) / _TOLERANCE[name]

    return np.asarray([distance(name) for name in _TOLERANCE])


def _search_law(real: StylisedFacts, length: int, settings: FitSettings) -> PriceLaw:
    """Minimise the squared residuals by Levenberg-Marquardt within bounds."""

    def try_out(parameters: Values) -> Values:
        config = SyntheticMarketConfig(max_steps=length, lookback=1, law=_make_law(parameters))
        generator = make_generator(settings.seed, "market fit")
        drawn = SyntheticMarket(config).draw(settings.num_paths, generator)
        made = [one.astype(np.float64) for one in drawn.log_return[..., 0]]
        return _residuals(_median_facts(made), real)

    best, damping = _FIRST, 0.3
    residuals = try_out(best)
    width = _HIGHEST - _LOWEST
    for _ in range(settings.num_rounds):
        slopes = np.empty((len(residuals), len(best)))
        for index, small in enumerate(0.05 * width):
            moved = best.copy()
            moved[index] += small if best[index] + small <= _HIGHEST[index] else -small
            slopes[:, index] = (try_out(moved) - residuals) / (moved - best)[index]
        scaled = slopes * width
        curvature = scaled.T @ scaled
        for _ in range(4):
            damped = curvature + damping * np.diag(np.diag(curvature) + 1e-9)
            step = np.linalg.solve(damped, -scaled.T @ residuals) * width
            candidate = np.clip(best + step, _LOWEST, _HIGHEST)
            tried = try_out(candidate)
            if (tried**2).sum() < (residuals**2).sum():
                best, residuals, damping = candidate, tried, damping / 4
                break
            damping *= 4
    return _make_law(best)


def _match_symbols(table: Values, law: PriceLaw, settings: FitSettings) -> SymbolLaw:
    """Match volatility and drift as they are, correlations by correcting what was aimed at.

    Innovations must correlate more than returns, whose volatilities are partly their own.
    """
    years = settings.steps_per_year
    volatility = table.std(axis=0) * np.sqrt(years) / MarketRegime.SIDEWAYS.volatility
    growth = np.log(np.exp(table).mean(axis=0)) * years - MarketRegime.SIDEWAYS.drift
    symbols = SymbolLaw(
        volatility=tuple(volatility.tolist()), drift=tuple(growth.tolist()), loadings=((0.0,),)
    )
    count = table.shape[1]
    if count == 1:
        return symbols
    real = _correlate(table)
    aim = real.copy()
    for _ in range(_CORRELATION_ROUNDS):
        rows = fit_loadings(aim, settings.num_factors).tolist()
        symbols = dataclasses.replace(symbols, loadings=tuple(map(tuple, rows)))
        config = SyntheticMarketConfig(
            max_symbols=count, max_steps=len(table), lookback=1, law=law, symbols=symbols
        )
        generator = make_generator(settings.seed, "market fit, correlations")
        made = SyntheticMarket(config).draw(_CORRELATION_PATHS, generator).log_return
        aim = aim + real - _correlate(made.reshape(-1, count))
        np.fill_diagonal(aim, 1)
    return symbols
