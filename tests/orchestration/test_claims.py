"""Who may take what: urgency, room, shared limits, needs, keys and waiting that ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.events import Completed
from orchestration.job_store.claims import Offer
from orchestration.job_store.group_writer import GroupWriter
from orchestration.job_store.needs import load_inputs
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
from orchestration.preemption import Carried, choose_victims
from orchestration.retry import ErrorClass
from tests.orchestration.test_jobs import make_job
from utils.errors import ConfigError

pytestmark = pytest.mark.anyio
OFFER = Offer(worker_id="w", kinds=["train"], lease_seconds=30, most=10)


def new(**fields):
    return NewJob(kind="train", **fields)


async def take(engine, **fields):
    return await engine.leases.claim_many(replace(OFFER, **fields))


async def end(engine, job, result=None):
    writer = GroupWriter(engine.ledger)
    return await writer.apply(job.id, Completed(fence=job.fence, result=result or {}))


async def test_urgent_jobs_go_first_then_older_ones(engine):
    jobs = await engine.store.submit_all([new(), new(priority=5), new(), new(priority=5)])
    taken = await take(engine)
    assert [job.id for job in taken] == [jobs[at].id for at in (1, 3, 0, 2)]
    assert {(job.state, job.fence, job.lease_owner) for job in taken} == {(JobState.LEASED, 1, "w")}


async def test_a_job_runs_from_its_claim_where_there_is_no_process_to_wait_for(engine):
    await engine.store.submit_all([new()])
    (job,) = await take(engine, runs=True)
    assert (job.state, job.started_at) == (JobState.RUNNING, engine.clock.now())
    told = [event.type for event in await engine.store.events()]
    assert told == ["job_submitted", "job_claimed", "job_started"]


async def test_room_is_what_live_leases_leave(engine):
    capacity = Resources(cpu_milli=2000, memory_mb=1000)
    small, large = Resources(cpu_milli=500), Resources(cpu_milli=2000, memory_mb=1000)
    first, huge, blocked, late = await engine.store.submit_all(
        [
            new(resources=small),
            new(resources=Resources(gpu_milli=1)),
            new(resources=large),
            new(resources=small),
        ]
    )
    (job,) = await take(engine, capacity=capacity)
    assert job.id == first.id  # the large one is not overtaken by the late one
    assert await take(engine, capacity=capacity) == []
    await end(engine, job)
    (job,) = await take(engine, capacity=capacity)
    assert job.id == blocked.id
    await engine.leases.fail(job.id, job.fence, ErrorClass.USER, "ended")  # frees it at once
    assert [job.id for job in await take(engine, capacity=capacity)] == [late.id]
    assert [job.id for job in await take(engine, worker_id="gpu")] == [huge.id]


async def test_a_lost_lease_frees_its_room(engine):
    await engine.store.submit_all([new(resources=Resources(cpu_milli=1000))] * 2)
    capacity = Resources(cpu_milli=1000)
    (job,) = await take(engine, capacity=capacity)
    engine.clock.advance(31)
    (lost,) = await engine.leases.reap()
    assert (lost.id, lost.lost) == (job.id, 1)
    assert len(await take(engine, capacity=capacity)) == 1


async def test_limits_by_key_hold_for_all_workers_together(engine):
    await engine.store.set_limit("gpu farm", 2)
    await engine.store.submit_all([new(limit_key="gpu farm")] * 5 + [new(limit_key="free")] * 2)
    taken = []

    async def claim(worker):
        taken.extend(await take(engine, worker_id=worker, most=3))

    async with anyio.create_task_group() as group:
        for worker in "abcd":
            group.start_soon(claim, worker)
    taken += await take(engine)
    assert sorted(job.limit_key for job in taken) == ["free"] * 2 + ["gpu farm"] * 2
    limited = next(job for job in taken if job.limit_key == "gpu farm")
    await end(engine, limited)
    assert [job.limit_key for job in await take(engine)] == ["gpu farm"]
    await engine.store.set_limit("gpu farm", None)
    assert len(await take(engine)) == 2
    with pytest.raises(ConfigError, match="most=-1"):
        await engine.store.set_limit("gpu farm", -1)


async def test_a_job_waits_for_what_it_needs_and_gets_the_results(engine):
    data, model = await engine.store.submit_all([new(), new()])
    needs = (Need(job_id=data.id, name="data"), Need(job_id=model.id, name="model"))
    (last,) = await engine.store.submit_all([new(needs=needs, priority=9)])
    assert (last.state, last.has_needs) == (JobState.PENDING, True)
    first, second = await take(engine)
    await end(engine, first, {"rows": 3})
    assert (await engine.store.get(last.id)).state is JobState.PENDING
    await end(engine, second, {"score": 0.5})
    (job,) = await take(engine)
    assert job.id == last.id
    async with engine.database.read() as connection:
        inputs = await load_inputs(connection, job.id)
    assert inputs == {"data": {"rows": 3}, "model": {"score": 0.5}}


async def test_what_needs_a_failed_job_is_cancelled_all_the_way_down(engine):
    (first,) = await engine.store.submit_all([new()])
    (second,) = await engine.store.submit_all([new(needs=(Need(job_id=first.id, name="a"),))])
    (third,) = await engine.store.submit_all([new(needs=(Need(job_id=second.id, name="b"),))])
    either = Need(job_id=second.id, name="b", condition=Condition.FINISHED)
    (cleaner,) = await engine.store.submit_all([new(needs=(either,))])
    (job,) = await take(engine)
    await engine.leases.fail(job.id, job.fence, ErrorClass.USER, "no")
    ended = [await engine.store.get(one.id) for one in (second, third)]
    assert [job.state for job in ended] == [JobState.CANCELLED] * 2
    assert ended[0].error == "a, which it needs, is failed"
    assert ended[1].error == "b, which it needs, is cancelled"
    assert (await engine.store.get(cleaner.id)).state is JobState.QUEUED


async def test_needs_of_finished_and_of_unknown_jobs(engine):
    (first,) = await engine.store.submit_all([new()])
    (job,) = await take(engine)
    await end(engine, job)
    (at_once,) = await engine.store.submit_all([new(needs=(Need(job_id=first.id, name="a"),))])
    assert at_once.state is JobState.QUEUED
    with pytest.raises(ConfigError, match="job nope is needed and does not exist"):
        await engine.store.submit_all([new(), new(needs=(Need(job_id="nope", name="a"),))])
    assert len(await engine.store.list_jobs()) == 2  # all or none


async def test_two_needs_that_end_at_the_same_moment_release_the_job(engine):
    parts = await engine.store.submit_all([new()] * 8)
    needs = tuple(Need(job_id=part.id, name=part.id) for part in parts)
    (last,) = await engine.store.submit_all([new(needs=needs)])
    async with anyio.create_task_group() as group:
        for job in await take(engine):
            group.start_soon(end, engine, job)
    assert (await engine.store.get(last.id)).state is JobState.QUEUED


async def test_a_pending_job_that_is_paused_pauses_when_its_turn_comes(engine):
    (first,) = await engine.store.submit_all([new()])
    (second,) = await engine.store.submit_all([new(needs=(Need(job_id=first.id, name="a"),))])
    await engine.store.request(second.id, Desired.PAUSE)
    (job,) = await take(engine)
    await end(engine, job)
    assert (await engine.store.get(second.id)).state is JobState.PAUSED
    assert (await engine.store.request(second.id, Desired.RUN)).state is JobState.QUEUED


async def test_the_same_submission_again_is_the_same_job(engine):
    request = new(idempotency_key="order 7", spec={"seed": 1})
    first, again = await engine.store.submit_all([request, request])
    assert first.id == again.id
    (job,) = await take(engine)
    await end(engine, job)
    (later,) = await engine.store.submit_all([request])
    assert (later.id, later.state) == (first.id, JobState.SUCCEEDED)
    with pytest.raises(IdempotencyConflictError, match="order 7"):
        await engine.store.submit_all([replace(request, spec={"seed": 2})])


async def test_submitters_who_race_for_a_key_get_one_job(engine):
    found = []

    async def submit():
        jobs = await engine.store.submit_all([new(idempotency_key="i", dedupe_key="d")])
        found.append(jobs[0].id)

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(submit)
    assert len(set(found)) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
async def test_specs_are_plain_json(engine, value):
    with pytest.raises(ConfigError, match="not plain JSON"):
        await engine.store.submit_all([new(spec={"value": value})])
    assert await engine.store.list_jobs() == []


async def test_a_job_that_nobody_takes_times_out(engine):
    soon = engine.clock.now() + timedelta(seconds=100)
    limits = Limits(queue_seconds=10)
    first, later, patient = await engine.store.submit_all(
        [new(limits=limits), new(limits=limits, run_at=soon), new()]
    )
    engine.clock.advance(11)
    (ended,) = await engine.leases.reap()
    assert (ended.id, ended.state, ended.error_class) == (first.id, JobState.TIMED_OUT, "timeout")
    assert ended.error == "no worker took it within 10 s"
    engine.clock.advance(90)
    assert {job.id for job in await take(engine)} == {later.id, patient.id}
    engine.clock.advance(20)
    assert await engine.leases.reap([]) == []  # a taken job waits no more


async def test_renewing_all_tells_which_are_lost_and_what_owners_want(engine):
    await engine.store.submit_all([new()] * 3)
    from orchestration.job_store.leases import Lease

    kept, stopped, lost = await take(engine)
    await engine.store.request(stopped.id, Desired.CANCEL)
    leases = {job.id: Lease(fence=job.fence, progress=(1, 2)) for job in (kept, stopped, lost)}
    leases[lost.id] = Lease(fence=99)
    expected = {kept.id: Desired.RUN, stopped.id: Desired.CANCEL, lost.id: None}
    assert await engine.leases.renew_all(leases, lease_seconds=30) == expected
    fences = {job_id: lease.fence for job_id, lease in leases.items()}
    assert await engine.leases.wishes(fences) == expected
    assert (await engine.store.get(kept.id)).progress_done == 1


async def test_changes_of_one_group_stand_and_fall_alone(engine):
    good, refused, broken = await engine.store.submit_all([new()] * 3)
    await take(engine)
    writer, outcomes = GroupWriter(engine.ledger), {}

    async def fail(_connection):
        raise ValueError("cannot be kept")

    async def apply(job, fence, first=None):
        try:
            done = await writer.apply(job.id, Completed(fence=fence, result={}), first=first)
            outcomes[job.id] = done.state
        except (LeaseLostError, ValueError) as error:
            outcomes[job.id] = type(error)

    async with anyio.create_task_group() as group:
        group.start_soon(apply, good, 1)
        group.start_soon(apply, refused, 7)
        group.start_soon(apply, broken, 1, fail)
    assert outcomes == {
        good.id: JobState.SUCCEEDED,
        refused.id: LeaseLostError,
        broken.id: ValueError,
    }
    assert (await engine.store.get(broken.id)).state is JobState.LEASED
    ended = [event for event in await engine.store.events() if event.type == "job_succeeded"]
    assert [event.job_id for event in ended] == [good.id]


priorities = st.integers(-2, 2)
sizes = st.integers(0, 3)


@given(
    carried=st.lists(st.tuples(priorities, sizes, st.booleans()), max_size=5),
    rival=st.tuples(priorities, sizes),
    parallel=st.integers(1, 5),
)
def test_only_less_urgent_jobs_make_room_and_only_if_it_helps(carried, rival, parallel):
    capacity = Resources(cpu_milli=4)
    running = [
        Carried(
            job=make_job(id=str(at), priority=one, resources=Resources(cpu_milli=size)),
            leaves=leaves,
        )
        for at, (one, size, leaves) in enumerate(carried)
    ]
    wants = make_job(id="r", priority=rival[0], resources=Resources(cpu_milli=rival[1]))
    victims = choose_victims(running, wants, parallel_jobs=parallel, capacity=capacity)
    staying = [one.job for one in running if not one.leaves]

    def fits(jobs):
        used = wants.resources.cpu_milli + sum(job.resources.cpu_milli for job in jobs)
        return len(jobs) < parallel and used <= 4

    assert all(job.priority < wants.priority and job in staying for job in victims)
    if victims:
        kept = [job for job in staying if job not in victims]
        assert fits(kept)
        assert not fits([*kept, victims[-1]])
    else:
        enough = [job for job in staying if job.priority >= wants.priority]
        assert fits(staying) or not fits(enough)
