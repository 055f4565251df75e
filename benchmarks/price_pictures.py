"""The picture of `benchmarks.price_generator`: real shares beside made ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from data.market_config import PLAIN, PriceLaw, SyntheticMarketConfig
from data.market_generator import SyntheticMarket
from data.price_traces import PriceTable
from data.stylised_facts import autocorrelation
from utils.seeding import make_generator

REAL, MADE, NORMAL = "#0072B2", "#D55E00", "#999999"
SHOWN = ("JPM", "XOM", "WMT", "KO")
LAGS = 200
DOTS_PER_INCH = 75
EPISODES = 20
"""Made shares, as many as there are real ones."""

Values = NDArray[np.float64]


def plot_prices(stocks: PriceTable, path: Path) -> None:
    """Draw paths, returns, memory of volatility and tails.

    Args:
        stocks: The real shares.
        path: PNG file to write.
    """
    real = stocks.log_return
    real = real / real.std(0)
    length = len(real)
    made, normal = (_draw(law, length) for law in (PriceLaw(), PLAIN))
    figure = Figure(figsize=(11, 7), layout="constrained")
    grid = figure.subplots(2, 2)
    _draw_paths(grid[0, 0], real[:, [stocks.symbols.index(name) for name in SHOWN]], made[:, :4])
    _draw_returns(grid[0, 1], real[:, stocks.symbols.index("JPM")], made[:, 0])
    _draw_memory(grid[1, 0], (real, made, normal))
    _draw_tails(grid[1, 1], (real, made, normal))
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")


def _draw(law: PriceLaw, length: int) -> Values:
    """Return `[time, episode]` of returns, in standard deviations."""
    config = SyntheticMarketConfig(law=law, max_steps=length, lookback=1, martingale=True)
    drawn = SyntheticMarket(config).draw(EPISODES, make_generator(0, "price pictures"))
    returns = drawn.log_return[..., 0].T.astype(np.float64)
    scaled: Values = returns / returns.std(0)
    return scaled


def _draw_paths(axes: Axes, real: Values, made: Values) -> None:
    weeks = slice(None, None, 5)
    years = np.arange(len(real))[weeks] / 252
    for label, returns, color in (("real", real, REAL), ("made", made, MADE)):
        paths = (returns - returns.mean(0)).cumsum(0)[weeks]
        lines = axes.plot(years, paths, color=color, linewidth=0.9)
        lines[0].set_label(f"{label}: {', '.join(SHOWN)}" if label == "real" else label)
    axes.set_xlabel("years")
    axes.set_ylabel("logarithm of the price\n(daily deviations, trend taken off)")
    axes.set_title("Prices", loc="left", fontweight="bold")
    axes.legend(loc="best", frameon=False)


def _draw_returns(axes: Axes, real: Values, made: Values) -> None:
    years = np.arange(len(real)) / 252
    for label, returns, color, middle in (("JPM", real, REAL, 30), ("made", made, MADE, 0)):
        axes.plot(
            years, returns + middle, color=color, linewidth=0.5, antialiased=False, label=label
        )
    axes.set_yticks([0, 30], ["0", "0"])
    axes.set_xlabel("years")
    axes.set_ylabel("daily return\n(shifted, one scale)")
    axes.set_title("Volatility comes in clusters", loc="left", fontweight="bold")
    axes.legend(loc="upper right", frameon=False, ncols=2)


def _draw_memory(axes: Axes, panels: tuple[Values, ...]) -> None:
    lags = np.arange(1, LAGS + 1)
    for label, returns, color in zip(
        ("20 real shares", "20 made", "20 normal, independent"),
        panels,
        (REAL, MADE, NORMAL),
        strict=True,
    ):
        curves = np.asarray([autocorrelation(np.abs(one), LAGS)[1:] for one in returns.T])
        low, middle, high = np.percentile(curves, (10, 50, 90), axis=0)
        axes.fill_between(lags, low, high, color=color, alpha=0.2, linewidth=0)
        axes.plot(lags, middle, color=color, label=label)
    axes.set_xscale("log")
    axes.set_ylim(-0.05, 0.42)
    axes.set_xlabel("lag in days")
    axes.set_ylabel("autocorrelation of |r|")
    axes.set_title("Memory of volatility: median, 10 to 90 %", loc="left", fontweight="bold")
    axes.legend(frameon=False)


def _draw_tails(axes: Axes, panels: tuple[Values, ...]) -> None:
    for label, returns, color in zip(
        ("20 real shares", "20 made", "20 normal, independent"),
        panels,
        (REAL, MADE, NORMAL),
        strict=True,
    ):
        size = np.sort(np.abs(returns).ravel())[::-1]
        rank = np.unique(np.geomspace(1, len(size), 400).astype(int))
        axes.plot(size[rank - 1], rank / len(size), color=color, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(0.5, 40)
    axes.set_xlabel("x, in standard deviations")
    axes.set_ylabel("share of days with |r| > x")
    axes.set_title("Tails", loc="left", fontweight="bold")
    axes.legend(frameon=False)
