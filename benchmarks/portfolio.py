"""What do the classic rules earn on real prices after costs, and how far is that from the limits?

Run `python -m benchmarks.portfolio`: every rule in `BatchedPortfolio` on twenty shares from
2018-01-02 to 2022-12-28 (10 bp, every 21 days, 252 returns known) beside the published table, with
a paired block bootstrap against 1/N and the hindsight bounds; then constant weights on geometric
Brownian motion beside Merton's growth. Prints tables, writes benchmarks/results/portfolio.json and
a picture. Needs the price files of data/price_traces.py. About 30 CPU seconds on one core.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.measuring import RESULTS, write_report
from data.market_config import PLAIN, SymbolLaw, SyntheticMarketConfig
from data.market_generator import SyntheticMarket
from data.market_traces import RealMarketConfig, TraceMarket
from data.price_traces import PRICE_SOURCES, PriceTable, load_index, load_stocks
from data.scenario import BankConfig, FixedSource, ScenarioBank
from data.traces import locate_traces
from rl.domains.portfolio import PortfolioConfig
from rl.domains.portfolio_experts import EXPERTS, Rebalanced
from rl.environments.lockstep import LockstepOptions
from rl.environments.portfolio_environment import BatchedPortfolio
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.portfolio_bounds import (
    compute_best_constant_portfolio,
    compute_hindsight_path,
    compute_merton_portfolio,
)
from rl.evaluation.portfolio_scores import Lead, PortfolioScores, compute_lead, compute_scores
from utils.config import to_json

FIRST_DAY, LAST_DAY = np.datetime64("2018-01-02"), np.datetime64("2022-12-28")
KNOWN_RETURNS = 252
PUBLISHED = {
    "buy_and_hold": (0.168, 0.232, 0.79, -0.304),
    "equal": (0.185, 0.213, 0.90, -0.316),
    "inverse_volatility": (0.159, 0.197, 0.85, -0.309),
    "risk_parity": (0.170, 0.197, 0.89, -0.300),
    "minimum_variance": (0.098, 0.177, 0.61, -0.264),
    "maximum_sharpe": (0.166, 0.255, 0.73, -0.320),
    "S&P 500 price index": (0.072, 0.219, 0.43, -0.339),
}
"""Annual return, volatility, Sharpe ratio, drawdown: section 3.3 of the project's references."""
MERTON_WEIGHTS = (0.1, 0.4, 0.7, 1.0, 1.3, 1.9)
MERTON_VOLATILITY, MERTON_RATE, MERTON_COPIES = 0.4, 0.02, 16_384
COLORS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#222222", "#999999")

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One rule on the real prices."""

    rule: str
    scores: PortfolioScores
    turnover: float
    """Bought plus sold per year, in wealths."""
    cost: float
    """Growth of the logarithm of wealth per year that went into costs."""
    published: tuple[float, ...] | None
    lead_over_equal: Lead | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class MertonRow:
    """One constant weight; growth of the logarithm of wealth per year."""

    weight: float
    closed_form: float
    simulated: float
    standard_error: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Merton:
    """Constant weights on geometric Brownian motion, all on the same prices."""

    best_weight: float
    best_growth: float
    rows: tuple[MertonRow, ...]


def make_window(table: PriceTable) -> tuple[PortfolioConfig, ScenarioBank]:
    """Return the task and the one episode from the first day to the last.

    Args:
        table: The prices.
    """
    first, last = (int(np.searchsorted(table.dates, day)) for day in (FIRST_DAY, LAST_DAY))
    config = PortfolioConfig(num_steps=last - first + 1)
    sizes = RealMarketConfig(max_steps=config.num_steps, lookback=KNOWN_RETURNS + 1)
    start = np.asarray([first - sizes.lookback])
    scenarios = TraceMarket(table, sizes).cut(start, np.random.default_rng(0))
    return config, ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=1), 0)


def play(config: PortfolioConfig, bank: ScenarioBank, expert: Rebalanced) -> dict[str, Floats]:
    """Play a rule through the episode; growth, cost and turnover, `[day]` each.

    Args:
        config: The task.
        bank: The episode.
        expert: The rule.
    """
    environment = BatchedPortfolio(config, bank, LockstepOptions(num_envs=1, shuffle=False), 0)
    found: dict[str, list[float]] = {"log_growth": [], "cost": [], "turnover": []}
    for _ in range(config.num_steps):
        view = view_to_numpy(environment.view)
        record = environment.step(torch.from_numpy(expert(view, config)))
        found["log_growth"].append(float(record.metrics["log_growth"]))
        found["turnover"].append(float(record.metrics["turnover"]))
        found["cost"].append(-float(record.reward_terms["cost"]))
    return {name: np.asarray(values) for name, values in found.items()}


def compare(table: PriceTable, index: PriceTable) -> tuple[list[Row], dict[str, Floats]]:
    """Play every rule on the real prices; rows, and growth by rule.

    Args:
        table: The shares.
        index: The index, for its own row.
    """
    config, bank = make_window(table)
    years = config.num_steps / 252
    played = {name: play(config, bank, expert) for name, expert in EXPERTS.items()}
    days = (index.dates[1:] >= FIRST_DAY) & (index.dates[1:] <= LAST_DAY)
    nothing = np.zeros(config.num_steps)
    played["S&P 500 price index"] = {
        "log_growth": index.log_return[days, 0],
        "cost": nothing,
        "turnover": nothing,
    }
    equal = played["equal"]["log_growth"]
    rows = [
        Row(
            rule=name,
            scores=compute_scores(found["log_growth"]),
            turnover=float(found["turnover"].sum() / years),
            cost=float(found["cost"].sum() / years),
            published=PUBLISHED.get(name),
            lead_over_equal=None if name == "equal" else compute_lead(found["log_growth"], equal),
        )
        for name, found in played.items()
    ]
    return rows, {name: found["log_growth"] for name, found in played.items()}


def bound(table: PriceTable) -> dict[str, float]:
    """Compute what nobody, and no constant weights, could have beaten; CAGR each.

    Args:
        table: The shares.
    """
    config, bank = make_window(table)
    moves = bank.scenarios.log_return.astype(np.float64)
    path = compute_hindsight_path(moves, bank.scenarios.symbol_active, config)
    best = compute_best_constant_portfolio(moves[0], config)
    years = config.num_steps / 252
    return {
        "hindsight_annual_log_growth": float(path.log_growth[0]) / years,
        "best_constant_annual_return": float(np.expm1(best.log_growth / years)),
        "best_constant_annual_return_bound": float(np.expm1(best.log_growth_bound / years)),
    }


def simulate_merton() -> Merton:
    """Hold constant weights on geometric Brownian motion for a year, all on the same prices."""
    excess = 0.7 * MERTON_VOLATILITY**2
    law = SymbolLaw(volatility=(MERTON_VOLATILITY / 0.10,), drift=(MERTON_RATE + excess,))
    market = SyntheticMarketConfig(max_symbols=1, lookback=3, law=PLAIN, symbols=law)
    config = PortfolioConfig(
        num_agents=len(MERTON_WEIGHTS),
        cost_bps=0.0,
        cash_rate=float(np.expm1(MERTON_RATE / 252)),
        max_leverage=2.0,
    )
    bank = ScenarioBank(SyntheticMarket(market), BankConfig(num_episodes=MERTON_COPIES), 0)
    options = LockstepOptions(num_envs=MERTON_COPIES, shuffle=False)
    environment = BatchedPortfolio(config, bank, options, 0)
    action = torch.tensor(MERTON_WEIGHTS)[None, :, None].expand(MERTON_COPIES, -1, -1) / 2
    growth = torch.zeros((MERTON_COPIES, len(MERTON_WEIGHTS)), dtype=torch.float64)
    for _ in range(config.num_steps):
        growth += environment.step(action).reward
    merton = compute_merton_portfolio(
        np.asarray([MERTON_RATE + excess]),
        np.asarray([[MERTON_VOLATILITY**2]]),
        cash_rate=MERTON_RATE,
    )
    return Merton(
        best_weight=float(merton.weights[0]),
        best_growth=merton.growth,
        rows=tuple(
            MertonRow(
                weight=weight,
                closed_form=MERTON_RATE + weight * excess - 0.5 * (weight * MERTON_VOLATILITY) ** 2,
                simulated=float(one.mean()),
                standard_error=float(one.std()) / MERTON_COPIES**0.5,
            )
            for weight, one in zip(MERTON_WEIGHTS, growth.T, strict=True)
        ),
    )


def plot(growth: dict[str, Floats], dates: NDArray[np.datetime64], path: Path) -> None:
    """Draw wealth over time, logarithmic, with what became of 1.

    Args:
        growth: `[day]` by rule.
        dates: `[day]`.
        path: PNG file to write.
    """
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    axes = figure.subplots()
    order = sorted(growth, key=lambda name: -growth[name].sum())
    for name, color in zip(order, COLORS, strict=True):
        wealth = np.exp(growth[name].cumsum())
        style = "--" if name.startswith("S&P") else "-"
        label = f"{name.replace('_', ' ')}: {wealth[-1]:.2f}"
        axes.plot(dates, wealth, style, color=color, linewidth=1.4, label=label)
    axes.set_yscale("log")
    axes.set_yticks([0.75, 1, 1.5, 2, 2.5], ["0.75", "1", "1.5", "2", "2.5"])
    axes.minorticks_off()
    axes.set_ylabel("wealth, first wealth is 1 (logarithmic)")
    axes.set_title(
        "Twenty shares that survived, after 10 bp of costs", loc="left", fontweight="bold"
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", frameon=False)
    FigureCanvasAgg(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, format="png")


def show(rows: list[Row]) -> None:
    """Print the table.

    Args:
        rows: Of the rules.
    """
    print("rule                   CAGR    vol  Sharpe  drawdown  turnover   growth against 1/N")
    for row in rows:
        one = row.scores
        figures = (one.annual_return, one.volatility, one.sharpe_ratio, one.max_drawdown)
        behind = ""
        if row.lead_over_equal is not None:
            growth = row.lead_over_equal.annual_log_growth
            behind = f"{growth.mean:+.3f} [{growth.low:+.3f}, {growth.high:+.3f}]"
        print(f"{row.rule:20}  {_format(figures)}  {row.turnover:8.2f}   {behind}")
        if row.published:
            print(f"{'  published':20}  {_format(row.published)}")


def _format(figures: tuple[float, ...]) -> str:
    return "{:5.3f}  {:5.3f}  {:5.2f}  {:8.3f}".format(*figures)


def main() -> None:
    """Compare, bound, simulate, print, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS / "portfolio.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = locate_traces()
    if folder is None:
        raise SystemExit(f"no price files; get them: {PRICE_SOURCES}")
    table, index = load_stocks(folder), load_index(folder)
    rows, growth = compare(table, index)
    show(rows)
    limits, merton = bound(table), simulate_merton()
    print(*(f"{name}: {value:.4f}" for name, value in limits.items()), sep="\n")
    print(f"Merton: weight {merton.best_weight:.2f}, growth {merton.best_growth:.4f}")
    for one in merton.rows:
        print(
            f"  weight {one.weight:.1f}: {one.closed_form:+.4f}, simulated {one.simulated:+.4f} "
            f"+- {one.standard_error:.4f}"
        )
    days = (table.dates >= FIRST_DAY) & (table.dates <= LAST_DAY)
    plot(growth, table.dates[days], options.output.with_suffix(".png"))
    content = {
        "command": "python -m benchmarks.portfolio",
        "rows": [to_json(row) for row in rows],
        "bounds": limits,
        "merton": to_json(merton),
    }
    write_report(options.output, content)


if __name__ == "__main__":
    main()
