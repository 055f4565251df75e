"""Runs of library use: the trainer's thread tells, and the event loop writes before it goes on."""

from __future__ import annotations

import json
import sqlite3
from types import SimpleNamespace

import anyio
import anyio.to_thread
import pytest

from rl.artifacts import Baseline, Evaluation, PolicyCard
from rl.training.experiment_manager import ExperimentManager
from rl.training.recorder import CheckpointRecord, EvaluationRecord, StopReason
from rl.training.training_config import TrainingConfig
from rl.training.training_events import (
    CheckpointWritten,
    Evaluated,
    MetricsReported,
    RunEnded,
    RunStarted,
    StageChanged,
    TrainingEvents,
)
from utils.clock import ManualClock
from utils.persistence.engine import open_database
from utils.persistence.run_facts import RunData, RunLineage
from utils.persistence.run_log import RunState
from utils.persistence.run_queries import RunNotFoundError

pytestmark = pytest.mark.anyio
CONFIG = TrainingConfig(total_episodes=10, num_envs=2, seed=5, experiment_name="small")
CHECKPOINT = CheckpointRecord(path="/x/c.json", sha256="c" * 64, env_steps=144, size_bytes=9)

CARD = PolicyCard(
    agent="resource_allocator",
    run_id="r",
    checkpoint_sha256="c" * 64,
    commit="",
    data="synthetic",
    evaluation=Evaluation(scenarios="s", num_episodes=1, kpi=1.0, kpi_low=0.0, kpi_high=2.0),
    baseline=Baseline(expert="equal", parameters=(), kpi=0.5),
    validated_for=(),
    limits=(),
    created_at="2026-01-01T00:00:00+00:00",
)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def lab(tmp_path):
    database = await open_database(tmp_path / "q.sqlite")
    clock, events, heard = ManualClock(), TrainingEvents(), []
    events.subscribe(heard.append)
    manager = ExperimentManager(database, clock=clock, events=events)
    yield SimpleNamespace(
        manager=manager, clock=clock, events=events, heard=heard, path=database.path
    )
    await database.aclose()


def count(path, table):
    """Look from outside, as another process would: only what is committed."""
    with sqlite3.connect(path) as connection:
        (number,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.close()
    return number


def result(**changes):
    fields = {"stopped": None, "artifact_sha256": None, "artifact_bytes": 0, "card": None}
    lineage = RunLineage(data=(RunData(role="held_out", about="made up", sha256="d" * 64),))
    return SimpleNamespace(**{"lineage": lineage, **fields, **changes})


async def in_thread(function, *arguments):
    return await anyio.to_thread.run_sync(function, *arguments)


async def test_a_run_is_stored_with_all_that_its_numbers_depend_on(lab):
    run_id = await lab.manager.open_run(CONFIG)
    details = await lab.manager.run(run_id)
    assert await lab.manager.config(run_id) == CONFIG
    assert details.summary.experiment == "small"
    assert details.summary.seed == 5
    assert details.summary.state is RunState.RUNNING
    assert details.summary.total_env_steps == CONFIG.total_env_steps
    assert {"python", "torch", "numpy"} <= set(details.versions)
    assert [run.id for run in await lab.manager.shelf.find()] == [run_id]
    assert isinstance(lab.heard[0], RunStarted)


async def test_metrics_wait_for_a_second(lab):
    run_id = await lab.manager.open_run(CONFIG)
    recorder = lab.manager.recorder(run_id, CONFIG)
    await in_thread(recorder.metrics, 1, {"loss": 1.0})
    lab.clock.advance(0.9)
    await in_thread(recorder.metrics, 2, {"loss": 2.0})
    assert count(lab.path, "metric") == 0
    lab.clock.advance(0.1)
    await in_thread(recorder.metrics, 3, {"loss": 3.0})
    assert count(lab.path, "metric") == 3
    await in_thread(recorder.metrics, 4, {"loss": 4.0})
    assert count(lab.path, "metric") == 3
    assert [event.env_steps for event in lab.heard if isinstance(event, MetricsReported)] == [
        *(1, 2, 3)
    ]


async def test_a_thousand_values_do_not_wait(lab):
    run_id = await lab.manager.open_run(CONFIG)
    recorder = lab.manager.recorder(run_id, CONFIG)
    values = {f"m{index}": 0.5 for index in range(500)}
    await in_thread(recorder.metrics, 1, values)
    assert count(lab.path, "metric") == 0
    await in_thread(recorder.metrics, 2, values)
    assert count(lab.path, "metric") == 1000


async def test_a_checkpoint_is_committed_when_the_call_returns(lab):
    run_id = await lab.manager.open_run(CONFIG)
    recorder = lab.manager.recorder(run_id, CONFIG, fence=3)

    def train():
        recorder.metrics(144, {"loss": 1.0})
        recorder.checkpoint_written(CHECKPOINT)
        return count(lab.path, "checkpoint"), count(lab.path, "metric")

    assert await in_thread(train) == (1, 1)
    (stored,) = await lab.manager.checkpoints(run_id)
    assert (stored.path, stored.fence, stored.step) == (CHECKPOINT.path, 3, 144)


async def test_evaluations_and_stages_are_committed_when_the_call_returns(lab):
    run_id = await lab.manager.open_run(CONFIG)
    recorder = lab.manager.recorder(run_id, CONFIG)
    scores = {"kpi": 2.0, "kpi_low": 1.0}

    def train():
        recorder.evaluated(EvaluationRecord(env_steps=72, scores=scores))
        recorder.evaluated(EvaluationRecord(env_steps=72, scores=scores))
        recorder.stage_changed(72, "training")
        return count(lab.path, "evaluation")

    assert await in_thread(train) == 1
    details = await lab.manager.run(run_id)
    assert details.evaluations[0].scores == scores
    assert details.summary.stage == "training"


async def test_listeners_hear_of_things_once_they_are_committed(lab):
    tables = {MetricsReported: "metric", Evaluated: "evaluation", CheckpointWritten: "checkpoint"}
    seen = []

    def look(event):
        table = tables.get(type(event))
        seen.append((type(event), count(lab.path, table) if table else None))

    run_id = await lab.manager.open_run(CONFIG)
    lab.events.subscribe(look)
    recorder = lab.manager.recorder(run_id, CONFIG)

    def train():
        recorder.metrics(1, {"loss": 1.0})
        recorder.evaluated(EvaluationRecord(env_steps=1, scores={}))
        recorder.metrics(2, {"loss": 1.0})
        recorder.checkpoint_written(CHECKPOINT)
        recorder.stage_changed(1, "late")

    await in_thread(train)
    assert seen == [
        (MetricsReported, 1),
        (Evaluated, 1),
        (MetricsReported, 2),
        (CheckpointWritten, 1),
        (StageChanged, None),
    ]


async def test_the_end_brings_the_last_metrics_and_the_model(lab):
    run_id = await lab.manager.open_run(CONFIG)
    recorder = lab.manager.recorder(run_id, CONFIG)
    await in_thread(recorder.metrics, 7, {"loss": 1.0})
    done = result(artifact_sha256="a" * 64, artifact_bytes=12, card=CARD)
    assert await lab.manager.finish(run_id, done) is RunState.SUCCEEDED
    details = await lab.manager.run(run_id)
    assert details.summary.state is RunState.SUCCEEDED
    assert details.summary.ended_at is not None
    assert details.latest["loss"].step == 7
    (model,) = details.models
    assert (model.agent, model.version, model.sha256) == ("resource_allocator", 1, "a" * 64)
    assert json.loads(json.dumps(model.card))["run_id"] == "r"
    assert isinstance(lab.heard[-1], RunEnded)
    points = await lab.manager.metrics(run_id, "loss")
    assert [(point.step, point.value) for point in points] == [(7, 1.0)]


async def test_a_broken_run_says_why(lab):
    run_id = await lab.manager.open_run(CONFIG)
    recorder = lab.manager.recorder(run_id, CONFIG)
    await in_thread(recorder.metrics, 7, {"loss": 1.0})
    await lab.manager.fail(run_id, ValueError("the answer is 41"))
    details = await lab.manager.run(run_id)
    assert details.summary.state is RunState.FAILED
    assert details.summary.error == "ValueError: the answer is 41"
    assert details.summary.env_steps == 7
    await lab.manager.reopen_run(run_id)
    summary = (await lab.manager.run(run_id)).summary
    assert (summary.state, summary.error) == (RunState.RUNNING, None)


@pytest.mark.parametrize(
    ("reason", "state"),
    [(StopReason.CANCEL, RunState.CANCELLED), (StopReason.PAUSE, RunState.PAUSED)],
)
async def test_a_stopped_run_is_no_success(lab, reason, state):
    run_id = await lab.manager.open_run(CONFIG)
    recorder = lab.manager.recorder(run_id, CONFIG)
    assert recorder.should_stop() is None
    recorder.request_stop(reason)
    assert recorder.should_stop() is reason
    assert await lab.manager.finish(run_id, result(stopped=reason)) is state
    assert (await lab.manager.run(run_id)).summary.state is state


async def test_a_listener_that_breaks_harms_nobody(lab):
    def break_down(_event):
        raise RuntimeError("planted")

    unsubscribe = lab.events.subscribe(break_down)
    after = []
    lab.events.subscribe(after.append)
    run_id = await lab.manager.open_run(CONFIG)
    assert len(after) == 1
    unsubscribe()
    unsubscribe()
    assert (await lab.manager.run(run_id)).summary.state is RunState.RUNNING


async def test_an_unknown_run_is_named(lab):
    with pytest.raises(RunNotFoundError, match="nobody"):
        await lab.manager.reopen_run("nobody")
