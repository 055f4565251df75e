"""What the benchmarks of decisions found, as rows of one shape, read from their JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Report = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Mean and 95 % interval of ours less the best expert, on the same episodes."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class QualityRow:
    """One comparison."""

    setting: str
    unit: str
    lower_is_better: bool = False
    ours: float
    agent: str = "shipped design"
    expert: float | None = None
    """The best expert on the same episodes."""
    expert_name: str = ""
    published: float | None = None
    published_name: str = ""
    bound: float | None = None
    """What nobody can beat, or a limit of the same episodes that is named in the docs."""
    difference: Difference | None = None
    seeds: str = ""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What it took; other from run to run, so kept apart from the figures."""

    training_cpu_seconds: float | None = None
    decision: str = ""


def _difference(found: Mapping[str, float]) -> Difference:
    return Difference(mean=found["mean"], low=found["low"], high=found["high"])


def _mean(values: Any) -> float:
    return float(np.mean(values))


def read_inventory(report: Report) -> list[QualityRow]:
    """Read `benchmarks.network_inventory`: profit over the 20 scenarios.

    Args:
        report: Its JSON.
    """
    rows = []
    published = {
        "informed": ("MSSP-I, which knows the demand law; best learned 1,119.5", 1369.3),
        "blind": ("MSSP blind", 998.2),
    }
    for agent, (name, value) in published.items():
        for kind in ("canonical", "fresh"):
            players = report["players"]
            rivals = [one for one in players if "base stock" in one or "rolling" in one]
            profit = {one: players[one][kind]["profit"]["all"] for one in rivals}
            best = max(profit, key=lambda one: profit[one])
            found = report["differences"].get(f"{agent} - {best}", {}).get(kind)
            canonical = kind == "canonical"
            rows.append(
                QualityRow(
                    setting=f"{agent}, {kind} seeds",
                    unit="profit an episode",
                    agent=agent,
                    ours=players[agent][kind]["profit"]["all"],
                    expert=profit[best],
                    expert_name=best,
                    published=value if canonical else None,
                    published_name=name if canonical else "",
                    bound=1445.7 if canonical else None,
                    difference=_difference(found) if found and "low" in found else None,
                    seeds=f"{len(report['seeds'][kind])} a scenario",
                )
            )
    return rows


def read_inv_management(report: Report) -> list[QualityRow]:
    """Read `benchmarks.apg_against_ppo`: OR-Gym's InvManagement.

    Args:
        report: Its JSON.
    """
    published = {"serial_inventory": 508.0, "serial_inventory_lost_sales": 485.4}
    rows = []
    for world, found in report["worlds"].items():
        version = "v1, lost sales" if "lost" in world else "v0, backlog"
        ours, ppo = ([run["profit"] for run in found["runs"][name]] for name in ("apg", "ppo"))
        rows.append(
            QualityRow(
                setting=f"InvManagement {version}",
                unit="profit an episode",
                agent="APG",
                ours=_mean(ours),
                expert=found["peers"]["shrinking_horizon_first_episodes"],
                expert_name="mean-demand rolling LP (60 paths)",
                published=published[world],
                published_name="SHLP (recalled)",
                bound=found["peers"]["hindsight_bound_first_episodes"],
                seeds=f"{len(ours)} seeds x {report['episodes']} paths; PPO {_mean(ppo):.1f}",
            )
        )
    return rows


def read_placement(report: Report) -> list[QualityRow]:
    """Read `benchmarks.placement_value`: the default list of OpenB.

    Args:
        report: Its JSON.
    """
    rows = []
    for at, gain in report["gain"].items():
        published = report["published"].get(at)
        rows.append(
            QualityRow(
                setting=f"OpenB default list, {at} % demand",
                unit="% of GPU in use",
                agent="value of what is left",
                ours=_mean(report["percent"]["value"][at]),
                expert=_mean(report["percent"]["fgd"][at]),
                expert_name="FGD, our clone",
                published=_mean(published) if published else None,
                published_name="FGD" if published else "",
                bound=BOUND_AT_130 if published and at == "130" else None,
                difference=_difference(gain),
                seeds=f"{len(report['seeds'])} shuffles",
            )
        )
    return rows


BOUND_AT_130 = 96.87
"""Of rules that decline nothing in the first 85 %: `python -m benchmarks.cluster_placement`."""


def read_mixes(report: Report) -> list[QualityRow]:
    """Read `benchmarks.placement_mixes`: other lists.

    Args:
        report: Its JSON.
    """
    return [
        QualityRow(
            setting=f"{row['mix']}, 130 % demand",
            unit="% of GPU in use",
            agent="value of what is left",
            ours=_mean(row["value"]["130"]),
            expert=_mean(row["fgd"]["130"]),
            expert_name="FGD, our clone",
            bound=row["bound"],
            difference=_difference(row["gain"]["130"]),
            seeds=f"{len(row['seeds'])} shuffles",
        )
        for row in report["rows"]
    ]


def read_jobs(report: Report) -> list[QualityRow]:
    """Read `benchmarks.job_priority`: DeepRM's cluster.

    Args:
        report: Its JSON.
    """
    rows = []
    for row in (*report["rows"], *report["longer"]):
        best = row["best_rule"]
        short = row in report["rows"]
        rows.append(
            QualityRow(
                setting=f"{row['load']:.0%} load, arrivals in {row['arrival_steps']} steps",
                unit="mean slowdown",
                lower_is_better=True,
                agent="one layer, CMA-ES",
                ours=row["slowdown"]["learned"],
                expert=row["slowdown"][best],
                expert_name=best,
                published=min(row["reference"].values()) if short else None,
                published_name="best of SJF, Tetris, other clone" if short else "",
                bound=row["bound"],
                difference=_difference(row["difference"]),
                seeds=f"{row['sequences']} sequences",
            )
        )
    return rows


def read_execution(report: Report) -> list[QualityRow]:
    """Read `benchmarks.execution`: the frontier of Almgren and Chriss.

    Args:
        report: Its JSON.
    """
    twap = {
        row["risk_aversion"]: row["disutility"] for row in report["rows"] if row["policy"] == "twap"
    }
    return [
        QualityRow(
            setting=f"risk aversion {one['risk_aversion']:.0e}, seed {one['seed']}",
            unit="cost plus penalty, 1,000",
            lower_is_better=True,
            agent="APG",
            ours=one["disutility"] / 1000,
            expert=twap[one["risk_aversion"]] / 1000 if one["risk_aversion"] in twap else None,
            expert_name="equal slices" if one["risk_aversion"] in twap else "",
            published=one["best_disutility"] / 1000,
            published_name="Almgren-Chriss optimum",
            bound=one["best_disutility"] / 1000,
            seeds="4,096 paths",
        )
        for one in report["learned"]
    ]


def read_nodes(report: Report) -> list[QualityRow]:
    """Read `benchmarks.node_policy`: ten nodes, three rates.

    Args:
        report: Its JSON.
    """
    return [
        QualityRow(
            setting=f"rate {row['rate']}",
            unit="return",
            agent="PPO, one policy for all rates",
            ours=row["rows"]["learned"]["return"],
            expert=row["rows"][row["best_rule"]]["return"],
            expert_name=row["best_rule"],
            published=row["published_best_rule_return"],
            published_name="best heuristic",
            difference=_difference(row["gain_over_best_rule"]),
            seeds=f"{len(row['learned_return_by_seed'])} seeds",
        )
        for row in report["rates"]
    ]


def read_services(report: Report) -> list[QualityRow]:
    """Read `benchmarks.allocation_quality`: real demand and unseen bursts.

    Args:
        report: Its JSON.
    """
    rows = []
    for table in report["tables"]:
        found = {row["name"]: row for row in table["rows"]}
        (agent,) = [row for row in table["rows"] if row["kind"] == "agent"]
        rows.append(
            QualityRow(
                setting=table["data"],
                unit="KPI a window",
                agent=agent["name"].upper(),
                ours=agent["kpi"]["mean"],
                expert=found[table["baseline"]]["kpi"]["mean"],
                expert_name=table["baseline"],
                bound=found["bound"]["kpi"]["mean"] if "bound" in found else None,
                difference=_difference(agent["difference"]),
                seeds=f"{len(report['seeds'])} seeds, {table['num_episodes']} windows",
            )
        )
    return rows


def read_foresight(report: Report) -> list[QualityRow]:
    """Read `benchmarks.foresight`: planners that are told the next steps.

    Args:
        report: Its JSON.
    """
    found = {row["name"]: row for row in report["rows"]}
    (best,) = [row for row in report["rows"] if row["to_expert"] is None]
    return [
        QualityRow(
            setting=f"planner {name}",
            unit="KPI a window",
            agent="LP solved in every step",
            ours=row["kpi"],
            expert=best["kpi"],
            expert_name=best["name"],
            bound=found["bound"]["kpi"],
            difference=_difference(row["to_expert"]),
            seeds=f"{report['windows']} windows of {report['days']} days",
        )
        for name, row in found.items()
        if name.startswith("told")
    ]


def read_cost(name: str, report: Report) -> Cost:
    """Read what training and decisions took.

    Args:
        name: Of the benchmark.
        report: Its JSON.
    """
    readers: dict[str, Callable[[], Cost]] = {
        "inventory": lambda: Cost(
            training_cpu_seconds=sum(
                one.get("cpu_seconds", 0.0) for one in report["selection"].values()
            ),
            decision=f"{report['players']['informed']['canonical']['milliseconds']:.1f} ms an "
            "episode",
        ),
        "inv_management": lambda: Cost(training_cpu_seconds=report["seconds"]),
        "placement": lambda: Cost(
            training_cpu_seconds=report["cpu_seconds"]["prices"],
            decision=", ".join(f"{key} {us} us" for key, us in report["decision_us"].items()),
        ),
        "placement_mixes": lambda: Cost(
            training_cpu_seconds=sum(row["cpu_seconds"]["prices"] for row in report["rows"])
        ),
        "jobs": lambda: Cost(
            training_cpu_seconds=report["training_cpu_seconds"],
            decision=", ".join(f"{key} {us} us" for key, us in report["decision_us"].items()),
        ),
        "execution": lambda: Cost(
            training_cpu_seconds=_mean([one["cpu_seconds"] for one in report["learned"]])
        ),
        "nodes": lambda: Cost(training_cpu_seconds=_mean(report["cpu_seconds"])),
        "services": lambda: Cost(training_cpu_seconds=_mean(report["cpu_seconds_per_seed"])),
    }
    return readers.get(name, Cost)()
