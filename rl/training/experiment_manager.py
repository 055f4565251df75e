"""Experiments and runs of library use, kept in the database; jobs are kept by their sink."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from rl.training.provenance import read_provenance, tell_code_difference
from rl.training.recorder import StopReason
from rl.training.run_recorder import RunRecorder
from rl.training.run_shelf import RunShelf
from rl.training.training_config import TrainingConfig
from rl.training.training_events import RunEnded, RunInfo, RunStarted, TrainingEvents
from utils.clock import Clock, SystemClock, new_id
from utils.config import from_json, to_json
from utils.persistence.engine import Database
from utils.persistence.model_log import NewArtifact, register_model
from utils.persistence.run_facts import (
    Relation,
    RunArtifact,
    RunLineage,
    RunParent,
    add_artifacts,
    add_data,
    add_parents,
)
from utils.persistence.run_filter import EVERYTHING, RunFilter
from utils.persistence.run_log import NewRun, RunState, add_metrics, create_run, set_run_state
from utils.persistence.run_queries import (
    MetricPoint,
    RunDetails,
    RunSummary,
    StoredCheckpoint,
    get_run,
    list_checkpoints,
    read_curve,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from rl.training.conclusion import TrainingResult

STATES_AFTER_STOP = {
    StopReason.PAUSE: RunState.PAUSED,
    StopReason.PREEMPT: RunState.PAUSED,
    StopReason.CANCEL: RunState.CANCELLED,
}


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """A run that repeats another one's settings and seed."""

    run_id: str
    config: TrainingConfig
    code_difference: str
    """A sentence if the code is not that of the other run; empty if it is."""


class ExperimentManager:
    """Opens runs, records them while they train, and says what became of them.

    `shelf` is where runs are found, compared, tagged, moved and deleted afterwards.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock | None = None,
        events: TrainingEvents | None = None,
        output_dir: Path | None = None,
    ) -> None:
        """Take over nothing: the database stays the caller's to close.

        Args:
            database: Where experiments are kept.
            clock: Tells when things happened; the machine's by default.
            events: Hears of everything once it is committed.
            output_dir: Folder of artifacts and runs; the database's by default.
        """
        self._database = database
        self._clock = clock or SystemClock()
        self.shelf = RunShelf(database, output_dir=output_dir, clock=self._clock)
        self._events = events or TrainingEvents()
        self._recorders: dict[str, RunRecorder] = {}

    async def open_run(self, config: TrainingConfig, *, parents: tuple[RunParent, ...] = ()) -> str:
        """Write a new run, in the experiment that its configuration names, and return its id.

        Args:
            config: All of its settings.
            parents: Where it begins.
        """
        run_id = new_id(self._clock)
        provenance = await anyio.to_thread.run_sync(read_provenance)
        run = NewRun(
            id=run_id,
            experiment=config.experiment_name,
            seed=config.seed,
            config=to_json(config),
            total_env_steps=config.total_env_steps,
            code_commit=provenance.code_commit,
            code_dirty=provenance.code_dirty,
            parents=parents,
            tags=config.tags,
            versions=provenance.versions,
        )
        async with self._database.write() as connection:
            await create_run(connection, run, clock=self._clock)
        self._events.publish(RunStarted(run=_info(run_id, config)))
        return run_id

    async def open_rerun(self, run_id: str) -> Rerun:
        """Write a new run of the same settings and seed as another one, and say whose child it is.

        Args:
            run_id: The other one.

        Raises:
            RunNotFoundError: There is none.
            ConfigError: It was written by a version whose settings differ.
        """
        details = await self.run(run_id)
        config = from_json(TrainingConfig, details.config)
        parent = RunParent(relation=Relation.RERUN, run_id=run_id)
        new_run = await self.open_run(config, parents=(parent,))
        difference = tell_code_difference(
            details.code_commit, code_dirty=details.code_dirty, now=read_provenance()
        )
        return Rerun(run_id=new_run, config=config, code_difference=difference)

    async def reopen_run(self, run_id: str) -> None:
        """Say that somebody goes on with a run.

        Args:
            run_id: Which run.

        Raises:
            RunNotFoundError: There is none.
        """
        config = await self.config(run_id)
        async with self._database.write() as connection:
            await set_run_state(connection, run_id, RunState.RUNNING, clock=self._clock)
        self._events.publish(RunStarted(run=_info(run_id, config)))

    def recorder(self, run_id: str, config: TrainingConfig, *, fence: int = 0) -> RunRecorder:
        """Return what the trainer of a run reports to; it must run in an anyio worker thread.

        Args:
            run_id: An open run.
            config: Its settings.
            fence: Number of this attempt at the run, part of its checkpoints' names.
        """
        recorder = RunRecorder(
            self._database,
            _info(run_id, config),
            clock=self._clock,
            events=self._events,
            fence=fence,
        )
        self._recorders[run_id] = recorder
        return recorder

    async def finish(self, run_id: str, result: TrainingResult) -> RunState:
        """Record how a run ended, with its last metrics and its model, in one transaction.

        Args:
            run_id: Which run.
            result: What training came to; a stopped one leaves a run that can be continued.
        """
        state = RunState.SUCCEEDED
        if result.stopped is not None:
            state = STATES_AFTER_STOP[result.stopped]
        model = _model(run_id, result)
        async with self._database.write() as connection:
            await self._write_rest(connection, run_id)
            if model is not None:
                agent, content = model
                await register_model(connection, agent, content, clock=self._clock)
            await add_data(connection, run_id, result.lineage.data)
            await set_run_state(connection, run_id, state, clock=self._clock)
        self._say_ended(run_id, state)
        return state

    async def fail(self, run_id: str, error: Exception) -> None:
        """Record that a run broke.

        Args:
            run_id: Which run.
            error: What it broke with.
        """
        text = f"{type(error).__name__}: {error}"
        async with self._database.write() as connection:
            await self._write_rest(connection, run_id)
            await set_run_state(connection, run_id, RunState.FAILED, clock=self._clock, error=text)
        self._say_ended(run_id, RunState.FAILED)

    async def runs(self, wanted: RunFilter = EVERYTHING, *, limit: int = 100) -> list[RunSummary]:
        """List the runs that fit, newest first; `shelf.find` goes on with the next page.

        Args:
            wanted: Which.
            limit: At most so many.
        """
        return await self.shelf.find(wanted, limit=limit)

    async def run(self, run_id: str) -> RunDetails:
        """Load all that is known of a run but its curves.

        Args:
            run_id: Which run.

        Raises:
            RunNotFoundError: There is none.
        """
        async with self._database.read() as connection:
            return await get_run(connection, run_id)

    async def add_artifact(self, run_id: str, name: str, content: bytes, *, kind: str) -> str:
        """Keep bytes as an artifact of a run and return their hash; a known name stays as it is.

        Args:
            run_id: Which run.
            name: Unique within the run.
            content: All of it.
            kind: Such as `report` or `plot`.
        """
        sha256 = await anyio.to_thread.run_sync(self.shelf.places.artifacts.put, content)
        artifact = RunArtifact(name=name, kind=kind, sha256=sha256, size_bytes=len(content))
        async with self._database.write() as connection:
            await add_artifacts(connection, run_id, [artifact], clock=self._clock)
        return sha256

    async def note_lineage(self, run_id: str, lineage: RunLineage) -> None:
        """Keep where a run began and which data its numbers come from.

        Args:
            run_id: Which run.
            lineage: Told again it changes nothing.

        Raises:
            ConfigError: A set of scenarios is not the one it was.
        """
        async with self._database.write() as connection:
            await add_parents(connection, run_id, lineage.parents)
            await add_data(connection, run_id, lineage.data)

    async def config(self, run_id: str) -> TrainingConfig:
        """Load the settings of a run.

        Args:
            run_id: Which run.

        Raises:
            RunNotFoundError: There is none.
            ConfigError: It was written by a version whose settings differ.
        """
        return from_json(TrainingConfig, (await self.run(run_id)).config)

    async def metrics(self, run_id: str, key: str, *, max_points: int = 1000) -> list[MetricPoint]:
        """Read a metric over steps, thinned evenly if it has too many points.

        Args:
            run_id: Which run.
            key: Which metric.
            max_points: At most so many.
        """
        async with self._database.read() as connection:
            return await read_curve(connection, run_id, key, max_points=max_points)

    async def checkpoints(self, run_id: str) -> list[StoredCheckpoint]:
        """List the newest recorded checkpoints of a run, newest first.

        Args:
            run_id: Which run.
        """
        async with self._database.read() as connection:
            return await list_checkpoints(connection, run_id)

    async def _write_rest(self, connection: AsyncConnection, run_id: str) -> None:
        recorder = self._recorders.get(run_id)
        if recorder is not None:
            rows = recorder.take_rows()
            await add_metrics(connection, run_id, rows, clock=self._clock)

    def _say_ended(self, run_id: str, state: RunState) -> None:
        recorder = self._recorders.pop(run_id, None)
        if recorder is not None:
            self._events.publish(RunEnded(run=recorder.run, state=state))


def _info(run_id: str, config: TrainingConfig) -> RunInfo:
    return RunInfo(
        run_id=run_id,
        environment=config.environment,
        algorithm=config.algorithm,
        total_env_steps=config.total_env_steps,
    )


def _model(run_id: str, result: TrainingResult) -> tuple[str, NewArtifact] | None:
    if result.artifact_sha256 is None or result.card is None:
        return None
    content = NewArtifact(
        sha256=result.artifact_sha256,
        size_bytes=result.artifact_bytes,
        card=to_json(result.card),
        run_id=run_id,
    )
    return result.card.agent, content
