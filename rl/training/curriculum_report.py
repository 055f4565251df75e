"""What is told of a curriculum: how the present stage stands, and what came of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rl.training.curriculum_scheduler import (
    CurriculumScheduler,
    Evidence,
    Standing,
    Trend,
    is_covered,
)
from rl.training.curriculum_stage import CurriculumStage, DifficultyLevel

Reason = Literal["promoted", "regressed", "harder", "easier", "set"]
"""Harder and easier move within a stage; set is by hand."""


@dataclass(frozen=True, kw_only=True)
class StageChange:
    """One move, and on which scores it rested."""

    episode: int
    """Played in all stages together before it."""
    stage: str
    """Where the run went, by name."""
    difficulty: float
    reason: Reason
    mean: float | None = None
    """Of the scores in the window; None if set by hand."""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class CurriculumProgress:
    """How the present stage stands."""

    stage: str
    number: int
    """From 1."""
    num_stages: int
    difficulty: float
    episodes_in_stage: int
    total_episodes: int
    evidence: Evidence | None
    """None before there are enough scores."""
    trend: Trend | None
    is_overdue: bool
    """More than `max_episodes` were played here; nobody is promoted by that."""
    note: str
    """Why the run is still here, in words."""


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """What was played in one stage, over all visits."""

    name: str
    level: DifficultyLevel
    episodes: int
    times_promoted: int
    """Out of it."""
    times_regressed: int
    """Out of it, or down within it."""
    is_overdue: bool
    """It was never left upwards although more than `max_episodes` were played in it."""


@dataclass(frozen=True, kw_only=True)
class CompletionReport:
    """What came of a curriculum."""

    is_mastered: bool
    """The last stage's bar was passed."""
    final_stage: str
    """Where the run is."""
    total_episodes: int
    stages: tuple[StageReport, ...]
    changes: tuple[StageChange, ...]
    summary: str
    """In words."""


def explain(
    stage: CurriculumStage,
    standing: Standing,
    evidence: Evidence | None,
    scheduler: CurriculumScheduler,
) -> str:
    """Say what keeps a run from leaving its stage upwards.

    Args:
        stage: Where it is.
        standing: How it stands there.
        evidence: Of its window; None before there is enough.
        scheduler: Who decides.
    """
    wait, bar = scheduler.wait(stage, standing), stage.advancement_threshold
    reasons = []
    if standing.episodes < wait:
        reasons.append(f"{standing.episodes} of {wait} episodes are played")
    if evidence is None:
        if not is_covered(standing.window, stage):
            reasons.append("too few scores to judge by")
    else:
        if evidence.low < bar:
            reasons.append(
                f"the mean score {evidence.mean:.2f} is only known to be above {evidence.low:.2f}, "
                f"wanted {bar:g}"
            )
        values = {figure.name: figure.value for figure in evidence.figures}
        reasons += [
            f"{one.figure} is {values[one.figure]:.3g}, wanted {one.describe()}"
            for one in stage.success_criteria
            if not one.is_met(values[one.figure])
        ]
    if not reasons:
        return "every bar is passed"
    text = "; ".join(reasons)
    if standing.episodes > stage.max_episodes:
        text += (
            f"; this takes longer than max_episodes={stage.max_episodes}, and nobody is promoted "
            "by time"
        )
    return text


def summarise_stages(
    stages: tuple[StageReport, ...], *, final: int, is_mastered: bool, note: str
) -> str:
    """Say what came of a curriculum.

    Args:
        stages: All of them.
        final: Where the run is.
        is_mastered: Whether the last stage's bar was passed.
        note: Why the run is still where it is.
    """
    where = f"stage {final + 1} of {len(stages)}, {stages[final].name}"
    parts = [
        f"All stages are mastered; the run is in {where}."
        if is_mastered
        else f"The run has not qualified beyond {where}: {note}."
    ]
    parts += [
        f"{one.name} took {one.episodes} episodes without being left upwards."
        for one in stages
        if one.is_overdue
    ]
    fallen = [one.name for one in stages if one.times_regressed]
    if fallen:
        parts.append(f"The run fell back in {', '.join(fallen)}.")
    return " ".join(parts)
