"""The job store on a real SQLite file: idempotent, fenced, nothing lost."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import anyio
import pytest
from sqlalchemy import select

from orchestration.events import Completed, Started
from orchestration.job_store.checkpoints import Checkpoint
from orchestration.job_store.rows import JobNotFoundError
from orchestration.job_store.workers import process_start
from orchestration.jobs import Desired, JobState, LeaseLostError
from orchestration.retry import ErrorClass
from utils.persistence.artifact_store import DirectoryArtifactStore
from utils.persistence.errors import DatabaseError
from utils.persistence.files import write_atomically
from utils.persistence.jobs import attempt

pytestmark = pytest.mark.anyio


async def claim(engine, worker="w1"):
    return await engine.leases.claim(worker, ["train"], lease_seconds=30)


async def complete(engine, job):
    async with engine.leases.fenced(job.id, job.fence) as connection:
        event = Completed(fence=job.fence, result={"kpi": 1.5})
        return await engine.ledger.apply(connection, job.id, event)


async def test_job_goes_from_submit_to_result(engine):
    submitted = await engine.store.submit("train", {"seed": 1})
    job = await claim(engine)
    assert (job.id, job.attempt, job.fence) == (submitted.id, 1, 1)
    async with engine.leases.fenced(job.id, job.fence) as connection:
        await engine.ledger.apply(connection, job.id, Started(fence=1, pid=123))
    beaten = await engine.leases.heartbeat(job.id, 1, lease_seconds=30, progress=(5, 10))
    assert (beaten.progress_done, beaten.progress_total) == (5, 10)
    done = await complete(engine, job)
    assert done == await engine.store.get(job.id)
    assert (done.state, done.result, done.spec) == (
        JobState.SUCCEEDED,
        {"kpi": 1.5},
        {"seed": 1},
    )
    events = await engine.store.events()
    assert [event.type for event in events] == [
        "job_submitted",
        "job_claimed",
        "job_started",
        "job_succeeded",
    ]
    assert await engine.store.events(events[2].seq) == events[3:]
    assert engine.observer.states == ["queued", "leased", "running", "succeeded"]
    async with engine.database.read() as connection:
        (row,) = (await connection.execute(select(attempt))).all()
    assert (row.fence, row.number, row.pid, row.outcome) == (1, 1, 123, "succeeded")


async def test_submitting_twice_gives_the_unfinished_job(engine):
    first = await engine.store.submit("train", {}, dedupe_key="demo")
    again = await engine.store.submit("train", {}, dedupe_key="demo")
    assert again.id == first.id
    assert (await engine.store.find_unfinished("demo")).id == first.id
    await complete(engine, await claim(engine))
    assert await engine.store.find_unfinished("demo") is None
    assert (await engine.store.submit("train", {}, dedupe_key="demo")).id != first.id


async def test_many_submitters_and_claimers_meet_without_harm(engine):
    submitted, claimed = [], []

    async def submit():
        submitted.append((await engine.store.submit("train", {}, dedupe_key="one")).id)

    async def take(worker):
        claimed.append(await claim(engine, worker))

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(submit)
    assert len(set(submitted)) == 1
    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(take, f"w{number}")
    assert len([job for job in claimed if job]) == 1


async def test_claims_by_priority_then_age_and_only_known_kinds(engine):
    await engine.store.submit("other", {}, priority=9)
    old = await engine.store.submit("train", {})
    engine.clock.advance(1)
    await engine.store.submit("train", {})
    urgent = await engine.store.submit("train", {}, priority=1)
    assert [(await claim(engine)).id for _ in range(2)] == [urgent.id, old.id]


async def test_expired_lease_goes_to_another_worker_and_the_old_one_is_refused(engine):
    await engine.store.submit("train", {})
    old = await claim(engine, "w1")
    engine.clock.advance(29)
    assert await engine.leases.reap() == []
    engine.clock.advance(2)
    (lost,) = await engine.leases.reap()
    assert (lost.state, lost.lost, lost.attempt) == (JobState.RETRY_WAIT, 1, 0)
    owners = []
    for _ in range(2):  # nobody owns it, then somebody else does
        with pytest.raises(LeaseLostError):
            await engine.leases.heartbeat(old.id, old.fence, lease_seconds=30)
        with pytest.raises(LeaseLostError):
            async with engine.leases.fenced(old.id, old.fence):
                pytest.fail("the body must not run")
        with pytest.raises(LeaseLostError):
            await engine.leases.fail(old.id, old.fence, ErrorClass.USER, "late")
        owners.append(await claim(engine, "w2"))
    assert [owner and owner.fence for owner in owners] == [old.fence + 1, None]


async def test_failed_attempt_waits_and_ends_dead(engine):
    await engine.store.submit("train", {}, max_attempts=2)
    job = await claim(engine)
    waiting = await engine.leases.fail(job.id, job.fence, ErrorClass.CRASHED, "signal 9")
    assert (waiting.state, waiting.run_at > engine.clock.now()) == (JobState.RETRY_WAIT, True)
    assert await claim(engine) is None
    engine.clock.advance(1.1)  # with the jitter
    job = await claim(engine)
    dead = await engine.leases.fail(job.id, job.fence, ErrorClass.CRASHED, "signal 9")
    assert (dead.state, dead.error) == (JobState.DEAD, "signal 9")


async def test_cancel_and_pause_and_resume(engine):
    first = await engine.store.submit("train", {})
    assert (await engine.store.request(first.id, Desired.CANCEL)).state is JobState.CANCELLED
    second = await engine.store.submit("train", {})
    job = await claim(engine)
    await engine.store.request(second.id, Desired.PAUSE)
    assert await engine.leases.check(job.id, job.fence) is Desired.PAUSE
    assert (await engine.leases.release(job.id, job.fence)).state is JobState.PAUSED
    assert await claim(engine) is None
    await engine.store.request(second.id, Desired.RUN)
    job = await claim(engine)
    assert (job.attempt, job.fence) == (1, 2)
    await engine.store.request(second.id, Desired.CANCEL)
    await engine.store.request(second.id, Desired.RUN)
    assert (await engine.leases.release(job.id, job.fence)).state is JobState.CANCELLED


async def test_effects_roll_back_with_their_transaction(engine):
    await engine.store.submit("train", {})
    job = await claim(engine)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with engine.leases.fenced(job.id, job.fence) as connection:
            await engine.ledger.announce(connection, job.id, "effect", {})
            await engine.ledger.apply(connection, job.id, Completed(fence=1, result={}))
            raise ZeroDivisionError
    assert (await engine.store.get(job.id)).state is JobState.LEASED
    assert "effect" not in {event.type for event in await engine.store.events()}


async def test_newest_whole_checkpoint_is_chosen(engine, tmp_path):
    await engine.store.submit("train", {})
    job = await claim(engine)
    records = []
    for step in (10, 20):
        path = tmp_path / f"{step}.1"
        sha256 = write_atomically(path, b"state" * step)
        records.append(Checkpoint(path=str(path), sha256=sha256, step=step, size_bytes=5 * step))
        async with engine.leases.fenced(job.id, job.fence) as connection:
            await engine.checkpoints.commit(connection, job, records[-1])
            await engine.checkpoints.commit(connection, job, records[-1])  # a resend is harmless
    told = [event.type for event in await engine.store.events(job_id=job.id)]
    assert told.count("checkpoint_committed") == 2
    assert await engine.checkpoints.newest(job.id) == records[1]
    (tmp_path / "20.1").write_bytes(b"state")
    assert await engine.checkpoints.newest(job.id) == records[0]
    (tmp_path / "10.1").unlink()
    assert await engine.checkpoints.newest(job.id) is None


async def test_a_checkpoint_of_another_machine_counts_if_the_shared_store_holds_it(
    engine, tmp_path
):
    await engine.store.submit("train", {})
    job = await claim(engine)
    store = DirectoryArtifactStore(tmp_path / "artifacts")
    sha256 = store.put(b"state")
    for step, one in ((10, sha256), (20, "0" * 64)):
        record = Checkpoint(path=f"/elsewhere/{step}.1", sha256=one, step=step, size_bytes=5)
        async with engine.leases.fenced(job.id, job.fence) as connection:
            await engine.checkpoints.commit(connection, job, record)
    assert await engine.checkpoints.newest(job.id) is None
    assert (await engine.checkpoints.newest(job.id, store=store)).step == 10


async def test_an_attempt_whose_machine_is_gone_is_lost_not_failed(engine):
    await engine.store.submit("train", {})
    job = await claim(engine)
    lost = await engine.leases.fail(job.id, job.fence, ErrorClass.LOST, "its node has died")
    assert (lost.state, lost.attempt, lost.lost) == (JobState.RETRY_WAIT, 0, 1)
    assert lost.run_at == engine.clock.now()  # the first loss waits for nothing
    with pytest.raises(LeaseLostError):
        await engine.leases.fail(job.id, job.fence, ErrorClass.LOST, "again")


def start_process():
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


async def test_dead_worker_of_this_machine_is_known_at_once(engine):
    await engine.store.submit("train", {})
    alive = engine.workers.identify()
    gone = start_process()
    dead = replace(alive, id="dead", pid=gone.pid, pid_started=process_start(gone.pid))
    for identity in (alive, dead):
        await engine.workers.seen(identity)
        await engine.workers.seen(identity)
    await claim(engine, dead.id)
    assert await engine.workers.find_dead() == []
    gone.communicate(b"\n")
    assert await engine.workers.find_dead() == [dead.id]
    (lost,) = await engine.leases.reap([dead.id])
    assert (lost.state, lost.run_at) == (JobState.RETRY_WAIT, engine.clock.now())
    await engine.store.submit("train", {})
    await claim(engine, replace(alive, id="rebooted").id)
    await engine.workers.seen(replace(alive, id="rebooted", boot_id="before"))
    assert await engine.workers.find_dead() == ["rebooted"]
    assert process_start(os.getpid()) == alive.pid_started


async def test_unknown_job_is_named(engine):
    with pytest.raises(JobNotFoundError, match="no job nope"):
        await engine.store.get("nope")
    await engine.store.submit("train", {})
    assert [job.kind for job in await engine.store.list_jobs(states=[JobState.QUEUED])] == ["train"]
    assert await engine.store.list_jobs(states=[JobState.DEAD]) == []


async def test_file_is_refused_to_a_second_machine(engine):
    here = engine.workers.identify()
    await engine.workers.seen(here)
    there = replace(here, id="other", host="elsewhere/pid:[1]", boot_id="b" * 36)
    if engine.database.is_server:
        await engine.workers.seen(there)
        return
    with pytest.raises(DatabaseError, match=r"another machine .* PostgreSQL"):
        await engine.workers.seen(there)
    await engine.workers.seen(replace(here, id="restarted", boot_id="b" * 36))
    engine.clock.advance(61)
    await engine.workers.seen(there)
