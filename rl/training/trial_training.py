"""A training run as a trial of a search: watched at every evaluation, and given up when told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rl.training.conclusion import Places
from rl.training.hyperparameter_search import Trial, Watch
from rl.training.recorder import (
    CheckpointRecord,
    EvaluationRecord,
    NullRecorder,
    Recorder,
    StopReason,
)
from rl.training.training_config import TrainingConfig
from rl.training.training_run import train_problem
from utils.errors import QuartermasterError
from utils.persistence.artifact_store import DirectoryArtifactStore

SCORE = "kpi"


class NeverEvaluatedError(QuartermasterError):
    """A trial ended without a score."""


class WatchedRecorder:
    """Passes everything on, and asks to stop once the watch says so."""

    def __init__(self, inner: Recorder, watch: Watch) -> None:
        """Begin before the first evaluation.

        Args:
            inner: Hears of everything.
            watch: Told of every score but that of the untrained policy.
        """
        self._inner, self._watch = inner, watch
        self._evaluations = 0
        self.was_given_up = False

    def metrics(self, env_steps: int, values: Mapping[str, float]) -> None:
        """Pass figures on.

        Args:
            env_steps: Transitions so far.
            values: By name.
        """
        self._inner.metrics(env_steps, values)

    def progress(self, env_steps: int, total_env_steps: int) -> None:
        """Pass progress on.

        Args:
            env_steps: Transitions so far.
            total_env_steps: Transitions wanted.
        """
        self._inner.progress(env_steps, total_env_steps)

    def checkpoint_written(self, checkpoint: CheckpointRecord) -> None:
        """Pass a checkpoint on.

        Args:
            checkpoint: Already safe on disk.
        """
        self._inner.checkpoint_written(checkpoint)

    def evaluated(self, evaluation: EvaluationRecord) -> None:
        """Pass scores on, and show them to the watch.

        Args:
            evaluation: What was measured.
        """
        self._inner.evaluated(evaluation)
        if evaluation.env_steps == 0:
            return
        if self._watch(self._evaluations, evaluation.scores[SCORE]):
            self.was_given_up = True
        self._evaluations += 1

    def stage_changed(self, env_steps: int, stage: str) -> None:
        """Pass the stage on.

        Args:
            env_steps: Transitions so far.
            stage: Its name.
        """
        self._inner.stage_changed(env_steps, stage)

    def should_stop(self) -> StopReason | None:
        """Return why to stop: the inner recorder's reason, or that the trial was given up."""
        return StopReason.CANCEL if self.was_given_up else self._inner.should_stop()


def train_trial(
    make: Callable[[Mapping[str, Any]], TrainingConfig], folder: Path, trial: Trial, watch: Watch
) -> float | None:
    """Train with a trial's values; the score is the best mean KPI on validation scenarios.

    Args:
        make: From a trial's values to the whole configuration.
        folder: Of the study; the trial gets one of its own in it.
        trial: What to try.
        watch: Asked at every evaluation.

    Returns:
        The score, or None if the trial was given up.

    Raises:
        ConfigError: The values fit no run.
        DivergenceError: Training has left the finite numbers.
        NeverEvaluatedError: It ended without an evaluation.
    """
    recorder = WatchedRecorder(NullRecorder(), watch)
    own = folder / "trials" / f"{trial.number:04}"
    places = Places(folder=own, artifacts=DirectoryArtifactStore(folder / "artifacts"))
    result = train_problem(make(trial.values), recorder, places, run_id=f"trial-{trial.number:04}")
    if result.stopped is not None:
        return None
    if result.best_score is None:
        raise NeverEvaluatedError("training ended without an evaluation")
    return result.best_score
