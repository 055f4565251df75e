"""The page Engine: what it shows of a busy server, and that its switches do what they say."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest import mock

import httpx
import pytest

from console import engine_rows as rows
from orchestration.care.engine_view import LiveJob, WorkerView
from orchestration.endpoints.engine_routes import EngineDetails
from orchestration.endpoints.job_views import JobView
from orchestration.jobs import Desired, JobState, Resources
from orchestration.pipelines import submission
from tests.console.running import open_page, running_server, speak_with
from tests.orchestration.house import Hand

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PLAN = {"retrain": {"agent": "resource_allocator"}}
TIMING = {"kind": "cron", "expression": "0 3 * * *"}


@pytest.fixture
def busy(tmp_path, monkeypatch):
    """A running job, two that wait, a schedule; and how to ask the server past the page."""
    with (
        running_server(tmp_path, versions=1) as (doors, portal),
        httpx.Client(base_url=doors.url, timeout=60) as http,
    ):
        for seed in (1, 2, 3):
            http.post("/v1/jobs", json={"config": {"seed": seed}}).raise_for_status()
        schedule = {"name": "nightly", "timing": TIMING, "plan": PLAN}
        with mock.patch.object(submission, "plan_retraining"):  # as if a run had made it
            http.post("/v1/schedules", json=schedule).raise_for_status()
        portal.call(Hand(doors.application).claim)
        speak_with(monkeypatch, doors.url)
        yield http


def states(http):
    return sorted(job["state"] for job in http.get("/v1/jobs").json()["items"])


def test_a_busy_engine_is_seen_and_a_job_gets_another_fate(busy):
    page = open_page("engine")
    assert [one.value for one in page.metric[:3]] == ["1", "2", "2"]
    (queue,) = page.dataframe[0].value.to_dict("records")
    assert queue == {"kind": "train", "queued": 2, "running": 1}
    (live,) = page.dataframe[1].value.to_dict("records")
    assert (live["state"], live["worker"], live["attempt"]) == ("running", "w", 1)
    assert "running" in page.selectbox(key="engine-job").options[0]
    waiting = page.selectbox(key="engine-job").options[1]
    page.selectbox(key="engine-job").select(waiting).run()
    assert page.button(key="engine-resume").disabled
    page.button(key="engine-pause").click().run()
    assert "is now" in page.success[0].value
    assert "paused" in page.success[0].value
    assert states(busy) == ["paused", "queued", "running"]
    page.button(key="engine-cancel").click().run()
    page.button(key="engine-retry").click().run()
    assert "queued again" in page.success[0].value
    assert states(busy) == ["cancelled", "queued", "queued", "running"]
    assert [one.message for one in page.exception] == []


def test_a_job_that_ended_meanwhile_is_told_and_not_retried_twice(busy):
    page = open_page("engine")
    busy.post("/v1/engine/halt", json={"fate": "cancel"}).raise_for_status()
    page.button(key="engine-pause").click().run()
    assert [one.message for one in page.exception] == []
    assert states(busy) == ["cancelled", "cancelled", "cancelling"]


def test_schedules_are_paused_resumed_and_fired(busy):
    page = open_page("engine")
    (row,) = next(
        frame.value.to_dict("records") for frame in page.dataframe if "schedule" in frame.value
    )
    assert (row["when"], row["does"]) == ("0 3 * * * (UTC)", "retrain resource_allocator")
    page.button(key="engine-schedule-pause").click().run()
    assert not busy.get("/v1/schedules/nightly").json()["active"]
    page.button(key="engine-schedule-resume").click().run()
    assert busy.get("/v1/schedules/nightly").json()["active"]
    page.button(key="engine-schedule-run").click().run()
    assert "fired" in page.success[0].value
    assert len(busy.get("/v1/schedules/nightly/fires").json()) == 1


@pytest.mark.parametrize("typed", ["", "yes", "cancel all jobs"])
def test_nothing_is_stopped_by_the_wrong_words(busy, typed):
    page = open_page("engine")
    page.text_input(key="engine-phrase").input(typed)
    halt(page)
    assert "Nothing was stopped" in page.error[0].value
    assert states(busy) == ["queued", "queued", "running"]
    assert busy.get("/v1/schedules/nightly").json()["active"]


def test_the_kill_switch_stops_all_and_what_would_start_more(busy):
    page = open_page("engine")
    page.radio(key="engine-fate").set_value("cancel").run()
    page.text_input(key="engine-phrase").input(" Cancel all jobs")
    halt(page)
    assert page.success[0].value == "3 jobs were told to cancel; 1 schedules were paused."
    assert states(busy) == ["cancelled", "cancelled", "cancelling"]
    assert not busy.get("/v1/schedules/nightly").json()["active"]


def halt(page):
    next(one for one in page.button if one.label == "Stop all work").click().run()


def view():
    live = LiveJob(
        id="0" * 8 + "abcdefgh", kind="train", state="running", desired="pause", attempt=2, fence=5,
        worker="w" * 20, lease_left_seconds=-7.0, done=3, total=4, progress_age_seconds=3725.0,
        running_seconds=90_000.0, resources=Resources(cpu_milli=1500, memory_mb=2048),
    )  # fmt: skip
    worker = WorkerView(
        id="w" * 20, host="here/boot", pid=7, seen_seconds=61.0, jobs=1, parallel_jobs=2,
        capacity=None, is_alive=False,
    )  # fmt: skip
    kinds = {"train": {JobState.RUNNING: 1, JobState.FAILED: 2}}
    return EngineDetails(
        at=NOW, kinds=kinds, due=0, oldest_due_seconds=None, live=[live], workers=[worker],
        events=[],
    )  # fmt: skip


def test_rows_say_what_an_operator_must_see():
    (live,) = rows.live_rows(view().live)
    assert live == {
        "job": "abcdefgh", "kind": "train", "state": "running, pause asked", "progress": 0.75,
        "heard": "1 h 2 min ago", "runs for": "1 d 1 h", "attempt": 2, "lease": "over for 7 s",
        "slots": "1.5 cpu 2,048 MB", "worker": "wwwwwwww",
    }  # fmt: skip
    (worker,) = rows.worker_rows(view().workers)
    assert (worker["process"], worker["host"], worker["last seen"]) == (
        "gone",
        "here",
        "1 min 1 s ago",
    )
    assert rows.headline(view())["Slots free"] == "0 of 0", "a worker that is gone has no slots"
    assert rows.queue_rows(view()) == [{"kind": "train", "running": 1, "failed": 2}]


@pytest.mark.parametrize(
    ("state", "words"), [("paused", "paused 50%"), ("running", "running 50%, pause asked")]
)
def test_what_was_asked_is_told_until_it_is_so(state, words):
    job = JobView.model_construct(
        id="0" * 28 + "abcdefgh", kind="train", state=JobState(state), desired=Desired.PAUSE,
        progress_done=1, progress_total=2,
    )  # fmt: skip
    assert rows.job_label(job) == f"abcdefgh · train · {words}"


@pytest.mark.parametrize(
    ("timing", "words"),
    [
        ({"kind": "interval", "seconds": 5400}, "every 1 h 30 min"),
        ({"kind": "once", "at": "2026-01-01T00:00:00+00:00"}, "once, at 2026-01-01T00:00:00+00:00"),
        ({"kind": "event", "type": "new_data"}, "after new_data"),
        ({"kind": "lunar"}, "lunar"),
    ],
)
def test_timings_in_words(timing, words):
    assert rows.timing_words(timing) == words
