"""What an evaluation found, as one frozen tree that `utils.config.to_json` writes."""

from __future__ import annotations

from dataclasses import dataclass

from rl.evaluation.resampling import Interval
from rl.evaluation.set_results import SetResult
from rl.evaluation.stress import Stress


@dataclass(frozen=True, kw_only=True)
class Change:
    """How the KPI of an entrant moved on the same episodes."""

    name: str
    difference: Interval
    """Paired with what it scored on the standard set; below 0 it got worse."""


@dataclass(frozen=True, kw_only=True)
class GridResult:
    """The standard set in one kind of trouble."""

    stress: Stress
    intensity: float
    result: SetResult
    changes: tuple[Change, ...]


@dataclass(frozen=True, kw_only=True)
class SightResult:
    """The standard set for a policy that does not see what is there."""

    noise_level: float
    """Deviation of the noise, in deviations of each feature; 0 for none."""
    dropped_features: tuple[int, ...]
    """Positions in the observation that were shown as their mean; none if empty."""
    change: Change


@dataclass(frozen=True, kw_only=True)
class OpponentResult:
    """The standard set with some seats played by somebody else; the KPI is that of the others."""

    opponent: str
    judged_seats: tuple[int, ...]
    result: SetResult
    """Its KPI is the mean reward of the judged seats."""


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """All that `RLEvaluationSuite.run` found."""

    kpi: str
    """What is maximised, with its unit."""
    level: float
    """Probability of every interval."""
    standard: SetResult
    stress: tuple[SetResult, ...]
    grid: tuple[GridResult, ...]
    sight: tuple[SightResult, ...]
    opponents: tuple[OpponentResult, ...]
