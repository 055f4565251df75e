"""A training run as a job: the child's side, which speaks in frames and knows no database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from rl.training.conclusion import Places, ResumePoint
from rl.training.job_places import PlaceContext, open_artifacts
from rl.training.recorder import CheckpointRecord, EvaluationRecord, StopReason
from rl.training.shard_lines import OpenLines
from rl.training.shared_checkpoints import SharedCheckpoints
from rl.training.training_config import TrainingConfig
from rl.training.training_run import train_problem
from utils.config import from_json, to_json

STOP_REASONS = {
    "pause": StopReason.PAUSE,
    "preempt": StopReason.PREEMPT,
    "cancel": StopReason.CANCEL,
    "orphaned": StopReason.PREEMPT,
}


class JobContext(PlaceContext, Protocol):
    """What the supervisor gives a child."""

    @property
    def fence(self) -> int:
        """The lease under which everything is reported."""
        ...

    @property
    def resume(self) -> Mapping[str, Any] | None:
        """The newest committed checkpoint (path, sha256), or None."""
        ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Report figures."""
        ...

    def progress(self, done: int, total: int) -> None:
        """Report how far the work is."""
        ...

    def checkpoint(self, path: Path, sha256: str, step: int, size_bytes: int) -> None:
        """Report a checkpoint; returns once its row is committed."""
        ...

    def emit(self, type_: str, payload: Mapping[str, Any]) -> None:
        """Report anything else."""
        ...

    def should_stop(self) -> str | None:
        """Return why to stop, or None."""
        ...


class FrameRecorder:
    """A recorder that turns what a trainer says into frames."""

    def __init__(self, context: JobContext, *, shared: SharedCheckpoints | None = None) -> None:
        """Keep the way to the supervisor.

        Args:
            context: Of the attempt.
            shared: Brings checkpoints to where other machines find them.
        """
        self._context = context
        self._shared = shared

    def metrics(self, env_steps: int, values: Mapping[str, float]) -> None:
        """Send figures.

        Args:
            env_steps: Transitions so far.
            values: By name.
        """
        self._context.metrics(env_steps, values)

    def progress(self, env_steps: int, total_env_steps: int) -> None:
        """Send progress.

        Args:
            env_steps: Transitions so far.
            total_env_steps: Transitions wanted.
        """
        self._context.progress(env_steps, total_env_steps)

    def checkpoint_written(self, checkpoint: CheckpointRecord) -> None:
        """Send a checkpoint and wait until its row is committed.

        Args:
            checkpoint: Already safe on disk.

        Raises:
            ArtifactsUnreachableError: Other machines cannot be given it; no row was committed.
        """
        if self._shared is not None:
            self._shared.share(checkpoint)
        self._context.checkpoint(
            Path(checkpoint.path),
            checkpoint.sha256,
            checkpoint.env_steps,
            checkpoint.size_bytes,
        )
        kept = {"env_steps": checkpoint.env_steps, "score": checkpoint.score}
        self._context.emit("checkpoints_kept", {**kept, "kept": list(checkpoint.kept)})

    def evaluated(self, evaluation: EvaluationRecord) -> None:
        """Send scores.

        Args:
            evaluation: What was measured.
        """
        payload = {"env_steps": evaluation.env_steps, "scores": dict(evaluation.scores)}
        self._context.emit("evaluated", payload)

    def stage_changed(self, env_steps: int, stage: str) -> None:
        """Send the name of the stage.

        Args:
            env_steps: Transitions so far.
            stage: Its name.
        """
        self._context.emit("stage_changed", {"env_steps": env_steps, "stage": stage})

    def should_stop(self) -> StopReason | None:
        """Ask the supervisor; one that is gone counts as preemption."""
        reason = self._context.should_stop()
        return None if reason is None else STOP_REASONS[reason]


def train(
    spec: Mapping[str, Any], context: JobContext, *, ray_lines: OpenLines | None = None
) -> dict[str, Any]:
    """Run one attempt of a training job.

    Args:
        spec: `config`, `run_id`, `artifact_root`, `run_root`, and `init` if it begins with the
            policy of another run.
        context: Of the attempt.
        ray_lines: Starts shards on a Ray cluster, if there is one.

    Returns:
        What the supervisor commits with the success; empty figures if the run was stopped.

    Raises:
        ConfigError: The config does not fit.
        CheckpointAbsentError: What it begins with lies on another machine.
        ArtifactsUnreachableError: The shared artifacts do not answer.
        ProcessLostError: A shard has died.
    """
    run_id = str(spec["run_id"])
    config = from_json(TrainingConfig, spec["config"], "config.")
    places = replace(_find_places(spec, context, run_id), ray_lines=ray_lines)
    recorder = FrameRecorder(context, shared=places.shared)
    result = train_problem(config, recorder, places, run_id=run_id)
    context.emit("lineage", to_json(result.lineage))
    return {
        "agent": result.agent,
        "env_steps": result.env_steps,
        "updates": result.updates,
        "ended": result.ended,
        "best_score": result.best_score,
        "artifact_sha256": result.artifact_sha256,
        "artifact_bytes": result.artifact_bytes,
        "card": None if result.card is None else to_json(result.card),
        "table": to_json(result.tables[0]) if result.tables else None,
        "stress_tables": [to_json(table) for table in result.tables[1:]],
        "curriculum": None if result.curriculum is None else to_json(result.curriculum),
        "report": result.report,
    }


def _find_places(spec: Mapping[str, Any], context: JobContext, run_id: str) -> Places:
    folder = Path(spec["run_root"]) if context.var is None else context.var / "runs"
    artifacts = open_artifacts(spec, context)
    is_alone = context.artifacts is None
    shared = None if is_alone else SharedCheckpoints(artifacts, folder / run_id)
    return Places(
        folder=folder / run_id,
        artifacts=artifacts,
        resume=_point(context.resume, shared, "checkpoints"),
        init=None if context.resume else _point(spec.get("init"), shared, "init"),
        fence=context.fence,
        shared=shared,
    )


def _point(
    found: Mapping[str, Any] | None, shared: SharedCheckpoints | None, into: str
) -> ResumePoint | None:
    if found is None:
        return None
    path, sha256 = str(found["path"]), str(found["sha256"])
    if shared is not None:
        path = shared.fetch(path, sha256, into)
    return ResumePoint(path=path, sha256=sha256)
