"""The runs that are there: found, compared, tagged, moved to other machines, deleted."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rl.training.run_archive import Exported, Imported, export_run, import_run
from rl.training.run_places import RunPlaces
from rl.training.run_removal import DEFAULT_GRACE, Collected, collect_garbage, delete_run
from rl.training.side_by_side import RunComparison, compare_runs
from utils.clock import Clock, SystemClock
from utils.persistence.run_facts import change_tags, load_facts
from utils.persistence.run_filter import EVERYTHING, RunFilter, find_runs
from utils.persistence.run_queries import RunSummary, get_run

if TYPE_CHECKING:
    from utils.persistence.engine import Database


class RunShelf:
    """What is done with runs once they are made; nothing here trains."""

    def __init__(
        self, database: Database, *, output_dir: Path | None = None, clock: Clock | None = None
    ) -> None:
        """Take over nothing: the database stays the caller's to close.

        Args:
            database: Where runs are kept.
            output_dir: Folder of artifacts and runs; the database's by default.
            clock: Tells the time; the machine's by default.
        """
        self.places = RunPlaces.of(output_dir or database.path.parent)
        self._database = database
        self._clock = clock or SystemClock()

    async def find(
        self, wanted: RunFilter = EVERYTHING, *, limit: int = 100, before: str | None = None
    ) -> list[RunSummary]:
        """List the runs that fit, newest first.

        Args:
            wanted: Which.
            limit: At most so many.
            before: Only older ones than this run: the last id of the page before.

        Raises:
            ConfigError: The limit is out of range.
        """
        async with self._database.read() as connection:
            return await find_runs(connection, wanted, limit=limit, before=before)

    async def compare(self, *run_ids: str) -> RunComparison:
        """Put runs side by side: what differs, and what they came to.

        Args:
            run_ids: At least two.

        Raises:
            RunNotFoundError: There is no such run.
            ConfigError: There are fewer.
        """
        async with self._database.read() as connection:
            return compare_runs([await get_run(connection, run_id) for run_id in run_ids])

    async def tag(
        self, run_id: str, *, add: Collection[str] = (), remove: Collection[str] = ()
    ) -> tuple[str, ...]:
        """Give a run tags, take some away, and return what it has then.

        Args:
            run_id: Which run.
            add: New tags.
            remove: Old ones.

        Raises:
            RunNotFoundError: There is none.
            ConfigError: A tag is malformed.
        """
        async with self._database.write() as connection:
            await get_run(connection, run_id)
            await change_tags(connection, run_id, add=add, remove=remove)
            return (await load_facts(connection, run_id)).tags

    async def export(self, run_id: str, path: Path) -> Exported:
        """Write a run with its metrics, checkpoints, artifacts and report to one file.

        Args:
            run_id: Which run.
            path: Where to write; whole or not at all.

        Raises:
            RunNotFoundError: There is none.
            RunBusyError: Somebody still works on it.
            ArchiveError: A file of it is missing or changed meanwhile, or the disk is full.
        """
        return await export_run(self._database, self.places, run_id, path, clock=self._clock)

    async def take_in(self, path: Path) -> Imported:
        """Take in a run that was exported elsewhere, or do nothing if this very run is here.

        Args:
            path: The archive.

        Raises:
            ArchiveError: It is damaged, foreign or unsafe, or another run has its id; nothing is
                left behind.
        """
        return await import_run(self._database, self.places, path, clock=self._clock)

    async def delete(self, run_id: str, *, confirm: str) -> None:
        """Delete a run for everybody who looks; its files stay until `collect` after the grace.

        Args:
            run_id: Which run.
            confirm: The same id again.

        Raises:
            ConfigError: The confirmation is not the run's id.
            RunNotFoundError: There is none.
            RunBusyError: Somebody still works on it.
            RunInUseError: An alias means a model of it.
        """
        await delete_run(self._database, run_id, confirm=confirm, clock=self._clock)

    async def collect(self, *, grace: timedelta = DEFAULT_GRACE) -> Collected:
        """Mark what nothing refers to, and remove what was marked long enough ago.

        Args:
            grace: How long unwanted things stay.

        Raises:
            ConfigError: The grace is negative.
        """
        return await collect_garbage(self._database, self.places, clock=self._clock, grace=grace)
