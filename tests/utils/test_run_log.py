"""Runs in a real database: told twice, written once; read in bounded pieces."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError

from utils.clock import ManualClock
from utils.errors import ConfigError
from utils.persistence import experiments, jobs, registry
from utils.persistence.engine import open_database
from utils.persistence.model_log import NewArtifact, register_model
from utils.persistence.run_filter import list_runs
from utils.persistence.run_log import (
    NewCheckpoint,
    NewRun,
    RunState,
    add_checkpoint,
    add_evaluation,
    add_metrics,
    adopt_checkpoints,
    create_experiment,
    create_run,
    set_run_stage,
    set_run_state,
)
from utils.persistence.run_queries import (
    RunNotFoundError,
    find_run_of_job,
    get_run,
    list_checkpoints,
    list_evaluations,
    read_curve,
)

pytestmark = pytest.mark.anyio
START = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = {"seed": 3, "ppo": {"gamma": 0.99}, "layers": [64, 64], "odd": math.inf}


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def database(tmp_path):
    database = await open_database(tmp_path / "q.sqlite")
    yield database
    await database.aclose()


@pytest.fixture
def clock():
    return ManualClock(START)


def new_run(run_id="r1", experiment="first", **changes):
    return NewRun(id=run_id, experiment=experiment, seed=3, config=CONFIG, **changes)


async def write(database, function, *arguments, **options):
    async with database.write() as connection:
        return await function(connection, *arguments, **options)


async def read(database, function, *arguments, **options):
    async with database.read() as connection:
        return await function(connection, *arguments, **options)


async def count(database, table):
    async with database.read() as connection:
        return await connection.scalar(select(func.count()).select_from(table))


async def add_job(database, job_id="j1"):
    row = {
        "id": job_id,
        "kind": "train",
        "version": 1,
        "spec": {},
        "state": "running",
        "desired": "run",
        "max_attempts": 3,
        "max_lost": 3,
        "run_at": START,
        "created_at": START,
    }
    async with database.write() as connection:
        await connection.execute(insert(jobs.job), row)


async def test_an_experiment_is_made_once(database, clock):
    first = await write(database, create_experiment, "q", clock=clock, description="why")
    again = await write(database, create_experiment, "q", clock=clock, description="other")
    assert first == again
    assert await count(database, experiments.experiment) == 1


async def test_a_run_is_made_once_with_its_parameters(database, clock):
    run = new_run(versions={"torch": "2"}, code_commit="abc", total_env_steps=100)
    assert await write(database, create_run, run, clock=clock)
    assert not await write(database, create_run, run, clock=clock)
    details = await read(database, get_run, "r1")
    assert details.config == {**CONFIG, "odd": None}
    assert details.versions == {"torch": "2"}
    assert details.code_commit == "abc"
    assert details.summary.experiment == "first"
    assert details.summary.total_env_steps == 100
    assert details.summary.state is RunState.RUNNING
    async with database.read() as connection:
        columns = select(experiments.param.c.key, experiments.param.c.value)
        params = dict(map(tuple, (await connection.execute(columns)).all()))
    assert params == {"seed": "3", "ppo.gamma": "0.99", "layers": "[64, 64]", "odd": "None"}


async def test_repeated_metrics_keep_the_first_value_and_the_newest_step(database, clock):
    await write(database, create_run, new_run(), clock=clock)
    rows = [(10, {"loss": 1.0, "return": -5.0}), (20, {"loss": 0.5})]
    await write(database, add_metrics, "r1", rows, clock=clock)
    await write(database, add_metrics, "r1", [(10, {"loss": 9.0})], clock=clock)
    curve = await read(database, read_curve, "r1", "loss")
    assert [(point.step, point.value) for point in curve] == [(10, 1.0), (20, 0.5)]
    details = await read(database, get_run, "r1")
    newest = {key: (point.step, point.value) for key, point in details.latest.items()}
    assert newest == {"loss": (20, 0.5), "return": (10, -5.0)}
    assert details.summary.env_steps == 20


async def test_values_that_are_not_finite_are_absent_ones(database, clock):
    await write(database, create_run, new_run(), clock=clock)
    odd = {"a": math.nan, "b": -math.inf}
    await write(database, add_metrics, "r1", [(1, odd)], clock=clock)
    await write(database, add_evaluation, "r1", 1, odd, clock=clock)
    details = await read(database, get_run, "r1")
    assert {key: point.value for key, point in details.latest.items()} == {"a": None, "b": None}
    assert details.evaluations[0].scores == {"a": None, "b": None}


async def test_metrics_of_an_unknown_run_are_refused(database, clock):
    with pytest.raises(IntegrityError):
        await write(database, add_metrics, "nobody", [(1, {"a": 1.0})], clock=clock)


async def test_no_metrics_write_nothing(database, clock):
    await write(database, add_metrics, "nobody", [(1, {})], clock=clock)
    assert await count(database, experiments.metric) == 0


@pytest.mark.parametrize(
    ("points", "steps"), [(10, range(10)), (5, [1, 3, 5, 7, 9]), (3, [1, 5, 9]), (1, [9])]
)
async def test_a_long_curve_is_thinned_and_keeps_its_end(database, clock, points, steps):
    await write(database, create_run, new_run(), clock=clock)
    rows = [(step, {"loss": float(step)}) for step in range(10)]
    await write(database, add_metrics, "r1", rows, clock=clock)
    curve = await read(database, read_curve, "r1", "loss", max_points=points)
    assert [point.step for point in curve] == list(steps)


async def test_reads_are_bounded(database):
    with pytest.raises(ConfigError, match="max_points=0"):
        await read(database, read_curve, "r1", "loss", max_points=0)
    with pytest.raises(ConfigError, match="limit=5000"):
        await read(database, list_runs, limit=5000)


async def test_an_evaluation_is_written_once_per_step_and_name(database, clock):
    await write(database, create_run, new_run(), clock=clock)
    for scores in ({"kpi": 1.0}, {"kpi": 2.0}):
        await write(database, add_evaluation, "r1", 50, scores, clock=clock)
    await write(database, add_evaluation, "r1", 50, {"kpi": 3.0}, clock=clock, name="stress")
    await write(database, add_evaluation, "r1", 40, {"kpi": 0.5}, clock=clock)
    found = await read(database, list_evaluations, "r1")
    told = [(one.env_steps, one.name, one.scores["kpi"]) for one in found]
    assert told == [(40, "validation", 0.5), (50, "stress", 3.0), (50, "validation", 1.0)]


async def test_a_state_carries_its_error_and_its_end(database, clock):
    await write(database, create_run, new_run(), clock=clock)
    clock.advance(5)
    await write(database, set_run_state, "r1", RunState.FAILED, clock=clock, error="broke")
    clock.advance(5)
    await write(database, set_run_state, "r1", RunState.FAILED, clock=clock, error="broke")
    summary = (await read(database, get_run, "r1")).summary
    assert (summary.state, summary.error) == (RunState.FAILED, "broke")
    assert (summary.ended_at - START).total_seconds() == 5
    await write(database, set_run_state, "r1", RunState.RUNNING, clock=clock)
    summary = (await read(database, get_run, "r1")).summary
    assert (summary.state, summary.error, summary.ended_at) == (RunState.RUNNING, None, None)


async def test_a_stage_is_kept(database, clock):
    await write(database, create_run, new_run(), clock=clock)
    await write(database, set_run_stage, "r1", "imitation")
    assert (await read(database, get_run, "r1")).summary.stage == "imitation"


async def test_runs_are_listed_newest_first_and_by_wish(database, clock):
    await write(database, create_run, new_run("r1"), clock=clock)
    await write(database, create_run, new_run("r2", "second"), clock=clock)
    await write(database, create_run, new_run("r3"), clock=clock)
    await write(database, set_run_state, "r3", RunState.SUCCEEDED, clock=clock)

    async def ids(**wishes):
        return [run.id for run in await read(database, list_runs, **wishes)]

    assert await ids() == ["r3", "r2", "r1"]
    assert await ids(limit=1) == ["r3"]
    assert await ids(experiment="first") == ["r3", "r1"]
    assert await ids(states=[RunState.RUNNING]) == ["r2", "r1"]


async def test_an_unknown_run_is_named(database):
    with pytest.raises(RunNotFoundError, match="no run r9"):
        await read(database, get_run, "r9")


async def test_a_checkpoint_without_a_job_is_written_once(database, clock):
    await write(database, create_run, new_run(), clock=clock)
    for step, fence in [(10, 0), (20, 0), (20, 0), (20, 1)]:
        record = NewCheckpoint(
            path=f"{step}.{fence}", sha256="0" * 64, env_steps=step, size_bytes=1, fence=fence
        )
        await write(database, add_checkpoint, "r1", record, clock=clock)
    found = await read(database, list_checkpoints, "r1")
    assert [one.path for one in found] == ["20.1", "20.0", "10.0"]


async def test_checkpoints_of_a_job_become_those_of_its_run(database, clock):
    await add_job(database)
    await write(database, create_run, new_run(job_id="j1"), clock=clock)
    row = {
        "job_id": "j1",
        "step": 5,
        "fence": 2,
        "path": "p",
        "sha256": "0" * 64,
        "size_bytes": 1,
        "state": "ready",
        "created_at": START,
    }
    async with database.write() as connection:
        await connection.execute(insert(jobs.checkpoint), row)
        await adopt_checkpoints(connection, "r1", "j1")
    assert [one.step for one in await read(database, list_checkpoints, "r1")] == [5]
    assert await read(database, find_run_of_job, "j1") == "r1"
    assert await read(database, find_run_of_job, "j2") is None


async def test_an_artifact_gets_one_version_and_the_next_one_the_next(database, clock):
    await write(database, create_run, new_run(), clock=clock)

    async def register(digit, agent="allocator"):
        content = NewArtifact(sha256=digit * 64, size_bytes=7, card={"kpi": math.nan}, run_id="r1")
        return await write(database, register_model, agent, content, clock=clock)

    assert [await register("a"), await register("b"), await register("a")] == [1, 2, 1]
    assert await register("a", agent="other") == 1
    assert await count(database, registry.artifact) == 2
    assert await count(database, registry.model_version) == 3
    models = (await read(database, get_run, "r1")).models
    assert [(one.agent, one.version, one.sha256[0]) for one in models] == [
        ("allocator", 1, "a"),
        ("allocator", 2, "b"),
        ("other", 1, "a"),
    ]
    assert models[0].card == {"kpi": None}


async def create_and_break(connection, clock):
    await create_run(connection, new_run(), clock=clock)
    raise RuntimeError("planted")


async def test_a_transaction_that_breaks_keeps_nothing(database, clock):
    with pytest.raises(RuntimeError):
        await write(database, create_and_break, clock)
    assert await count(database, experiments.run) == 0
    assert await count(database, experiments.experiment) == 0
