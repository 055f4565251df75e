"""Figures of jobs: read from the database by a background task, shown without waiting for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from sqlalchemy import insert

from orchestration.endpoints.metrics import JobMetrics
from orchestration.events import Completed, Started
from orchestration.job_store.leases import SqlLeases
from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.store import SqlJobStore
from orchestration.job_store.workers import SqlWorkers
from orchestration.retry import ErrorClass
from orchestration.scheduler.schedules import NewSchedule, SqlSchedules
from orchestration.scheduler.timing import Interval
from orchestration.webhooks.deliveries import SqlWebhooks
from utils.clock import ManualClock
from utils.observability import exposition, make_registry
from utils.persistence.engine import open_database
from utils.persistence.schedules import delivery, schedule_fire

pytestmark = pytest.mark.anyio
FAMILIES = {
    "job_jobs": "gauge",
    "job_queue_seconds": "summary",
    "job_run_seconds": "summary",
    "job_retries_total": "counter",
    "job_lost_total": "counter",
    "job_oldest_waiting_seconds": "gauge",
    "job_lease_remaining_seconds": "gauge",
    "job_snapshot_timestamp_seconds": "gauge",
    "job_workers": "gauge",
    "job_slots": "gauge",
    "job_schedule_fires": "gauge",
    "job_webhook_deliveries": "gauge",
}


class Bench:
    def __init__(self, database):
        self.database = database
        self.clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.ledger = JobLedger(database, self.clock)
        self.store = SqlJobStore(self.ledger)
        self.leases = SqlLeases(self.ledger)
        self.registry = make_registry()
        self.metrics = JobMetrics(self.registry, database, self.clock, refresh_seconds=5)

    def read(self):
        lines = exposition(self.registry).decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
                for line in lines if line.startswith("job_")}  # fmt: skip

    def types(self):
        lines = exposition(self.registry).decode().splitlines()
        return dict(line.split()[2:] for line in lines if line.startswith("# TYPE job_"))

    async def start(self, seconds=60):
        job = await self.leases.claim("w", ["train"], lease_seconds=seconds)
        async with self.leases.fenced(job.id, job.fence) as connection:
            return await self.ledger.apply(connection, job.id, Started(fence=job.fence, pid=1))

    async def finish(self, job):
        async with self.leases.fenced(job.id, job.fence) as connection:
            done = Completed(fence=job.fence, result={})
            await self.ledger.apply(connection, job.id, done)


@pytest.fixture
async def bench(tmp_path):
    database = await open_database(tmp_path / "q.sqlite")
    yield Bench(database)
    await database.aclose()


async def test_families_are_declared_before_the_first_figures(bench):
    assert bench.types() == FAMILIES
    assert bench.read() == {}


async def test_states_are_counted_zeros_included(bench):
    await bench.metrics.refresh()
    assert 'job_jobs{kind="train",state="queued"}' not in bench.read()
    for _ in range(3):
        await bench.store.submit("train", {})
    await bench.start()
    await bench.metrics.refresh()
    shown = bench.read()
    assert shown['job_jobs{kind="train",state="queued"}'] == 2
    assert shown['job_jobs{kind="train",state="running"}'] == 1
    assert shown['job_jobs{kind="train",state="dead"}'] == 0
    assert sum(v for k, v in shown.items() if k.startswith("job_jobs")) == 3


async def test_durations_are_summed(bench):
    for wait, run in ((10, 100), (30, 50)):
        await bench.store.submit("train", {})
        bench.clock.advance(wait)
        job = await bench.start()
        bench.clock.advance(run)
        await bench.finish(job)
    await bench.metrics.refresh()
    shown = bench.read()
    ended = '{kind="train",outcome="succeeded"}'
    assert shown['job_queue_seconds_sum{kind="train"}'] == pytest.approx(40, abs=0.01)
    assert shown['job_queue_seconds_count{kind="train"}'] == 2
    assert shown["job_run_seconds_sum" + ended] == pytest.approx(150, abs=0.01)
    assert shown["job_run_seconds_count" + ended] == 2


async def test_repeats_and_losses_are_told_apart(bench):
    await bench.store.submit("train", {})
    job = await bench.start()
    await bench.leases.fail(job.id, job.fence, ErrorClass.CRASHED, "died")
    bench.clock.advance(10)
    job = await bench.start(seconds=5)
    bench.clock.advance(6)
    await bench.leases.reap()
    job = await bench.start()
    await bench.metrics.refresh()
    shown = bench.read()
    assert shown['job_retries_total{kind="train"}'] == 1
    assert shown['job_lost_total{kind="train"}'] == 1


async def test_ages_tell_of_waiting_jobs_and_silent_workers(bench):
    await bench.metrics.refresh()
    assert bench.read()["job_oldest_waiting_seconds"] == 0
    assert "job_lease_remaining_seconds" not in bench.read()
    await bench.store.submit("train", {})
    await bench.store.submit("train", {})
    await bench.start(seconds=60)
    bench.clock.advance(70)
    await bench.metrics.refresh()
    assert bench.read()["job_oldest_waiting_seconds"] == 70
    assert bench.read()["job_lease_remaining_seconds"] == -10


async def test_slots_are_those_of_workers_that_live(bench):
    workers = SqlWorkers(bench.ledger)
    gone, here = (replace(workers.identify(), id=name) for name in ("gone", "w"))
    await workers.seen(gone, parallel_jobs=8)
    bench.clock.advance(61)
    await workers.seen(here, parallel_jobs=3)
    await bench.store.submit("train", {})
    await bench.start()
    await bench.metrics.refresh()
    shown = bench.read()
    assert shown["job_workers"] == 1
    assert (shown['job_slots{state="busy"}'], shown['job_slots{state="free"}']) == (1, 2)


async def test_a_background_task_renews_the_figures(bench):
    async with anyio.create_task_group() as group:
        group.start_soon(bench.metrics.run)
        await anyio.wait_all_tasks_blocked()
        while "job_snapshot_timestamp_seconds" not in bench.read():  # noqa: ASYNC110  a gauge has no event
            await anyio.sleep(0.01)
        before = bench.read()["job_snapshot_timestamp_seconds"]
        while bench.read()["job_snapshot_timestamp_seconds"] == before:
            bench.clock.advance(5)  # again if the task was not asleep yet
            await anyio.sleep(0.01)
        assert (bench.read()["job_snapshot_timestamp_seconds"] - before) % 5 == 0
        group.cancel_scope.cancel()


async def test_the_moment_of_the_figures_is_shown(bench):
    await bench.metrics.refresh()
    shown = bench.read()["job_snapshot_timestamp_seconds"]
    assert datetime.fromtimestamp(shown, UTC) == bench.clock.now()
    assert bench.clock.now() - datetime(2026, 1, 1, tzinfo=UTC) == timedelta(0)


async def test_fires_and_deliveries_are_counted_zeros_included(bench):
    await bench.metrics.refresh()
    shown = bench.read()
    assert shown['job_schedule_fires{outcome="launched"}'] == 0
    assert shown['job_webhook_deliveries{state="gave_up"}'] == 0
    now = bench.clock.now()
    schedule = await SqlSchedules(bench.database, bench.clock).add(
        NewSchedule(name="s", timing=Interval(seconds=60, start=now), plan={})
    )
    await SqlWebhooks(bench.database, bench.clock).add("w", "https://a/", ["news"], "env:X")
    hook = await SqlWebhooks(bench.database, bench.clock).get("w")
    fire = {"schedule_id": schedule.id, "fired_at": now}
    sent = {"webhook_id": hook.id, "body": "{}", "next_at": now, "created_at": now}
    async with bench.database.write() as connection:
        outcomes = ["launched", "launched", "skipped"]
        lines = [{**fire, "fire_time": now, "event_seq": seq, "outcome": outcome}
                 for seq, outcome in enumerate(outcomes)]  # fmt: skip
        await connection.execute(insert(schedule_fire), lines)
        states = ["pending", "delivered", "gave_up", "gave_up"]
        lines = [{**sent, "id": str(seq), "event_seq": seq, "status": state}
                 for seq, state in enumerate(states)]  # fmt: skip
        await connection.execute(insert(delivery), lines)
    await bench.metrics.refresh()
    shown = bench.read()
    fires = {outcome: shown[f'job_schedule_fires{{outcome="{outcome}"}}']
             for outcome in ("launched", "skipped", "failed")}  # fmt: skip
    assert fires == {"launched": 2, "skipped": 1, "failed": 0}
    deliveries = {state: shown[f'job_webhook_deliveries{{state="{state}"}}']
                  for state in ("pending", "delivered", "gave_up")}  # fmt: skip
    assert deliveries == {"pending": 1, "delivered": 1, "gave_up": 2}
