"""Do our agents decide better than experts and published methods? All benchmarks, one table.

`python -m benchmarks.decision_quality` runs every benchmark of decisions, or those that are named,
writes their JSON where each keeps it, and from all that is stored the tables of docs/results.md,
benchmarks/results/decision_quality.json and one picture per benchmark. `--stored` runs nothing.
Figures are the same in every run with the same files of data (seeds are fixed, one thread), times
are not and stand in a table of their own; InvManagement alone trains for a time and so differs.
Where a benchmark has no stored result its line says how to get one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

import torch
from matplotlib.figure import Figure

from benchmarks import quality_rows
from benchmarks.measuring import RESULTS
from benchmarks.quality_pictures import draw_frontier, draw_rows
from benchmarks.quality_rows import Cost, QualityRow, Report, read_cost

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PICTURES = DOCS / "results.md", DOCS / "pictures" / "results"
BEGIN, END = "<!-- decision_quality: begin -->", "<!-- decision_quality: end -->"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One module, where it writes and what its figures mean."""

    module: str
    title: str
    file: str
    read: Callable[[Report], list[QualityRow]]
    picture: Callable[[str, Report], Figure] | None = None
    """Draws a report under a title; without it the rows are drawn."""
    takes_folder: bool = False
    """Whether it is given a folder for several files in place of one file."""


BENCHMARKS = {
    "inventory": Benchmark(
        module="network_inventory",
        title="Inventory of a network (gym-invmgmt, 20 scenarios)",
        file="network_inventory.json",
        read=quality_rows.read_inventory,
    ),
    "inv_management": Benchmark(
        module="apg_against_ppo",
        title="Serial inventory (OR-Gym InvManagement)",
        file="apg_against_ppo.json",
        read=quality_rows.read_inv_management,
    ),
    "placement": Benchmark(
        module="placement_value",
        title="Placing tasks in a GPU cluster (OpenB)",
        file="placement_value.json",
        read=quality_rows.read_placement,
    ),
    "placement_mixes": Benchmark(
        module="placement_mixes",
        title="The same cluster with other lists of tasks",
        file="placement_mixes.json",
        read=quality_rows.read_mixes,
    ),
    "jobs": Benchmark(
        module="job_priority",
        title="Scheduling jobs (DeepRM's cluster)",
        file="job_priority.json",
        read=quality_rows.read_jobs,
    ),
    "execution": Benchmark(
        module="execution",
        title="Selling one order (Almgren and Chriss)",
        file="execution.json",
        read=quality_rows.read_execution,
        picture=draw_frontier,
    ),
    "nodes": Benchmark(
        module="node_policy",
        title="Distributed nodes",
        file="node_policy.json",
        read=quality_rows.read_nodes,
    ),
    "services": Benchmark(
        module="allocation_quality",
        title="Shared services, held-out real days",
        file="allocation_quality.json",
        read=quality_rows.read_services,
        takes_folder=True,
    ),
    "foresight": Benchmark(
        module="foresight",
        title="Shared services: what knowing the next steps is worth",
        file="foresight.json",
        read=quality_rows.read_foresight,
    ),
}


HEADLINES = {
    "inventory": ("informed, canonical seeds", "blind, canonical seeds"),
    "inv_management": ("InvManagement v1, lost sales", "InvManagement v0, backlog"),
    "placement": ("OpenB default list, 130 % demand",),
    "jobs": ("90% load, arrivals in 50 steps", "130% load, arrivals in 50 steps"),
    "nodes": ("rate 20",),
}
"""Lines of the README: where others published figures."""


def run(name: str, folder: Path, *, smoke: bool) -> None:
    """Run one benchmark.

    Args:
        name: In `BENCHMARKS`.
        folder: Where its JSON goes.
        smoke: See that it runs; figures mean little.
    """
    torch.set_num_threads(1)
    one = BENCHMARKS[name]
    where = ["--results", str(folder)] if one.takes_folder else ["--output", str(folder / one.file)]
    main_ = import_module(f"benchmarks.{one.module}").main
    failed = main_([*where, *(["--smoke"] if smoke else [])])
    if failed:
        raise SystemExit(f"benchmarks.{one.module} ended with {failed}")


def read_report(name: str, folder: Path) -> Report | None:
    """Read what a benchmark stored; None if it has not.

    Args:
        name: In `BENCHMARKS`.
        folder: Where its JSON lies.
    """
    path = folder / BENCHMARKS[name].file
    report: Report | None = json.loads(path.read_text()) if path.exists() else None
    return report


def number(value: float | None) -> str:
    """Write a figure in four or five digits.

    Args:
        value: None is left empty.
    """
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 2000 else f"{value:,.2f}"


def beside(row: QualityRow) -> tuple[str, str]:
    """Write our figure and the best expert's, the better one bold.

    Args:
        row: What was found.
    """
    ours, expert = number(row.ours), number(row.expert)
    if row.expert is None or ours == expert:
        return ours, expert
    ours_wins = (row.ours < row.expert) == row.lower_is_better
    return (f"**{ours}**", expert) if ours_wins else (ours, f"**{expert}**")


def format_row(row: QualityRow) -> str:
    """Write one line of the table of figures.

    Args:
        row: What was found.
    """
    ours, expert = beside(row)
    published = f"{number(row.published)} ({row.published_name})" if row.published_name else ""
    gain = ""
    if row.difference is not None:
        ends = f"[{row.difference.low:+,.2f}, {row.difference.high:+,.2f}]"
        gain = f"{row.difference.mean:+,.2f} {ends}"
    better = "less" if row.lower_is_better else "more"
    cells = (
        row.setting,
        f"{ours} ({row.agent})",
        f"{expert} ({row.expert_name})" if expert else "",
        gain,
        published,
        number(row.bound),
        f"{row.unit}, {better} is better; {row.seeds}",
    )
    return f"| {' | '.join(cells)} |"


def quality_table(name: str, report: Report | None) -> str:
    """Return the table of one benchmark, or how to get it.

    Args:
        name: In `BENCHMARKS`.
        report: What is stored, if it is.
    """
    one = BENCHMARKS[name]
    head = f"## {one.title}\n\n`python -m benchmarks.decision_quality {name}`"
    if report is None:
        return f"{head}: not measured yet; this command does."
    lines = [
        "| what | ours | best expert | ours less expert [95 %] | published | bound | |",
        "|---|---|---|---|---|---|---|",
        *[format_row(row) for row in one.read(report)],
    ]
    picture = f"![{one.title}](pictures/results/{name}.png)"
    return "\n".join([f"{head} (`benchmarks/results/{one.file}`)", "", *lines, "", picture])


def headline_table(reports: dict[str, Report | None]) -> str:
    """Return the lines that the README quotes, a line a benchmark with published figures.

    Args:
        reports: By name.
    """
    lines = ["| decisions | ours | best expert | published |", "|---|---|---|---|"]
    for name, wanted in HEADLINES.items():
        report = reports[name]
        if report is None:
            raise SystemExit(f"{name} is not measured yet")
        rows = {row.setting: row for row in BENCHMARKS[name].read(report)}
        for setting in wanted:
            row = rows[setting]
            better = "less" if row.lower_is_better else "more"
            ours, expert = beside(row)
            cells = (
                f"{BENCHMARKS[name].title}: {setting}; {row.unit}, {better} is better",
                ours,
                f"{expert} ({row.expert_name})",
                f"{number(row.published)} ({row.published_name})",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def cost_table(reports: dict[str, Report | None]) -> str:
    """Return the table of times and commits.

    Args:
        reports: By name.
    """
    lines = ["| benchmark | training, CPU s | a decision | commit |", "|---|---|---|---|"]
    for name, report in reports.items():
        if report is None:
            continue
        cost: Cost = read_cost(name, report)
        spent = "" if cost.training_cpu_seconds is None else f"{cost.training_cpu_seconds:,.1f}"
        commit = str(report.get("commit") or "")[:10]
        lines.append(f"| {name} | {spent} | {cost.decision} | {commit} |")
    return "\n".join(lines)


def draw(name: str, report: Report, path: Path) -> None:
    """Draw what a benchmark found.

    Args:
        name: In `BENCHMARKS`.
        report: Its JSON.
        path: Of the picture.
    """
    one = BENCHMARKS[name]
    picture = one.picture or (lambda title, found: draw_rows(title, one.read(found)))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(one.title, report).savefig(path, dpi=130, metadata={"Software": None})


def write_page(reports: dict[str, Report | None], page: Path) -> None:
    """Put the tables into the page, between its marks.

    Args:
        reports: By name.
        page: With both marks.
    """
    text = page.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    parts = [quality_table(name, report) for name, report in reports.items()]
    parts += ["## What it took\n", cost_table(reports)]
    page.write_text(before + BEGIN + "\n" + "\n\n".join(parts) + "\n" + END + after)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, read, write.

    Args:
        arguments: Of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"all, or some of {', '.join(BENCHMARKS)}")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, nothing is kept")
    parser.add_argument("--stored", action="store_true", help="run nothing, write from the stored")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON lies")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; known: {', '.join(BENCHMARKS)}")
    options.results.mkdir(parents=True, exist_ok=True)
    is_stored = options.results.samefile(RESULTS)
    if options.smoke and is_stored:
        parser.error("--smoke wants --results FOLDER, so that no stored result is lost")
    for name in () if options.stored else options.names or BENCHMARKS:
        run(name, options.results, smoke=options.smoke)
    reports = {name: read_report(name, options.results) for name in BENCHMARKS}
    rows = {
        name: BENCHMARKS[name].read(report)
        for name, report in reports.items()
        if report is not None
    }
    content = {
        "command": "python -m benchmarks.decision_quality",
        "rows": {name: [asdict(row) for row in found] for name, found in rows.items()},
    }
    (options.results / "decision_quality.json").write_text(json.dumps(content, indent=1) + "\n")
    for name, report in reports.items():
        print(quality_table(name, report), end="\n\n")
    print(cost_table(reports))
    if is_stored:
        for name, report in reports.items():
            if report is not None:
                draw(name, report, PICTURES / f"{name}.png")
        write_page(reports, PAGE)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
