"""Do made prices look like real ones?

Run `python -m benchmarks.price_generator` where the price files are (see
docs/environments/market_data.md): the stylised facts of real shares, of the default market and of
independent normal returns, each against the bands; how often the bands hold over many seeds; what
fits to real series come to, and what a block bootstrap keeps; the volatility that each regime
really has; how volume goes with moves. Prints tables, writes
benchmarks/results/price_generator.json and a picture beside it. About half a CPU minute.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import describe_machine
from benchmarks.price_pictures import plot_prices
from data.fit_report import FitFigure, FitReport
from data.market import REGIMES, TRADING_DAYS
from data.market_config import PLAIN, PriceLaw, SyntheticMarketConfig
from data.market_fit import compare_returns, fit_market
from data.market_generator import SyntheticMarket
from data.market_traces import BlockBootstrapMarket, RealMarketConfig
from data.price_traces import PRICE_SOURCES, PriceTable, load_google, load_index, load_stocks
from data.stylised_facts import BANDS, StylisedFacts, inside_bands, stylised_facts
from data.traces import TRACES_SETTING, TraceError, locate_traces
from utils.config import to_json
from utils.seeding import make_generator

RESULTS = Path(__file__).parent / "results" / "price_generator.json"
SEEDS = 5
MANY_SEEDS = 200
LENGTHS = (5_000, 8_312)
SHOWN = ("AAPL", "JPM", "XOM", "WMT")
MEAN_BLOCK = 60.0
BANDS_NEEDED = 6

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One series."""

    series: str
    facts: StylisedFacts
    inside: tuple[bool, ...]
    """Per band."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """What holds over many seeds."""

    series: str
    length: int
    num_seeds: int
    inside: tuple[float, ...]
    """Share of the seeds inside each band."""
    at_least_six: float
    at_most_three: float
    """Share of the seeds that fail four bands or more."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One generator beside the series it was made from."""

    generator: str
    series: str
    seconds: float
    report: FitReport
    law: PriceLaw | None


@dataclass(frozen=True, kw_only=True)
class Regime:
    """What a regime says, and what 4,000 years of it have; per year."""

    regime: str
    volatility: float
    made_volatility: float


def measure(series: str, returns: Values) -> Row:
    """Measure one series.

    Args:
        series: Its name.
        returns: `[time]`.
    """
    facts = stylised_facts(returns)
    return Row(series=series, facts=facts, inside=inside_bands(facts))


def draw_returns(law: PriceLaw, length: int, *, seed: int, count: int = 1) -> Values:
    """Make `[episode, time]` of returns of one symbol.

    Args:
        law: Of the price.
        length: Of each.
        seed: Of the draw.
        count: How many.
    """
    config = SyntheticMarketConfig(law=law, max_steps=length, lookback=1)
    drawn = SyntheticMarket(config).draw(count, make_generator(seed, "price generator"))
    return drawn.log_return[..., 0].astype(np.float64)


def count_bands(series: str, law: PriceLaw, length: int) -> Share:
    """Judge many seeds at once.

    Args:
        series: Name of the law.
        law: Of the price.
        length: Returns per seed.
    """
    paths = draw_returns(law, length, seed=MANY_SEEDS, count=MANY_SEEDS)
    inside = np.asarray([inside_bands(stylised_facts(path)) for path in paths])
    return Share(
        series=series,
        length=length,
        num_seeds=MANY_SEEDS,
        inside=tuple(inside.mean(0).tolist()),
        at_least_six=float((inside.sum(1) >= BANDS_NEEDED).mean()),
        at_most_three=float((inside.sum(1) <= 3).mean()),
    )


def fit(series: str, table: PriceTable) -> Fit:
    """Fit the synthetic market.

    Args:
        series: Name of the table.
        table: Real prices.
    """
    started = time.process_time()
    config, report = fit_market(table.log_return)
    seconds = round(time.process_time() - started, 1)
    return Fit(generator="synthetic", series=series, seconds=seconds, report=report, law=config.law)


def bootstrap(series: str, table: PriceTable) -> Fit:
    """Make as many days anew out of blocks.

    Args:
        series: Name of the table.
        table: Real prices.
    """
    started = time.process_time()
    real = table.log_return
    config = RealMarketConfig(max_steps=len(real), lookback=1)
    source = BlockBootstrapMarket(table, config, mean_block=MEAN_BLOCK)
    made = source.draw(4, make_generator(0, "price generator")).log_return
    report = compare_returns(real, made)
    seconds = round(time.process_time() - started, 1)
    return Fit(generator="bootstrap", series=series, seconds=seconds, report=report, law=None)


def measure_regimes() -> list[Regime]:
    """Draw 4,000 independent years of each regime."""
    rows = []
    for regime in REGIMES:
        config = SyntheticMarketConfig(regime=regime, max_steps=TRADING_DAYS, lookback=1)
        drawn = SyntheticMarket(config).draw(4000, make_generator(0, "price generator"))
        made = float(drawn.log_return.astype(np.float64).std() * np.sqrt(TRADING_DAYS))
        rows.append(Regime(regime=regime.value, volatility=regime.volatility, made_volatility=made))
    return rows


def correlate_volume(returns: Values, volume: Values) -> float:
    """Return the correlation of the size of moves with log volume, its straight trend taken off.

    Args:
        returns: `[time]`.
        volume: `[time]`, above 0.
    """
    days = np.arange(len(volume))
    logarithm = np.log(volume)
    rest = logarithm - np.polyval(np.polyfit(days, logarithm, 1), days)
    return float(np.corrcoef(np.abs(returns), rest)[0, 1])


def compare_volume(google: PriceTable) -> FitFigure:
    """Put the volume of the default market beside that of a real share.

    Args:
        google: Real prices and volume.
    """
    if google.volume is None:
        raise TraceError("the table has no volume; load the file that brings it")
    length = len(google.dates) - 1
    source = SyntheticMarket(SyntheticMarketConfig(max_steps=length, lookback=1))
    drawn = source.draw(20, make_generator(0, "price generator"))
    made = [
        correlate_volume(returns, volume)
        for returns, volume in zip(drawn.log_return[..., 0], drawn.volume[..., 0], strict=True)
    ]
    return FitFigure(
        name="correlation of |r| and log volume",
        real=correlate_volume(google.log_return[:, 0], google.volume[1:, 0]),
        made=float(np.mean(made)),
    )


def blank_missing(value: object) -> object:
    """Return the same JSON value with null in place of what is not a number.

    Args:
        value: Made of lists, dicts and scalars.
    """
    if isinstance(value, dict):
        return {key: blank_missing(one) for key, one in value.items()}
    if isinstance(value, list):
        return [blank_missing(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def time_draw() -> float:
    """Return CPU seconds of 256 episodes of 15 symbols and 1,000 steps, the best of three."""
    source = SyntheticMarket(SyntheticMarketConfig(max_symbols=15, max_steps=1000))

    def once() -> float:
        started = time.process_time()
        source.draw(256, make_generator(0, "price generator"))
        return time.process_time() - started

    return round(min(once() for _ in range(3)), 2)


def print_rows(rows: list[Row]) -> None:
    """Print facts, and a cross for each band that holds.

    Args:
        rows: What was measured.
    """
    print("series         " + " ".join(f"{field.name[-9:]:>9}" for field in fields(StylisedFacts)))
    for row in rows:
        figures = " ".join(f"{value:9.3f}" for value in row.facts.values())
        crosses = "".join("x" if inside else "." for inside in row.inside)
        print(f"{row.series:14} {figures}  {crosses} {sum(row.inside)} of {len(BANDS)}")


def load_tables() -> tuple[PriceTable, PriceTable, PriceTable]:
    """Return index, twenty shares, and Alphabet.

    Raises:
        TraceError: The files are not here.
    """
    folder = locate_traces()
    if folder is None:
        raise TraceError(f"set {TRACES_SETTING} to a folder with the price files: {PRICE_SOURCES}")
    return load_index(folder), load_stocks(folder), load_google(folder)


def main() -> None:
    """Measure, print, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    index, stocks, google = load_tables()
    rows = [measure("S&P 500", index.log_return[:, 0])]
    rows += [measure(name, stocks.select([name]).log_return[:, 0]) for name in SHOWN]
    laws: tuple[tuple[str, PriceLaw], ...] = (("default", PriceLaw()), ("iid normal", PLAIN))
    for name, law in laws:
        for seed in range(SEEDS):
            rows.append(measure(f"{name} {seed}", draw_returns(law, LENGTHS[1], seed=seed)[0]))
    print_rows(rows)
    shares = [count_bands(name, law, length) for name, law in laws for length in LENGTHS]
    for share in shares:
        print(
            f"{share.series}, {share.length} returns, {share.num_seeds} seeds: six bands or more "
            f"{share.at_least_six:.1%}, three or fewer {share.at_most_three:.1%}"
        )
    real = (("S&P 500", index), ("20 shares", stocks), ("GOOGL", google))
    makers: tuple[Callable[[str, PriceTable], Fit], ...] = (fit, bootstrap)
    fits = [make(name, table) for make in makers for name, table in real]
    for one in fits:
        print(f"{one.generator}, {one.series}, {one.seconds} CPU s")
        print("\n".join(f"  {line}" for line in one.report.describe()))
    regimes = measure_regimes()
    for regime in regimes:
        print(f"{regime.regime:9} {regime.volatility:.2f} made {regime.made_volatility:.3f}")
    volume = compare_volume(google)
    print(f"{volume.name}: GOOGL {volume.real:.2f}, made {volume.made:.2f}")
    seconds = time_draw()
    print(f"256 episodes, 15 symbols, 1,000 steps: {seconds} CPU s")
    content = {
        "command": "python -m benchmarks.price_generator",
        **describe_machine(),
        "bands": [{"name": band.name, "text": band.text} for band in BANDS],
        "returns_per_series": LENGTHS[1],
        "rows": [to_json(row) for row in rows],
        "shares": [to_json(share) for share in shares],
        "fits": [to_json(one) for one in fits],
        "regimes": [to_json(regime) for regime in regimes],
        "volume": to_json(volume),
        "draw_cpu_seconds": seconds,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(blank_missing(content), indent=2, allow_nan=False) + "\n")
    plot_prices(stocks, options.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
