"""Table and pictures of docs/training/ablations.md, from the stored results of `ablations`.

Run `python -m benchmarks.ablation_page`: the page is written anew. Nothing is measured here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.ablation_arms import ABLATIONS
from benchmarks.measuring import RESULTS
from rl.evaluation.evaluation_plots import COLORS
from rl.evaluation.plots import new_figure, save_figure

PAGE = Path(__file__).parent.parent / "docs" / "training" / "ablations.md"
BEGIN, END = "<!-- results: python -m benchmarks.ablation_page -->", "<!-- end of results -->"
NOT_RUN = "not run yet"
HEADER = (
    "| ablation | world, env steps | first arm | second arm | difference [95 %] "
    "| first beats second | outcome |"
)
Summary = dict[str, Any]
"""Of one ablation, as `ablations.summarise` returns it."""


def stored_summaries(path: Path = RESULTS / "ablations.json") -> list[Summary]:
    """Return what was found, or nothing where nothing was run.

    Args:
        path: JSON file of the results.
    """
    found: list[Summary] = json.loads(path.read_text())["ablations"] if path.exists() else []
    return found


def format_table(summaries: Sequence[Summary]) -> str:
    """Write one line of Markdown for each ablation, run or not.

    Args:
        summaries: Of those that were run.
    """
    known = {one["ablation"]: one for one in summaries}
    lines = [HEADER, "|---" * HEADER.count(" |") + "|"]
    for name, ablation in ABLATIONS.items():
        start = f"| {name} | {ablation.first.config.environment}"
        if name in known:
            lines.append(f"{start}, {_cells(known[name])} |")
        else:
            first, second = ablation.first.name, ablation.second.name
            lines.append(f"{start} | {first} | {second} | | | {NOT_RUN} |")
    return "\n".join(lines)


def _cells(one: Summary) -> str:
    first, second = one["arms"]
    difference, chance = one["difference"], one["probability_of_improvement"]
    middle = f"{difference['mean']:+,.2f}"
    if "low" in difference:
        middle += f" [{difference['low']:+,.2f}, {difference['high']:+,.2f}]"
    seeds = len(one["seeds"])
    return " | ".join(
        (
            f"{first['env_steps']:,}",
            f"{first['name']}: {first['mean']:,.2f}",
            f"{second['name']}: {second['mean']:,.2f}",
            middle,
            f"{chance['value']:.0%}",
            f"{one['conclusion']}{'' if seeds == 1 else f' ({seeds} seeds)'}",
        )
    )


def write_results(summaries: Sequence[Summary]) -> str:
    """Return what stands between the marks of the page: the table, then each run ablation.

    Args:
        summaries: Of those that were run.
    """
    parts = [format_table(summaries)]
    for one in summaries:
        note = f" {one['note']}" if one["note"] else ""
        seconds = " and ".join(f"{arm['cpu_seconds']:g}" for arm in one["arms"])
        parts.append(
            f"**{one['ablation']}.** {one['question']} Score: {one['kpi']}, held-out.{note} "
            f"CPU seconds a run: {seconds}.\n\n"
            f"![Learning curves of both arms](pictures/ablation-{one['ablation']}.png)"
        )
    return "\n\n".join(parts)


def draw_curves(one: Summary, path: Path) -> None:
    """Draw the learning curves of both arms with their intervals over seeds.

    Args:
        one: An ablation that was run.
        path: PNG file to write.
    """
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    for arm, color, line in zip(one["arms"], COLORS, ("-", "--"), strict=False):
        curve = arm["curve"]
        steps = [step / 1e3 for step in curve["env_steps"]]
        axes.plot(steps, curve["mean"], line, color=color, label=arm["name"])
        if curve["low"] is not None:
            band = (curve["low"], curve["high"])
            axes.fill_between(steps, *band, color=color, alpha=0.15, linewidth=0)
    axes.set_xlabel("environment steps (thousands)")
    axes.set_ylabel(f"{one['kpi']}\n(validation episodes)")
    seeds = len(one["seeds"])
    bands = "one seed" if seeds == 1 else f"mean of {seeds} seeds, 95 % interval"
    axes.set_title(f"{one['question']} ({bands})", loc="left", fontweight="bold", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def fill_page(summaries: Sequence[Summary], page: Path = PAGE) -> None:
    """Write table and pictures into the page.

    Args:
        summaries: Of those that were run.
        page: With both marks.
    """
    text = page.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n\n{write_results(summaries)}\n\n{END}{after}")
    pictures = page.parent / "pictures"
    pictures.mkdir(exist_ok=True)
    for one in summaries:
        draw_curves(one, pictures / f"ablation-{one['ablation']}.png")
    print(f"written: {page}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill the page from what is stored.

    Args:
        arguments: Of the command line.
    """
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    fill_page(stored_summaries())


if __name__ == "__main__":
    main()
