"""Results of long runs, one JSON line each, so that a benchmark goes on where it was stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class StoredRuns:
    """A folder with one file of JSON lines for each task and library."""

    def __init__(self, folder: Path) -> None:
        """Make the folder, if it is not there.

        Args:
            folder: Anywhere.
        """
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def rows(self, task: str, library: str, env_steps: int) -> list[Row]:
        """Return what is stored, ordered by seed; of two runs of one seed the first.

        Args:
            task: Its name.
            library: Ours, or a peer.
            env_steps: Budget of the runs; those with another budget are passed over.
        """
        path = self._path(task, library)
        lines = path.read_text().splitlines() if path.exists() else []
        found: dict[int, Row] = {}
        for row in (json.loads(line) for line in lines):
            if row["budget"] == env_steps:
                found.setdefault(row["seed"], row)
        return [found[seed] for seed in sorted(found)]

    def run_once(
        self, task: str, library: str, run: Callable[[], Row], *, env_steps: int, seed: int
    ) -> Row:
        """Run and store, or return what was stored before.

        Args:
            task: Its name.
            library: Ours, or a peer.
            run: Returns what was found.
            env_steps: Budget of the run.
            seed: Of the run.
        """
        for row in self.rows(task, library, env_steps):
            if row["seed"] == seed:
                return row
        print(f"{task}, {library}, seed {seed}: running", file=sys.stderr, flush=True)
        key = {"task": task, "library": library, "seed": seed, "budget": env_steps}
        row = {**key, "commit": _commit(), **run()}
        with self._path(task, library).open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{task}, {library}, seed {seed}: stored", file=sys.stderr, flush=True)
        return row

    def _path(self, task: str, library: str) -> Path:
        return self._folder / f"{task}.{library}.jsonl"


def _commit() -> str:
    run = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    found = subprocess.run(run, capture_output=True, text=True, check=False)  # noqa: S603
    return found.stdout.strip()
