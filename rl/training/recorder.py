"""What a trainer tells the world, and the one question that it asks it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class StopReason(StrEnum):
    """Why somebody asks a trainer to stop at its next update."""

    PAUSE = "pause"
    PREEMPT = "preempt"
    CANCEL = "cancel"


@dataclass(frozen=True, kw_only=True)
class CheckpointRecord:
    """Where a checkpoint lies and how to know that it is whole."""

    path: str
    """Of the manifest."""
    sha256: str
    """Of the manifest, which holds the hash of everything else."""
    env_steps: int
    size_bytes: int
    """Of all its files."""
    score: float | None = None
    """Of the policy in it, if it was evaluated."""
    kept: tuple[str, ...] = field(default=(), compare=False)
    """Paths of all manifests of the run that are there once this one was written."""


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """Scores of a policy."""

    env_steps: int
    scores: Mapping[str, float]


class Recorder(Protocol):
    """The only thing outside that a trainer knows."""

    def metrics(self, env_steps: int, values: Mapping[str, float]) -> None:
        """Record figures of one update.

        Args:
            env_steps: Transitions so far, over all copies; never falls.
            values: By name, all finite.
        """
        ...

    def progress(self, env_steps: int, total_env_steps: int) -> None:
        """Say how far training is.

        Args:
            env_steps: Transitions so far.
            total_env_steps: Transitions wanted.
        """
        ...

    def checkpoint_written(self, checkpoint: CheckpointRecord) -> None:
        """Record a checkpoint; returns once the record is durable.

        Args:
            checkpoint: Already safe on disk.
        """
        ...

    def evaluated(self, evaluation: EvaluationRecord) -> None:
        """Record scores.

        Args:
            evaluation: What was measured.
        """
        ...

    def stage_changed(self, env_steps: int, stage: str) -> None:
        """Record that training entered another stage.

        Args:
            env_steps: Transitions so far.
            stage: Its name.
        """
        ...

    def should_stop(self) -> StopReason | None:
        """Return why to stop at this update, or None to go on."""
        ...


class NullRecorder:
    """Keeps nothing and never stops: for library use and tests."""

    def metrics(self, env_steps: int, values: Mapping[str, float]) -> None:
        """Forget it.

        Args:
            env_steps: Ignored.
            values: Ignored.
        """

    def progress(self, env_steps: int, total_env_steps: int) -> None:
        """Forget it.

        Args:
            env_steps: Ignored.
            total_env_steps: Ignored.
        """

    def checkpoint_written(self, checkpoint: CheckpointRecord) -> None:
        """Forget it.

        Args:
            checkpoint: Ignored.
        """

    def evaluated(self, evaluation: EvaluationRecord) -> None:
        """Forget it.

        Args:
            evaluation: Ignored.
        """

    def stage_changed(self, env_steps: int, stage: str) -> None:
        """Forget it.

        Args:
            env_steps: Ignored.
            stage: Ignored.
        """

    def should_stop(self) -> StopReason | None:
        """Return None."""
        return None
