"""Whole orchestrator processes are killed or frozen; jobs still finish once, effects count once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import anyio
import pytest
from sqlalchemy import select, text

from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.store import SqlJobStore
from orchestration.job_store.workers import process_start
from orchestration.jobs import JobState
from utils.clock import SystemClock
from utils.persistence.engine import open_database
from utils.persistence.jobs import attempt

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Chaos:
    """A database to look at, and orchestrator processes to mistreat."""

    def __init__(self, database, folder):
        self.database = database
        self.folder = folder
        self.store = SqlJobStore(JobLedger(database, SystemClock()))
        self.processes = []

    def start_orchestrator(self, *options, lease_seconds=60):
        arguments = [str(self.database.path), str(self.folder / "work"), str(lease_seconds)]
        with (self.folder / f"log-{len(self.processes)}").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.orchestrator", *arguments, *options],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    async def until(self, condition, seconds=180):
        with anyio.fail_after(seconds):
            while not (value := await condition()):  # noqa: ASYNC110  # others change it
                await anyio.sleep(0.02)
        return value

    async def until_succeeded(self, job):
        async def has_succeeded():
            now = await self.store.get(job.id)
            assert not now.state.is_terminal or now.state is JobState.SUCCEEDED, now.error
            return now if now.state is JobState.SUCCEEDED else None

        return await self.until(has_succeeded)

    async def until_told(self, job, type_, count=1):
        async def is_told():
            told = await self.payloads(job, type_)
            return told if len(told) >= count else None

        return await self.until(is_told)

    async def payloads(self, job, type_):
        events = await self.store.events(job_id=job.id)
        return [event.payload for event in events if event.type == type_]

    async def committed_steps(self, job):
        return Counter(told["step"] for told in await self.payloads(job, "checkpoint_committed"))

    async def attempts(self):
        async with self.database.read() as connection:
            return (await connection.execute(select(attempt).order_by(attempt.c.fence))).all()

    async def until_gone(self, pid):
        async def is_gone():
            return process_start(pid) is None

        await self.until(is_gone)


@pytest.fixture
async def chaos(tmp_path):
    database = await open_database(tmp_path / "q.sqlite")
    chaos = Chaos(database, tmp_path)
    yield chaos
    for process in chaos.processes:
        process.kill()
        process.wait()
    async with database.read() as connection:
        assert await connection.scalar(text("PRAGMA integrity_check")) == "ok"
    await database.aclose()


async def test_killed_orchestrator_is_followed_at_once_from_the_checkpoint(chaos, tmp_path):
    go = tmp_path / "go"
    job = await chaos.store.submit("add_up", {"steps": 6, "hold": {"3": str(go)}})
    first = chaos.start_orchestrator()
    await chaos.until_told(job, "step_done", 3)
    (row,) = await chaos.attempts()
    first.kill()
    first.wait()
    await chaos.until_gone(row.pid)  # the orphan noticed and left
    chaos.start_orchestrator()  # far sooner than the lease of 60 s
    go.touch()
    done = await chaos.until_succeeded(job)
    assert (done.result, done.attempt, done.lost, done.fence) == ({"total": 21}, 1, 1, 2)
    assert [told["step"] for told in await chaos.payloads(job, "resumed")] == [0, 3]
    assert await chaos.committed_steps(job) == Counter(range(1, 7))
    assert len(await chaos.payloads(job, "job_succeeded")) == 1
    assert [row.outcome for row in await chaos.attempts()] == ["lost", "succeeded"]


async def test_kills_at_any_moment_double_and_lose_nothing(chaos):
    chance = random.Random(20)
    job = await chaos.store.submit("add_up", {"steps": 150}, max_attempts=50, max_lost=50)
    kills = 0
    orchestrator = chaos.start_orchestrator()
    for _ in range(5):
        before = sum((await chaos.committed_steps(job)).values())
        await chaos.until_told(job, "checkpoint_committed", before + chance.randint(2, 12))
        if (await chaos.store.get(job.id)).state.is_terminal:
            break
        kills += 1
        if chance.random() < 0.4:
            os.kill((await chaos.attempts())[-1].pid, signal.SIGKILL)
        else:
            orchestrator.kill()
            orchestrator.wait()
            orchestrator = chaos.start_orchestrator()
    done = await chaos.until_succeeded(job)
    assert kills == 5
    assert done.result == {"total": 150 * 151 // 2}
    assert await chaos.committed_steps(job) == Counter(range(1, 151))
    assert len(await chaos.payloads(job, "job_succeeded")) == 1


async def freeze_and_replace(chaos, *options):
    """Freeze a worker until its lease is gone and another runs the job, then wake it."""
    job = await chaos.store.submit("effect_after", {"go": str(chaos.folder / "go")})
    frozen = chaos.start_orchestrator(*options, lease_seconds=2)
    await chaos.until_told(job, "ready", 1)
    (row,) = await chaos.attempts()
    frozen.send_signal(signal.SIGSTOP)
    chaos.start_orchestrator(lease_seconds=6)  # looks for lost jobs every 2 s
    await chaos.until_told(job, "ready", 2)
    (chaos.folder / "go.1").touch()  # the old child speaks up while its supervisor sleeps
    frozen.send_signal(signal.SIGCONT)
    return job, row.pid


async def test_frozen_worker_that_wakes_up_late_writes_nothing(chaos):
    job, old_child = await freeze_and_replace(chaos)
    await chaos.until_gone(old_child)
    (chaos.folder / "go.2").touch()
    done = await chaos.until_succeeded(job)
    assert (done.result, done.lost) == ({"fence": 2}, 1)
    assert await chaos.payloads(job, "effect") == [{"fence": 2}]


async def test_negative_control_without_the_fence_it_does_write(chaos):
    job, _ = await freeze_and_replace(chaos, "--without-fence")
    assert await chaos.until_told(job, "effect") == [{"fence": 1}]
