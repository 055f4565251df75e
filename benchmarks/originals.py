"""How close our worlds come to the published ones, from the stored results of their benchmarks.

Run `python -m benchmarks.originals`: the table of docs/environments/README.md, from stored results.
Nothing is measured here; each row names the benchmark that did.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from benchmarks.measuring import RESULTS


@dataclass(frozen=True, kw_only=True)
class Row:
    """One published figure and ours."""

    world: str
    figure: str
    published: str
    here: str
    command: str


def load(name: str) -> Any:
    """Read a stored result.

    Args:
        name: Of the benchmark.
    """
    return json.loads((RESULTS / f"{name}.json").read_text())


def find(rows: list[dict[str, Any]], wanted: dict[str, object]) -> dict[str, Any]:
    """Return the first row with the given values.

    Args:
        rows: Of a stored result.
        wanted: Values by key.
    """
    return next(row for row in rows if all(row[key] == value for key, value in wanted.items()))


def read_rows() -> list[Row]:
    """Collect the figures that are worth a line."""
    inventory = find(load("inventory")["rows"], {"version": "v1", "name": "base_stock"})
    network = [
        row for row in load("supply_network")["experts"] if row["policy"] == "newsvendor, informed"
    ]
    optimum = find(load("stock_optima")["rows"], {"instance": "Clark-Scarf, 3 stages"})
    placed = fmean(find(load("cluster_placement")["rules"], {"rule": "fgd"})["at_130"])
    jobs = find(load("job_scheduling")["rows"], {"load": 1.3, "name": "sjf"})
    nodes = find(load("distributed_nodes")["table"], {"rate": 5, "policy": "least_used_1"})[
        "return"
    ][-1]
    shares = find(
        load("allocation_presets")["rows"],
        {"preset": "constrained_allocation", "policy": "greedy_cheapest"},
    )
    order = find(load("execution")["rows"], {"risk_aversion": 1e-6, "policy": "almgren_chriss"})
    wealth = find(load("portfolio")["rows"], {"rule": "equal"})
    return [
        Row(
            world="OR-Gym InvManagement v1",
            figure="profit of tuned base-stock",
            published="452.0",
            here=f"{inventory['mean']:.1f}",
            command="inventory",
        ),
        Row(
            world="gym-invmgmt, 20 scenarios",
            figure="mean profit of the newsvendor's rule",
            published=f"{fmean(row['published'] for row in network):.1f}",
            here=f"{fmean(row['profit'] for row in network):.1f}",
            command="supply_network",
        ),
        Row(
            world="Clark-Scarf, 3 stages",
            figure="cost of a step at the optimum",
            published=f"{optimum['published']:.2f}",
            here=f"{optimum['played']:.2f}",
            command="stock_optima",
        ),
        Row(
            world="OpenB trace, 1,213 GPU nodes",
            figure="GPUs in use by FGD at 130 % demand",
            published="95.39 %",
            here=f"{placed:.2f} %",
            command="cluster_placement",
        ),
        Row(
            world="DeepRM, 130 % load",
            figure="slowdown of shortest job first",
            published=f"{jobs['reference']:.2f}",
            here=f"{jobs['mean']:.2f}",
            command="job_scheduling",
        ),
        Row(
            world="distributed nodes, rate 5",
            figure="return where the least used node offers",
            published=f"{nodes['published']:.0f}",
            here=f"{nodes['mean']:.0f}",
            command="distributed_nodes",
        ),
        Row(
            world="constrained allocation",
            figure="return of cheapest first",
            published=f"{shares['published']:.1f}",
            here=f"{shares['mean']:.1f}",
            command="allocation_presets",
        ),
        Row(
            world="Almgren-Chriss, lambda 1e-6",
            figure="cost plus risk at the optimum",
            published="1,275,356",
            here=f"{order['disutility']:,.0f}",
            command="execution",
        ),
        Row(
            world="20 shares, 2018-2022",
            figure="Sharpe ratio of 1/N after costs",
            published=f"{wealth['published'][2]:.2f}",
            here=f"{wealth['scores']['sharpe_ratio']:.2f}",
            command="portfolio",
        ),
    ]


def originals_table() -> str:
    """Return the table in Markdown."""
    lines = [
        "| world | figure | published | here | `python -m benchmarks.` |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.world} | {row.figure} | {row.published} | {row.here} | `{row.command}` |"
        for row in read_rows()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(originals_table())
