"""A recorder that passes everything on, for recorders that add something to another one."""

from __future__ import annotations

from collections.abc import Mapping

from rl.training.recorder import CheckpointRecord, EvaluationRecord, Recorder, StopReason


class ForwardingRecorder:
    """Passes everything on; a subclass overrides what it adds to, and calls this first."""

    def __init__(self, recorder: Recorder) -> None:
        """Remember whom to tell.

        Args:
            recorder: Hears everything.
        """
        self._recorder = recorder

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

    def evaluated(self, evaluation: EvaluationRecord) -> None:
        """Pass it on.

        Args:
            evaluation: What was measured.
        """
        self._recorder.evaluated(evaluation)

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
