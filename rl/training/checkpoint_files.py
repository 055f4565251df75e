"""How checkpoint files are called, which of a folder stay, and how one is pinned. No torch here.

A checkpoint is a manifest, `step-N.fence-N.json`, and its tensors beside it; an empty file of the
same name that ends in `.pin` keeps both for good.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from utils.persistence.files import write_atomically

FILE_NAME = re.compile(
    r"\.?step-(?P<step>\d+)\.fence-(?P<fence>\d+)\.(json|safetensors|pin)(\..+\.tmp)?"
)
TENSORS, PIN = ".safetensors", ".pin"


def age(path: Path) -> tuple[int, int]:
    """Return what sorts checkpoint files: a higher fence is newer, then a higher step.

    Args:
        path: Of any of the files.
    """
    match = FILE_NAME.fullmatch(path.name)
    return (int(match["fence"]), int(match["step"])) if match else (-1, -1)


def list_manifests(root: Path) -> list[Path]:
    """Return the manifests of a folder, newest first.

    Args:
        root: The folder; none are in one that does not exist.
    """
    return sorted(root.glob("step-*.fence-*.json"), key=age, reverse=True)


def choose_kept(scores: Mapping[Path, float | None], *, last: int, best: int) -> set[Path]:
    """Choose which checkpoints stay: the newest, the best, and what is pinned.

    Args:
        scores: By manifest, newest first; None if it was never scored.
        last: How many of the newest.
        best: How many of the highest scores; the newer of equals first.
    """
    manifests = list(scores)
    scored = [path for path in manifests if scores[path] is not None]
    ranked = sorted(scored, key=lambda path: -_number(scores[path]))  # stable: newer first
    pinned = [path for path in manifests if is_pinned(path)]
    return {*manifests[:last], *ranked[:best], *pinned}


def read_scores(manifests: Iterable[Path]) -> dict[Path, float | None]:
    """Return the score of each checkpoint, None for those without one or not readable.

    Args:
        manifests: In the order wanted.
    """
    return {path: _score(path) for path in manifests}


def pin(manifest: Path) -> None:
    """Keep a checkpoint for good; a pinned one stays so.

    Args:
        manifest: Its path.

    Raises:
        FileNotFoundError: It is not there, or was removed in this moment.
        OSError: The disk is full or not writable.
    """
    if manifest.is_file():
        write_atomically(manifest.with_suffix(PIN), b"")
        if manifest.is_file() and manifest.with_suffix(TENSORS).is_file():
            return
        manifest.with_suffix(PIN).unlink(missing_ok=True)
    raise FileNotFoundError(f"checkpoint {manifest} is not there: it cannot be pinned")


def is_pinned(manifest: Path) -> bool:
    """Say whether a checkpoint is kept for good.

    Args:
        manifest: Its path.
    """
    return manifest.with_suffix(PIN).is_file()


def _score(manifest: Path) -> float | None:
    if not manifest.with_suffix(TENSORS).is_file():
        return None  # half removed
    try:
        score = json.loads(manifest.read_bytes())["score"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    is_number = isinstance(score, (int, float)) and math.isfinite(score)
    return float(score) if is_number else None


def _number(score: float | None) -> float:
    return -math.inf if score is None else score
