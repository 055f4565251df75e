"""Keeps the evaluations of a run beside its checkpoints, so that the curve survives a restart."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from rl.evaluation.contest import Contest
from rl.evaluation.plots import CurvePoint, LearningCurve
from rl.training.forwarding_recorder import ForwardingRecorder
from rl.training.recorder import EvaluationRecord, Recorder
from utils.config import from_json, to_json
from utils.persistence.files import read_json, write_atomically


class CurveRecorder(ForwardingRecorder):
    """Passes everything on to another recorder and keeps the scores."""

    def __init__(self, recorder: Recorder, path: Path, contest: Contest, data: str) -> None:
        """Read what an earlier process kept.

        Args:
            recorder: Hears everything.
            path: JSON file of the scores so far.
            contest: Says what is maximised.
            data: What the evaluations play, for people.
        """
        super().__init__(recorder)
        self._path = path
        self._contest, self._data = contest, data
        self.curve: LearningCurve | None = None
        """Every evaluation so far, in order; None before the first."""
        if path.is_file():
            self.curve = read_json(path, partial(from_json, LearningCurve))

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
        super().evaluated(evaluation)
