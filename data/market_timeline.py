"""A synthetic market by the clock: 18 symbols every five minutes, condition by condition."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from data.demand_law import Floats
from data.market import TRADING_DAYS, MarketRegime
from data.market_config import SyntheticMarketConfig
from data.market_generator import SyntheticMarket
from data.price_indicators import BAND_WIDTH, compute_bands, compute_macd, compute_rsi
from data.synthetic_records import MarketRecord
from utils.seeding import make_generator

SYMBOLS = (
    *("AAPL", "GOOGL", "MSFT", "AMZN", "TSLA", "NVDA", "META", "NFLX", "JPM"),
    *("BAC", "GS", "V", "JNJ", "PFE", "XOM", "CVX", "WMT", "KO"),
)
STEP_MINUTES = 5
STEPS_PER_HOUR = 60 // STEP_MINUTES
STEPS_PER_YEAR = TRADING_DAYS * 8 * STEPS_PER_HOUR
"""Trading days of eight hours."""
BLOCK_STEPS = 24
"""Two hours: a condition lasts that long."""
WARM_UP_BLOCKS = 2
"""Drawn before the first step, so that indicators have a past."""
ANNUAL_VOLATILITY = 0.2
"""Of a condition of relative volatility 1."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A state of the market, its chance, and its volatility relative to `ANNUAL_VOLATILITY`."""

    name: str
    probability: float
    volatility: float
    regime: MarketRegime
    """Gives the drift."""


CONDITIONS = (
    Condition(name="bullish", probability=0.30, volatility=0.8, regime=MarketRegime.BULL),
    Condition(name="bearish", probability=0.25, volatility=1.2, regime=MarketRegime.BEAR),
    Condition(name="sideways", probability=0.35, volatility=0.6, regime=MarketRegime.SIDEWAYS),
    Condition(
        name="high_volatility", probability=0.10, volatility=2.0, regime=MarketRegime.VOLATILE
    ),
)


@dataclass(frozen=True, kw_only=True)
class MarketTimeline:
    """Prices before and after the first step; all arrays `[time, symbol]` but for `condition`."""

    price: Floats
    volume: Floats
    condition: np.ndarray
    """`[time]`: position in `CONDITIONS`."""
    first: int
    """Row of the first step; what lies before is its past."""


def make_timeline(seed: int, num_steps: int) -> MarketTimeline:
    """Draw a market; a longer one begins with the very steps of a shorter one.

    Args:
        seed: The only source of chance.
        num_steps: Steps from the first, at least 1.
    """
    blocks = WARM_UP_BLOCKS + math.ceil(num_steps / BLOCK_STEPS)
    chances = [one.probability for one in CONDITIONS]
    first_price = make_generator(seed, "market/price").uniform(20.0, 500.0, len(SYMBOLS))
    returns, volume, condition = [], [], []
    for block in range(blocks):
        generator = make_generator(seed, "market/block", block)
        drawn = int(generator.choice(len(CONDITIONS), p=chances))
        scenarios = _market(CONDITIONS[drawn]).draw(1, generator)
        returns.append(scenarios.log_return[0])
        volume.append(scenarios.volume[0])
        condition += [drawn] * BLOCK_STEPS
    path = np.cumsum(np.concatenate(returns).astype(np.float64), axis=0)
    first = WARM_UP_BLOCKS * BLOCK_STEPS
    end = first + num_steps
    return MarketTimeline(
        price=(first_price * np.exp(path))[:end].round(4),
        volume=np.concatenate(volume).astype(np.float64)[:end].round(),
        condition=np.asarray(condition)[:end],
        first=first,
    )


def make_market_rows(timeline: MarketTimeline, start: datetime) -> list[MarketRecord]:
    """Compute the indicators and write one record per step and symbol, in order of time.

    Args:
        timeline: The market.
        start: Time of its first step.
    """
    price = timeline.price
    moves = np.diff(np.log(price), axis=0, prepend=np.log(price[:1]))
    average, deviation = compute_bands(price)
    line, signal = compute_macd(price)
    spread = compute_bands(moves)[1] * math.sqrt(STEPS_PER_YEAR)
    columns = {
        "price": price,
        "volume": timeline.volume,
        "change": np.expm1(moves),
        "sma": average,
        "rsi": compute_rsi(price),
        "macd": line,
        "macdSignal": signal,
        "bollingerUpper": average + BAND_WIDTH * deviation,
        "bollingerLower": average - BAND_WIDTH * deviation,
        "volatility": spread,
    }
    table = np.stack(list(columns.values()), axis=-1)[timeline.first :].round(6)
    names = [CONDITIONS[one].name for one in timeline.condition[timeline.first :]]
    stamps = [step_time(start, step) for step in range(len(table))]
    return [
        MarketRecord(
            timestamp=stamp,
            symbol=symbol,
            **dict(zip(columns, row.tolist(), strict=True)),  # type: ignore[typeddict-item]
            marketCondition=name,
        )
        for stamp, name, rows in zip(stamps, names, table, strict=True)
        for symbol, row in zip(SYMBOLS, rows, strict=True)
    ]


def step_time(start: datetime, step: int) -> str:
    """Return the time of a step in ISO 8601.

    Args:
        start: Time of step 0.
        step: Which.
    """
    return (start + timedelta(minutes=STEP_MINUTES * step)).isoformat()


def _market(condition: Condition) -> SyntheticMarket:
    relative = condition.volatility * ANNUAL_VOLATILITY / condition.regime.volatility
    return SyntheticMarket(
        SyntheticMarketConfig(
            max_symbols=len(SYMBOLS),
            max_steps=BLOCK_STEPS,
            lookback=1,
            steps_per_year=STEPS_PER_YEAR,
            regime=condition.regime,
            volatility=relative,
        )
    )
