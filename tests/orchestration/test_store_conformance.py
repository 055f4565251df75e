"""What the job store promises, on memory, a SQLite file and a PostgreSQL server alike."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from sqlalchemy import insert, select, text

from orchestration.events import Completed, Failed, Started, Stopped
from orchestration.job_store.claims import Offer, claim_jobs
from orchestration.job_store.group_writer import GroupWriter
from orchestration.job_store.leases import Lease
from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.needs import load_inputs
from orchestration.job_store.rows import JobNotFoundError
from orchestration.job_store.submission import IdempotencyConflictError
from orchestration.jobs import (
    Condition,
    Desired,
    JobState,
    LeaseLostError,
    Limits,
    Need,
    NewJob,
    Resources,
)
from orchestration.retry import ErrorClass
from utils.errors import ConfigError
from utils.persistence.engine import Database
from utils.persistence.errors import DatabaseError
from utils.persistence.jobs import attempt, job_limit

pytestmark = pytest.mark.anyio
CHAIN = 25
MEET_SECONDS = 0.3  # how long a transaction stays open for another one that ought to wait for it


def offer(worker="w1", **fields):
    return Offer(worker_id=worker, kinds=fields.pop("kinds", ["a"]), lease_seconds=30, **fields)


async def take(engine, worker="w1", **fields):
    return await engine.leases.claim_many(offer(worker, **fields))


async def take_one(engine, worker="w1"):
    (job,) = await take(engine, worker)
    return job


async def submit(engine, **fields):
    (job,) = await engine.store.submit_all([NewJob(kind="a", **fields)])
    return job


async def complete(engine, job, result=None):
    async with engine.leases.fenced(job.id, job.fence) as connection:
        done = Completed(fence=job.fence, result=result or {})
        return await engine.ledger.apply(connection, job.id, done)


async def state(engine, job):
    return (await engine.store.get(job.id)).state


async def told(engine, **where):
    return [event.type for event in await engine.store.events(**where)]


def needs(*jobs, condition="succeeded"):
    return tuple(
        Need(job_id=job.id, name=f"n{place}", condition=Condition(condition))
        for place, job in enumerate(jobs)
    )


# Submission


async def test_a_batch_is_submitted_whole_or_not_at_all(engine):
    good = NewJob(kind="a", spec={"x": 1})
    for bad, error in (
        (NewJob(kind="a", spec={"x": float("nan")}), "not plain JSON"),
        (NewJob(kind="a", needs=(Need(job_id="nope", name="n"),)), "job nope is needed"),
    ):
        with pytest.raises(ConfigError, match=error):
            await engine.store.submit_all([good, bad])
    assert await engine.store.list_jobs() == []
    assert await told(engine) == []
    jobs = await engine.store.submit_all([good, good])
    assert len({job.id for job in jobs}) == 2
    assert await told(engine) == ["job_submitted"] * 2


async def test_a_job_stands_and_falls_with_its_callers_transaction(engine):
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with engine.database.write() as connection:
            await engine.store.submit_in(connection, NewJob(kind="a"))
            raise ZeroDivisionError
    assert (await engine.store.list_jobs(), await told(engine)) == ([], [])
    async with engine.database.write() as connection:
        job = await engine.store.submit_in(connection, NewJob(kind="a"))
        await engine.ledger.announce(connection, None, "schedule_fired", {})
    assert await state(engine, job) is JobState.QUEUED
    assert await told(engine) == ["job_submitted", "schedule_fired"]


async def test_everything_about_a_job_comes_back(engine):
    wanted = NewJob(
        kind="a",
        spec={"deep": [1, {"ä": None}]},
        version=3,
        dedupe_key="d",
        idempotency_key="i",
        priority=-2,
        max_attempts=7,
        max_lost=0,
        run_at=engine.clock.now() + timedelta(seconds=5),
        limits=Limits(queue_seconds=1.5, run_seconds=2, progress_seconds=3),
        resources=Resources(cpu_milli=1, gpu_milli=2, memory_mb=3),
        limit_key="k",
        pipeline_id="p",
        step="s",
    )
    (job,) = await engine.store.submit_all([wanted])
    kept = await engine.store.get(job.id)
    assert kept == job
    for field in dataclasses.fields(NewJob):
        if field.name not in {"needs", "request_sha256"}:
            assert getattr(kept, field.name) == getattr(wanted, field.name), field.name
    assert kept.expires_at == wanted.run_at + timedelta(seconds=1.5)


async def test_a_submission_with_the_same_key_is_the_same_job_even_when_finished(engine):
    first = await submit(engine, spec={"x": 1}, idempotency_key="i")
    await complete(engine, await take_one(engine))
    again = await submit(engine, spec={"x": 1}, idempotency_key="i")
    assert (again.id, again.state) == (first.id, JobState.SUCCEEDED)
    with pytest.raises(IdempotencyConflictError, match="another request"):
        await submit(engine, spec={"x": 2}, idempotency_key="i")
    assert len(await engine.store.list_jobs()) == 1


async def test_keys_mean_one_job_within_a_batch_too(engine):
    twice = [NewJob(kind="a", dedupe_key="d"), NewJob(kind="a", dedupe_key="d")]
    first, second = await engine.store.submit_all(twice)
    assert first.id == second.id
    paused = await engine.store.request(first.id, Desired.PAUSE)
    assert (await submit(engine, dedupe_key="d")).id == paused.id  # unfinished still


@pytest.mark.parametrize("key", ["idempotency_key", "dedupe_key"])
async def test_eight_submitters_of_one_key_get_one_job(engine, key):
    found = []

    async def submit_it():
        found.append((await submit(engine, **{key: "k"})).id)

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(submit_it)
    assert (len(found), len(set(found)), len(await engine.store.list_jobs())) == (8, 1, 1)


async def test_batches_with_the_same_keys_in_another_order_do_not_block_each_other(engine):
    requests = [NewJob(kind="a", dedupe_key=f"k{number}") for number in range(15)]
    async with anyio.create_task_group() as group:
        for batch in (requests, requests[::-1], requests[7:] + requests[:7]):
            group.start_soon(engine.store.submit_all, batch)
    assert len(await engine.store.list_jobs()) == 15


async def test_jobs_are_listed_newest_first_in_pages(engine):
    jobs = []
    for number in range(5):
        engine.clock.advance(1)
        jobs.append(await submit(engine, pipeline_id="p" if number % 2 else None))
    ids = [job.id for job in reversed(jobs)]
    first = await engine.store.list_jobs(limit=2)
    rest = await engine.store.list_jobs(before=first[-1].id)
    assert [job.id for job in first + rest] == ids
    assert [job.id for job in await engine.store.list_jobs(pipeline_id="p")] == [ids[1], ids[3]]
    assert await engine.store.list_jobs(kind="b") == []


# Needs


async def test_a_job_waits_for_all_that_it_needs_and_gets_their_results(engine):
    one, two = await submit(engine), await submit(engine)
    last = await submit(engine, needs=needs(one, two), limits=Limits(queue_seconds=9))
    assert (last.state, last.expires_at) == (JobState.PENDING, None)
    claimed = await take(engine, most=5)
    assert {job.id for job in claimed} == {one.id, two.id}
    engine.clock.advance(20)  # waiting for needs is not waiting in the queue
    assert await engine.leases.reap() == []
    await complete(engine, claimed[0], {"x": 1})
    assert await state(engine, last) is JobState.PENDING
    await complete(engine, claimed[1], {"x": 2})
    ready = await take_one(engine)
    assert (ready.id, ready.has_needs) == (last.id, True)
    async with engine.database.read() as connection:
        inputs = await load_inputs(connection, last.id)
    assert sorted(value["x"] for value in inputs.values()) == [1, 2]


async def test_a_failure_cascades_but_not_to_those_who_only_wait_for_an_end(engine):
    root = await submit(engine, max_attempts=1)
    child = await submit(engine, needs=needs(root))
    grandchild = await submit(engine, needs=needs(child))
    cleanup = await submit(engine, needs=needs(root, grandchild, condition="finished"))
    job = await take_one(engine)
    await engine.leases.fail(job.id, job.fence, ErrorClass.USER, "broke")
    assert await state(engine, root) is JobState.FAILED
    for one in (child, grandchild):
        lost = await engine.store.get(one.id)
        assert (lost.state, lost.error_class) == (JobState.CANCELLED, "need")
    assert "n0, which it needs, is cancelled" in lost.error
    assert (await take_one(engine)).id == cleanup.id
    types = await told(engine)
    assert types.count("job_cancelled") == 2
    assert types.index("job_failed") < types.index("job_cancelled") < types.index("job_queued")


async def test_a_long_chain_falls_at_once(engine, monkeypatch):
    async with engine.database.write() as connection:
        first = last = await engine.store.submit_in(connection, NewJob(kind="a"))
        for _ in range(CHAIN):
            new = NewJob(kind="a", needs=needs(last))
            last = await engine.store.submit_in(connection, new)
    depths = []

    async def changed(connection, job):
        depths.append(len(inspect.stack(0)))

    monkeypatch.setattr(engine.observer, "changed", changed)
    await engine.store.request(first.id, Desired.CANCEL)
    assert (len(depths), max(depths) - min(depths) < 9) == (CHAIN + 1, True)  # no recursion
    states = [job.state for job in await engine.store.list_jobs(limit=500)]
    assert states == [JobState.CANCELLED] * (CHAIN + 1)


async def test_a_diamond_releases_its_end_once(engine):
    top = await submit(engine)
    sides = [await submit(engine, needs=needs(top)) for _ in range(2)]
    end = await submit(engine, needs=needs(*sides))
    await complete(engine, await take_one(engine))
    for job in await take(engine, most=5):
        assert job.id in {side.id for side in sides}
        await complete(engine, job)
    assert (await take_one(engine)).id == end.id
    assert (await told(engine, job_id=end.id)).count("job_queued") == 1


async def test_needs_that_have_ended_already_are_judged_at_submission(engine):
    done, cancelled = await submit(engine), await submit(engine)
    await complete(engine, await take_one(engine))
    other = done if await state(engine, cancelled) is JobState.SUCCEEDED else cancelled
    good = cancelled if other is done else done
    await engine.store.request(other.id, Desired.CANCEL)
    assert (await submit(engine, needs=needs(good))).state is JobState.QUEUED
    assert (await submit(engine, needs=needs(good, other))).state is JobState.CANCELLED
    either = await submit(engine, needs=needs(good, other, condition="finished"))
    assert either.state is JobState.QUEUED


async def test_a_paused_pending_job_pauses_when_its_needs_are_met(engine):
    root = await submit(engine)
    child = await submit(engine, needs=needs(root))
    assert (await engine.store.request(child.id, Desired.PAUSE)).state is JobState.PENDING
    await complete(engine, await take_one(engine))
    assert await state(engine, child) is JobState.PAUSED
    assert (await engine.store.request(child.id, Desired.RUN)).state is JobState.QUEUED


async def test_two_needs_that_end_at_once_release_the_job(engine):
    roots = [await submit(engine), await submit(engine)]
    child = await submit(engine, needs=needs(*roots))
    ended = [anyio.Event(), anyio.Event()]

    async def end(job, mine, others):
        async with engine.leases.fenced(job.id, job.fence) as connection:
            await engine.ledger.apply(connection, job.id, Completed(fence=job.fence, result={}))
            mine.set()
            if engine.database.is_server:  # both transactions are open at once
                with anyio.move_on_after(MEET_SECONDS):
                    await others.wait()

    jobs = await take(engine, most=2)
    async with anyio.create_task_group() as group:
        group.start_soon(end, jobs[0], *ended)
        group.start_soon(end, jobs[1], *reversed(ended))
    assert await state(engine, child) is JobState.QUEUED


async def test_a_need_that_ends_while_it_is_asked_for_is_not_missed(engine):
    root = await submit(engine)
    job = await take_one(engine)
    ended, found = anyio.Event(), []

    async def end():
        async with engine.leases.fenced(job.id, job.fence) as connection:
            await engine.ledger.apply(connection, job.id, Completed(fence=1, result={}))
            ended.set()
            if engine.database.is_server:
                await anyio.sleep(MEET_SECONDS)

    async def ask():
        await ended.wait()
        found.append(await submit(engine, needs=needs(root)))

    async with anyio.create_task_group() as group:
        group.start_soon(end)
        group.start_soon(ask)
    assert await state(engine, found[0]) is JobState.QUEUED


# Claims


async def test_claims_go_by_urgency_then_due_time_and_only_due_ones_of_known_kinds(engine):
    now = engine.clock.now()
    requests = [
        NewJob(kind="a", step="late", run_at=now + timedelta(seconds=2)),
        NewJob(kind="a", step="soon", run_at=now + timedelta(seconds=1)),
        NewJob(kind="a", step="urgent", run_at=now + timedelta(seconds=2), priority=5),
        NewJob(kind="a", step="future", run_at=now + timedelta(seconds=99), priority=9),
        NewJob(kind="b", step="other", priority=9),
    ]
    await engine.store.submit_all(requests)
    assert await take(engine) == []
    engine.clock.advance(3)
    jobs = await take(engine, most=9)
    assert [job.step for job in jobs] == ["urgent", "soon", "late"]
    assert [job.step for job in await take(engine, kinds=["b", "c"], most=9)] == ["other"]


async def test_a_claim_is_for_good_recorded_with_its_attempt(engine):
    await submit(engine)
    (job,) = await take(engine, "w7", runs=True)
    assert (job.state, job.attempt, job.fence, job.lease_owner) == (JobState.RUNNING, 1, 1, "w7")
    assert job.lease_until == engine.clock.now() + timedelta(seconds=30)
    assert await told(engine) == ["job_submitted", "job_claimed", "job_started"]
    async with engine.database.read() as connection:
        (row,) = (await connection.execute(select(attempt))).all()
    assert (row.job_id, row.fence, row.worker_id, row.ended_at) == (job.id, 1, "w7", None)


async def test_room_is_a_sum_over_the_workers_live_leases(engine):
    small = Resources(cpu_milli=400, memory_mb=10)
    for _ in range(5):
        await submit(engine, resources=small)
    capacity = Resources(cpu_milli=1000, memory_mb=1000)
    first = await take(engine, most=9, capacity=capacity)
    assert len(first) == 2
    assert await take(engine, most=9, capacity=capacity) == []
    assert len(await take(engine, "w2", most=1, capacity=capacity)) == 1  # has room of its own
    await complete(engine, first[0])
    assert len(await take(engine, most=9, capacity=capacity)) == 1
    engine.clock.advance(31)
    assert len(await engine.leases.reap()) == 3  # of the dead nothing is occupied
    assert len(await take(engine, most=9, capacity=capacity)) == 2


async def test_a_large_job_is_not_overtaken_and_one_too_large_is_left_to_others(engine):
    await engine.store.submit_all(
        [
            NewJob(kind="a", step="giant", priority=9, resources=Resources(gpu_milli=9000)),
            NewJob(kind="a", step="first", priority=3, resources=Resources(gpu_milli=600)),
            NewJob(kind="a", step="large", priority=2, resources=Resources(gpu_milli=900)),
            NewJob(kind="a", step="small", priority=1, resources=Resources(gpu_milli=100)),
        ]
    )
    capacity = Resources(gpu_milli=1000)
    (job,) = await take(engine, most=9, capacity=capacity)
    assert job.step == "first"
    assert await take(engine, most=9, capacity=capacity) == []
    await complete(engine, job)
    jobs = await take(engine, most=9, capacity=capacity)
    assert [job.step for job in jobs] == ["large", "small"]
    big = await take(engine, "w2", most=9, capacity=Resources(gpu_milli=9000))
    assert [job.step for job in big] == ["giant"]


async def test_a_limited_key_holds_as_many_leases_as_it_may(engine):
    with pytest.raises(ConfigError, match="0 or more"):
        await engine.store.set_limit("k", -1)
    await engine.store.set_limit("k", 2)
    await engine.store.submit_all([NewJob(kind="a", limit_key="k") for _ in range(4)])
    await submit(engine, limit_key="free", priority=-1)
    assert len(await take(engine, most=3)) == 2
    (free,) = await take(engine, "w2", most=9)
    assert free.limit_key == "free"
    await engine.store.set_limit("k", 3)
    (third,) = await take(engine, "w2", most=9)
    await engine.store.set_limit("k", 0)
    await complete(engine, third)
    assert await take(engine, most=9) == []
    await engine.store.set_limit("k", None)
    assert len(await take(engine, most=9)) == 1


async def test_claimers_at_once_together_keep_to_the_limit(engine):
    await engine.store.set_limit("k", 3)
    await engine.store.submit_all([NewJob(kind="a", limit_key="k") for _ in range(12)])
    claimed, open_claims = [], []

    async def claim(worker):
        async with engine.database.write() as connection:
            claimed.extend(await claim_jobs(engine.ledger, connection, offer(worker, most=2)))
            open_claims.append(worker)
            if engine.database.is_server:  # the others count while this claim is not committed
                with anyio.move_on_after(MEET_SECONDS / 3):
                    await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(claim, f"w{number}")
    assert (len(claimed), len({job.id for job in claimed}), len(open_claims)) == (3, 3, 4)


async def test_a_limit_that_is_being_changed_still_binds(engine):
    await engine.store.set_limit("k", 1)
    await engine.store.submit_all([NewJob(kind="a", limit_key="k") for _ in range(5)])
    claimed = []

    async def claim():
        claimed.extend(await take(engine, most=9))

    async with anyio.create_task_group() as group, engine.database.write() as connection:
        await connection.execute(select(job_limit).with_for_update())
        group.start_soon(engine.store.set_limit, "k", 2)
        await until_blocked(engine, connection, 1)
        group.start_soon(claim)
        await until_blocked(engine, connection, 2)
    assert len(claimed) <= 2


async def until_blocked(engine, connection, count):
    """On a server, wait until so many transactions wait for locks."""
    blocked = text("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
    if engine.database.is_server:
        with anyio.fail_after(120):
            while await connection.scalar(blocked) < count:  # noqa: ASYNC110
                await anyio.sleep(0.01)


async def test_claimers_at_once_share_the_jobs_without_overlap(engine):
    await engine.store.submit_all([NewJob(kind="a") for _ in range(40)])
    claimed = []

    async def claim(worker):
        while jobs := await take(engine, worker, most=3):
            claimed.extend(job.id for job in jobs)

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(claim, f"w{number}")
    left = [job.id for job in await take(engine, most=99)]  # skipped while locked
    assert len(claimed + left) == len(set(claimed + left)) == 40


async def test_a_job_that_waited_too_long_times_out_and_is_not_claimed(engine):
    waits = await submit(engine, limits=Limits(queue_seconds=10))
    child = await submit(engine, needs=needs(waits))
    engine.clock.advance(10)
    assert await take(engine) == []
    (ended,) = await engine.leases.reap()
    assert (ended.id, ended.state, ended.error_class) == (waits.id, JobState.TIMED_OUT, "timeout")
    assert "within 10 s" in ended.error
    assert await state(engine, child) is JobState.CANCELLED
    assert await engine.leases.reap() == []


async def test_the_wait_begins_anew_with_each_turn_in_the_queue(engine):
    job = await submit(engine, limits=Limits(queue_seconds=10))
    engine.clock.advance(9)
    claimed = await take_one(engine)
    engine.clock.advance(9)
    waiting = await engine.leases.release(claimed.id, claimed.fence)
    assert waiting.expires_at == engine.clock.now() + timedelta(seconds=10)
    await engine.store.request(job.id, Desired.PAUSE)
    engine.clock.advance(99)
    assert await engine.leases.reap() == []
    assert (await engine.store.request(job.id, Desired.RUN)).state is JobState.QUEUED
    engine.clock.advance(9)
    assert (await take_one(engine)).id == job.id


async def test_resuming_does_not_start_a_job_before_its_time(engine):
    later = engine.clock.now() + timedelta(seconds=50)
    job = await submit(engine, run_at=later)
    await engine.store.request(job.id, Desired.PAUSE)
    assert (await engine.store.request(job.id, Desired.RUN)).run_at == later


# Leases and fences


async def test_renewing_tells_what_owners_want_and_which_leases_are_lost(engine):
    await engine.store.submit_all([NewJob(kind="a") for _ in range(4)])
    jobs = await take(engine, most=4)
    await engine.store.request(jobs[1].id, Desired.PAUSE)
    await engine.store.request(jobs[2].id, Desired.CANCEL)
    engine.clock.advance(5)
    leases = {job.id: Lease(fence=job.fence, progress=(1, 2)) for job in jobs}
    leases[jobs[3].id] = Lease(fence=9)
    leases["nope"] = Lease(fence=1)
    want = {
        jobs[0].id: Desired.RUN,
        jobs[1].id: Desired.PAUSE,
        jobs[2].id: Desired.CANCEL,
        jobs[3].id: None,
        "nope": None,
    }
    assert await engine.leases.wishes({key: one.fence for key, one in leases.items()}) == want
    assert await engine.leases.renew_all(leases, lease_seconds=30) == want
    renewed = await engine.store.get(jobs[0].id)
    assert renewed.lease_until == engine.clock.now() + timedelta(seconds=30)
    assert (renewed.progress_done, renewed.progress_at) == (1, engine.clock.now())
    engine.clock.advance(26)
    assert {job.id for job in await engine.leases.reap()} == {jobs[3].id}


async def refused_writes(engine, job):
    """Every way in which an attempt can write, with a fence that is no longer the job's."""
    writer, key = GroupWriter(engine.ledger), (job.id, job.fence)

    async def fenced():
        async with engine.leases.fenced(*key) as connection:
            await engine.ledger.announce(connection, job.id, "effect", {})

    async def first(connection):
        await engine.ledger.announce(connection, job.id, "effect", {})

    def grouped(event, **options):
        return lambda: writer.apply(job.id, event, **options)

    failed = Failed(fence=job.fence, error_class="user", error="late", retry_at=None)
    for write in (
        fenced,
        lambda: engine.leases.heartbeat(*key, lease_seconds=30),
        lambda: engine.leases.fail(*key, ErrorClass.USER, "late"),
        lambda: engine.leases.release(*key),
        lambda: engine.leases.check(*key),
        grouped(Completed(fence=job.fence, result={})),
        grouped(Completed(fence=job.fence, result={}), first=first),
        grouped(Stopped(fence=job.fence)),
        grouped(Started(fence=job.fence, pid=1)),
        grouped(failed),
    ):
        with pytest.raises(LeaseLostError, match="write nothing"):
            await write()
    assert await engine.leases.renew_all({job.id: Lease(fence=job.fence)}, lease_seconds=9) == {
        job.id: None
    }


async def test_no_write_of_an_old_attempt_passes_whoever_has_the_job_now(engine):
    await submit(engine)
    old = await take_one(engine)
    engine.clock.advance(31)
    await engine.leases.reap()
    for follow in ("nobody", "another", "the same worker", "finished"):
        if follow in {"another", "the same worker"}:
            engine.clock.advance(31)
            await engine.leases.reap()
            engine.clock.advance(5)
            now = await take_one(engine, "w2" if follow == "another" else "w1")
        if follow == "finished":
            await complete(engine, now)
        before, events = await engine.store.get(old.id), await told(engine)
        await refused_writes(engine, old)
        assert (await engine.store.get(old.id), await told(engine)) == (before, events), follow


async def test_a_finished_job_changes_no_more(engine):
    await submit(engine)
    job = await take_one(engine)
    done = await complete(engine, job, {"x": 1})
    await refused_writes(engine, job)
    engine.clock.advance(99)
    assert await engine.leases.reap(["w1"]) == []
    for desired in Desired:
        assert await engine.store.request(job.id, desired) == done


async def test_the_lost_are_counted_apart_and_end_dead(engine):
    await submit(engine, max_lost=1)
    for fence, expected in ((1, JobState.RETRY_WAIT), (2, JobState.DEAD)):
        job = await take_one(engine)
        assert (job.fence, job.attempt) == (fence, 1)
        (lost,) = await engine.leases.reap(["w1"])
        assert (lost.state, lost.lost) == (expected, fence)
        assert "its process is gone" in lost.error
        engine.clock.advance(2)


async def test_a_wish_to_cancel_outlives_the_worker(engine):
    await submit(engine)
    job = await take_one(engine)
    asked = await engine.store.request(job.id, Desired.CANCEL)
    assert (asked.state, asked.fence) == (JobState.CANCELLING, 1)
    (ended,) = await engine.leases.reap(["w1"])
    assert ended.state is JobState.CANCELLED


async def test_a_completion_before_the_cancel_is_noticed_stands(engine):
    await submit(engine)
    job = await take_one(engine)
    await engine.store.request(job.id, Desired.CANCEL)
    assert (await complete(engine, job)).state is JobState.SUCCEEDED


async def test_the_servers_clock_decides_where_it_is_trusted(engine):
    ledger = JobLedger(engine.database, engine.clock, trusts_server_clock=True)
    async with engine.database.read() as connection:
        now = await ledger.now(connection)
    if engine.database.is_server:
        assert abs(now - datetime.now(UTC)) < timedelta(minutes=5)
    else:
        assert now == engine.clock.now()


# The group writer


def count_transactions(engine, monkeypatch):
    opened = []
    write = Database.write

    def counted(self, **options):
        opened.append(self)
        return write(self, **options)

    monkeypatch.setattr(Database, "write", counted)
    return opened


async def apply_all(writer, changes):
    outcomes = {}

    async def apply(name, job_id, event, first):
        try:
            outcomes[name] = await writer.apply(job_id, event, first=first)
        except Exception as error:  # noqa: BLE001  looked at by the test
            outcomes[name] = error

    async with anyio.create_task_group() as group:
        for name, change in changes.items():
            group.start_soon(apply, name, *change)
    return outcomes


async def test_changes_at_once_share_a_transaction_and_one_refusal_hurts_no_other(
    engine, monkeypatch
):
    await engine.store.submit_all([NewJob(kind="a") for _ in range(20)])
    jobs = await take(engine, most=20)
    done = {number: (job.id, Completed(fence=1, result={"n": number}), None)
            for number, job in enumerate(jobs)}  # fmt: skip
    done[0] = (jobs[0].id, Completed(fence=7, result={}), None)
    done["nope"] = ("nope", Completed(fence=1, result={}), None)
    opened = count_transactions(engine, monkeypatch)
    outcomes = await apply_all(GroupWriter(engine.ledger), done)
    assert len(opened) <= 2
    assert isinstance(outcomes.pop(0), LeaseLostError)
    assert isinstance(outcomes.pop("nope"), JobNotFoundError)
    assert {job.result["n"] for job in outcomes.values()} == set(range(1, 20))
    assert await state(engine, jobs[0]) is JobState.LEASED


async def test_what_comes_first_falls_with_its_own_change_only(engine):
    await engine.store.submit_all([NewJob(kind="a") for _ in range(4)])
    jobs = await take(engine, most=4)

    async def good(connection):
        await engine.ledger.announce(connection, None, "kept", {})

    async def bad(connection):
        await engine.ledger.announce(connection, None, "dropped", {})
        raise ZeroDivisionError

    async def against_the_rules(connection):
        await connection.execute(insert(job_limit), {"key": "k", "most": -1})

    changes = {
        "plain": (jobs[0].id, Completed(fence=1, result={}), None),
        "good": (jobs[1].id, Completed(fence=1, result={}), good),
        "bad": (jobs[2].id, Completed(fence=1, result={}), bad),
        "wrong": (jobs[3].id, Completed(fence=1, result={}), against_the_rules),
    }
    outcomes = await apply_all(GroupWriter(engine.ledger), changes)
    names = {name: type(outcome).__name__ for name, outcome in outcomes.items()}
    assert names == {
        "plain": "Job",
        "good": "Job",
        "bad": "ZeroDivisionError",
        "wrong": "IntegrityError",
    }
    assert [type_ for type_ in await told(engine) if type_ in {"kept", "dropped"}] == ["kept"]
    assert [await state(engine, job) for job in jobs[2:]] == [JobState.LEASED] * 2


async def test_an_error_of_the_database_reaches_every_caller(engine, monkeypatch):
    await engine.store.submit_all([NewJob(kind="a") for _ in range(3)])
    jobs = await take(engine, most=3)
    changes = {job.id: (job.id, Completed(fence=1, result={}), None) for job in jobs}
    writer, write = GroupWriter(engine.ledger), Database.write

    @contextlib.asynccontextmanager
    async def full(self, *, durable=False):
        async with write(self, durable=durable) as connection:
            yield connection
            raise DatabaseError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", full)
        outcomes = await apply_all(writer, changes)
    assert {type(error) for error in outcomes.values()} == {DatabaseError}
    assert {await state(engine, job) for job in jobs} == {JobState.LEASED}
    outcomes = await apply_all(writer, changes)
    assert {job.state for job in outcomes.values()} == {JobState.SUCCEEDED}


async def test_a_group_and_a_renewal_of_the_same_jobs_do_not_block_each_other(engine):
    await engine.store.submit_all([NewJob(kind="a") for _ in range(2)])
    small, large = sorted(await take(engine, most=2), key=lambda job: job.id)
    asked, renewed = [], {}

    async def renew():
        leases = {job.id: Lease(fence=1) for job in (small, large)}
        renewed.update(await engine.leases.renew_all(leases, lease_seconds=30))

    async def meet(connection):
        if not asked:
            asked.append(group.start_soon(renew))
            await until_blocked(engine, connection, 1)

    changes = {job.id: (job.id, Completed(fence=1, result={}), meet) for job in (large, small)}
    async with anyio.create_task_group() as group:
        outcomes = await apply_all(GroupWriter(engine.ledger), changes)
    assert [job.state for job in outcomes.values()] == [JobState.SUCCEEDED] * 2
    assert set(renewed.values()) <= {None}


async def test_a_batch_of_jobs_with_needs_does_not_block_those_who_work_on_them(engine):
    small, large = sorted([await submit(engine), await submit(engine)], key=lambda job: job.id)
    requests = [NewJob(kind="a", needs=needs(one)) for one in (large, small)]
    async with anyio.create_task_group() as group, engine.database.write() as connection:
        await engine.ledger.load(connection, small.id, to_write=True)
        group.start_soon(engine.store.submit_all, requests)
        await until_blocked(engine, connection, 1)
        await engine.ledger.load(connection, large.id, to_write=True)
    assert len(await engine.store.list_jobs()) == 4


# The outbox


async def test_the_outbox_tells_each_change_once_in_order_and_with_it_only(engine):
    await submit(engine)
    job = await take_one(engine)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with engine.leases.fenced(job.id, 1) as connection:
            await engine.ledger.announce(connection, job.id, "lost", {})
            raise ZeroDivisionError
    async with engine.leases.fenced(job.id, 1) as connection:
        await engine.ledger.announce(connection, job.id, "kept", {"x": [1]})
    await complete(engine, job)
    events = await engine.store.events()
    assert [event.type for event in events] == [
        "job_submitted",
        "job_claimed",
        "kept",
        "job_succeeded",
    ]
    assert events[2].payload == {"x": [1]}
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    assert await engine.store.events(events[1].seq, job_id=job.id) == events[2:]


async def test_what_is_not_finite_is_kept_as_nothing(engine):
    job = await submit(engine)
    job = await take_one(engine)
    told = {"kpi": float("nan"), "all": [1.5, float("inf")]}
    async with engine.leases.fenced(job.id, job.fence) as connection:
        await engine.ledger.announce(connection, job.id, "evaluated", told)
        done = Completed(fence=job.fence, result={"best_score": float("nan")})
        await engine.ledger.apply(connection, job.id, done)
    assert (await engine.store.get(job.id)).result == {"best_score": None}
    told = [one.payload for one in await engine.store.events(job_id=job.id)]
    assert {"kpi": None, "all": [1.5, None]} in told


async def test_a_reader_of_the_outbox_misses_no_line_that_is_committed_late(engine):
    told_late, committed, seen = anyio.Event(), anyio.Event(), []

    async def slow():
        async with engine.database.write() as connection:
            await engine.ledger.announce(connection, None, "first", {})
            told_late.set()
            if engine.database.is_server:
                await anyio.sleep(MEET_SECONDS)

    async def quick():
        await told_late.wait()
        async with engine.database.write() as connection:
            await engine.ledger.announce(connection, None, "second", {})
        committed.set()

    async def read():
        await committed.wait()
        seen.extend(await engine.store.events())

    async with anyio.create_task_group() as group:
        for step in (slow, quick, read):
            group.start_soon(step)
    seen.extend(await engine.store.events(seen[-1].seq if seen else 0))
    assert [event.type for event in seen] == ["first", "second"]


async def test_the_database_is_whole(engine):
    if not engine.database.is_server:
        async with engine.database.read() as connection:
            assert await connection.scalar(text("PRAGMA integrity_check")) == "ok"
            assert await connection.scalar(text("PRAGMA foreign_keys")) == 1
