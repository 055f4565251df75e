"""Old records go, on SQLite and on a server; what is unfinished stays, however old."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from datetime import timedelta

import anyio
import pytest
from sqlalchemy import insert, select, update
from typer.testing import CliRunner

from orchestration.care import pruning
from orchestration.care.pruning import Pruned, prune, prune_daily
from orchestration.cli import commands
from orchestration.events import Completed
from orchestration.scheduler.scheduler import Scheduler
from orchestration.scheduler.schedules import NewSchedule, SqlSchedules
from orchestration.scheduler.timing import Interval, OnEvent
from orchestration.webhooks.deliveries import GAVE_UP, SqlWebhooks
from tests.orchestration.conftest import _open as open_kind
from tests.orchestration.conftest import make_engine
from tests.orchestration.test_scheduler import Launcher
from utils.errors import ConfigError
from utils.persistence.approvals import approval
from utils.persistence.decisions import decision
from utils.persistence.jobs import event
from utils.persistence.outbox import settled_seq
from utils.persistence.schedules import delivery, schedule_fire

pytestmark = pytest.mark.anyio
DAY = 86_400
NOTHING = Pruned(fires=0, deliveries=0, decisions=0, events=0)


@pytest.fixture(params=["file", "server"])
async def place(request, tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        engine = make_engine(await open_kind(request, stack, tmp_path))
        engine.schedules = SqlSchedules(engine.database, engine.clock)
        engine.webhooks = SqlWebhooks(engine.database, engine.clock)
        engine.scheduler = Scheduler(engine.ledger, Launcher(engine), wake=lambda: None)
        yield engine


async def column(place, wanted):
    async with place.database.read() as connection:
        return list(await connection.scalars(select(wanted).order_by(wanted)))


async def announce(place, type_="news", job=None):
    async with place.database.write() as connection:
        await place.ledger.announce(connection, job, type_, {})


async def finish_all(place):
    while job := await place.leases.claim("w", ["work"], lease_seconds=60):
        async with place.leases.fenced(job.id, job.fence) as connection:
            await place.ledger.apply(connection, job.id, Completed(fence=job.fence, result={}))


async def test_fires_go_when_their_work_is_over_but_for_the_last(place):
    every_day = Interval(seconds=DAY, start=place.clock.now())
    await place.schedules.add(NewSchedule(name="daily", timing=every_day, plan={}))
    for _ in range(3):
        place.clock.advance(DAY)
        await place.scheduler.look()
        await finish_all(place)
    place.clock.advance(DAY)
    (going_on,) = await place.scheduler.look()
    place.clock.advance(100 * DAY)
    fires = await column(place, schedule_fire.c.fire_time)
    assert (await prune(place.database, place.clock, days=10)).fires == 3
    assert await column(place, schedule_fire.c.fire_time) == [going_on.fire_time] == fires[-1:]
    (new,) = await place.scheduler.look()
    assert new.fire_time > going_on.fire_time
    place.clock.advance(100 * DAY)
    assert (await prune(place.database, place.clock, days=10)).fires == 0, "its work goes on"
    await finish_all(place)
    assert (await prune(place.database, place.clock, days=10)).fires == 1


async def test_a_trigger_cools_down_from_its_last_fire_however_old(place):
    timing = OnEvent(type="news", cooldown_seconds=300 * DAY)
    await place.schedules.add(NewSchedule(name="after-news", timing=timing, plan={}))
    await announce(place)
    assert len(await place.scheduler.look()) == 1
    await finish_all(place)
    place.clock.advance(200 * DAY)
    await place.scheduler.fire_now("after-news")
    await finish_all(place)
    assert (await prune(place.database, place.clock, days=30)).fires == 0
    await announce(place)
    assert await place.scheduler.look() == []


async def test_deliveries_go_once_they_arrived_or_were_given_up(place):
    await place.webhooks.add("ops", "https://a.example/", ["news"], "env:X")
    for _ in range(4):
        await announce(place)
    await place.webhooks.spread(await settled_seq(place.database))
    arrived, given_up, *_ = await place.webhooks.claim(10)
    await place.webhooks.record(arrived, None)
    async with place.database.write() as connection:
        mine = delivery.c.id == given_up.delivery_id
        ended = {"status": GAVE_UP, "ended_at": place.clock.now()}
        await connection.execute(update(delivery).where(mine), ended)
    place.clock.advance(9.9 * DAY)
    assert (await prune(place.database, place.clock, days=10)).deliveries == 0
    place.clock.advance(DAY)
    assert (await prune(place.database, place.clock, days=10)).deliveries == 2
    assert set(await column(place, delivery.c.status)) == {"pending"}
    await place.webhooks.spread(await settled_seq(place.database))
    assert len(await column(place, delivery.c.id)) == 2, "what went is not sent again"


async def test_lines_go_that_everybody_has_seen_and_whose_job_is_over(place):
    job = await place.store.submit("work", {})
    over = await place.store.submit("other", {})
    (claimed,) = [await place.leases.claim("w", ["other"], lease_seconds=60)]
    assert claimed.id == over.id
    async with place.leases.fenced(over.id, claimed.fence) as connection:
        await place.ledger.apply(connection, over.id, Completed(fence=1, result={}))
    await announce(place, "last")
    place.clock.advance(20 * DAY)
    lines = len(await column(place, event.c.seq))
    removed = await prune(place.database, place.clock, days=10)
    assert removed.events == lines - 2
    kept = await place.store.events()
    assert [(one.job_id, one.type) for one in kept] == [(job.id, "job_submitted"), (None, "last")]
    await announce(place, "later")
    assert (await place.store.events())[-1].seq == kept[-1].seq + 1


async def test_lines_stay_that_a_trigger_or_webhook_has_not_seen(place):
    await place.webhooks.add("ops", "https://a.example/", ["other"], "env:X")
    for _ in range(2):
        await announce(place)
    await announce(place, "other")
    place.clock.advance(20 * DAY)
    assert await prune(place.database, place.clock, days=10) == NOTHING
    await place.webhooks.spread(await settled_seq(place.database))
    timing = OnEvent(type="news", cooldown_seconds=0)
    await place.schedules.add(NewSchedule(name="after-news", timing=timing, plan={}))
    await announce(place)
    place.clock.advance(20 * DAY)
    await announce(place, "last")
    await place.webhooks.spread(await settled_seq(place.database))
    assert (await prune(place.database, place.clock, days=10)).events == 3
    assert len(await place.scheduler.look()) == 1


def decided(place, id_, age):
    return {
        "id": id_,
        "request_id": id_,
        "agent": "a",
        "version": "1",
        "latency_seconds": 0.1,
        "outcome": "decision",
        "at": place.clock.now() - timedelta(days=age),
    }


def waiting(place, id_, state):
    now = place.clock.now()
    told = {"decision_id": id_, "agent": "a", "version": "1", "request_id": id_, "state": state}
    texts = {"request": "{}", "proposed": "{}", "reason": ""}
    return {**told, **texts, "asked_at": now, "expires_at": now}


async def test_decisions_go_in_batches_but_for_those_that_wait_for_a_person(place, monkeypatch):
    monkeypatch.setattr(pruning, "BATCH", 3)
    async with place.database.write() as connection:
        old = [decided(place, f"old-{number}", 11) for number in range(7)]
        await connection.execute(insert(decision), [*old, decided(place, "young", 9)])
        approvals = [waiting(place, "old-2", "waiting"), waiting(place, "old-3", "approved")]
        await connection.execute(insert(approval), approvals)
    assert (await prune(place.database, place.clock, days=10)).decisions == 6
    assert await column(place, decision.c.id) == ["old-2", "young"]


async def test_it_happens_again_and_again(place):
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: prune_daily(place.database, place.clock, days=1))
        for _ in range(2):
            for _ in range(3):
                await announce(place)
            with anyio.fail_after(120):
                while len(await column(place, event.c.seq)) > 1:
                    place.clock.advance(DAY)
                    await anyio.sleep(0.01)
        group.cancel_scope.cancel()


@pytest.mark.parametrize("days", [0, -1, 0.5, float("nan"), float("inf")])
async def test_times_that_are_none_are_refused(days):
    with pytest.raises(ConfigError, match="record_days"):
        await prune(None, None, days=days)


def test_the_command(tmp_path):
    def shell(*words):
        return CliRunner().invoke(commands.cli, ["--var", str(tmp_path), *words])

    assert shell("schedules", "announce", "news").exit_code == 0
    done = shell("prune", "--days", "30", "--json")
    assert json.loads(done.stdout) == asdict(NOTHING)
    assert "Removed 0 fires" in shell("prune").stdout
    assert shell("prune", "--days", "0").exit_code == 2
