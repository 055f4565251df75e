"""Keeps the evaluations of a run beside its checkpoints, so that the curve survives a restart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rl.training.recorder import CheckpointRecord, EvaluationRecord, Recorder, StopReason
from utils.persistence.files import write_atomically


class CurveRecorder:
    """Passes everything on to another recorder and keeps the scores."""

    def __init__(self, recorder: Recorder, path: Path) -> None:
        """Read what an earlier process kept.

        Args:
            recorder: Hears everything.
            path: JSON file of the scores so far.
        """
        self._recorder = recorder
        self._path = path
        self._points: list[tuple[int, float]] = []
        if path.is_file():
            self._points = [(steps, kpi) for steps, kpi in json.loads(path.read_text())]

    def points(self) -> list[tuple[int, float]]:
        """Return (env_steps, KPI) of every evaluation, in order."""
        return list(self._points)

    def evaluated(self, evaluation: EvaluationRecord) -> None:
        """Keep the score; a repetition after a restart replaces what it repeats.

        Args:
            evaluation: What was measured.
        """
        earlier = [point for point in self._points if point[0] < evaluation.env_steps]
        self._points = [*earlier, (evaluation.env_steps, float(evaluation.scores["kpi"]))]
        write_atomically(self._path, json.dumps(self._points).encode())
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
