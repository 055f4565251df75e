"""Rows and sentences about an episode: plain functions of what the server told."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from orchestration.endpoints.session_play_routes import ArrayView
from orchestration.endpoints.session_routes import ChartView, TrajectoryStep

MOST_BARS = 100
"""Of a long episode, so many groups of steps are drawn."""
Row = dict[str, Any]


def mean_reward(step: TrajectoryStep) -> float:
    """Return the mean of what the agents got in a step.

    Args:
        step: Of a trajectory.
    """
    return _mean(step.rewards.values())


def mean_terms(step: TrajectoryStep) -> dict[str, float]:
    """Return the terms of the reward, each the mean of the agents.

    Args:
        step: Of a trajectory.
    """
    names = dict.fromkeys(name for info in step.info.values() for name in info.reward_terms)
    return {
        name: _mean(info.reward_terms.get(name) for info in step.info.values()) for name in names
    }


def metrics_of(step: TrajectoryStep) -> Mapping[str, float | None]:
    """Return the figures of a step; all agents are told the same.

    Args:
        step: Of a trajectory.
    """
    return next(iter(step.info.values())).metrics if step.info else {}


def return_rows(
    steps: Sequence[TrajectoryStep], reference: Sequence[float | None], expert: str
) -> list[Row]:
    """Return the return so far of who played, and of the expert as far as they played.

    Args:
        steps: Of the trajectory, from the first.
        reference: What the expert got, step by step.
        expert: Its name.
    """
    played = itertools.accumulate(mean_reward(step) for step in steps)
    rows: list[Row] = [
        {"step": number, "who": "this episode", "return": value}
        for number, value in enumerate(played, 1)
    ]
    others = itertools.accumulate(value or 0.0 for value in reference[: len(steps)])
    rows += [
        {"step": number, "who": f"expert: {expert.replace('_', ' ')}", "return": value}
        for number, value in enumerate(others, 1)
    ]
    return rows


def tell_returns(
    steps: Sequence[TrajectoryStep], reference: Sequence[float | None], expert: str
) -> str:
    """Say in a sentence who is ahead.

    Args:
        steps: Of the trajectory.
        reference: What the expert got, step by step.
        expert: Its name; empty where there is none.
    """
    mine = sum(mean_reward(step) for step in steps)
    words = f"After {len(steps)} steps this episode has earned {write(mine)}"
    if not expert or len(reference) < len(steps):
        return f"{words}."
    theirs = sum(value or 0.0 for value in reference[: len(steps)])
    rule = expert.replace("_", " ")
    ahead = "ahead of" if mine > theirs else "behind" if mine < theirs else "level with"
    return (
        f"{words}, {ahead} the expert's rule {rule} with {write(theirs)} on the same seed "
        f"(difference {write(mine - theirs)})."
    )


def term_rows(steps: Sequence[TrajectoryStep]) -> list[Row]:
    """Return the terms of the reward step by step; of long episodes, sums of groups of steps.

    Args:
        steps: Of the trajectory.
    """
    width = max(1, math.ceil(len(steps) / MOST_BARS))
    rows: list[Row] = []
    for start in range(0, len(steps), width):
        group = steps[start : start + width]
        sums: dict[str, float] = {}
        for step in group:
            for name, value in mean_terms(step).items():
                sums[name] = sums.get(name, 0.0) + value
        rows += [
            {"step": group[0].step, "term": name.replace("_", " "), "reward": value}
            for name, value in sums.items()
        ]
    return rows


def tell_terms(steps: Sequence[TrajectoryStep]) -> str:
    """Say what the reward is made of.

    Args:
        steps: Of the trajectory.
    """
    sums: dict[str, float] = {}
    for step in steps:
        for name, value in mean_terms(step).items():
            sums[name] = sums.get(name, 0.0) + value
    parts = ", ".join(f"{name.replace('_', ' ')} {write(value)}" for name, value in sums.items())
    width = max(1, math.ceil(len(steps) / MOST_BARS))
    grouped = f" Each bar sums {width} steps." if width > 1 else ""
    return f"Over {len(steps)} steps the reward is made of: {parts}.{grouped}"


def chart_rows(steps: Sequence[TrajectoryStep], chart: ChartView) -> list[Row]:
    """Return the figures of one chart of the world, step by step.

    Args:
        steps: Of the trajectory.
        chart: Which figures, and whether their running sums are meant.
    """
    rows: list[Row] = []
    for name in chart.metrics:
        total = 0.0
        for step in steps:
            known = {"reward": mean_reward(step), **mean_terms(step), **metrics_of(step)}
            if name not in known:
                continue
            value = known[name] or 0.0
            total += value
            shown = total if chart.is_sum else value
            rows.append({"step": step.step, "figure": name.replace("_", " "), "value": shown})
    return rows


def tell_chart(rows: Sequence[Row], chart: ChartView) -> str:
    """Say where the figures of a chart stand.

    Args:
        rows: Of the chart.
        chart: Its names.
    """
    newest = {row["figure"]: row["value"] for row in rows}
    parts = ", ".join(f"{name} {write(value)}" for name, value in newest.items())
    unit = f" ({chart.unit})" if chart.unit else ""
    return f"{chart.title[:1].upper()}{chart.title[1:]}{unit}: now {parts}."


def state_rows(array: ArrayView) -> list[Row]:
    """Return the numbers of one array with their places.

    Args:
        array: Of one or more axes.
    """
    places = itertools.product(*(range(size) for size in array.shape))
    return [
        {
            "place": str(place[0]) if place else "",
            "of": ", ".join(map(str, place[1:])),
            "value": value,
        }
        for place, value in zip(places, array.values, strict=True)
    ]


def trajectory_rows(steps: Sequence[TrajectoryStep]) -> list[Row]:
    """Return a line per step: rewards, terms, figures and actions.

    Args:
        steps: Of the trajectory.
    """
    rows: list[Row] = []
    total = 0.0
    for step in steps:
        total += mean_reward(step)
        row: Row = {"step": step.step, "reward": mean_reward(step), "return so far": total}
        row |= {f"term {name}": value for name, value in mean_terms(step).items()}
        row |= dict(metrics_of(step))
        for agent, action in step.actions.items():
            if isinstance(action, list):
                row |= {f"{agent} action {n}": value for n, value in enumerate(action)}
            else:
                row[f"{agent} action"] = action
        rows.append(row)
    return rows


def to_csv(rows: Sequence[Row]) -> str:
    """Write rows as comma-separated values; a figure that a row lacks is empty.

    Args:
        rows: With texts and numbers.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write(value: float) -> str:
    """Write a number as people do.

    Args:
        value: Finite.
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _mean(values: Any) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else 0.0
