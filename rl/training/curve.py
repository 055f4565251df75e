"""Keeps the evaluations of a run beside its checkpoints, so that the curve survives a restart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rl.evaluation.contest import Contest
from rl.evaluation.plots import CurvePoint, LearningCurve
from rl.training.recorder import CheckpointRecord, EvaluationRecord, Recorder, StopReason
from utils.config import from_json, to_json
from utils.persistence.files import write_atomically


class CurveRecorder:
    """Passes everything on to another recorder and keeps the scores."""

    def __init__(self, recorder: Recorder, path: Path, contest: Contest, data: str) -> None:
        """Read what an earlier process kept.

        Args:
            recorder: Hears everything.
            path: JSON file of the scores so far.
            contest: Says what is maximised.
            data: What the evaluations play, for people.
        """
        self._recorder = recorder
        self._path = path
        self._contest, self._data = contest, data
        self.curve: LearningCurve | None = None
        """Every evaluation so far, in order; None before the first."""
        if path.is_file():
            self.curve = from_json(LearningCurve, json.loads(path.read_text()))

    def evaluated(self, evaluation: EvaluationRecord) -> None:
        """Keep the score; a repetition after a restart replaces what it repeats.

        Args:
            evaluation: What was measured.
        """
        steps, scores = evaluation.env_steps, evaluation.scores
        known = self.curve.points if self.curve else ()
        earlier = [point for point in known if point.env_steps < steps]
        self.curve = LearningCurve(
            data=self._data,
            kpi=self._contest.kpi,
            kpi_format=self._contest.kpi_format,
            points=(*earlier, CurvePoint(env_steps=steps, kpi=float(scores["kpi"]))),
            expert=scores.get("expert"),
            bound=scores.get("bound"),
        )
        write_atomically(self._path, json.dumps(to_json(self.curve)).encode())
        self._recorder.evaluated(evaluation)

    def metrics(self, env_steps: int, values: Mapping[str, float]) -> None:
        """Pass it on.

        Args:
            env_steps: Transitions so far.
            values: By name.
        """
        self._recorder.metrics(env_steps, values)

    def progress(self, env_steps: int, total_env_steps: int) -> None:
        """Pass it on.

        Args:
            env_steps: Transitions so far.
            total_env_steps: Transitions wanted.
        """
        self._recorder.progress(env_steps, total_env_steps)

    def checkpoint_written(self, checkpoint: CheckpointRecord) -> None:
        """Pass it on.

        Args:
            checkpoint: Already safe on disk.
        """
        self._recorder.checkpoint_written(checkpoint)

    def stage_changed(self, env_steps: int, stage: str) -> None:
        """Pass it on.

        Args:
            env_steps: Transitions so far.
            stage: Its name.
        """
        self._recorder.stage_changed(env_steps, stage)

    def should_stop(self) -> StopReason | None:
        """Ask the other recorder."""
        return self._recorder.should_stop()
