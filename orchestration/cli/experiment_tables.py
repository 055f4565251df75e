"""Tables of runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType

from orchestration.cli.tables import make_table, short

if TYPE_CHECKING:
    from rl.training.side_by_side import RunComparison


def comparison(found: RunComparison) -> list[RenderableType]:
    """Draw runs side by side.

    Args:
        found: What differs, and what they came to.
    """
    names = [short(run_id) for run_id in found.runs]
    settings = make_table("differs", *names)
    for name, side in found.differing.items():
        settings.add_row(name, *("" if value is None else value for value in side))
    results = make_table("came to", *names)
    results.add_row("steps", *(f"{steps:,}" for steps in found.env_steps))
    results.add_row("best score", *_figures(found.best_scores))
    for name, values in found.last_metrics.items():
        results.add_row(name, *_figures(values))
    same = f"{found.num_same} settings are the same."
    parts: list[RenderableType] = [settings, same] if found.differing else [same]
    if found.other_data:
        sets = ", ".join(found.other_data)
        parts.append(f"Scores cannot be compared: the scenarios differ in {sets}.")
    return [*parts, "", results]


def _figures(values: Sequence[float | None]) -> list[str]:
    return ["" if value is None else f"{value:,.4g}" for value in values]
