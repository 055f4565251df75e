"""A job whose shards are processes: one is killed, the next attempt ends as if none had been."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from orchestration.executors.process import ProcessExecutor
from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.store import SqlJobStore
from orchestration.jobs import JobState
from orchestration.tasks import TRAIN, RunStateObserver, make_registry, make_train_spec
from orchestration.worker import Worker
from rl.training.checkpointing import load_checkpoint
from rl.training.training_events import CheckpointWritten, RunEnded, TrainingEvents
from rl.training.training_run import train_problem
from tests.integration.test_training_job import QUICK, database_is_quiet, pid_of_attempt, rows
from tests.orchestration.policies import AT_ONCE
from tests.training.shard_runs import CONFIG, Watch, assert_same, tensors_of
from tests.training.small_problems import places_in
from utils.clock import SystemClock
from utils.persistence.engine import open_database
from utils.persistence.jobs import attempt, checkpoint

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
SHORT = replace(CONFIG, total_episodes=8, checkpoint_frequency=1)


@pytest.fixture
def anyio_backend():
    return "asyncio"


def shards_of(pid):
    """The processes that an attempt has started."""
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return sorted(int(child) for path in found for child in path.read_text().split())


def is_there(pid):
    return Path(f"/proc/{pid}").exists()


async def test_a_job_whose_shard_is_killed_goes_on_in_the_next_attempt(tmp_path):
    clock, events = SystemClock(), TrainingEvents()
    database = await open_database(tmp_path / "quartermaster.sqlite")
    ledger = JobLedger(database, clock, observer=RunStateObserver(clock, events=events))
    store = SqlJobStore(ledger)
    config = replace(SHORT, collection_place="process")
    spec = make_train_spec(config, output_dir=tmp_path, clock=clock)
    job = await store.submit(TRAIN.kind, spec.to_json(), version=TRAIN.version)
    worker = Worker(
        ledger,
        ProcessExecutor(preload=["torch", "numpy"]),
        make_registry(clock, events=events),
        work_root=tmp_path / "work",
        config=QUICK,
        retry=AT_ONCE,
    )
    deep_enough, ended = anyio.Event(), anyio.Event()

    def listen(event):
        if isinstance(event, CheckpointWritten) and event.env_steps >= 256:
            deep_enough.set()
        if isinstance(event, RunEnded):
            ended.set()

    events.subscribe(listen)
    with anyio.fail_after(300):
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            await deep_enough.wait()
            await database_is_quiet(database)
            shards = shards_of(await pid_of_attempt(database, fence=1))
            assert len(shards) == 2
            os.kill(shards[1], signal.SIGKILL)
            await ended.wait()
            await database_is_quiet(database)
            group.cancel_scope.cancel()
    assert (await store.get(job.id)).state is JobState.SUCCEEDED
    first, second = sorted(await rows(database, attempt), key=lambda one: one["fence"])
    assert (first["error_class"], second["outcome"]) == ("crashed", "succeeded")
    assert "is gone: process" in first["error"]
    assert second["resume_checkpoint"] is not None
    saved = max(await rows(database, checkpoint), key=lambda one: one["step"])
    await database.aclose()
    watch = Watch(-1)
    await anyio.to_thread.run_sync(train_undisturbed, watch, tmp_path / "undisturbed")
    assert_same(load_checkpoint(saved["path"], saved["sha256"]).tensors, tensors_of(watch))
    assert not any(map(is_there, shards))


def train_undisturbed(watch, folder):
    train_problem(SHORT, watch, places_in(folder), run_id="r")
