"""Fail the Nth store call, N = 1, 2, ... until all passes: states stay ones that `decide` allows.

Each scenario does one thing with a fault in it, looks at what is there, and does it again.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio
import pytest
from sqlalchemy import select

from orchestration.events import Claimed, Completed, NeedsMet, decide
from orchestration.executors import records as records_module
from orchestration.executors import thread as thread_module
from orchestration.executors.binding import NullSink, Place, TaskBinding, TaskDefinition
from orchestration.executors.process import ProcessExecutor
from orchestration.executors.records import AttemptRecords
from orchestration.executors.supervisor import AttemptConfig
from orchestration.job_store.checkpoints import Checkpoint
from orchestration.job_store.claims import Offer
from orchestration.job_store.group_writer import GroupWriter
from orchestration.job_store.ledger import JobLedger
from orchestration.jobs import Condition, JobState, LeaseLostError, Need, NewJob
from orchestration.pipelines.promoting import PromotionSink
from orchestration.stores.registry_store import SqlRegistryStore
from orchestration.worker import Worker, WorkerConfig
from tests.orchestration.conftest import make_engine
from tests.orchestration.faults import CUT, MODES, NthCall, numbers
from tests.orchestration.policies import AT_ONCE
from tests.postgres import empty_tables
from utils.clock import ManualClock, SystemClock
from utils.persistence import jobs as tables
from utils.persistence.artifact_store import DirectoryArtifactStore
from utils.persistence.engine import Database, open_database, open_memory_database
from utils.persistence.errors import DatabaseError
from utils.persistence.files import hash_file, write_atomically
from utils.persistence.registry import alias_history

pytestmark = pytest.mark.anyio
LEASE = 30
EACH = [("memory", mode) for mode in MODES] + [("server", mode) for mode in (*MODES, CUT)]
each_mode = pytest.mark.parametrize(("engine", "mode"), EACH, indirect=["engine"])
BY_STATEMENT = ("statement", CUT)


class HastyClock(ManualClock):
    """Does not wait: what sleeps is due at once."""

    async def sleep(self, seconds):
        self.advance(seconds)
        await anyio.lowlevel.checkpoint()


@pytest.fixture
async def engine(request):
    if request.param == "server":
        url = request.getfixturevalue("server_url")
        empty_tables(url)
        database = await open_database(url)
    else:
        database = await open_memory_database()
    yield make_engine(database, HastyClock)
    await database.aclose()


async def look(engine):
    """Every job, each checked against its attempts and its lines in the outbox."""
    jobs = {job.id: job for job in await engine.store.list_jobs(limit=500)}
    async with engine.database.read() as connection:
        attempts = (await connection.execute(select(tables.attempt))).all()
        rows = (await connection.execute(select(tables.checkpoint))).all()
        lines = (await connection.execute(select(tables.event.c.job_id, tables.event.c.type))).all()
    for job in jobs.values():
        types = [line.type for line in lines if line.job_id == job.id]
        mine = sorted((row for row in attempts if row.job_id == job.id), key=lambda row: row.fence)
        assert [row.fence for row in mine] == list(range(1, job.fence + 1))
        assert types.count("job_claimed") == job.fence
        open_ones = [row.fence for row in mine if row.ended_at is None]
        assert open_ones == ([job.fence] if job.state.is_live else [])
        assert (job.lease_owner is not None) == job.state.is_live
        assert (job.finished_at is not None) == job.state.is_terminal
        ends = [type_ for type_ in types if type_.removeprefix("job_") == job.state.value]
        assert len(ends) == 1 or not job.state.is_terminal
    for row in rows:
        assert hash_file(Path(row.path)) == row.sha256, "a checkpoint is not whole"
    return jobs


async def attempted(call):
    """Whether it came to an end that its caller knows of."""
    try:
        await call()
    except (DatabaseError, OSError, LeaseLostError):  # the last one: it was done at the first try
        return False
    return True


async def claimed(engine, **fields):
    new = NewJob(kind="a", **fields)
    (job,) = await engine.store.submit_all([new])
    (job,) = await engine.leases.claim_many(Offer(worker_id="w", kinds=["a"], lease_seconds=LEASE))
    return job


def decided(job, event, engine):
    return decide(job, event, engine.clock.now())[0]


@each_mode
async def test_claim(engine, monkeypatch, mode):
    offer = Offer(worker_id="w", kinds=["a"], lease_seconds=LEASE, most=2)
    for number in numbers():
        await engine.store.set_limit("k", 5)
        await engine.store.submit_all([NewJob(kind="a", limit_key="k") for _ in range(2)])
        before = await look(engine)
        until = engine.clock.now() + timedelta(seconds=LEASE)
        with NthCall(number, mode).injected(monkeypatch, engine.database) as fault:
            await attempted(lambda: engine.leases.claim_many(offer))
        taken = []
        for id_, job in (await look(engine)).items():
            if job != before[id_]:
                event = Claimed(worker_id="w", lease_until=until)
                assert job == decided(before[id_], event, engine)
                taken.append(job)
        assert len(taken) in {0, 2}, "half a claim"
        if not taken:
            taken = await engine.leases.claim_many(offer)
        elif fault.was_due:  # the worker does not know that they are its own: they time out
            engine.clock.advance(LEASE + 1)
            await engine.leases.reap()
            taken = await engine.leases.claim_many(offer)
        assert len(taken) == 2
        for job in taken:
            await complete(engine, job)
        assert {job.state for job in (await look(engine)).values()} == {JobState.SUCCEEDED}
        if not fault.was_due:
            break
    assert number > (6 if mode in BY_STATEMENT else 2)


async def complete(engine, job):
    async with engine.leases.fenced(job.id, job.fence) as connection:
        await engine.ledger.apply(connection, job.id, Completed(fence=job.fence, result={}))


async def complete_in_group(engine, job):
    await GroupWriter(engine.ledger).apply(job.id, Completed(fence=job.fence, result={}))


async def complete_by_pen(engine, job):
    pen = AttemptRecords(job, NullSink(), engine.leases, lease_seconds=LEASE)
    pen.progress = (3, 3)
    await pen.succeed({})


@each_mode
@pytest.mark.parametrize("way", [complete, complete_in_group, complete_by_pen])
async def test_complete_and_the_release_of_those_that_waited(engine, monkeypatch, mode, way):
    for number in numbers():
        root = await claimed(engine)
        ones = [
            NewJob(kind="b", needs=(Need(job_id=root.id, name="n", condition=condition),))
            for condition in Condition
        ]
        waiting = await engine.store.submit_all(ones)
        (last,) = await engine.store.submit_all(
            [NewJob(kind="b", needs=tuple(Need(job_id=one.id, name=one.id) for one in waiting))]
        )
        before = await look(engine)
        with NthCall(number, mode).injected(monkeypatch, engine.database) as fault:
            known = await attempted(partial(way, engine, root))
        after = await look(engine)
        done = after[root.id].state is JobState.SUCCEEDED
        assert done or not known
        assert done or after[root.id].state is before[root.id].state
        for one in waiting:
            allowed = decided(before[one.id], NeedsMet(), engine) if done else before[one.id]
            assert after[one.id].state is allowed.state
        assert after[last.id] == before[last.id]
        if done:
            with pytest.raises(LeaseLostError):
                await complete(engine, root)
        else:
            await complete(engine, root)
        after = await look(engine)
        assert {after[one.id].state for one in waiting} == {JobState.QUEUED}
        if not fault.was_due:
            break
    assert number > (6 if mode in BY_STATEMENT else 1)


@pytest.mark.parametrize(
    ("engine", "mode"), [*EACH, ("memory", "file"), ("server", "file")], indirect=["engine"]
)
async def test_commit_of_a_checkpoint(engine, monkeypatch, mode, tmp_path):
    job = await claimed(engine)
    for number in numbers():
        pen = AttemptRecords(job, NullSink(), engine.leases, lease_seconds=LEASE)
        path, content = tmp_path / f"{number}.{job.fence}", b"state" * number

        async def save(pen=pen, path=path, content=content, step=number):
            sha256 = write_atomically(path, content)
            record = Checkpoint(path=str(path), sha256=sha256, step=step, size_bytes=len(content))
            await pen.commit_checkpoint(record)

        before = await engine.checkpoints.newest(job.id)
        with NthCall(number, mode).injected(monkeypatch, engine.database) as fault:
            known = await attempted(save)
        await look(engine)
        newest = await engine.checkpoints.newest(job.id)
        assert newest == before or newest.step == number
        assert newest.step == number if known else True
        await save()  # the second try
        await look(engine)
        assert (await engine.checkpoints.newest(job.id)).step == number
        told = [event.payload["step"] for event in await engine.store.events(job_id=job.id)
                if event.type == "checkpoint_committed"]  # fmt: skip
        assert told == list(range(1, number + 1)), "told once each"
        if not fault.was_due:
            break
    assert number > (3 if mode in {*BY_STATEMENT, "file"} else 1)


@each_mode
async def test_promotion_by_hand(engine, monkeypatch, mode, tmp_path):
    registry = SqlRegistryStore(engine.database, DirectoryArtifactStore(tmp_path), engine.clock)
    await registry.add_version("x", b"0", card={}, run_id=None)
    await registry.set_alias("x", "champion", 1, reason="first")
    for number in numbers():
        champion = (await registry.aliases("x"))["champion"]

        content = str(number).encode()

        async def promote(content=content):
            record = await registry.add_version("x", content, card={}, run_id=None)
            await registry.set_alias("x", "champion", record.version, reason="better")

        with NthCall(number, mode).injected(monkeypatch, engine.database) as fault:
            await attempted(promote)
        assert (await registry.aliases("x"))["champion"] in {champion, number + 1}
        await promote()
        assert (await registry.aliases("x"))["champion"] == number + 1
        await check_history(engine, registry)
        if not fault.was_due:
            break
    assert number > (6 if mode in BY_STATEMENT else 2)


async def check_history(engine, registry):
    versions = await registry.list_versions("x")
    for record in versions:
        await registry.load(record.sha256)
    assert [record.version for record in versions] == list(range(1, len(versions) + 1))
    async with engine.database.read() as connection:
        query = select(alias_history).order_by(alias_history.c.seq)
        lines = (await connection.execute(query)).all()
    assert [line.previous_version for line in lines[1:]] == [line.version for line in lines[:-1]]
    assert lines[-1].version == (await registry.aliases("x"))["champion"]


@each_mode
async def test_promotion_by_a_job_comes_with_its_end(engine, monkeypatch, mode, tmp_path):
    registry = SqlRegistryStore(engine.database, DirectoryArtifactStore(tmp_path), engine.clock)
    await registry.add_version("x", b"0", card={}, run_id=None)
    await registry.set_alias("x", "champion", 1, reason="first")
    for number in numbers():
        old = (await registry.aliases("x"))["champion"]
        new = await registry.add_version("x", str(number).encode(), card={}, run_id=None)
        job = await claimed(engine)
        result = {"agent": "x", "alias": "champion", "sha256": new.sha256, "reasons": [],
                  "because": "better", "judged_against": old}  # fmt: skip

        async def promote(job=job, result=result):
            pen = AttemptRecords(
                job, PromotionSink(engine.clock), engine.leases, lease_seconds=LEASE
            )
            await pen.succeed(result)

        with NthCall(number, mode).injected(monkeypatch, engine.database) as fault:
            await attempted(promote)
        done = (await look(engine))[job.id].state is JobState.SUCCEEDED
        assert (await registry.aliases("x"))["champion"] == (new.version if done else old)
        if not done:
            await promote()
        assert (await registry.aliases("x"))["champion"] == new.version
        await check_history(engine, registry)
        if not fault.was_due:
            break
    assert number > (6 if mode in BY_STATEMENT else 1)


# Whole attempts in a worker


class CountingSink(NullSink):
    """Counts ends inside the transaction that ends the job."""

    async def finished(self, connection, job, result):
        line = {"job_id": job.id, "type": "effect", "payload": {}, "at": job.created_at}
        await connection.execute(tables.event.insert(), line)


def spread(place):
    definition = TaskDefinition(
        kind="a", target="tests.orchestration.targets:add_up", executor=place
    )
    return {"a": TaskBinding(definition=definition, sink=CountingSink())}


@pytest.mark.parametrize("place", [Place.THREAD, Place.PROCESS])
@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("file", "rolled back"),
        ("file", "committed"),
        ("server", "rolled back"),
        ("server", "committed"),
        ("server", CUT),
    ],
)
async def test_a_worker_carries_its_job_to_the_end_whatever_call_fails(
    request, monkeypatch, kind, mode, place, tmp_path
):
    for module in (records_module, thread_module):
        monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    location = tmp_path / "q.sqlite"
    if kind == "server":
        location = request.getfixturevalue("server_url")
        empty_tables(location)
    victim = await open_database(location)
    database = await open_database(location)  # ours has no faults
    engine = make_engine(database, SystemClock)
    attempt = AttemptConfig(lease_seconds=0.6, poll_seconds=0.05, flush_seconds=0.1)
    worker = Worker(
        JobLedger(victim, SystemClock()),
        ProcessExecutor(),
        spread(place),
        work_root=tmp_path,
        config=WorkerConfig(attempt=attempt, idle_seconds=0.05),
        retry=AT_ONCE,
    )
    async with anyio.create_task_group() as group:
        group.start_soon(worker.run)
        for number in (2, 4, 6, 9, 13):
            with NthCall(number, mode).injected(monkeypatch, victim):
                (job,) = await engine.store.submit_all([NewJob(kind="a", spec={"steps": 2})])
                worker.wake()
                done = await until_ended(engine, job)
            assert (done.state, done.result, done.attempt) == (JobState.SUCCEEDED, {"total": 3}, 1)
            types = [event.type for event in await engine.store.events(job_id=job.id)]
            assert types.count("effect") == types.count("job_succeeded") == 1
            assert types.count("checkpoint_committed") == 2
        group.cancel_scope.cancel()
    await look(engine)
    for one in (victim, database):
        await one.aclose()


async def until_ended(engine, job):
    with anyio.fail_after(120):
        while True:
            now = await engine.store.get(job.id)
            if now.state.is_terminal:
                return now
            await anyio.sleep(0.02)


class FailingSink(NullSink):
    async def finished(self, connection, job, result):
        raise RuntimeError("sink is broken")


async def test_a_sink_that_breaks_fails_its_job_and_not_the_worker(tmp_path):
    database = await open_memory_database()
    engine = make_engine(database, SystemClock)
    registry = spread(Place.THREAD)
    registry["b"] = replace(registry["a"], sink=FailingSink(),
                            definition=replace(registry["a"].definition, kind="b"))  # fmt: skip
    worker = Worker(engine.ledger, ProcessExecutor(), registry, work_root=tmp_path)
    async with anyio.create_task_group() as group:
        group.start_soon(worker.run)
        bad, good = await engine.store.submit_all(
            [NewJob(kind=kind, spec={"steps": 1}) for kind in ("b", "a")]
        )
        failed = await until_ended(engine, bad)
        assert (failed.state, failed.error_class) == (JobState.FAILED, "internal")
        assert "sink is broken" in failed.error
        assert (await until_ended(engine, good)).state is JobState.SUCCEEDED
        group.cancel_scope.cancel()
    await database.aclose()


@pytest.mark.parametrize("engine", ["memory"], indirect=True)
async def test_a_worker_without_its_database_rests(engine, monkeypatch, tmp_path):
    calls = []

    @contextlib.asynccontextmanager
    async def away(self, **options):
        calls.append(self)
        raise DatabaseError("the server is away")
        yield

    class PatientClock(ManualClock):
        pass

    patient = make_engine(engine.database, PatientClock)
    worker = Worker(patient.ledger, ProcessExecutor(), spread(Place.THREAD), work_root=tmp_path)
    monkeypatch.setattr(Database, "write", away)
    monkeypatch.setattr(Database, "read", away)
    async with anyio.create_task_group() as group:
        group.start_soon(worker.run)
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        assert len(calls) == 1
        patient.clock.advance(2)
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        assert len(calls) == 2
        group.cancel_scope.cancel()


class WritingSink(NullSink):
    """Keeps numbers where they stand or fall with their transaction."""

    async def metrics(self, connection, job, rows):
        line = {"job_id": job.id, "type": "number", "at": job.run_at}
        lines = [{**line, "payload": {"step": step}} for step, _ in rows]
        await connection.execute(tables.event.insert(), lines)


@each_mode
async def test_numbers_wait_until_they_are_committed(engine, monkeypatch, mode):
    job = await claimed(engine)
    pen = AttemptRecords(job, WritingSink(), engine.leases, lease_seconds=LEASE)
    for number in numbers():
        pen.add_metrics([(number, {"x": 1.0})])
        with NthCall(number, mode).injected(monkeypatch, engine.database) as fault:
            await attempted(pen.flush)
        await pen.flush()
        events = await engine.store.events(job_id=job.id)
        steps = [event.payload["step"] for event in events if event.type == "number"]
        assert sorted(set(steps)) == list(range(1, number + 1))  # again is harmless, never is not
        if not fault.was_due:
            break
