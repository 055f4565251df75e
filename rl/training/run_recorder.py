"""What the trainer's thread tells, written by the event loop: the recorder of library use."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import anyio.from_thread
from sqlalchemy.ext.asyncio import AsyncConnection

from rl.training.recorder import CheckpointRecord, EvaluationRecord, StopReason
from rl.training.training_events import (
    CheckpointWritten,
    Evaluated,
    MetricsReported,
    RunInfo,
    StageChanged,
    TrainingEvents,
)
from utils.clock import Clock
from utils.persistence.engine import Database
from utils.persistence.run_log import (
    MetricRow,
    NewCheckpoint,
    add_checkpoint,
    add_evaluation,
    add_metrics,
    keep_checkpoints,
    set_run_stage,
)

FLUSH_SECONDS = 1.0
FLUSH_ROWS = 1000


class RunRecorder:
    """The trainer's pen: called in its thread, writes in the event loop's.

    Metrics wait for others until a second has passed or 1,000 values are there; everything else is
    committed, with the metrics before it, when the call returns. What a broken transaction takes
    with it is measured again after resuming from the last checkpoint.
    """

    def __init__(
        self,
        database: Database,
        run: RunInfo,
        *,
        clock: Clock,
        events: TrainingEvents,
        fence: int = 0,
    ) -> None:
        """Record one run.

        Args:
            database: Where.
            run: Which run.
            clock: Tells when things happened.
            events: Hears of everything once it is committed.
            fence: Number of this attempt at the run.
        """
        self.run = run
        self._database = database
        self._clock = clock
        self._events = events
        self._fence = fence
        self._lock = threading.Lock()
        self._rows: list[MetricRow] = []
        self._num_waiting = 0
        self._flushed_at = clock.monotonic()
        self._stop: StopReason | None = None

    def metrics(self, env_steps: int, values: Mapping[str, float]) -> None:
        """Record figures of one update, soon.

        Args:
            env_steps: Transitions so far, over all copies; never falls.
            values: By name.
        """
        with self._lock:
            self._rows.append((env_steps, dict(values)))
            self._num_waiting += len(values)
            waited = self._clock.monotonic() - self._flushed_at
            is_due = waited >= FLUSH_SECONDS or self._num_waiting >= FLUSH_ROWS
        if is_due:
            anyio.from_thread.run(self._flush)

    def progress(self, env_steps: int, total_env_steps: int) -> None:
        """Change nothing: a run's progress is the step of its newest metrics.

        Args:
            env_steps: Ignored.
            total_env_steps: Ignored.
        """

    def checkpoint_written(self, checkpoint: CheckpointRecord) -> None:
        """Record a checkpoint; returns once the row is committed.

        Args:
            checkpoint: Already safe on disk.
        """
        anyio.from_thread.run(self._add_checkpoint, checkpoint)

    def evaluated(self, evaluation: EvaluationRecord) -> None:
        """Record scores.

        Args:
            evaluation: What was measured.
        """
        anyio.from_thread.run(self._add_evaluation, evaluation)

    def stage_changed(self, env_steps: int, stage: str) -> None:
        """Record that training entered another stage.

        Args:
            env_steps: Transitions so far.
            stage: Its name.
        """
        anyio.from_thread.run(self._set_stage, env_steps, stage)

    def should_stop(self) -> StopReason | None:
        """Return why to stop at this update, or None to go on."""
        return self._stop

    def request_stop(self, reason: StopReason) -> None:
        """Have the trainer stop at its next update; any thread may ask.

        Args:
            reason: Why.
        """
        self._stop = reason

    def take_rows(self) -> list[MetricRow]:
        """Return the metrics that wait, and forget them."""
        with self._lock:
            rows, self._rows, self._num_waiting = self._rows, [], 0
            self._flushed_at = self._clock.monotonic()
        return rows

    async def _flush(self) -> None:
        async with self._database.write() as connection:
            rows = await self._write_rows(connection)
        self._tell_rows(rows)

    async def _add_checkpoint(self, record: CheckpointRecord) -> None:
        row = NewCheckpoint(
            path=record.path,
            sha256=record.sha256,
            env_steps=record.env_steps,
            size_bytes=record.size_bytes,
            fence=self._fence,
            score=record.score,
        )
        async with self._database.write() as connection:
            rows = await self._write_rows(connection)
            await add_checkpoint(connection, self.run.run_id, row, clock=self._clock)
            if record.kept:
                run_id, fence = self.run.run_id, self._fence
                await keep_checkpoints(connection, run_id, record.kept, fence=fence)
        self._tell_rows(rows)
        self._events.publish(
            CheckpointWritten(
                run=self.run, env_steps=record.env_steps, size_bytes=record.size_bytes
            )
        )

    async def _add_evaluation(self, record: EvaluationRecord) -> None:
        env_steps, scores = record.env_steps, record.scores
        async with self._database.write() as connection:
            rows = await self._write_rows(connection)
            await add_evaluation(connection, self.run.run_id, env_steps, scores, clock=self._clock)
        self._tell_rows(rows)
        self._events.publish(Evaluated(run=self.run, env_steps=env_steps, scores=scores))

    async def _set_stage(self, env_steps: int, stage: str) -> None:
        async with self._database.write() as connection:
            rows = await self._write_rows(connection)
            await set_run_stage(connection, self.run.run_id, stage)
        self._tell_rows(rows)
        self._events.publish(StageChanged(run=self.run, env_steps=env_steps, stage=stage))

    async def _write_rows(self, connection: AsyncConnection) -> list[MetricRow]:
        rows = self.take_rows()
        await add_metrics(connection, self.run.run_id, rows, clock=self._clock)
        return rows

    def _tell_rows(self, rows: list[MetricRow]) -> None:
        for env_steps, values in rows:
            self._events.publish(MetricsReported(run=self.run, env_steps=env_steps, values=values))
