"""Checkpoints: tensors in safetensors, and a JSON manifest, written last, that pins their hash."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from torch import Tensor

from rl.algorithms.policy_state import TensorBytesError, TensorDict, load_tensors, save_tensors
from rl.training.checkpoint_files import (
    FILE_NAME,
    age,
    choose_kept,
    list_manifests,
    pin,
    read_scores,
)
from rl.training.recorder import CheckpointRecord
from utils.errors import ConfigError, QuartermasterError
from utils.persistence.files import write_atomically

SCHEMA_VERSION = 1


class CheckpointCorruptError(QuartermasterError):
    """A checkpoint is missing, cut, altered or of an unknown version."""


class CheckpointWriteError(QuartermasterError):
    """A checkpoint could not be written; the ones before it are untouched."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint that was read and found whole."""

    record: CheckpointRecord
    tensors: TensorDict
    fields: Mapping[str, Any]
    """What its writer put into the manifest."""


@dataclass(frozen=True, kw_only=True)
class NewestCheckpoint:
    """The newest whole checkpoint of a folder, and what was passed over to find it."""

    checkpoint: Checkpoint
    skipped: tuple[str, ...]
    """One sentence for each newer checkpoint that is corrupt."""


class CheckpointFolder:
    """Writes checkpoints of one run and keeps the newest, the best and the pinned ones.

    A file is named by step and fence, so an attempt that lost its lease cannot overwrite the files
    of the one that took over, and newer means a higher fence first.
    """

    def __init__(
        self,
        root: Path,
        *,
        fence: int = 0,
        keep_last: int = 2,
        keep_best: int = 1,
        share_beside: Callable[[], Mapping[str, str]] | None = None,
    ) -> None:
        """Choose the folder; it is made by the first write.

        Args:
            root: The folder; nobody else writes there but other attempts at the same run.
            fence: Number of this attempt.
            keep_last: How many of the newest stay, at least 2: the one before the newest must
                outlive it until the newest is recorded.
            keep_best: How many of the highest scores stay beside them.
            share_beside: Puts what else a resumed training reads where other machines find it, and
                returns hashes by file name for the manifest.

        Raises:
            ConfigError: `keep_last` is below 2, or `keep_best` below 0.
        """
        if keep_last < 2:
            raise ConfigError(f"keep_last={keep_last}: keep at least 2 checkpoints")
        if keep_best < 0:
            raise ConfigError(f"keep_best={keep_best}: choose 0 or more")
        self.root = root
        self.fence = fence
        self.keep_last = keep_last
        self.keep_best = keep_best
        self._share_beside = share_beside

    def write(
        self,
        env_steps: int,
        tensors: Mapping[str, Tensor],
        fields: Mapping[str, Any],
        *,
        score: float | None = None,
    ) -> CheckpointRecord:
        """Write a checkpoint durably, then remove those that nothing keeps.

        Args:
            env_steps: Transitions so far; part of the name.
            tensors: Everything that is an array.
            fields: JSON values: configuration and counters.
            score: Of the policy in it, higher is better; None if it was not evaluated.

        Raises:
            ConfigError: The score is not finite; nothing is written.
            CheckpointWriteError: The disk is full or not writable.
        """
        if score is not None and not math.isfinite(score):
            raise ConfigError(f"score={score}: give a finite number, or None if it is unknown")
        stem = f"step-{env_steps:012d}.fence-{self.fence}"
        content = save_tensors(tensors)
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "env_steps": env_steps,
            "fence": self.fence,
            "score": score,
            "tensors_file": f"{stem}.safetensors",
            "tensors_sha256": hashlib.sha256(content).hexdigest(),
            "versions": {
                "python": platform.python_version(),
                "numpy": np.__version__,
                "torch": str(torch.__version__),
                "safetensors": safetensors.__version__,
            },
            "fields": fields,
        }
        if self._share_beside is not None:
            manifest["beside"] = dict(self._share_beside())
        manifest_content = json.dumps(manifest, indent=1, allow_nan=False).encode()
        path = self.root / f"{stem}.json"
        try:
            write_atomically(path.with_suffix(".safetensors"), content)
            sha256 = write_atomically(path, manifest_content)
        except OSError as error:
            raise CheckpointWriteError(
                f"checkpoint {path} could not be written ({error.strerror}); earlier checkpoints "
                "are untouched. Make room or correct the folder, then resume"
            ) from error
        self._forget_old(but=path)
        return CheckpointRecord(
            path=str(path),
            sha256=sha256,
            env_steps=env_steps,
            size_bytes=len(content) + len(manifest_content),
            score=score,
            kept=tuple(str(manifest) for manifest in list_manifests(self.root)),
        )

    def pin(self, record: CheckpointRecord) -> None:
        """Keep a checkpoint for good, whatever is written after it.

        Args:
            record: One of this folder.

        Raises:
            CheckpointCorruptError: It is not there any more.
            CheckpointWriteError: The disk is full or not writable.
        """
        path = self.root / Path(record.path).name
        try:
            pin(path)
        except FileNotFoundError as error:
            raise _corrupt(path, "it is not there") from error
        except OSError as error:
            raise CheckpointWriteError(f"{path} could not be pinned ({error.strerror})") from error

    def newest(self) -> NewestCheckpoint | None:
        """Load the newest whole checkpoint.

        Returns:
            It and what was skipped, or None if the folder holds no checkpoint at all.

        Raises:
            CheckpointCorruptError: There are checkpoints, and all are corrupt.
        """
        skipped: list[str] = []
        for path in list_manifests(self.root):
            try:
                return NewestCheckpoint(checkpoint=load_checkpoint(path), skipped=tuple(skipped))
            except CheckpointCorruptError as error:
                skipped.append(str(error))
        if skipped:
            raise CheckpointCorruptError(
                f"no whole checkpoint in {self.root}; start the run anew. " + " ".join(skipped)
            )
        return None

    def _forget_old(self, *, but: Path) -> None:
        scores = read_scores(list_manifests(self.root))
        kept = choose_kept(scores, last=self.keep_last, best=self.keep_best)
        stems = {but.stem, *(path.stem for path in kept)}
        for path in self._own_files():
            if path.stem not in stems:
                path.unlink(missing_ok=True)

    def _own_files(self) -> list[Path]:
        """Return the files, half-written ones included, of this attempt and those before it.

        Manifests come first, so that a crash between two removals leaves no manifest alone.
        """
        return sorted(
            (
                path
                for path in self.root.iterdir()
                if FILE_NAME.fullmatch(path.name) and age(path)[0] <= self.fence
            ),
            key=lambda path: path.suffix != ".json",
        )


def load_checkpoint(path: Path | str, sha256: str | None = None) -> Checkpoint:
    """Read a checkpoint and check every byte of it.

    Args:
        path: Of the manifest.
        sha256: Of the manifest, if it was recorded elsewhere.

    Raises:
        CheckpointCorruptError: A file is missing, cut, altered or of an unknown version.
    """
    path = Path(path)
    content = _read(path)
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise _corrupt(path, f"its sha256 is {found}, recorded was {sha256}")
    manifest = _parse(path, content)
    tensors_path = path.parent / Path(manifest["tensors_file"]).name
    tensor_content = _read(tensors_path)
    if hashlib.sha256(tensor_content).hexdigest() != manifest["tensors_sha256"]:
        raise _corrupt(tensors_path, "it is not what its manifest describes")
    try:
        tensors = load_tensors(tensor_content)
    except TensorBytesError as error:
        raise _corrupt(tensors_path, str(error)) from error
    record = CheckpointRecord(
        path=str(path),
        sha256=found,
        env_steps=manifest["env_steps"],
        size_bytes=len(content) + len(tensor_content),
        score=manifest["score"],
    )
    return Checkpoint(record=record, tensors=tensors, fields=manifest["fields"])


def _parse(path: Path, content: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(content)
        version = manifest["schema_version"]
        if version == SCHEMA_VERSION:
            wanted = {"tensors_file": str, "tensors_sha256": str, "env_steps": int, "fields": dict}
            if all(isinstance(manifest[name], kind) for name, kind in wanted.items()):
                return {"score": manifest.get("score"), **{name: manifest[name] for name in wanted}}
            raise _corrupt(path, "it is not a whole manifest")
    except (ValueError, KeyError, TypeError) as error:
        raise _corrupt(path, "it is not a whole manifest") from error
    raise _corrupt(path, f"it has schema version {version}, this program reads {SCHEMA_VERSION}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _corrupt(path, error.strerror or "it cannot be read") from error


def _corrupt(path: Path, reason: str) -> CheckpointCorruptError:
    return CheckpointCorruptError(
        f"checkpoint file {path} cannot be used: {reason}. Resume from an earlier checkpoint."
    )
