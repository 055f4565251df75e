"""Feedback: requests are kept and replayed, drift is seen, told once, and trains anew."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from ai_agents.allocation_schema import EXAMPLE_REQUEST, AllocationRequest
from ai_agents.request_numbers import numbers_of
from orchestration.feedback.drift_monitor import MOST_WATCHED, DriftMonitor
from orchestration.feedback.kept_requests import LARGEST_BYTES, KeptRequest, KeptRequests
from orchestration.feedback.regret import NothingKeptError, estimate_mean
from orchestration.pipelines.kinds import Surroundings
from orchestration.pipelines.retraining import Retraining
from orchestration.pipelines.submission import PipelineDesk, plan_to_json
from orchestration.scheduler.scheduler import Scheduler
from orchestration.scheduler.schedules import NewSchedule, SqlSchedules
from orchestration.scheduler.timing import OnEvent
from orchestration.tasks import RunStateObserver
from rl.artifacts import Layer
from rl.monitoring.drift import DriftConfig
from rl.monitoring.serving_metrics import ServingMetrics
from tests.orchestration.conftest import _open as open_kind
from tests.orchestration.conftest import make_engine
from tests.orchestration.delegation_stores import START, Shaky
from tests.orchestration.house import AGENT, REQUEST, open_house
from tests.orchestration.test_pipelines import make_champion
from tests.postgres import empty_tables
from tests.serving import make_artifact
from utils.persistence.errors import DatabaseError
from utils.persistence.jobs import event

pytestmark = pytest.mark.anyio
SMALL = DriftConfig(reference_size=100, window=100, num_bins=5)


@pytest.fixture(params=["memory", "server"])
async def place(request, tmp_path):
    """A database with an engine on it, and what feedback keeps there."""
    async with contextlib.AsyncExitStack() as stack:
        engine = make_engine(await open_kind(request, stack, tmp_path))
        engine.ledger._observer = RunStateObserver(engine.clock)
        engine.root = tmp_path
        engine.shaky = Shaky(engine.database)
        engine.kept = KeptRequests(engine.shaky, engine.clock)
        engine.registry = CollectorRegistry()
        engine.metrics = ServingMetrics(engine.registry)
        yield engine


async def events(database, kind):
    async with database.read() as connection:
        rows = await connection.scalars(
            select(event.c.payload).where(event.c.type == kind).order_by(event.c.seq)
        )
        return list(rows)


def kept(number, **changes):
    fields = {
        "decision_id": f"{number:04d}", "agent": "a", "version": "1",
        "request": "{}", "decision": "{}", "at": START,
    }  # fmt: skip
    return KeptRequest(**{**fields, **changes})


async def names(place, agent="a", limit=100):
    return [int(one.decision_id) for one in await place.kept.find(agent, limit=limit)]


async def test_the_newest_requests_are_kept(place):
    for number in range(7):
        place.kept.keep(kept(number), newest=5)
    place.kept.keep(kept(90, agent="b"), newest=1)
    assert await names(place) == [2, 3, 4, 5, 6]
    assert await names(place, limit=2) == [5, 6]
    place.kept.keep(kept(91, agent="b"), newest=1)
    assert await names(place, "b") == [91]
    place.kept.keep(kept(7), newest=2)
    assert await names(place) == [6, 7]
    await place.kept.forget("a")
    assert await names(place) == []


async def test_what_is_too_large_is_not_kept_and_an_outage_loses_nothing(place):
    assert not place.kept.keep(kept(1, request="x" * (LARGEST_BYTES + 1)), newest=5)
    place.shaky.is_away = True
    assert place.kept.keep(kept(2), newest=5)
    with pytest.raises(DatabaseError):
        await place.kept.flush()
    place.shaky.is_away = False
    place.shaky.fails_after_commit = True
    with pytest.raises(DatabaseError):
        await place.kept.flush()
    place.shaky.fails_after_commit = False
    await place.kept.aclose()
    assert await names(place) == [2]


def test_numbers_of_a_request_are_named_as_in_it():
    found = numbers_of(AllocationRequest.model_validate(EXAMPLE_REQUEST))
    assert found["services.search.waiting"] == pytest.approx(3.0)
    assert found["services.storefront.recent_demand"] == pytest.approx(22.6)
    assert found["capacity.compute"] == 60.0
    assert found["time_of_day"] == 0.6
    assert not {"compare", "explain", "services.search.name"} & set(found)


def asked(rng, *, capacity=60.0):
    spread = {"compute": float(capacity + rng.normal()), "memory": float(60 + rng.normal())}
    request = AllocationRequest.model_validate({**REQUEST, "capacity": spread})
    return request, SimpleNamespace(agent=AGENT, version="1", expected_value=float(rng.normal()))


def feed(monitor, rng, number, **how):
    for _ in range(number):
        monitor.add(*asked(rng, **how))


async def test_drift_is_told_once_and_trains_anew(place):
    _, spec = await make_champion(place)
    desk = PipelineDesk(
        place.database,
        place.store,
        Surroundings(output_dir=place.root, clock=place.clock),
        wake=lambda: None,
    )
    scheduler = Scheduler(place.ledger, desk, wake=lambda: None)
    plan = plan_to_json(Retraining(agent=AGENT))
    timing = OnEvent(type="drift_detected", where={"agent": AGENT})
    schedules = SqlSchedules(place.database, place.clock)
    await schedules.add(NewSchedule(name="drifted", timing=timing, plan=plan))
    monitor = DriftMonitor(place.shaky, place.clock, place.metrics, SMALL)
    rng = np.random.default_rng(0)
    feed(monitor, rng, 100)
    assert await monitor.look() == {}
    feed(monitor, rng, 100)
    assert (await monitor.look())[AGENT].drifted == ()
    assert await scheduler.look() == []
    feed(monitor, rng, 100, capacity=75.0)
    report = (await monitor.look())[AGENT]
    assert [one.feature for one in report.drifted] == ["capacity.compute"]
    score = place.registry.get_sample_value("agent_drift_score", {"agent": AGENT})
    assert score == report.score > 0.25
    feed(monitor, rng, 10, capacity=75.0)
    await monitor.look()
    (told,) = await events(place.database, "drift_detected")
    assert (told["agent"], told["version"], told["feature"]) == (AGENT, "1", "capacity.compute")
    (fire,) = await scheduler.look()
    assert (fire.outcome, fire.error) == ("launched", None)
    jobs = await desk.jobs(fire.pipeline_id)
    assert [job.kind for job in jobs] == ["train", "evaluate", "promote"]
    assert jobs[0].spec["init"]["run_id"] == spec.run_id
    feed(monitor, rng, 100)  # as before: quiet again, and told anew when it comes back
    assert (await monitor.look())[AGENT].drifted == ()
    feed(monitor, rng, 100, capacity=75.0)
    await monitor.look()
    assert len(await events(place.database, "drift_detected")) == 2


async def test_a_restart_does_not_take_drifted_requests_for_the_usual_ones(place):
    rng = np.random.default_rng(0)
    first = DriftMonitor(place.shaky, place.clock, place.metrics, SMALL)
    feed(first, rng, 100)
    await first.look()
    second = DriftMonitor(place.shaky, place.clock, place.metrics, SMALL)
    feed(second, rng, 100, capacity=75.0)
    assert (await second.look())[AGENT].drifted[0].feature == "capacity.compute"


async def test_more_versions_at_once_than_are_watched(place):
    monitor = DriftMonitor(place.shaky, place.clock, place.metrics, SMALL)
    rng = np.random.default_rng(0)
    for version in range(MOST_WATCHED + 1):
        request, decision = asked(rng)
        decision.version = f"v{version}"
        monitor.add(request, decision)
    assert await monitor.look() == {}
    assert len(monitor._watches) == MOST_WATCHED


async def test_drift_waits_for_the_database_and_is_told_then(place):
    rng = np.random.default_rng(0)
    monitor = DriftMonitor(place.shaky, place.clock, place.metrics, SMALL)
    feed(monitor, rng, 100)
    await monitor.look()
    feed(monitor, rng, 100, capacity=75.0)
    place.shaky.is_away = True
    with pytest.raises(DatabaseError):
        await monitor.look()
    place.shaky.is_away = False
    feed(monitor, rng, 1, capacity=75.0)
    await monitor.look()
    assert len(await events(place.database, "drift_detected")) == 1


async def test_while_requests_have_drifted_the_expert_answers_if_that_is_wanted(tmp_path):
    async with open_house(tmp_path, versions=1) as application:
        orchestrator = application.orchestrator
        supervision, rng = orchestrator.supervision, np.random.default_rng(0)
        supervision.drift._config = SMALL
        feed(supervision.drift, rng, 100)
        await supervision.drift.look()
        feed(supervision.drift, rng, 100, capacity=75.0)
        await supervision.drift.look()
        assert not (await orchestrator.invoke(AGENT, REQUEST)).fallback_used

        def edit(settings):
            return replace(settings, expert_on_drift=True)

        await supervision.settings.change(AGENT, edit, by="test")
        decision = await orchestrator.invoke(AGENT, REQUEST)
        assert (decision.decided_by, decision.fallback_reason) == ("urgent_value", "drift")
        counted = {"agent": AGENT, "reason": "drift"}
        assert application.metrics.get_sample_value("agent_fallback_total", counted) == 1
        feed(supervision.drift, rng, 100)
        await supervision.drift.look()
        assert not (await orchestrator.invoke(AGENT, REQUEST)).fallback_used


@given(st.lists(st.floats(-100.0, 100.0), min_size=20, max_size=60))
def test_the_interval_holds_the_mean(values):
    mean, low, high = estimate_mean(values)
    assert low - 1e-9 <= mean <= high + 1e-9
    assert estimate_mean([3.0] * 25) == (3.0, 3.0, 3.0)
    assert estimate_mean(values[:3])[1:] == (None, None)
    assert estimate_mean([]) == (None, None, None)


def lazy_artifact():
    """A policy that grants nobody anything."""
    artifact = make_artifact()
    last = artifact.layers[-1]
    nothing = Layer(np.zeros_like(last.weight), np.full_like(last.bias, -1.0))
    return replace(artifact, layers=(*artifact.layers[:-1], nothing))


@contextlib.asynccontextmanager
async def lazy_house(request, tmp_path, kind):
    more = {}
    if kind == "server":
        more["database"] = request.getfixturevalue("server_url")
        empty_tables(more["database"])
    async with open_house(tmp_path, **more) as application:
        await application.orchestrator.registry.register(lazy_artifact().to_bytes())
        await application.orchestrator.promote(AGENT, 1)
        yield application


async def keep(orchestrator, **wishes):
    def edit(settings):
        return replace(settings, keep_requests=1000, **wishes)

    await orchestrator.supervision.settings.change(AGENT, edit, by="test")


@pytest.mark.parametrize("kind", ["file", "server"])
async def test_regret_is_what_the_expert_would_have_got_more(request, tmp_path, kind):
    async with lazy_house(request, tmp_path, kind) as application:
        orchestrator = application.orchestrator
        with pytest.raises(NothingKeptError, match="no requests are kept"):
            await orchestrator.regret.replay(AGENT)
        await keep(orchestrator)
        compared = await orchestrator.invoke(AGENT, {**REQUEST, "compare": True})
        assert compared.expected_value == 0.0
        expected = compared.expert.expected_value
        assert expected > 10
        for _ in range(24):
            last = await orchestrator.invoke(AGENT, REQUEST)
        report = await orchestrator.regret.replay(AGENT)
        assert (report.num_decisions, report.num_realised, report.num_skipped) == (25, 0, 0)
        assert (report.mean, report.low) == (pytest.approx(expected), pytest.approx(expected))
        assert not report.is_high
        shown = application.metrics.get_sample_value("agent_regret_mean", {"agent": AGENT})
        assert shown == report.mean
        # what really arrived was nothing: the expert served what waited, less
        arrived = {one["name"]: 0.0 for one in REQUEST["services"]}
        await orchestrator.decisions.report_outcome(last.decision_id, {"arrived": arrived})
        told = await orchestrator.regret.replay(AGENT)
        assert told.num_realised == 1
        assert told.mean < report.mean
        huge = {"arrived": dict.fromkeys(arrived, 10**400)}  # no float holds it
        await orchestrator.decisions.report_outcome(compared.decision_id, huge)
        assert (await orchestrator.regret.replay(AGENT)).num_realised == 1
        assert await events(application.database, "regret_high") == []
        await keep(orchestrator, regret_limit=expected / 2)
        (looked,) = await orchestrator.regret.look()
        await orchestrator.regret.look()
        assert looked.is_high
        (event_told,) = await events(application.database, "regret_high")
        assert event_told["agent"] == AGENT
        assert event_told["mean"] == pytest.approx(looked.mean)


async def test_consecutive_requests_tell_what_arrived(request, tmp_path):
    async with lazy_house(request, tmp_path, "file") as application:
        orchestrator = application.orchestrator
        await keep(orchestrator)
        services = [dict(one) for one in REQUEST["services"]]
        await orchestrator.invoke(AGENT, REQUEST)
        for one in services:
            one["recent_demand"] = [*one["recent_demand"][1:], 5.0]
        await orchestrator.invoke(AGENT, {**REQUEST, "services": services})
        await orchestrator.invoke(AGENT, REQUEST)  # follows nothing
        report = await orchestrator.regret.replay(AGENT)
        assert (report.num_decisions, report.num_realised) == (3, 1)


async def test_people_count_for_what_they_did(request, tmp_path):
    async with lazy_house(request, tmp_path, "file") as application:
        orchestrator = application.orchestrator
        await keep(orchestrator, needs_approval=True)
        compared = await orchestrator.invoke(AGENT, {**REQUEST, "compare": True})
        waiting = await orchestrator.invoke(AGENT, REQUEST)
        rejected = await orchestrator.invoke(AGENT, REQUEST)
        wish = {
            "services": [
                {"name": one.name, "allocation": one.allocation} for one in compared.expert.services
            ]
        }
        await orchestrator.reviews.override(compared.decision_id, wish, by="x")
        await orchestrator.reviews.reject(rejected.decision_id, by="x")
        assert waiting.approval == "waiting"
        report = await orchestrator.regret.replay(AGENT)
        assert (report.num_decisions, report.num_skipped) == (1, 2)
        assert report.mean == pytest.approx(0.0, abs=1e-6)


async def test_a_damaged_request_is_skipped(request, tmp_path):
    async with lazy_house(request, tmp_path, "file") as application:
        orchestrator = application.orchestrator
        decision = await orchestrator.invoke(AGENT, REQUEST)
        good = {
            "agent": AGENT,
            "decision": decision.model_dump_json(),
            "request": json.dumps(REQUEST),
        }
        keeper = orchestrator.supervision.kept
        keeper.keep(kept(1, **good), newest=9)
        keeper.keep(kept(2, **{**good, "request": '{"services": 3}'}), newest=9)
        keeper.keep(kept(3, **{**good, "version": "7"}), newest=9)
        keeper.keep(kept(4, **{**good, "decision": "{}"}), newest=9)
        report = await orchestrator.regret.replay(AGENT)
        assert (report.num_decisions, report.num_skipped) == (1, 3)
