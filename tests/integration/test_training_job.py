"""A training job with real processes: killed in the middle, finished once, as if never killed."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path

import anyio
import numpy as np
import pytest
from sqlalchemy import select

from orchestration.executors.process import ProcessExecutor
from orchestration.executors.supervisor import AttemptConfig
from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.store import SqlJobStore
from orchestration.tasks import TRAIN, RunStateObserver, make_registry, make_train_spec
from orchestration.worker import Worker, WorkerConfig
from rl.artifacts import PolicyArtifact
from rl.domains.allocation_experts import EXPERTS
from rl.training.conclusion import Places
from rl.training.recorder import NullRecorder
from rl.training.training_config import EPISODE_STEPS, TrainingConfig
from rl.training.training_events import CheckpointWritten, RunEnded, TrainingEvents
from rl.training.training_run import train_problem
from tests.orchestration.policies import AT_ONCE
from utils.clock import SystemClock
from utils.persistence.artifact_store import DirectoryArtifactStore
from utils.persistence.engine import open_database
from utils.persistence.experiments import evaluation, metric, run
from utils.persistence.jobs import attempt, checkpoint
from utils.persistence.registry import artifact, model_version

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
CONFIG = TrainingConfig(
    total_episodes=12, num_envs=2, eval_frequency=4, checkpoint_frequency=2, num_agents=3
)
UPDATE = CONFIG.num_envs * EPISODE_STEPS["resource_allocation"]
STEPS = [UPDATE * number for number in range(1, 7)]
KILL_AT = STEPS[1]
QUICK = WorkerConfig(attempt=AttemptConfig(lease_seconds=6, poll_seconds=0.1, flush_seconds=0.2))


@pytest.fixture
def anyio_backend():
    return "asyncio"


def leave_experts(folder):
    """Tuning would take most of the time and is not what is tested here."""
    folder.mkdir(parents=True)
    experts = [{"name": name, "parameters": []} for name in EXPERTS]
    (folder / "experts.json").write_text(json.dumps(experts))


async def rows(database, table):
    async with database.read() as connection:
        return (await connection.execute(select(table))).mappings().all()


async def database_is_quiet(database):
    """Wait for the transaction that we have just heard of."""
    async with database.write():
        pass


async def pid_of_attempt(database, fence):
    query = select(attempt.c.pid).where(attempt.c.fence == fence)
    async with database.read() as connection:
        return await connection.scalar(query)


def layers(store, sha256):
    policy = PolicyArtifact.from_bytes(store.get(sha256))
    return [array for layer in policy.layers for array in (layer.weight, layer.bias)]


def train_undisturbed(folder):
    leave_experts(folder)
    store = DirectoryArtifactStore(folder / "artifacts")
    places = Places(folder=folder, artifacts=store)
    result = train_problem(CONFIG, NullRecorder(), places, run_id="r")
    return layers(store, result.artifact_sha256)


async def test_a_killed_training_job_finishes_once(tmp_path):
    clock, events = SystemClock(), TrainingEvents()
    database = await open_database(tmp_path / "quartermaster.sqlite")
    ledger = JobLedger(database, clock, observer=RunStateObserver(clock, events=events))
    store = SqlJobStore(ledger)
    spec = make_train_spec(CONFIG, output_dir=tmp_path, clock=clock)
    leave_experts(Path(spec.run_root) / spec.run_id)
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
        if isinstance(event, CheckpointWritten) and event.env_steps >= KILL_AT:
            deep_enough.set()
        if isinstance(event, RunEnded):
            ended.set()

    events.subscribe(listen)
    with anyio.fail_after(360):
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            await deep_enough.wait()
            await database_is_quiet(database)
            os.kill(await pid_of_attempt(database, fence=1), signal.SIGKILL)
            await ended.wait()
            await database_is_quiet(database)
            group.cancel_scope.cancel()

    (only_run,) = await rows(database, run)
    assert (only_run["id"], only_run["job_id"]) == (spec.run_id, job.id)
    assert (only_run["state"], only_run["error"]) == ("succeeded", None)
    assert only_run["env_steps"] == STEPS[-1]
    first, second = sorted(await rows(database, attempt), key=lambda one: one["fence"])
    assert first["error_class"] == "crashed"
    assert second["resume_checkpoint"] is not None

    measured = Counter((one["key"], one["step"]) for one in await rows(database, metric))
    assert set(measured.values()) == {1}
    assert sorted(step for key, step in measured if key == "return") == STEPS
    scored = [one["env_steps"] for one in await rows(database, evaluation)]
    assert sorted(scored) == [0, STEPS[1], STEPS[3], STEPS[5]]
    saved = await rows(database, checkpoint)
    assert {one["run_id"] for one in saved} == {spec.run_id}
    assert {one["step"] for one in saved} == set(STEPS)
    assert {one["fence"] for one in saved} == {1, 2}

    (model,) = await rows(database, model_version)
    (stored,) = await rows(database, artifact)
    assert (model["agent"], model["version"]) == ("resource_allocator", 1)
    assert model["artifact_sha256"] == stored["sha256"]
    assert stored["card"]["run_id"] == spec.run_id
    told = Counter(line.type for line in await store.events(job_id=job.id))
    assert (told["job_started"], told["job_succeeded"]) == (2, 1)

    ours = layers(DirectoryArtifactStore(Path(spec.artifact_root)), stored["sha256"])
    theirs = await anyio.to_thread.run_sync(train_undisturbed, tmp_path / "undisturbed")
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    await database.aclose()
