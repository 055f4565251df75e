"""What a run's numbers depend on beside its configuration: the code and the packages."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("numpy", "torch", "safetensors")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where numbers come from."""

    code_commit: str
    """Empty outside a git checkout."""
    code_dirty: bool | None
    """Whether a Python file differs from that commit; None outside a git checkout."""
    versions: Mapping[str, str]


@functools.cache
def read_provenance() -> Provenance:
    """Ask git and the installed packages; the answer of the first call stands for the process."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES if _is_installed(name)}
    commit = _ask_git("rev-parse", "HEAD")
    changes = _ask_git("status", "--porcelain", "--", ":/*.py") if commit else None
    return Provenance(
        code_commit=commit or "",
        code_dirty=None if changes is None else bool(changes),
        versions={"python": platform.python_version(), **versions},
    )


def tell_code_difference(code_commit: str, *, code_dirty: bool | None, now: Provenance) -> str:
    """Say in a sentence how today's code differs from that of a run; empty if it does not.

    Args:
        code_commit: Of the run.
        code_dirty: Whether its code differed from that commit; None if nobody knows.
        now: Of this process.
    """
    if not code_commit or not now.code_commit:
        return "The commit of the code is not known: the numbers may differ."
    if code_commit != now.code_commit:
        return (
            f"The code is at {now.code_commit[:12]}, the run was made at {code_commit[:12]}: "
            "the numbers may differ."
        )
    if code_dirty is not False or now.code_dirty is not False:
        return f"The code has changes beside commit {code_commit[:12]}: the numbers may differ."
    return ""


def _is_installed(package: str) -> bool:
    return next(iter(importlib.metadata.distributions(name=package)), None) is not None


def _ask_git(*words: str) -> str | None:
    try:
        asked = subprocess.run(  # noqa: S603  # words of ours only
            ["git", *words],  # noqa: S607  # the user's own git
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return asked.stdout.strip() if asked.returncode == 0 else None
