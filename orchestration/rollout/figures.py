"""What a canary's two arms have done so far, in figures for people."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from orchestration.rollout.judge import Rollback, Sample, Window, slowest_but_few


@dataclass(frozen=True, kw_only=True)
class ArmFigures:
    """What became of the last requests that one version answered."""

    requests: int
    errors: int
    """That nobody could answer."""
    fallbacks: int
    """That its expert answered."""
    median_seconds: float | None
    slow_seconds: float | None
    """95 % took no longer."""


@dataclass(frozen=True, kw_only=True)
class TrialFigures:
    """What is judged, as one process has seen it."""

    challenger: ArmFigures
    champion: ArmFigures
    num_regrets: int
    """Requests of the challenger that the champion was asked as well."""
    mean_regret: float | None
    """How much better the champion is expected to do, relative."""
    verdict: str | None
    """Why the challenger must not go on; None while it may."""


def figures_of(window: Window, verdict: Rollback | None) -> TrialFigures:
    """Put the last requests of a trial in figures.

    Args:
        window: They.
        verdict: What was concluded from them.
    """
    return TrialFigures(
        challenger=_arm(window.challenger),
        champion=_arm(window.champion),
        num_regrets=len(window.regrets),
        mean_regret=statistics.fmean(window.regrets) if window.regrets else None,
        verdict=None if verdict is None else verdict.reason,
    )


def _arm(samples: Sequence[Sample]) -> ArmFigures:
    seconds = [sample.seconds for sample in samples]
    return ArmFigures(
        requests=len(samples),
        errors=sum(sample.outcome == "error" for sample in samples),
        fallbacks=sum(sample.outcome == "fallback" for sample in samples),
        median_seconds=statistics.median(seconds) if seconds else None,
        slow_seconds=slowest_but_few(seconds) if seconds else None,
    )
