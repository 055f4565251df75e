"""When to move through the stages of a curriculum: pure decisions from the newest scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import linregress
from scipy.stats import t as student_t

from rl.artifacts import Figure
from rl.evaluation.statistics import clustered_t_interval
from rl.training.curriculum_stage import CurriculumStage
from utils.errors import ConfigError

MIN_SCORES = 8
"""Fewest scores that anything is concluded from, however many episodes each of them averages."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A score and the figures beside it: means of some episodes."""

    score: float
    episodes: int
    figures: tuple[Figure, ...] = ()
    """Those that the stage has criteria for."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in a curriculum."""

    stage: int
    """Position among the stages."""
    difficulty: float = 0.0
    """Share of the next stage's scenarios among those that are played, in [0, 1)."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a run stands in its stage."""

    episodes: int
    """Played here since the stage was entered."""
    falls: int
    """How often the run fell back to here."""
    window: tuple[Scored, ...]
    """The newest scores, of one place only."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the newest scores say."""

    mean: float
    low: float
    """The mean score is above this with the scheduler's confidence (one side)."""
    high: float
    """The mean score is below this with the scheduler's confidence (one side)."""
    figures: tuple[Figure, ...]
    """Means of the figures."""


@dataclass(frozen=True, kw_only=True)
class Trend:
    """Slope of the score over the window, per 100 episodes, with an interval of two sides."""

    slope: float
    low: float
    high: float

    @property
    def direction(self) -> str:
        """Rising or falling where the interval leaves no doubt of the sign, else level."""
        if self.low > 0:
            return "rising"
        return "falling" if self.high < 0 else "level"


def keep_newest(scores: Sequence[Scored], stage: CurriculumStage) -> tuple[Scored, ...]:
    """Return the newest scores that cover the stage's window, and at least `MIN_SCORES` of them.

    Args:
        scores: Oldest first.
        stage: Whose window.
    """
    covered, first = 0, len(scores)
    while first > 0 and (covered < stage.stability_window or len(scores) - first < MIN_SCORES):
        first -= 1
        covered += scores[first].episodes
    return tuple(scores[first:])


def is_covered(scores: Sequence[Scored], stage: CurriculumStage) -> bool:
    """Return whether there are enough scores to conclude something from.

    Args:
        scores: Of one place.
        stage: Whose window.
    """
    episodes = sum(one.episodes for one in scores)
    return len(scores) >= MIN_SCORES and episodes >= stage.stability_window


def weigh_scores(scores: Sequence[Scored], confidence: float) -> Evidence:
    """Bound the mean score by Student's t; the scores are taken to be independent.

    Args:
        scores: At least two, all with the same figures.
        confidence: Of either bound alone.
    """
    values = [one.score for one in scores]
    interval = clustered_t_interval(values, np.arange(len(values)), level=2 * confidence - 1)
    named = [{figure.name: figure.value for figure in one.figures} for one in scores]
    return Evidence(
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        figures=tuple(
            Figure(name=name, value=float(np.mean([figures[name] for figures in named])))
            for name in named[0]
        ),
    )


def find_trend(scores: Sequence[Scored], confidence: float) -> Trend:
    """Fit a line through the scores by least squares.

    Args:
        scores: At least three.
        confidence: Of the interval.
    """
    played = np.cumsum([one.episodes for one in scores]) / 100
    line = linregress(played, [one.score for one in scores])
    half = float(student_t.ppf((1 + confidence) / 2, len(scores) - 2) * line.stderr)
    slope = float(line.slope)
    return Trend(slope=slope, low=slope - half, high=slope + half)


@dataclass(frozen=True, kw_only=True)
class CurriculumScheduler:
    """Promotes on a lower bound, regresses on an upper one, and waits in between.

    Nothing changes before `min_episodes` in a stage and a covered window. A stage that the run fell
    back into n times is left upwards after `(1 + n) * min_episodes` at the earliest, so that it
    cannot swing between two stages for ever at the same pace.
    """

    confidence: float = 0.95
    """That a bound holds, each by itself."""

    def __post_init__(self) -> None:
        """Refuse a confidence that says nothing.

        Raises:
            ConfigError: It lies outside (0.5, 1).
        """
        if not 0.5 < self.confidence < 1:
            raise ConfigError(f"confidence={self.confidence}: choose a number in (0.5, 1)")

    def wait(self, stage: CurriculumStage, standing: Standing) -> int:
        """Return the episodes in a stage before a promotion.

        Args:
            stage: Which.
            standing: How the run stands there.
        """
        return stage.min_episodes * (1 + standing.falls)

    def should_advance(self, stage: CurriculumStage, standing: Standing) -> bool:
        """Return whether the stage is mastered: the lower bound and every criterion are met.

        Args:
            stage: Which.
            standing: How the run stands there.
        """
        if standing.episodes < self.wait(stage, standing):
            return False
        if not is_covered(standing.window, stage):
            return False
        evidence = weigh_scores(standing.window, self.confidence)
        values = {figure.name: figure.value for figure in evidence.figures}
        met = (one.is_met(values[one.figure]) for one in stage.success_criteria)
        return evidence.low >= stage.advancement_threshold and all(met)

    def should_regress(self, stage: CurriculumStage, standing: Standing) -> bool:
        """Return whether the stage is too hard, whichever it is.

        Args:
            stage: Which.
            standing: How the run stands there.
        """
        if standing.episodes < stage.min_episodes or not is_covered(standing.window, stage):
            return False
        return weigh_scores(standing.window, self.confidence).high < stage.regression_threshold

    def climb(self, place: Place, num_stages: int) -> Place:
        """Return the next harder place; the last one has none.

        Args:
            place: Where the run is.
            num_stages: Of the curriculum.
        """
        return Place(stage=min(place.stage + 1, num_stages - 1))

    def descend(self, place: Place) -> Place:
        """Return the next easier place; the first one has none.

        Args:
            place: Where the run is.
        """
        return Place(stage=max(place.stage - 1, 0))


@dataclass(frozen=True, kw_only=True)
class AdaptiveCurriculumScheduler(CurriculumScheduler):
    """Moves in small steps between two stages, by a growing share of the next one's scenarios.

    What promotes or regresses a stage raises or lowers the difficulty by `adaptation_rate` here; at
    1 the next stage is reached, below 0 the one before. Thresholds never bend.
    """

    adaptation_rate: float = 0.1
    """Of difficulty, per move."""

    def __post_init__(self) -> None:
        """Refuse steps that lead nowhere.

        Raises:
            ConfigError: The rate lies outside (0, 1].
        """
        super().__post_init__()
        if not 0 < self.adaptation_rate <= 1:
            raise ConfigError(f"adaptation_rate={self.adaptation_rate}: choose a number in (0, 1]")

    def climb(self, place: Place, num_stages: int) -> Place:
        """Return a harder place.

        Args:
            place: Where the run is.
            num_stages: Of the curriculum.
        """
        if place.stage == num_stages - 1:
            return place
        raised = round(place.difficulty + self.adaptation_rate, 9)
        return (
            Place(stage=place.stage + 1)
            if raised >= 1
            else Place(stage=place.stage, difficulty=raised)
        )

    def descend(self, place: Place) -> Place:
        """Return an easier place.

        Args:
            place: Where the run is.
        """
        lowered = round(place.difficulty - self.adaptation_rate, 9)
        if lowered >= 0:
            return Place(stage=place.stage, difficulty=lowered)
        if place.difficulty > 0 or place.stage == 0:
            return Place(stage=place.stage)
        steps = math.ceil(1 / self.adaptation_rate - 1e-9) - 1
        below = round(steps * self.adaptation_rate, 9)
        return Place(stage=place.stage - 1, difficulty=below)
