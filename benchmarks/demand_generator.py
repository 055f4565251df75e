"""Does a law of demand, fitted to some products of a real shop, make others it has not seen?

Run `python -m benchmarks.demand_generator`: fits on the even products of the UCI set and compares
on the odd ones, and the other way round, with lognormal and with gamma day noise; says how far the
sampling noise of 50 products lets any law come; prints the tables and writes
benchmarks/results/demand_generator.json and .png. About 50 CPU seconds on one core. Needs the
trace files (data/retail_traces.py says where they are to be had).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from benchmarks.measuring import describe_machine
from data.demand_law import DemandLaw, Floats
from data.demand_law_fit import (
    DemandHistory,
    compare_demand,
    draw_like,
    fit_demand,
    measure_demand,
)
from data.retail_traces import load_retail_demand
from data.traces import TraceError, locate_traces
from rl.training.provenance import read_provenance
from utils.seeding import make_generator

mpl.use("Agg")

RESULTS = Path(__file__).parent / "results" / "demand_generator.json"
BAR = 0.25
BAR_FIGURES = (
    "zero_share",
    "variance_to_mean",
    "autocorrelation_7",
    "calendar_autocorrelation_7",
    "log_autocorrelation_7",
)
SPLITS = {"even": slice(0, None, 2), "odd": slice(1, None, 2)}
BOOTSTRAPS = 400


def judge(history: DemandHistory, *, fitted: str, day_noise: str, seed: int) -> dict[str, object]:
    """Fit on one half of the products and compare on the other.

    Args:
        history: All products.
        fitted: Which half is fitted.
        day_noise: Of the law.
        seed: Of the draws of the fit.
    """
    unseen = "odd" if fitted == "even" else "even"
    law, _ = fit_demand(history.take(SPLITS[fitted]), day_noise=day_noise, seed=1000 * seed)
    report = compare_demand(law, history.take(SPLITS[unseen]), seed=1000 * seed)
    return {
        "fitted": fitted,
        "unseen": unseen,
        "day_noise": day_noise,
        "seed": seed,
        "law": asdict(law),
        "figures": {
            one.name: {"real": one.real, "made": one.made, "error": one.relative_error}
            for one in report.figures
        },
    }


def bootstrap(history: DemandHistory, seed: int) -> dict[str, list[float]]:
    """Return 95 % intervals of the figures of real products, drawn again with replacement.

    Args:
        history: The products.
        seed: Of the choice.
    """
    generator = make_generator(seed, "products")
    count = history.units.shape[1]
    rows = []
    for _ in range(BOOTSTRAPS):
        chosen = history.units[:, generator.integers(count, size=count)]
        figures = measure_demand(chosen[None], history.is_open)
        rows.append([getattr(figures, name) for name in BAR_FIGURES])
    ends = np.percentile(rows, (2.5, 97.5), axis=0).T
    return {name: pair.tolist() for name, pair in zip(BAR_FIGURES, ends, strict=True)}


def chance_of_passing(law: DemandLaw, history: DemandHistory) -> dict[str, float]:
    """Return how often populations drawn from one law come within the bar of its own mean.

    A law cannot be asked to match real products more often than it matches itself.

    Args:
        law: Fitted.
        history: Levels and calendar.
    """
    rows = []
    for seed in range(12):
        for population in draw_like(law, history, seed):
            figures = measure_demand(population[None], history.is_open)
            rows.append([getattr(figures, name) for name in BAR_FIGURES])
    table = np.asarray(rows)
    share = (np.abs(table / table.mean(0) - 1) <= BAR).mean(0)
    return dict(zip(BAR_FIGURES, share.round(3).tolist(), strict=True))


def rows_apart_7(units: Floats, history: DemandHistory) -> float:
    """Return the mean autocorrelation seven rows of the file apart, closed days left out.

    Args:
        units: `[replica, time, series]`.
        history: Whose calendar.
    """
    shown = units[:, history.is_open]
    return measure_demand(shown, np.ones(shown.shape[1], bool)).autocorrelation_7


def draw_chart(history: DemandHistory, law: DemandLaw, path: Path) -> None:
    """Draw unseen products beside made ones: series, zeros, dispersion, memory.

    Args:
        history: Products that the law was not fitted on.
        law: The law.
        path: Of the picture.
    """
    made = draw_like(law, history, 0)
    figure, axes = plt.subplots(2, 3, figsize=(13, 6.5), layout="constrained")
    level = history.levels
    typical = int(np.argsort(level)[len(level) // 2])
    for axis, series, name in ((axes[0, 0], history.units, "real"), (axes[1, 0], made[0], "made")):
        axis.plot(series[:, typical], linewidth=0.8, color="C0" if name == "real" else "C1")
        axis.set(title=f"{name}, product of median level", xlabel="day", ylabel="units")
        axis.set_yscale("symlog", linthresh=10)
    is_open = history.is_open
    shown = (history.units[is_open], made[0][is_open])
    for series, name, marker in zip(shown, ("real", "made"), ("o", "x"), strict=True):
        mean = series.mean(0)
        axes[0, 1].scatter(mean, (series == 0).mean(0), s=16, marker=marker, label=name)
        axes[0, 2].scatter(mean, series.var(0) / mean, s=16, marker=marker, label=name)
        ordered = np.sort(series.ravel())[::-1]
        axes[1, 2].plot(ordered, np.arange(1, len(ordered) + 1) / len(ordered), label=name)
    axes[0, 1].set(xscale="log", xlabel="units per open day", title="share of open days without")
    axes[0, 2].set(xscale="log", yscale="log", xlabel="units per open day", title="variance / mean")
    axes[1, 2].set(xscale="log", yscale="log", xlabel="units", title="share of days above")
    lags = np.arange(1, 36)
    for units, name in ((history.units[None], "real"), (made, "made")):
        axes[1, 1].plot(lags, [log_memory(units, is_open, lag) for lag in lags], label=name)
    axes[1, 1].set(xlabel="days apart", title="autocorrelation of log(1 + units)")
    for axis in (axes[0, 1], axes[0, 2], axes[1, 1], axes[1, 2]):
        axis.legend()
    figure.savefig(path, dpi=64)
    plt.close(figure)


def log_memory(units: Floats, is_open: np.ndarray, lag: int) -> float:
    """Return the mean autocorrelation of log(1 + units) over pairs of open days.

    Args:
        units: `[replica, time, series]`.
        is_open: `[time]`.
        lag: Days apart.
    """
    pairs = is_open[lag:] & is_open[:-lag]
    if not pairs.any():
        return float("nan")
    logs = np.log1p(units)
    centred = logs - logs[:, is_open].mean(1, keepdims=True)
    variance = (centred[:, is_open] ** 2).mean(1)
    products = (centred[:, lag:] * centred[:, :-lag])[:, pairs].mean(1)
    return float((products / variance).mean())


def main() -> None:
    """Fit, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    folder = locate_traces()
    if folder is None:
        raise TraceError("the trace files are not here; see data/retail_traces.py")
    history = load_retail_demand(folder)
    halves = {name: history.take(part) for name, part in SPLITS.items()}
    rows = [
        judge(history, fitted=fitted, day_noise=noise, seed=seed)
        for noise, seeds in (("lognormal", options.seeds), ("gamma", 1))
        for fitted in SPLITS
        for seed in range(seeds)
    ]
    for row in rows:
        print(f"fitted on {row['fitted']}, {row['day_noise']} noise, seed {row['seed']}")
        for name, one in row["figures"].items():
            mark = "" if name not in BAR_FIGURES else " *" if one["error"] <= BAR else " !"
            print(f"  {name:27} {one['real']:9.4f} {one['made']:9.4f} {one['error']:6.1%}{mark}")
    law, _ = fit_demand(history.take(SPLITS["even"]))
    content = {
        "command": "python -m benchmarks.demand_generator",
        "commit": read_provenance().code_commit,
        "machine": describe_machine(),
        "bar": BAR,
        "rows": rows,
        "bootstrap_95_percent": {name: bootstrap(half, 0) for name, half in halves.items()},
        "chance_that_the_law_passes_itself": chance_of_passing(law, halves["odd"]),
        "rows_apart_7": {
            **{name: rows_apart_7(half.units[None], half) for name, half in halves.items()},
            "made_for_odd": rows_apart_7(draw_like(law, halves["odd"], 0), halves["odd"]),
        },
    }
    for name in ("bootstrap_95_percent", "chance_that_the_law_passes_itself", "rows_apart_7"):
        print(name, json.dumps(content[name]))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=2) + "\n")
    draw_chart(halves["odd"], law, options.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
