"""All that a curriculum under way has to remember, as a value."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rl.training.curriculum_report import Reason, StageChange
from rl.training.curriculum_scheduler import CurriculumScheduler, Evidence, Place, Scored, Standing
from rl.training.curriculum_stage import CurriculumStage
from utils.config import from_json, to_json
from utils.errors import ConfigError, QuartermasterError


class CurriculumStateError(QuartermasterError, ValueError):
    """A saved curriculum is damaged, or is one of other stages."""


@dataclass(frozen=True, kw_only=True)
class CurriculumState:
    """What a curriculum needs to go on with the same decisions."""

    fingerprint: str
    """Of its stages and its scheduler."""
    place: Place
    total_episodes: int
    stage_episodes: int
    """Since the present stage was entered."""
    falls: tuple[int, ...]
    """Of each stage: how often the run fell back into it."""
    played: tuple[int, ...]
    """Of each stage: episodes over all visits."""
    window: tuple[Scored, ...]
    """Of the present place only."""
    changes: tuple[StageChange, ...]
    is_mastered: bool

    @property
    def standing(self) -> Standing:
        """How the run stands in its stage."""
        falls = self.falls[self.place.stage]
        return Standing(episodes=self.stage_episodes, falls=falls, window=self.window)

    def after_episodes(self, window: tuple[Scored, ...], episodes: int) -> CurriculumState:
        """Return the state after some episodes more.

        Args:
            window: The newest scores, theirs included.
            episodes: How many.
        """
        return replace(
            self,
            total_episodes=self.total_episodes + episodes,
            stage_episodes=self.stage_episodes + episodes,
            played=_raised(self.played, self.place.stage, episodes),
            window=window,
        )

    def at(self, to: Place, name: str, reason: Reason, why: Evidence | None) -> CurriculumState:
        """Return the state after a move; what was scored elsewhere is forgotten.

        Args:
            to: Where the run goes.
            name: Of the stage there.
            reason: Why.
            why: What the scores said; None if nobody asked.
        """
        change = StageChange(
            episode=self.total_episodes,
            stage=name,
            difficulty=to.difficulty,
            reason=reason,
            mean=None if why is None else why.mean,
            low=None if why is None else why.low,
            high=None if why is None else why.high,
        )
        return replace(
            self,
            place=to,
            stage_episodes=self.stage_episodes if reason in {"harder", "easier"} else 0,
            falls=_raised(self.falls, to.stage, int(reason == "regressed")),
            window=(),
            changes=(*self.changes, change),
        )


def fingerprint_of(stages: Sequence[CurriculumStage], scheduler: CurriculumScheduler) -> str:
    """Return what two curricula have in common only if they decide alike.

    Args:
        stages: In their order.
        scheduler: Who decides.
    """
    rules = {
        "stages": [to_json(stage) for stage in stages],
        "scheduler": [type(scheduler).__name__, to_json(scheduler)],
    }
    return hashlib.sha256(json.dumps(rules).encode()).hexdigest()


def begin_state(fingerprint: str, num_stages: int) -> CurriculumState:
    """Return the state before the first episode.

    Args:
        fingerprint: Of the curriculum.
        num_stages: It has.
    """
    nothing = (0,) * num_stages
    return CurriculumState(
        fingerprint=fingerprint,
        place=Place(stage=0),
        total_episodes=0,
        stage_episodes=0,
        falls=nothing,
        played=nothing,
        window=(),
        changes=(),
        is_mastered=False,
    )


def read_state(
    values: Mapping[str, Any], fingerprint: str, stages: Sequence[CurriculumStage]
) -> CurriculumState:
    """Build a state from JSON values.

    Args:
        values: What `to_json` made of one.
        fingerprint: Of the curriculum that shall go on with it.
        stages: Of that curriculum.

    Raises:
        CurriculumStateError: It is damaged, or of another curriculum.
    """
    try:
        state = from_json(CurriculumState, values)
    except ConfigError as error:
        raise CurriculumStateError(f"the saved curriculum is damaged: {error}") from error
    if state.fingerprint != fingerprint:
        raise CurriculumStateError(
            "the saved curriculum has other stages or another scheduler than this one; go on with "
            "the configuration it was saved with, or start a new run"
        )
    _check_ranges(state, stages)
    return state


def _check_ranges(state: CurriculumState, stages: Sequence[CurriculumStage]) -> None:
    count, place = len(stages), state.place
    counts = (state.total_episodes, state.stage_episodes, *state.falls, *state.played)
    fits = len(state.falls) == len(state.played) == count and min(counts) >= 0
    if not (fits and 0 <= place.stage < count and 0 <= place.difficulty < 1):
        raise CurriculumStateError(
            f"the saved curriculum stands at {place} of {count} stages with counters {counts}: "
            "the file was altered; take another one"
        )
    wanted = [one.figure for one in stages[place.stage].success_criteria]
    for one in state.window:
        values = [one.score, *(figure.value for figure in one.figures)]
        names = [figure.name for figure in one.figures]
        if names != wanted or one.episodes < 1 or not all(map(math.isfinite, values)):
            raise CurriculumStateError(
                f"the saved curriculum holds {one}: the file was altered; take another one"
            )


def _raised(counts: tuple[int, ...], position: int, by: int) -> tuple[int, ...]:
    return tuple(count + by * (number == position) for number, count in enumerate(counts))
