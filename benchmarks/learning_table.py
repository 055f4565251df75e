"""What the algorithms reach on the field's tasks, from the stored results of the benchmarks.

Run `python -m benchmarks.learning_table`: the tables of docs/algorithms/README.md, read from
benchmarks/results/ (`single_agent`, `multi_agent`). Nothing is measured here.
"""

from __future__ import annotations

import json
from typing import Any

from benchmarks import multi_agent
from benchmarks.measuring import RESULTS
from benchmarks.single_agent import OURS, PEER, TASKS


def format_cell(rows: list[dict[str, Any]], task: str, library: str) -> str:
    """Write the mean of a library's best policies, its interval and how many seeds it rests on.

    Args:
        rows: Of the stored result.
        task: Its name.
        library: Its name.
    """
    found = [row for row in rows if row["task"] == task and row["library"] == library]
    if not found or found[0].get("best") is None:
        return ""
    (row,) = found
    best, seeds = row["best"], len(row["seeds"])
    if seeds == 1:
        return f"{best['mean']:.1f} (1 seed)"
    return f"{best['mean']:.1f} [{best['low']:.1f}, {best['high']:.1f}] ({seeds})"


def learning_table() -> str:
    """Return the table in Markdown, one line for each task that was run."""
    rows = json.loads((RESULTS / "single_agent.json").read_text())["rows"]
    lines = ["| task | steps | here | Stable-Baselines3 | asked for |", "|---|---|---|---|---|"]
    for name, task in TASKS.items():
        ours = format_cell(rows, name, OURS)
        if ours:
            peer = format_cell(rows, name, PEER)
            lines.append(f"| {name} | {task.env_steps:,} | {ours} | {peer} | {task.bar:g} |")
    return "\n".join(lines)


def team_table() -> str:
    """Return the table of teams in Markdown, one line for each cell that was run."""
    lines = [
        "| world, algorithm | here | BenchMARL | steps a CPU-second, here and there |",
        "|---|---|---|---|",
    ]
    for cell in json.loads((RESULTS / "multi_agent.json").read_text())["cells"]:
        rows = [
            cell[library] for library in (multi_agent.OURS, multi_agent.PEER) if library in cell
        ]
        if not rows:
            continue
        scores = [
            f"{row['mean']:.1f} [{row['low']:.1f}, {row['high']:.1f}] ({len(row['seeds'])})"
            for row in rows
        ]
        speeds = ", ".join(f"{row['steps_per_cpu_second']:,.0f}" for row in rows)
        lines.append(f"| {cell['cell']} | {' | '.join([*scores, ''][:2])} | {speeds} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(learning_table(), team_table(), sep="\n\n")
