"""Whether a stored run can go on with a configuration, and from which of its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rl.training.checkpointing import CheckpointCorruptError, load_checkpoint
from rl.training.conclusion import ResumePoint
from rl.training.training_config import TrainingConfig
from utils.config import from_json, to_json
from utils.errors import ConfigError
from utils.persistence.run_queries import StoredCheckpoint

ANYWHERE: Final = ("collection_place",)
"""Settings that change nothing about the result."""


def check_resumable(run_id: str, ours: TrainingConfig, stored: Mapping[str, Any]) -> None:
    """Refuse to go on with other settings than a run was started with.

    Args:
        run_id: Which run.
        ours: How it is to go on.
        stored: How it was started; settings that there were not yet have their defaults.

    Raises:
        ConfigError: A setting differs that the result depends on.
    """
    theirs = to_json(from_json(TrainingConfig, stored))
    for name, value in to_json(ours).items():
        if name not in ANYWHERE and theirs[name] != value:
            raise ConfigError(
                f"{name}={value!r}, but run {run_id} was started with {theirs[name]!r}: "
                "resume it with its own settings"
            )


def newest_whole(run_id: str, checkpoints: list[StoredCheckpoint]) -> ResumePoint | None:
    """Return the newest checkpoint that can be read; older ones stand in for damaged ones.

    Args:
        run_id: Which run.
        checkpoints: Its own, the newest first.

    Raises:
        CheckpointCorruptError: There are some, and none is whole.
    """
    reasons: list[str] = []
    for record in checkpoints:
        try:
            load_checkpoint(record.path, record.sha256)
        except CheckpointCorruptError as error:
            reasons.append(str(error))
        else:
            return ResumePoint(path=record.path, sha256=record.sha256)
    if reasons:
        raise CheckpointCorruptError(
            f"run {run_id} has no whole checkpoint: start a new one. {reasons[0]}"
        )
    return None
