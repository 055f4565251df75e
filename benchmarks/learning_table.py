"""What the algorithms reach on the field's tasks, from the stored results of `single_agent`.

Run `python -m benchmarks.learning_table`: the table of docs/algorithms/README.md, read from
benchmarks/results/. Nothing is measured here.
"""

from __future__ import annotations

import json
from typing import Any

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


if __name__ == "__main__":
    print(learning_table())
