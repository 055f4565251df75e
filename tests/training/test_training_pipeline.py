"""The async face: promised results, a responsive loop, cancel and resume, errors that surface."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import numpy as np
import pytest

from rl.artifacts import PolicyArtifact
from rl.domains.allocation_experts import EXPERTS, ExpertParameters
from rl.evaluation.tuning import TunedExpert
from rl.training import allocation_problem, allocation_world, training_pipeline
from rl.training.checkpointing import CheckpointCorruptError, CheckpointFolder
from rl.training.conclusion import TrainingResult
from rl.training.experiment_manager import ExperimentManager
from rl.training.run_recorder import RunRecorder
from rl.training.training_config import TrainingConfig
from rl.training.training_events import CheckpointWritten, RunStarted, TrainingEvents
from rl.training.training_pipeline import (
    RLTrainingPipeline,
    TrainingResults,
    create_resource_allocation_pipeline,
)
from utils.errors import ConfigError
from utils.persistence.artifact_store import DirectoryArtifactStore
from utils.persistence.engine import open_database
from utils.persistence.run_facts import RunData, RunLineage
from utils.persistence.run_log import RunState
from utils.persistence.run_queries import RunNotFoundError

pytestmark = pytest.mark.anyio
CONFIG = TrainingConfig(total_episodes=8, num_envs=2, eval_frequency=4, checkpoint_frequency=2)
STEPS = CONFIG.total_env_steps
WHOLE_WORK = 5
PROMISED = {
    *("config", "total_episodes", "total_steps", "best_eval_score", "training_time_hours"),
    *("final_performance", "curriculum_progress"),
}


@pytest.fixture
def anyio_backend():
    return "asyncio"


class FakeTraining:
    """Stands for `train_problem`: updates that take no time, real checkpoints."""

    def __init__(self, *, waits_at=None, error=None):
        self.calls = []
        self.arrived = threading.Event()
        self.go_on = threading.Event()
        self._waits_at = waits_at
        self._error = error

    def __call__(self, config, recorder, places, *, run_id, problem, agent):
        resume, thread = places.resume, threading.get_ident()
        self.calls.append(
            {"fence": places.fence, "resume": resume, "thread": thread, "init": places.init}
        )
        checkpoints = CheckpointFolder(places.folder / "checkpoints", fence=places.fence)
        step, stopped = 0 if resume is None else int(resume.path.split("step-")[1][:12]), None
        while step < WHOLE_WORK and stopped is None:
            step += 1
            recorder.metrics(step, {"loss": 1 / step})
            if step == self._waits_at:
                self.arrived.set()
                assert self.go_on.wait(20)
            if self._error is not None:
                raise self._error
            stopped = recorder.should_stop()
            recorder.checkpoint_written(checkpoints.write(step, {}, {}))
        return TrainingResult(
            agent="resource_allocator",
            ended="" if stopped else "all steps are done",
            episodes=step,
            env_steps=step,
            updates=step,
            stopped=stopped,
            best_score=1.5,
            artifact_sha256=None,
            artifact_bytes=0,
            card=None,
            tables=(),
            curriculum=None,
            lineage=RunLineage(data=(RunData(role="held_out", about="made up", sha256="d" * 64),)),
            report="",
        )


@pytest.fixture
def fake(monkeypatch):
    original = RunRecorder.request_stop

    def install(**options):
        training = FakeTraining(**options)
        monkeypatch.setattr(training_pipeline, "train_problem", training)

        def request_stop(recorder, reason):
            original(recorder, reason)
            training.go_on.set()

        monkeypatch.setattr(RunRecorder, "request_stop", request_stop)
        return training

    return install


@asynccontextmanager
async def manager_of(folder):
    database = await open_database(folder / "quartermaster.sqlite")
    yield ExperimentManager(database)
    await database.aclose()


async def only_run(folder):
    async with manager_of(folder) as manager:
        (run,) = await manager.runs()
        return run


async def cancel_in_the_middle(pipeline, training, **options):
    """Cancel `train` while its thread is inside an update."""
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: pipeline.train(**options))
        await anyio.to_thread.run_sync(training.arrived.wait)
        group.cancel_scope.cancel()


async def test_training_answers_with_the_promised_keys(fake, tmp_path):
    training = fake()
    results = await RLTrainingPipeline(CONFIG, output_dir=tmp_path).train()
    assert set(results) >= PROMISED
    assert set(results) == set(TrainingResults.__annotations__)
    assert results["total_steps"] == WHOLE_WORK
    assert results["best_eval_score"] == 1.5
    assert results["curriculum_progress"] is None
    assert training.calls[0]["thread"] != threading.get_ident()
    run = await only_run(tmp_path)
    assert (run.id, run.state) == (results["run_id"], RunState.SUCCEEDED)
    assert run.env_steps == WHOLE_WORK


def test_a_plain_script_can_run_it(fake, tmp_path):
    fake()
    pipeline = create_resource_allocation_pipeline(3, 8, output_dir=tmp_path, seed=2)
    results = asyncio.run(pipeline.train())
    assert results["config"]["num_agents"] == 3
    assert results["config"]["seed"] == 2


async def test_the_loop_stays_responsive(fake, tmp_path):
    training = fake(waits_at=2)
    turns = 0
    async with anyio.create_task_group() as group:
        group.start_soon(RLTrainingPipeline(CONFIG, output_dir=tmp_path).train)
        await anyio.to_thread.run_sync(training.arrived.wait)
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
            turns += 1
        training.go_on.set()
    assert turns == 50


async def test_cancelling_leaves_a_checkpoint_and_a_run_that_says_so(fake, tmp_path):
    training = fake(waits_at=3)
    pipeline = RLTrainingPipeline(CONFIG, output_dir=tmp_path)
    await cancel_in_the_middle(pipeline, training)
    run = await only_run(tmp_path)
    assert (run.state, run.env_steps) == (RunState.CANCELLED, 3)
    async with manager_of(tmp_path) as manager:
        newest = (await manager.checkpoints(run.id))[0]
    assert newest.step == 3

    again = fake()
    results = await pipeline.train(resume=run.id)
    assert results["run_id"] == run.id
    assert again.calls[0]["resume"].sha256 == newest.sha256
    assert again.calls[0]["fence"] == 1
    run = await only_run(tmp_path)
    assert (run.state, run.env_steps) == (RunState.SUCCEEDED, WHOLE_WORK)


async def test_an_interrupt_of_plain_asyncio_stops_it_too(fake, tmp_path):
    training = fake(waits_at=2)
    task = asyncio.ensure_future(RLTrainingPipeline(CONFIG, output_dir=tmp_path).train())
    await anyio.to_thread.run_sync(training.arrived.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await only_run(tmp_path)).state is RunState.CANCELLED


async def test_errors_surface_as_they_are_and_the_run_says_so(fake, tmp_path):
    fake(error=ZeroDivisionError("planted"))
    with pytest.raises(ZeroDivisionError, match="planted"):
        await RLTrainingPipeline(CONFIG, output_dir=tmp_path).train()
    run = await only_run(tmp_path)
    assert (run.state, run.error) == (RunState.FAILED, "ZeroDivisionError: planted")


async def test_a_damaged_checkpoint_is_replaced_by_the_one_before(fake, tmp_path):
    training = fake(waits_at=3)
    pipeline = RLTrainingPipeline(CONFIG, output_dir=tmp_path)
    await cancel_in_the_middle(pipeline, training)
    run = await only_run(tmp_path)
    folder = tmp_path / "runs" / run.id / "checkpoints"
    newest, before = sorted(folder.glob("*.safetensors"), reverse=True)[:2]
    newest.write_bytes(b"")
    again = fake()
    await pipeline.train(resume=run.id)
    assert again.calls[0]["resume"].path == str(before.with_suffix(".json"))


async def test_no_whole_checkpoint_is_one_clear_error(fake, tmp_path):
    training = fake(waits_at=3)
    pipeline = RLTrainingPipeline(CONFIG, output_dir=tmp_path)
    await cancel_in_the_middle(pipeline, training)
    run = await only_run(tmp_path)
    for file in (tmp_path / "runs" / run.id / "checkpoints").iterdir():
        file.unlink()
    with pytest.raises(CheckpointCorruptError, match="no whole checkpoint"):
        await pipeline.train(resume=run.id)
    assert (await only_run(tmp_path)).state is RunState.CANCELLED


async def test_what_cannot_be_resumed_is_refused(fake, tmp_path):
    fake()
    pipeline = RLTrainingPipeline(CONFIG, output_dir=tmp_path)
    with pytest.raises(RunNotFoundError):
        await pipeline.train(resume="nobody")
    done = await pipeline.train()
    with pytest.raises(ConfigError, match="has finished"):
        await pipeline.train(resume=done["run_id"])
    other = RLTrainingPipeline(replace(CONFIG, num_agents=2), output_dir=tmp_path)
    with pytest.raises(ConfigError, match="num_agents=2"):
        await other.train(resume=done["run_id"])


async def test_a_run_begins_with_another_and_says_whose_child_it_is(fake, tmp_path):
    fake()
    first = await RLTrainingPipeline(CONFIG, output_dir=tmp_path).train()
    child = fake(waits_at=2)
    pipeline = RLTrainingPipeline(replace(CONFIG, init_from=first["run_id"]), output_dir=tmp_path)
    await cancel_in_the_middle(pipeline, child)
    async with manager_of(tmp_path) as manager:
        (run, _) = await manager.runs()
        (parent,) = (await manager.run(run.id)).facts.parents
    assert (parent.relation.value, parent.run_id) == ("init_from", first["run_id"])
    assert child.calls[0]["init"].sha256 == parent.checkpoint_sha256
    again = fake()
    await pipeline.train(resume=run.id)
    assert again.calls[0]["init"] is None
    nobody = RLTrainingPipeline(replace(CONFIG, init_from="nobody"), output_dir=tmp_path)
    with pytest.raises(RunNotFoundError):
        await nobody.train()
    async with manager_of(tmp_path) as manager:
        assert len(await manager.runs()) == 2


# The real thing, in a world small enough for a test


@pytest.fixture
def small_world(monkeypatch):
    for name in ("NUM_VALIDATION_WINDOWS", "NUM_TUNING_WINDOWS", "NUM_SYNTHETIC_BLOCKS"):
        monkeypatch.setattr(allocation_world, name, 2)
    monkeypatch.setattr(allocation_world, "SYNTHETIC_PER_BLOCK", 1)
    monkeypatch.setattr(allocation_world, "locate_traces", lambda: None)

    def untuned(*_arguments, names):
        default = ExpertParameters()
        return {name: TunedExpert(name=name, parameters=default, score=0.0) for name in names}

    assert set(untuned(names=list(EXPERTS))) == set(EXPERTS)
    monkeypatch.setattr(allocation_problem, "tune_experts", untuned)


def layers(folder, results):
    content = DirectoryArtifactStore(folder / "artifacts").get(results["artifact_sha256"])
    artifact = PolicyArtifact.from_bytes(content)
    return [array for layer in artifact.layers for array in (layer.weight, layer.bias)]


@pytest.mark.slow
async def test_a_cancelled_real_run_goes_on_as_if_nothing_had_happened(small_world, tmp_path):
    whole = await RLTrainingPipeline(CONFIG, output_dir=tmp_path / "whole").train()
    assert whole["total_steps"] == STEPS
    assert whole["total_episodes"] == CONFIG.total_episodes
    assert {row["name"] for row in whole["evaluation"]} == {
        *("random", *EXPERTS, CONFIG.algorithm, "bound")
    }
    assert whole["final_performance"]["kpi"] <= whole["final_performance"]["bound"]
    json.dumps(whole, allow_nan=False)

    events, heard = TrainingEvents(), []
    events.subscribe(heard.append)
    folder = tmp_path / "halves"
    pipeline = RLTrainingPipeline(CONFIG, output_dir=folder, events=events)
    with anyio.CancelScope() as scope:
        events.subscribe(
            lambda event: scope.cancel() if isinstance(event, CheckpointWritten) else None
        )
        await pipeline.train()
    assert scope.cancelled_caught
    run = await only_run(folder)
    assert run.state is RunState.CANCELLED
    assert 0 < run.env_steps < STEPS
    assert isinstance(heard[0], RunStarted)

    halves = await RLTrainingPipeline(CONFIG, output_dir=folder).train(resume=run.id)
    pairs = zip(layers(folder, halves), layers(tmp_path / "whole", whole), strict=True)
    assert all(np.array_equal(ours, theirs) for ours, theirs in pairs)
    async with manager_of(folder) as manager:
        details = await manager.run(run.id)
        curve = await manager.metrics(run.id, "return")
    assert details.summary.state is RunState.SUCCEEDED
    assert [model.sha256 for model in details.models] == [halves["artifact_sha256"]]
    assert len({point.step for point in curve}) == len(curve) == 4
