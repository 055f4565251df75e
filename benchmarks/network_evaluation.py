"""Planners, a rule and a program on the same episodes of gym-invmgmt, beside the published rows."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.network_package import (
    NETWORKS,
    STEPS,
    TOPOLOGIES,
    Scenario,
    list_scenarios,
    play_all,
    rolling_program,
)
from benchmarks.network_training import planner_config
from data.traces import locate_traces
from rl.artifacts import PolicyArtifact
from rl.deployment.planner_exporter import PlannerPolicy
from rl.domains.network_planner import NetworkPlanner
from rl.domains.planner_experts import PlannerExpert
from rl.evaluation.statistics import clustered_t_interval

PUBLISHED = "published_gym_invmgmt_results.csv"
PUBLISHED_ROWS = {
    "Oracle": "hindsight program, an upper reference",
    "MSSP_I": "stochastic program, knows the demand law",
    "sS_I": "reorder points, informed",
    "EchelonApprox_I": "echelon base stock, informed",
    "DLP_I": "linear program, informed",
    "PPO_Transformer": "best learned, informed",
    "MSSP": "stochastic program, blind",
    "EchelonApprox": "echelon base stock, blind",
    "Residual_B": "best learned, blind",
}
GROUPS = ("all", "base", "serial", "stationary")
Rows = list[dict[str, Any]]


def play_planner(
    artifacts: Mapping[str, PolicyArtifact], scenarios: Sequence[Scenario], seeds: Sequence[int]
) -> Rows:
    """Play the planner of each topology.

    Args:
        artifacts: By topology.
        scenarios: What is played.
        seeds: Of the package's generator.
    """
    rows: Rows = []
    for topology, artifact in artifacts.items():
        policy = PlannerPolicy(artifact)
        own = [one for one in scenarios if one.topology == topology]
        rows += play_all(lambda _, policy=policy: policy, own, seeds, policy.config.horizon)  # type: ignore[misc]
    return rows


def play_rule(scenarios: Sequence[Scenario], seeds: Sequence[int], *, informed: bool) -> Rows:
    """Play the base-stock rule, its requests cut to what can be shipped.

    Args:
        scenarios: What is played.
        seeds: Of the package's generator.
        informed: Whether it is told the mean of coming demand.
    """
    rows: Rows = []
    for topology in TOPOLOGIES:
        config = planner_config(topology, informed=informed)
        expert, planner = PlannerExpert(config), NetworkPlanner(config)
        decide = partial(_order_and_cut, expert, planner)
        own = [one for one in scenarios if one.topology == topology]
        rows += play_all(lambda _, decide=decide: decide, own, seeds, config.horizon)  # type: ignore[misc]
    return rows


def _order_and_cut(expert: PlannerExpert, planner: NetworkPlanner, view: Any) -> Any:
    return planner.ship(expert(view), view.stock)


def play_program(scenarios: Sequence[Scenario], seeds: Sequence[int]) -> Rows:
    """Play the rolling program.

    Args:
        scenarios: What is played.
        seeds: Of the package's generator.
    """
    make: Any = rolling_program
    return play_all(make, scenarios, seeds, STEPS)


def summarise(rows: Rows) -> dict[str, Any]:
    """Return the means of one player, and its profit on every seed.

    Args:
        rows: Its episodes.
    """
    groups = {name: [row for row in rows if _is_in(row["scenario"], name)] for name in GROUPS}
    scenarios = sorted({row["scenario"] for row in rows})
    return {
        "profit": {name: round(_mean(part, "profit"), 1) for name, part in groups.items() if part},
        "fill_rate": round(_mean(rows, "fill_rate"), 4),
        "bullwhip": round(_mean(rows, "bullwhip"), 1),
        "median_bullwhip": round(float(np.median([row["bullwhip"] for row in rows])), 1),
        "milliseconds": round(float(np.median([row["milliseconds"] for row in rows])), 2),
        "by_scenario": {
            name: round(_mean([row for row in rows if row["scenario"] == name], "profit"), 1)
            for name in scenarios
        },
        "by_seed": {str(seed): round(value, 2) for seed, value in by_seed(rows).items()},
    }


def by_seed(rows: Rows) -> dict[int, float]:
    """Return the mean profit over the scenarios of every seed.

    Args:
        rows: Episodes of one player.
    """
    seeds = dict.fromkeys(row["seed"] for row in rows)
    return {seed: _mean([row for row in rows if row["seed"] == seed], "profit") for seed in seeds}


def compare(ours: Rows, theirs: Rows) -> dict[str, float]:
    """Return the mean difference of profit, paired by seed, with its 95 % interval.

    Args:
        ours: Episodes of one player.
        theirs: The same ones of another.
    """
    mine, others = by_seed(ours), by_seed(theirs)
    gap = np.array([mine[seed] - others[seed] for seed in mine])
    found = clustered_t_interval(gap, np.arange(len(gap)))
    return {name: round(getattr(found, name), 1) for name in ("mean", "low", "high")}


def read_published() -> dict[str, Any]:
    """Return the published rows of the 20 scenarios, or none without the file."""
    folder = locate_traces()
    if folder is None or not (folder / PUBLISHED).exists():
        return {}
    keys = {one.key for topology in NETWORKS for one in list_scenarios(topology)}
    with (folder / PUBLISHED).open() as file:
        table = [row for row in csv.DictReader(file) if row["ScenarioKey"] in keys]
    found = {}
    for name, words in PUBLISHED_ROWS.items():
        profit = {row["ScenarioKey"]: float(row[f"{name}_Profit"]) for row in table}
        means = {
            group: round(float(np.mean([v for k, v in profit.items() if _is_in(k, group)])), 1)
            for group in GROUPS
        }
        found[name] = {
            "words": words,
            "profit": means,
            "fill_rate": round(_column(table, f"{name}_FillRate"), 4),
            "bullwhip": round(_column(table, f"{name}_BullwhipRatio"), 1),
            "milliseconds": round(1e3 * _column(table, f"Time_{name}"), 1),
            "by_scenario": profit,
        }
    return found


def make_table(report: Mapping[str, Any]) -> str:
    """Return the Markdown table of a report.

    Args:
        report: What `python -m benchmarks.network_inventory` found.
    """
    head = "planner|all 20|base 10|serial 10|stationary 4|fresh seeds|fill|bullwhip|ms an episode"
    columns = [*head.split("|"), "training, CPU s"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    ranked = [(one["profit"]["all"], _published_line(k, one)) for k, one in _published(report)]
    for name, one in report["players"].items():
        fresh = one["fresh"]["profit"]["all"]
        cost = one.get("cpu_seconds")
        canonical = one["canonical"]
        cells = [f"{canonical['profit'][group]:,.1f}" for group in GROUPS]
        cells += [
            f"{fresh:,.1f}",
            f"{canonical['fill_rate']:.3f}",
            f"{canonical['median_bullwhip']:.0f}, {canonical['bullwhip']:.0f}",
            f"{canonical['milliseconds']:.1f}",
            "none" if cost is None else f"{cost:.0f}",
        ]
        ranked.append((canonical["profit"]["all"], f"| **{name}** | {' | '.join(cells)} |"))
    ranked.sort(key=lambda one: -one[0])
    return "\n".join([*lines, *(line for _, line in ranked)])


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Draw the profits of the 20 scenarios as shares of the published hindsight program.

    Args:
        report: What was found, with the published rows.
        path: Of the PNG.
    """
    published = dict(_published(report))
    reference = published["Oracle"]["by_scenario"]
    played = report["players"]["informed"]["canonical"]["by_scenario"]
    names = sorted(played, key=lambda key: (key.split("|")[1], -reference[key]))
    figure = Figure(figsize=(9.0, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shown = {
        "PPO-Transformer, best published learned": (published["PPO_Transformer"], "s", "#9a9a9a"),
        "MSSP-I, best published": (published["MSSP_I"], "D", "#4d4d4d"),
    }
    colours = {"informed": "#0b6e4f", "blind": "#c8553d", "rolling program": "#3d5a98"}
    for name, colour in colours.items():
        if name in report["players"]:
            shown[f"ours: {name}"] = (report["players"][name]["canonical"], "o", colour)
    height = np.arange(len(names))
    for label, (one, marker, colour) in shown.items():
        share = [100 * one["by_scenario"][name] / reference[name] for name in names]
        axes.scatter(share, height, marker=marker, color=colour, s=34, label=label, zorder=3)
    axes.axvline(100.0, color="black", linewidth=0.8)
    axes.set_yticks(height, [_short(name) for name in names], fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("profit, % of the published hindsight program (canonical seeds)")
    figure.legend(loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    figure.savefig(path, dpi=130)


def _published(report: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return list(report["published"].items())


def _published_line(name: str, one: Mapping[str, Any]) -> str:
    cells = [f"{one['profit'][group]:,.1f}" for group in GROUPS]
    words = f"{name.replace('_', '-')} (published; {one['words']})"
    rest = f"{one['fill_rate']:.3f} | {one['bullwhip']:.0f} | {one['milliseconds']:,.0f}"
    return f"| {words} | {' | '.join(cells)} | | {rest} | |"


def _short(key: str) -> str:
    _, network, demand, goodwill, backlog, _ = key.split("|")
    flags = [
        "goodwill" if goodwill.endswith("True") else "",
        "backlog" if backlog.endswith("True") else "lost sales",
    ]
    return ", ".join([network, demand, *(flag for flag in flags if flag)])


def _is_in(key: str, group: str) -> bool:
    _, network, demand, *_ = key.split("|")
    return group in ("all", network, demand)


def _mean(rows: Rows, name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def _column(table: list[dict[str, str]], name: str) -> float:
    return float(np.mean([float(row[name]) for row in table]))
