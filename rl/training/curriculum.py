"""A curriculum under way: scores in, moves between stages out; its state is plain JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rl.artifacts import Figure
from rl.training.curriculum_report import (
    CompletionReport,
    CurriculumProgress,
    Reason,
    StageChange,
    StageReport,
    explain,
    summarise_stages,
)
from rl.training.curriculum_scheduler import (
    AdaptiveCurriculumScheduler,
    CurriculumScheduler,
    Place,
    Scored,
    find_trend,
    is_covered,
    keep_newest,
    weigh_scores,
)
from rl.training.curriculum_stage import Criterion, CurriculumStage, DifficultyLevel, Parameter
from rl.training.curriculum_state import (
    CurriculumStateError,
    begin_state,
    fingerprint_of,
    read_state,
)
from utils.config import to_json
from utils.errors import ConfigError
from utils.persistence.files import write_atomically

__all__ = [
    "AdaptiveCurriculumScheduler",
    "Criterion",
    "CurriculumManager",
    "CurriculumScheduler",
    "CurriculumStage",
    "CurriculumStateError",
    "DifficultyLevel",
    "Parameter",
    "Place",
]


class CurriculumManager:
    """Counts episodes, keeps the newest scores, and moves as the scheduler decides."""

    def __init__(
        self, stages: Sequence[CurriculumStage], scheduler: CurriculumScheduler | None = None
    ) -> None:
        """Begin in the first stage.

        Args:
            stages: In the order of their difficulty.
            scheduler: Who decides; None is `CurriculumScheduler()`.

        Raises:
            ConfigError: There is no stage, or two have one name.
        """
        names = [stage.name for stage in stages]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"stages are {names}: give at least one, each name once")
        self.stages = tuple(stages)
        self.scheduler = scheduler or CurriculumScheduler()
        self._fingerprint = fingerprint_of(self.stages, self.scheduler)
        self._state = begin_state(self._fingerprint, len(self.stages))

    @property
    def place(self) -> Place:
        """Where the run is: stage and difficulty."""
        return self._state.place

    @property
    def current_stage(self) -> CurriculumStage:
        """The stage that is played."""
        return self.stages[self.place.stage]

    @property
    def is_final_stage(self) -> bool:
        """Whether no stage is harder."""
        return self.place.stage == len(self.stages) - 1

    def update(
        self, score: float, info: Mapping[str, float] | None = None, *, episodes: int = 1
    ) -> bool:
        """Take the score of finished episodes, and move if the scheduler says so.

        Args:
            score: Mean of the episodes, 0 for chance and 1 for the expert.
            info: Figures by name, means of the episodes; those that the stage has criteria for.
            episodes: How many the score averages.

        Returns:
            Whether the stage is another one now; a move within a stage shows in `place` only.

        Raises:
            ConfigError: The score or a figure is not finite, a figure that the stage is judged by
                is absent, or there are no episodes. Nothing has changed then.
        """
        scored = self._checked(score, info or {}, episodes)
        window = keep_newest((*self._state.window, scored), self.current_stage)
        self._state = self._state.after_episodes(window, episodes)
        stage, standing = self.current_stage, self._state.standing
        if self.scheduler.should_regress(stage, standing):
            return self._move(self.scheduler.descend(self.place), "regressed", "easier")
        if self.scheduler.should_advance(stage, standing):
            if self.is_final_stage:
                self._state = replace(self._state, is_mastered=True)
            higher = self.scheduler.climb(self.place, len(self.stages))
            return self._move(higher, "promoted", "harder")
        return False

    def get_current_parameters(self) -> dict[str, float | str]:
        """Return the parameters of the stage that is played, by name."""
        return {one.name: one.setting for one in self.current_stage.parameters}

    def get_progress_info(self) -> CurriculumProgress:
        """Return how the present stage stands, and why the run is still there."""
        stage, standing, state = self.current_stage, self._state.standing, self._state
        evidence = trend = None
        if is_covered(standing.window, stage):
            evidence = weigh_scores(standing.window, self.scheduler.confidence)
            trend = find_trend(standing.window, self.scheduler.confidence)
        return CurriculumProgress(
            stage=stage.name,
            number=self.place.stage + 1,
            num_stages=len(self.stages),
            difficulty=self.place.difficulty,
            episodes_in_stage=state.stage_episodes,
            total_episodes=state.total_episodes,
            evidence=evidence,
            trend=trend,
            is_overdue=state.stage_episodes > stage.max_episodes,
            note=explain(stage, standing, evidence, self.scheduler),
        )

    def get_completion_report(self) -> CompletionReport:
        """Return what came of every stage."""
        state = self._state
        left = [
            _moves_out(state.changes, self.stages, number) for number in range(len(self.stages))
        ]
        stages = tuple(
            StageReport(
                name=stage.name,
                level=stage.difficulty,
                episodes=played,
                times_promoted=moves.count("promoted"),
                times_regressed=moves.count("regressed") + moves.count("easier"),
                is_overdue=played > stage.max_episodes
                and "promoted" not in moves
                and not (state.is_mastered and stage is self.stages[-1]),
            )
            for stage, played, moves in zip(self.stages, state.played, left, strict=True)
        )
        return CompletionReport(
            is_mastered=state.is_mastered,
            final_stage=self.current_stage.name,
            total_episodes=state.total_episodes,
            stages=stages,
            changes=state.changes,
            summary=summarise_stages(
                stages,
                final=self.place.stage,
                is_mastered=state.is_mastered,
                note=self.get_progress_info().note,
            ),
        )

    def set_stage(self, stage: str | int) -> None:
        """Go to a stage by hand; its scores begin anew.

        Args:
            stage: Its name, or its position from 0.

        Raises:
            ConfigError: There is no such stage.
        """
        names = [one.name for one in self.stages]
        number = names.index(stage) if isinstance(stage, str) and stage in names else stage
        if isinstance(number, str) or not 0 <= number < len(names):
            raise ConfigError(f"no stage {stage!r}; there are {', '.join(names)}")
        self._enter(Place(stage=number), "set")

    def reset(self) -> None:
        """Begin anew in the first stage."""
        self._state = begin_state(self._fingerprint, len(self.stages))

    def state_to_json(self) -> dict[str, Any]:
        """Return the state as JSON values, for checkpoints."""
        return to_json(self._state)

    def load_state_json(self, values: Mapping[str, Any]) -> None:
        """Go on from a state; every decision after it is the one it would have been.

        Args:
            values: What `state_to_json` returned.

        Raises:
            CurriculumStateError: It is damaged, or of other stages or another scheduler. The
                present state is kept then.
        """
        self._state = read_state(values, self._fingerprint, self.stages)

    def save_state(self, path: str | Path) -> None:
        """Write the state to a file, whole or not at all.

        Args:
            path: Of the file; a bare name lies in the present folder.

        Raises:
            OSError: The disk is full or not writable.
        """
        content = json.dumps(self.state_to_json(), indent=1, allow_nan=False) + "\n"
        write_atomically(Path(path), content.encode())

    def load_state(self, path: str | Path) -> None:
        """Go on from a file.

        Args:
            path: What `save_state` wrote.

        Raises:
            CurriculumStateError: The file is absent, damaged or of other stages. The present state
                is kept then.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CurriculumStateError(f"cannot read a curriculum from {path}: {error}") from error
        if not isinstance(values, dict):
            raise CurriculumStateError(f"{path} holds no curriculum, but {type(values).__name__}")
        self.load_state_json(values)

    def _checked(self, score: float, info: Mapping[str, float], episodes: int) -> Scored:
        stage = self.current_stage
        names = [one.figure for one in stage.success_criteria]
        if missing := [name for name in names if name not in info]:
            raise ConfigError(
                f"stage {stage.name} is judged by {', '.join(missing)}: give it in info, which has "
                f"{', '.join(info) or 'nothing'}"
            )
        figures = tuple(Figure(name=name, value=float(info[name])) for name in names)
        if not all(math.isfinite(one) for one in (score, *(figure.value for figure in figures))):
            raise ConfigError(f"score={score} with {figures}: all must be finite")
        if episodes < 1:
            raise ConfigError(f"episodes={episodes}: a score needs at least 1")
        return Scored(score=float(score), episodes=episodes, figures=figures)

    def _move(self, to: Place, between: Reason, within: Reason) -> bool:
        """Go to another place, if it is one; say whether the stage is another."""
        if to == self.place:
            return False
        is_other = to.stage != self.place.stage
        self._enter(to, between if is_other else within)
        return is_other

    def _enter(self, to: Place, reason: Reason) -> None:
        state = self._state
        why = None if reason == "set" else weigh_scores(state.window, self.scheduler.confidence)
        self._state = state.at(to, self.stages[to.stage].name, reason, why)


def _moves_out(
    changes: Sequence[StageChange], stages: Sequence[CurriculumStage], number: int
) -> list[Reason]:
    """Return the reasons of all moves that began in a stage."""
    before, reasons = stages[0].name, []
    for change in changes:
        if before == stages[number].name:
            reasons.append(change.reason)
        before = change.stage
    return reasons
