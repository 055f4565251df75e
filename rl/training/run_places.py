"""Where the files of runs lie, and whether a run is at rest so that they may be touched."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import ConfigError, QuartermasterError
from utils.persistence.artifact_store import DirectoryArtifactStore
from utils.persistence.run_log import RunState

if TYPE_CHECKING:
    from utils.clock import Clock
    from utils.persistence.run_queries import RunDetails

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,35}")
QUIET = timedelta(minutes=10)
"""A run without a job that says it runs, but has told nothing for so long, has died."""


class RunBusyError(QuartermasterError):
    """Somebody still works on the run."""


@dataclass(frozen=True, kw_only=True)
class RunPlaces:
    """The folders beside a database."""

    runs: Path
    """One folder a run, by its id."""
    artifacts: DirectoryArtifactStore

    @classmethod
    def of(cls, output_dir: Path) -> RunPlaces:
        """Return the places in a folder of generated state.

        Args:
            output_dir: Such as `var`.
        """
        return cls(
            runs=output_dir / "runs", artifacts=DirectoryArtifactStore(output_dir / "artifacts")
        )

    def folder(self, run_id: str) -> Path:
        """Return the folder of a run, there or not.

        Args:
            run_id: Which run.

        Raises:
            ConfigError: It cannot be the name of a folder.
        """
        if not RUN_ID.fullmatch(run_id):
            raise ConfigError(f"run id {run_id!r}: it cannot be the name of a folder")
        return self.runs / run_id


def check_at_rest(run: RunDetails, clock: Clock) -> None:
    """Refuse to touch the files of a run that somebody works on.

    Args:
        run: Which.
        clock: Tells how long it has been silent.

    Raises:
        RunBusyError: It is queued or running.
    """
    summary = run.summary
    if summary.state.is_terminal or summary.state is RunState.PAUSED:
        return
    told = max([summary.created_at, *(point.at for point in run.latest.values())])
    if summary.job_id is None and clock.now() - told > QUIET:
        return
    raise RunBusyError(f"run {summary.id} is {summary.state.value}: pause or cancel it first")
