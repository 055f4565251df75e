"""A worker with real children on a real database: finish once, stop when told, survive crashes."""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter

import anyio
import pytest
from sqlalchemy import select

from orchestration.executors.binding import NullSink, TaskBinding, TaskDefinition
from orchestration.executors.process import ProcessExecutor
from orchestration.executors.supervisor import AttemptConfig
from orchestration.job_store.leases import SqlLeases
from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.store import SqlJobStore
from orchestration.jobs import Desired, JobState
from orchestration.worker import Worker, WorkerConfig
from tests.orchestration.policies import AT_ONCE
from utils.clock import SystemClock
from utils.errors import ConfigError
from utils.logs import configure_logs
from utils.persistence.engine import open_database
from utils.persistence.errors import DatabaseError
from utils.persistence.jobs import attempt

pytestmark = pytest.mark.anyio
QUICK = AttemptConfig(lease_seconds=3, poll_seconds=0.02, flush_seconds=0.1, stop_grace_seconds=5)


class RecordingSink(NullSink):
    def __init__(self):
        self.rows = []
        self.finished_results = []

    async def metrics(self, connection, job, rows):
        self.rows += rows

    async def finished(self, connection, job, result):
        self.finished_results.append(result)


async def poll(condition):
    with anyio.fail_after(120):
        while not (value := await condition()):  # noqa: ASYNC110  # another process changes it
            await anyio.sleep(0.02)
    return value


class House:
    """One database and the workers on it."""

    def __init__(self, database, tmp_path):
        self.database = database
        self.work_root = tmp_path / "work"
        self.ledger = JobLedger(database, SystemClock())
        self.store = SqlJobStore(self.ledger)
        self.sink = RecordingSink()

    @contextlib.asynccontextmanager
    async def working(self, *, config=QUICK, parallel=1, sink=None):
        kinds = ["add_up", "effect_after", "ignore_stops", "raise_value_error", "fill_disk"]
        kinds += ["exit_badly", "count_rows", "be_orphaned"]
        registry = {
            kind: TaskBinding(
                definition=TaskDefinition(kind=kind, target=f"tests.orchestration.targets:{kind}"),
                sink=sink or self.sink,
            )
            for kind in kinds
        }
        worker = Worker(
            self.ledger,
            ProcessExecutor(),
            registry,
            work_root=self.work_root,
            config=WorkerConfig(parallel_jobs=parallel, attempt=config),
            retry=AT_ONCE,
        )
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            yield worker
            group.cancel_scope.cancel()

    async def until(self, job, *states):
        async def there():
            now = await self.store.get(job.id)
            return now if now.state in states else None

        return await poll(there)

    async def until_event(self, job, type_, **payload):
        async def told():
            payloads = await self.payloads(job, type_)
            return [told for told in payloads if payload.items() <= told.items()]

        return await poll(told)

    async def payloads(self, job, type_):
        events = await self.store.events(job_id=job.id)
        return [event.payload for event in events if event.type == type_]

    async def attempts(self):
        async with self.database.read() as connection:
            query = select(attempt).order_by(attempt.c.fence)
            return (await connection.execute(query)).all()


@pytest.fixture
async def house(tmp_path):
    database = await open_database(tmp_path / "q.sqlite")
    yield House(database, tmp_path)
    await database.aclose()


async def test_job_runs_to_its_result(house):
    job = await house.store.submit("add_up", {"steps": 4})
    async with house.working():
        done = await house.until(job, JobState.SUCCEEDED)
    assert (done.result, done.attempt) == ({"total": 10}, 1)
    assert (done.progress_done, done.progress_total) == (4, 4)
    assert house.sink.rows == [(step, {"total": step * (step + 1) / 2}) for step in (1, 2, 3, 4)]
    assert house.sink.finished_results == [{"total": 10}]
    assert [row.outcome for row in await house.attempts()] == ["succeeded"]


@pytest.mark.usefixtures("restored_logging")
async def test_log_lines_of_a_job_say_whose_they_are(house):
    lines = io.StringIO()
    configure_logs(json=True, stream=lines)
    job = await house.store.submit("add_up", {"steps": 2, "run_id": "run-7"})
    async with house.working():
        await house.until(job, JobState.SUCCEEDED)
    told = [json.loads(line) for line in lines.getvalue().splitlines()]
    ended = next(line for line in told if line["event"] == "job_succeeded")
    assert (ended["job"], ended["attempt"], ended["run"]) == (job.id, 1, "run-7")
    assert ended["worker"]


async def test_killed_child_is_tried_again_from_its_checkpoint(house):
    job = await house.store.submit("add_up", {"steps": 6, "die_at": 3})
    async with house.working():
        done = await house.until(job, JobState.SUCCEEDED)
    assert (done.result, done.attempt, done.fence) == ({"total": 21}, 2, 2)
    first, second = await house.attempts()
    assert (first.outcome, first.error_class) == ("failed", "crashed")
    assert "SIGKILL" in first.error
    assert second.resume_checkpoint.endswith("3.1")
    steps = Counter(payload["step"] for payload in await house.payloads(job, "step_done"))
    assert set(steps) == {1, 2, 3, 4, 5, 6}
    assert set(steps.values()) == {1}
    assert house.sink.finished_results == [{"total": 21}]


async def test_corrupt_newest_checkpoint_falls_back_to_the_one_before(house, tmp_path):
    job = await house.store.submit("add_up", {"steps": 5, "hold": {"3": str(tmp_path / "go")}})
    async with house.working():
        await house.until_event(job, "checkpoint_committed", step=3)
        await house.store.request(job.id, Desired.PAUSE)
        await house.until(job, JobState.PAUSED)
        for path in (house.work_root / job.id).glob("3.*"):
            path.write_bytes(b"3 999")
        (tmp_path / "go").touch()
        await house.store.request(job.id, Desired.RUN)
        done = await house.until(job, JobState.SUCCEEDED)
    assert done.result == {"total": 15}
    assert [payload["step"] for payload in await house.payloads(job, "resumed")] == [0, 2]


async def test_cancel_while_running(house, tmp_path):
    job = await house.store.submit("add_up", {"steps": 5, "hold": {"2": str(tmp_path / "never")}})
    async with house.working():
        await house.until_event(job, "step_done")
        await house.store.request(job.id, Desired.CANCEL)
        done = await house.until(job, JobState.CANCELLED)
    assert (done.result, done.finished_at is not None) == (None, True)
    assert house.sink.finished_results == []


async def test_child_that_does_not_stop_is_killed_after_the_grace(house):
    config = AttemptConfig(lease_seconds=3, poll_seconds=0.02, stop_grace_seconds=0.1)
    job = await house.store.submit("ignore_stops", {})
    async with house.working(config=config):
        await house.until_event(job, "ready")
        await house.store.request(job.id, Desired.CANCEL)
        await house.until(job, JobState.CANCELLED)


async def test_child_without_progress_counts_as_hung(house):
    config = AttemptConfig(lease_seconds=3, poll_seconds=0.02, progress_timeout_seconds=0.3)
    job = await house.store.submit("ignore_stops", {}, max_attempts=1)
    async with house.working(config=config):
        dead = await house.until(job, JobState.DEAD)
    assert (dead.error_class, "no progress for 0.3 s" in dead.error) == ("hung", True)


async def test_stopped_worker_gives_its_jobs_back_without_spending_an_attempt(house, tmp_path):
    job = await house.store.submit("add_up", {"steps": 4, "hold": {"2": str(tmp_path / "go")}})
    async with house.working():
        await house.until_event(job, "step_done", step=2)
    queued = await house.store.get(job.id)
    assert (queued.state, queued.attempt, queued.lost) == (JobState.QUEUED, 0, 0)
    (tmp_path / "go").touch()
    async with house.working():
        done = await house.until(job, JobState.SUCCEEDED)
    assert (done.result, done.attempt) == ({"total": 10}, 1)


@pytest.mark.parametrize(
    ("kind", "state", "error_class", "text"),
    [
        ("raise_value_error", JobState.FAILED, "user", "the answer is 41"),
        ("fill_disk", JobState.FAILED, "storage", "Free some space"),
        ("exit_badly", JobState.DEAD, "crashed", "about to leave"),
    ],
)
async def test_errors_are_told(house, kind, state, error_class, text):
    job = await house.store.submit(kind, {}, max_attempts=2)
    async with house.working():
        ended = await house.until(job, JobState.FAILED, JobState.DEAD)
    assert (ended.state, ended.error_class) == (state, error_class)
    assert text in ended.error
    assert ended.attempt == (2 if state is JobState.DEAD else 1)


async def test_old_version_of_a_task_is_refused(house):
    job = await house.store.submit("add_up", {"steps": 1}, version=2)
    async with house.working():
        failed = await house.until(job, JobState.FAILED)
    assert (failed.error_class, "version 2" in failed.error) == ("config", True)


async def test_many_rows_arrive_in_order_and_jobs_run_side_by_side(house):
    jobs = [await house.store.submit("count_rows", {"rows": 1500}) for _ in range(2)]
    async with house.working(parallel=2):
        for job in jobs:
            await house.until(job, JobState.SUCCEEDED)
    steps = Counter(step for step, _ in house.sink.rows)
    assert set(steps) == set(range(1500))
    assert set(steps.values()) == {2}


class FailingSink(RecordingSink):
    def __init__(self, error, method):
        super().__init__()
        self.errors = [error]
        setattr(self, method, self.fail)

    async def fail(self, *_):
        if self.errors:
            raise self.errors.pop()


async def test_database_trouble_is_tried_again(house):
    job = await house.store.submit("add_up", {"steps": 2})
    sink = FailingSink(DatabaseError("disk is full"), "checkpoint")
    async with house.working(sink=sink):
        done = await house.until(job, JobState.SUCCEEDED)
    assert (done.result, done.attempt) == ({"total": 3}, 1)  # no attempt is spent on it


@pytest.mark.parametrize("method", ["started", "metrics", "finished"])
async def test_fault_of_a_sink_fails_the_job_and_not_the_worker(house, method):
    job = await house.store.submit("add_up", {"steps": 2})
    async with house.working(sink=FailingSink(RuntimeError("sink is broken"), method)):
        failed = await house.until(job, JobState.FAILED)
        again = await house.store.submit("add_up", {"steps": 2})
        await house.until(again, JobState.SUCCEEDED)
    assert (failed.error_class, "sink is broken" in failed.error) == ("internal", True)


async def test_worker_whose_lease_was_taken_kills_its_child_and_writes_nothing(house):
    job = await house.store.submit("ignore_stops", {}, max_lost=0)
    async with house.working():
        await house.until_event(job, "ready")
        running = await house.store.get(job.id)
        (dead,) = await SqlLeases(house.ledger).reap([running.lease_owner])
        assert dead.state is JobState.DEAD
        again = await house.store.submit("add_up", {"steps": 1})
        await house.until(again, JobState.SUCCEEDED)  # the only slot is free again
    assert (await house.store.get(job.id)) == dead


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match="poll_seconds"):
        AttemptConfig(lease_seconds=1, poll_seconds=0.5)
    with pytest.raises(ConfigError, match="parallel_jobs"):
        WorkerConfig(parallel_jobs=0)
    with pytest.raises(ConfigError, match="module:function"):
        TaskDefinition(kind="x", target="nothing")
