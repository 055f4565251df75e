"""Schedules on real databases: each fire once, whoever looks, whatever breaks on the way."""

from __future__ import annotations

import contextlib
import itertools
from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel
import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestration.events import Completed
from orchestration.jobs import Condition, Desired, JobState, Need, NewJob
from orchestration.scheduler.firing import FAILED, LAUNCHED, SKIPPED
from orchestration.scheduler.plan import Misfire, Overlap
from orchestration.scheduler.scheduler import Scheduler
from orchestration.scheduler.schedules import (
    NewSchedule,
    ScheduleNotFoundError,
    SqlSchedules,
)
from orchestration.scheduler.timing import Cron, Interval, Once, OnEvent
from orchestration.webhooks.courier import Courier
from tests.orchestration.conftest import _open as open_kind
from tests.orchestration.conftest import make_engine
from utils.clock import new_id
from utils.errors import ConfigError
from utils.persistence.engine import Database
from utils.persistence.errors import DatabaseError
from utils.persistence.schedules import schedule_fire

pytestmark = pytest.mark.anyio
HOURLY = Cron(expression="0 * * * *")


class Launcher:
    """Submits one job per fire."""

    def __init__(self, engine):
        self.engine = engine
        self.breaks = None

    async def launch(self, connection, plan, *, after):
        pipeline = new_id(self.engine.clock)
        for number in range(plan.get("jobs", 1)):
            needs = tuple(
                Need(job_id=one, name=f"former {at}", condition=Condition.FINISHED)
                for at, one in enumerate(after)
            )
            new = NewJob(kind="work", pipeline_id=pipeline, step=str(number), needs=needs)
            await self.engine.store.submit_in(connection, new)
            if self.breaks is not None:
                raise self.breaks
        return pipeline


@pytest.fixture(params=["file", "server"])
async def engine(request, tmp_path):
    """A store on SQLite and on a server; the store's own tests have all three."""
    async with contextlib.AsyncExitStack() as stack:
        yield make_engine(await open_kind(request, stack, tmp_path))


@pytest.fixture
def place(engine):
    engine.schedules = SqlSchedules(engine.database, engine.clock)
    engine.launcher = Launcher(engine)
    engine.wakes = []

    def make():
        return Scheduler(engine.ledger, engine.launcher, wake=lambda: engine.wakes.append(1))

    engine.make_scheduler, engine.scheduler = make, make()
    return engine


async def add(place, timing=HOURLY, name="nightly", **rest):
    new = NewSchedule(name=name, timing=timing, plan=rest.pop("plan", {}), **rest)
    return await place.schedules.add(new)


async def finish(place, job_id):
    job = await place.leases.claim("w", ["work"], lease_seconds=60)
    assert job.id == job_id
    async with place.leases.fenced(job.id, job.fence) as connection:
        done = Completed(fence=job.fence, result={})
        await place.ledger.apply(connection, job.id, done)


async def announce(place, type_, **payload):
    async with place.database.write() as connection:
        await place.ledger.announce(connection, None, type_, payload)


async def jobs(place):
    return (await place.store.list_jobs(limit=1000))[::-1]


async def told(place, prefix):
    return [one for one in await place.store.events() if one.type.startswith(prefix)]


async def test_a_fire_and_its_job_come_at_their_time_and_once(place):
    schedule = await add(place)
    assert schedule.next_time == place.clock.now() + timedelta(hours=1)
    place.clock.advance(3599)
    assert await place.scheduler.look() == []
    place.clock.advance(2)
    (fire,) = await place.scheduler.look()
    assert (fire.fire_time, fire.outcome) == (schedule.next_time, LAUNCHED)
    assert place.wakes == [1]
    assert await place.scheduler.look() == []
    assert await place.make_scheduler().look() == []  # restarted
    (job,) = await jobs(place)
    assert job.pipeline_id == fire.pipeline_id
    assert await place.schedules.fires("nightly") == [fire]
    assert [one.payload["outcome"] for one in await told(place, "schedule_")] == [LAUNCHED]


async def test_many_schedulers_at_the_same_moment_fire_each_once(place):
    for number in range(4):
        await add(place, name=f"s{number}", overlap=Overlap.QUEUE, misfire=Misfire.CATCH_UP)
    place.clock.advance(3 * 3600)
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(place.make_scheduler().look)
    async with place.database.read() as connection:
        rows = await connection.scalar(select(func.count()).select_from(schedule_fire))
    assert rows == 12
    assert len(await jobs(place)) == 12


async def test_a_death_before_the_commit_leaves_nothing_and_the_next_look_fires(place):
    await add(place)
    place.clock.advance(3600)
    place.launcher.breaks = RuntimeError("killed")
    assert await place.scheduler.look() == []
    assert await jobs(place) == []
    assert await place.schedules.fires("nightly") == []
    place.launcher.breaks = None
    assert len(await place.scheduler.look()) == 1
    assert len(await jobs(place)) == 1


@pytest.mark.parametrize("engine", ["file"], indirect=True)
@pytest.mark.parametrize("timing", [HOURLY, OnEvent(type="drift", cooldown_seconds=0)])
async def test_a_fault_at_any_call_loses_nothing_and_doubles_nothing(place, monkeypatch, timing):
    """Fail the Nth statement of a look, N = 1, 2 .. until none is left to fail."""
    await add(place, timing=timing, overlap=Overlap.CANCEL)
    execute = AsyncConnection.execute
    for nth in itertools.count(1):
        place.clock.advance(3600)
        await announce(place, "drift")
        calls = 0

        async def fail_nth(self, *words, nth=nth, **more):
            nonlocal calls
            calls += 1
            if calls == nth:
                raise OperationalError("a statement", {}, Exception("database is locked"))
            return await execute(self, *words, **more)

        with monkeypatch.context() as patch, contextlib.suppress(DatabaseError, OperationalError):
            patch.setattr(AsyncConnection, "execute", fail_nth)
            await place.scheduler.look()
        await place.scheduler.look()
        fires = await place.schedules.fires("nightly", limit=1000)
        assert [fire.outcome for fire in fires] == [LAUNCHED] * nth
        assert {fire.pipeline_id for fire in fires} == {
            job.pipeline_id for job in await jobs(place)
        }
        assert len(await jobs(place)) == nth
        if calls < nth:
            break
    assert nth > 10


async def test_a_plan_that_cannot_start_says_why_once_and_keeps_nothing(place):
    await add(place)
    await add(place, name="other")
    place.clock.advance(3600)
    place.launcher.breaks = ConfigError("init_from=a@champion: no such agent")
    found = await place.scheduler.look()
    assert {(one.outcome, one.error) for one in found} == {
        (FAILED, "init_from=a@champion: no such agent")
    }
    assert await jobs(place) == []
    assert await place.scheduler.look() == []
    assert [one.type for one in await told(place, "schedule_")] == ["schedule_failed"] * 2


async def test_late_fires_are_told_of(place):
    await add(place, misfire=Misfire.SKIP)
    place.clock.advance(5 * 3600 + 1800)
    assert await place.scheduler.look() == []
    (misfired,) = await told(place, "schedule_misfired")
    assert misfired.payload["since"] == "2026-01-01T01:00:00+00:00"
    place.clock.advance(1800)
    assert len(await place.scheduler.look()) == 1


async def test_a_clock_set_back_neither_silences_nor_repeats(place):
    await add(place, overlap=Overlap.QUEUE)
    place.clock.advance(10 * 3600)
    assert len(await place.scheduler.look()) == 1
    place.clock._elapsed -= 8.5 * 3600  # to 01:30; 10:00 has been fired
    assert await place.scheduler.look() == []
    times = []
    for _ in range(20):
        place.clock.advance(1800)
        times += [fire.fire_time.hour for fire in await place.scheduler.look()]
    assert times == [2, 3, 4, 5, 6, 7, 8, 9, 11]


async def test_overlap_skips_queues_or_cancels(place):
    for overlap in Overlap:
        await add(place, name=overlap.value, overlap=overlap, max_pending=2)
    place.clock.advance(3600)
    await place.scheduler.look()
    first = {fire: (await place.schedules.fires(fire))[0].pipeline_id for fire in Overlap}
    place.clock.advance(3600)
    await place.scheduler.look()
    assert (await place.schedules.fires("skip"))[0].outcome == SKIPPED
    (queued,) = await place.store.list_jobs(
        pipeline_id=(await place.schedules.fires("queue"))[0].pipeline_id
    )
    assert queued.state is JobState.PENDING
    (former,) = await place.store.list_jobs(pipeline_id=first[Overlap.CANCEL])
    assert former.state is JobState.CANCELLED
    (latter,) = await place.store.list_jobs(
        pipeline_id=(await place.schedules.fires("cancel"))[0].pipeline_id
    )
    assert latter.state is JobState.QUEUED
    place.clock.advance(3600)
    await place.scheduler.look()
    third = (await place.schedules.fires("queue"))[0]
    assert (third.outcome, third.error) == (
        SKIPPED,
        "the work of 2 earlier fires is unfinished",
    )


async def test_queued_work_begins_when_the_former_has_ended(place):
    await add(place, overlap=Overlap.QUEUE)
    for _ in range(2):
        place.clock.advance(3600)
        await place.scheduler.look()
    first, second = await jobs(place)
    assert second.state is JobState.PENDING
    await place.store.request(first.id, Desired.CANCEL)
    assert (await place.store.get(second.id)).state is JobState.QUEUED


async def test_one_moment_fires_once_and_rests(place):
    at = place.clock.now() + timedelta(minutes=5)
    await add(place, timing=Once(at=at))
    place.clock.advance(301)
    assert [fire.fire_time for fire in await place.scheduler.look()] == [at]
    assert (await place.schedules.get("nightly")).next_time is None
    with pytest.raises(ConfigError, match="passed"):
        await add(place, timing=Once(at=at), name="late")


async def test_pause_resume_delete_and_run_now(place):
    await add(place, overlap=Overlap.QUEUE)
    assert not (await place.schedules.pause("nightly")).active
    place.clock.advance(4 * 3600)
    assert await place.scheduler.look() == []
    by_hand = await place.scheduler.fire_now("nightly")
    assert by_hand.outcome == LAUNCHED
    resumed = await place.schedules.resume("nightly")
    assert resumed.next_time == place.clock.now() + timedelta(hours=1)
    assert await place.scheduler.look() == []
    await place.schedules.delete("nightly")
    place.clock.advance(3600)
    assert await place.scheduler.look() == []
    assert len(await jobs(place)) == 1  # the work stays
    with pytest.raises(ScheduleNotFoundError, match="schedules list"):
        await place.schedules.get("nightly")
    with pytest.raises(ScheduleNotFoundError):
        await place.scheduler.fire_now("nightly")
    await add(place)  # the name is free again


async def test_names_and_numbers_are_checked(place):
    await add(place)
    with pytest.raises(ConfigError, match="exists already"):
        await add(place)
    assert len(await place.schedules.list_schedules()) == 1
    for name in ("", "a b", "../x", "x" * 101):
        with pytest.raises(ConfigError, match="name="):
            await add(place, name=name)
    for numbers in ({"catch_up": 0}, {"max_pending": 1001}):
        with pytest.raises(ConfigError, match="choose 1 to 1000"):
            await add(place, name="n", **numbers)


async def test_the_preview_follows_the_clock(place):
    every = Interval(seconds=600, start=place.clock.now())
    assert place.schedules.preview(every, 2) == [
        datetime(2026, 1, 1, 0, 10, tzinfo=UTC),
        datetime(2026, 1, 1, 0, 20, tzinfo=UTC),
    ]
    assert place.schedules.preview(Once(at=place.clock.now()), 2) == []
    assert place.schedules.preview(OnEvent(type="drift"), 2) == []


async def test_an_event_fires_once_and_only_if_it_is_meant(place):
    await announce(place, "drift", agent="a")  # before anybody asked
    timing = OnEvent(type="drift", where={"agent": "a"}, cooldown_seconds=0)
    await add(place, timing=timing, overlap=Overlap.QUEUE)
    assert await place.scheduler.look() == []
    await announce(place, "drift", agent="b")
    await announce(place, "regret", agent="a")
    await announce(place, "drift", agent="a")
    newest = (await place.store.events())[-1]
    found = await place.make_scheduler().look() + await place.scheduler.look()
    assert [fire.event_seq for fire in found] == [newest.seq]
    assert await place.make_scheduler().look() == []
    assert len(await jobs(place)) == 1


async def test_a_storm_of_events_starts_one_piece_of_work(place):
    timing = OnEvent(type="drift", cooldown_seconds=60)
    await add(place, timing=timing, overlap=Overlap.QUEUE, max_pending=2)
    for number in range(250):
        await announce(place, "drift", number=number)
    found = []
    for _ in range(4):  # a look takes a hundred
        found += await place.scheduler.look()
    assert len(found) == 1
    assert (await place.schedules.get("nightly")).dropped == 249
    for _ in range(3):  # after the cool-down the next ones, up to max_pending
        place.clock.advance(61)
        await announce(place, "drift")
        found += await place.scheduler.look()
    assert len(found) == len(await jobs(place)) == 2
    assert (await place.schedules.get("nightly")).dropped == 251


async def test_events_of_a_pause_are_not_made_up_for(place):
    await add(place, timing=OnEvent(type="drift"))
    await place.schedules.pause("nightly")
    await announce(place, "drift")
    assert await place.scheduler.look() == []
    await place.schedules.resume("nightly")
    assert await place.make_scheduler().look() == []
    await announce(place, "drift")
    assert len(await place.scheduler.look()) == 1


async def test_many_schedulers_handle_each_event_once(place):
    timing = OnEvent(type="drift", cooldown_seconds=0)
    await add(place, timing=timing, overlap=Overlap.QUEUE, max_pending=1000)
    for _ in range(5):
        await announce(place, "drift")
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(place.make_scheduler().look)
    assert len(await jobs(place)) == 5


async def test_an_outage_of_the_database_does_not_end_the_loop(place, monkeypatch):
    looked = []

    async def look():
        looked.append(1)
        raise DatabaseError("away")

    monkeypatch.setattr(place.scheduler, "look", look)
    async with anyio.create_task_group() as group:
        group.start_soon(place.scheduler.run)
        while len(looked) < 3:
            place.clock.advance(1)
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()


async def test_while_nothing_is_written_or_due_nobody_looks(place, monkeypatch):
    """On a file; a server does not tell, so there every look is made."""
    await add(place)
    courier = Courier(place.database, None, place.clock)
    lookers = (place.scheduler, courier)
    for _ in range(2):
        for one in lookers:
            await one.look()
    reads = []
    original = Database.read
    monkeypatch.setattr(Database, "read", lambda self: reads.append(1) or original(self))
    for one in lookers:
        assert await one.look() == []
    assert len(reads) == (2 if place.database.is_server else 0)
    place.clock.advance(3600)
    (fire,) = await place.scheduler.look()
    assert fire.outcome == LAUNCHED
    await place.schedules.announce("new_data", {})
    reads.clear()
    await courier.look()
    assert reads
