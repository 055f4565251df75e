"""Training jobs and their rows: one transaction, one fence, every report once. No process here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import func, select

from orchestration.events import Completed, Started
from orchestration.job_store.checkpoints import Checkpoint, SqlCheckpoints
from orchestration.job_store.leases import SqlLeases
from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.store import SqlJobStore
from orchestration.jobs import Desired, JobState, LeaseLostError
from orchestration.retry import ErrorClass
from orchestration.tasks import (
    RUN_STATES,
    TRAIN,
    RunStateObserver,
    TrainSink,
    TrainSpec,
    make_registry,
    make_train_spec,
)
from rl.monitoring.training_metrics import TrainingMetrics
from rl.training.training_config import TrainingConfig
from rl.training.training_events import (
    CheckpointWritten,
    Evaluated,
    MetricsExporter,
    MetricsReported,
    RunEnded,
    RunStarted,
    StageChanged,
    TrainingEvents,
)
from utils.clock import ManualClock
from utils.errors import ConfigError
from utils.persistence import experiments, jobs, registry
from utils.persistence.engine import open_database
from utils.persistence.run_filter import list_runs
from utils.persistence.run_log import RunState
from utils.persistence.run_queries import get_run, list_checkpoints

pytestmark = pytest.mark.anyio
CONFIG = TrainingConfig(total_episodes=4, num_envs=2, experiment_name="q", seed=7)
CHECKPOINT = Checkpoint(path="/c.json", sha256="c" * 64, step=144, size_bytes=3)
RESULT = {
    "agent": "resource_allocator",
    "env_steps": 288,
    "updates": 2,
    "best_score": 1.5,
    "artifact_sha256": "a" * 64,
    "artifact_bytes": 7,
    "card": {"agent": "x"},
    "table": None,
    "report": "/report",
}


@pytest.fixture
async def house(tmp_path):
    database = await open_database(tmp_path / "q.sqlite")
    clock, events, heard = ManualClock(), TrainingEvents(), []
    events.subscribe(heard.append)
    ledger = JobLedger(database, clock, observer=RunStateObserver(clock, events=events))
    yield SimpleNamespace(
        database=database,
        clock=clock,
        events=events,
        heard=heard,
        ledger=ledger,
        store=SqlJobStore(ledger),
        leases=SqlLeases(ledger),
        checkpoints=SqlCheckpoints(ledger),
        sink=TrainSink(clock, events=events),
        spec=make_train_spec(CONFIG, output_dir=tmp_path, clock=clock),
    )
    await database.aclose()


async def submit(house, spec=None):
    return await house.store.submit(TRAIN.kind, (spec or house.spec).to_json())


async def claim(house):
    job = await house.leases.claim("w1", [TRAIN.kind], lease_seconds=30)
    async with house.leases.fenced(job.id, job.fence) as connection:
        job = await house.ledger.apply(connection, job.id, Started(fence=job.fence, pid=1))
        await house.sink.started(connection, job)
    return job


async def tell(house, job, report, *arguments):
    async with house.leases.fenced(job.id, job.fence) as connection:
        await report(connection, job, *arguments)


async def commit_checkpoint(house, job, record=CHECKPOINT):
    async with house.leases.fenced(job.id, job.fence) as connection:
        await house.checkpoints.commit(connection, job, record)
        await house.sink.checkpoint(connection, job, record)


async def finish(house, job):
    async with house.leases.fenced(job.id, job.fence) as connection:
        await house.sink.finished(connection, job, RESULT)
        done = Completed(fence=job.fence, result=RESULT)
        await house.ledger.apply(connection, job.id, done)


async def run_of(house):
    async with house.database.read() as connection:
        return await get_run(connection, house.spec.run_id)


async def count(house, table):
    async with house.database.read() as connection:
        return await connection.scalar(select(func.count()).select_from(table))


# The spec


def test_a_spec_survives_its_journey(tmp_path):
    spec = make_train_spec(CONFIG, output_dir=tmp_path, clock=ManualClock())
    assert TrainSpec.from_json(spec.to_json()) == spec
    assert Path(spec.run_root).is_absolute()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run_id": "../../etc"}, "run_id="),
        ({"run_id": ""}, "run_id="),
        ({"run_root": "var/runs"}, "run_root="),
        ({"config": {"num_envs": 0}}, "num_envs=0"),
        ({"config": {"num_envs": "many"}}, "config.num_envs"),
        ({"config": {"gama": 1}}, "config.gama"),
        ({"output": "x"}, "output"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, change, message):
    spec = make_train_spec(CONFIG, output_dir=tmp_path, clock=ManualClock())
    with pytest.raises(ConfigError, match=message):
        TrainSpec.from_json({**spec.to_json(), **change})


def test_an_absent_field_is_named(tmp_path):
    values = make_train_spec(CONFIG, output_dir=tmp_path, clock=ManualClock()).to_json()
    del values["artifact_root"]
    with pytest.raises(ConfigError, match="artifact_root"):
        TrainSpec.from_json(values)


def test_a_spec_of_another_version_is_refused(tmp_path):
    spec = make_train_spec(CONFIG, output_dir=tmp_path, clock=ManualClock())
    with pytest.raises(ConfigError, match="version 2"):
        TrainSpec.from_json(spec.to_json(), 2)


def test_the_registry_knows_training():
    binding = make_registry(ManualClock())[TRAIN.kind]
    assert binding.definition.target == "orchestration.training_attempt:train"


def test_every_state_of_a_job_means_something_for_its_run():
    assert set(RUN_STATES) == set(JobState)


# The run follows its job


async def test_a_submitted_job_is_a_queued_run(house):
    job = await submit(house)
    run = await run_of(house)
    assert run.summary.state is RunState.QUEUED
    assert run.summary.job_id == job.id
    assert run.summary.experiment == "q"
    assert run.summary.seed == 7
    assert run.config == house.spec.to_json()["config"]
    assert run.summary.total_env_steps == CONFIG.total_env_steps


async def test_a_submission_that_cannot_be_a_run_leaves_nothing(house):
    await submit(house)
    with pytest.raises(ConfigError, match="exists already"):
        await submit(house)
    with pytest.raises(ConfigError, match="config"):
        await house.store.submit(TRAIN.kind, {"run_id": "r"})
    with pytest.raises(ConfigError, match="version 9"):
        await house.store.submit(TRAIN.kind, house.spec.to_json(), version=9)
    assert await count(house, jobs.job) == 1
    assert await count(house, experiments.run) == 1


async def test_other_jobs_are_left_alone(house):
    await house.store.submit("tidy", {})
    async with house.database.read() as connection:
        assert await list_runs(connection) == []


async def test_a_run_is_running_while_its_job_is(house):
    await submit(house)
    await claim(house)
    assert (await run_of(house)).summary.state is RunState.RUNNING
    assert isinstance(house.heard[-1], RunStarted)


@pytest.mark.parametrize(
    ("error_class", "state"),
    [(ErrorClass.USER, RunState.FAILED), (ErrorClass.CRASHED, RunState.QUEUED)],
)
async def test_a_run_says_what_broke_its_job(house, error_class, state):
    await submit(house)
    job = await claim(house)
    await house.leases.fail(job.id, job.fence, error_class, "the answer is 41")
    summary = (await run_of(house)).summary
    assert summary.state is state
    assert "the answer is 41" in summary.error
    assert any(isinstance(event, RunEnded) for event in house.heard) == state.is_terminal


@pytest.mark.parametrize(
    ("wish", "state"),
    [(Desired.CANCEL, RunState.CANCELLED), (Desired.PAUSE, RunState.PAUSED)],
)
async def test_a_stopped_job_is_a_stopped_run(house, wish, state):
    await submit(house)
    job = await claim(house)
    await house.store.request(job.id, wish)
    assert (await run_of(house)).summary.state is RunState.RUNNING
    await house.leases.release(job.id, job.fence)
    summary = (await run_of(house)).summary
    assert summary.state is state
    assert (summary.ended_at is not None) == state.is_terminal
    assert house.heard[-1].state is state


async def test_a_queued_job_can_be_cancelled(house):
    job = await submit(house)
    await house.store.request(job.id, Desired.CANCEL)
    assert (await run_of(house)).summary.state is RunState.CANCELLED


async def test_a_job_of_a_program_without_observer_gets_its_run_when_it_starts(house):
    plain = SqlJobStore(JobLedger(house.database, house.clock))
    job = await plain.submit(TRAIN.kind, house.spec.to_json())
    assert await count(house, experiments.run) == 0
    await claim(house)
    run = await run_of(house)
    assert (run.summary.job_id, run.summary.state) == (job.id, RunState.RUNNING)


async def test_a_broken_spec_from_elsewhere_does_not_block_the_worker(house):
    plain = SqlJobStore(JobLedger(house.database, house.clock))
    await plain.submit(TRAIN.kind, {"run_id": "r"})
    job = await claim(house)
    await house.leases.fail(job.id, job.fence, ErrorClass.CONFIG, "no config")
    assert (await house.store.get(job.id)).state is JobState.FAILED


# Reports


async def test_reports_become_rows_once(house):
    await submit(house)
    job = await claim(house)
    for _ in range(2):
        await tell(house, job, house.sink.metrics, [(144, {"loss": 0.5, "return": 3.0})])
        await tell(
            house, job, house.sink.event, "evaluated", {"env_steps": 144, "scores": {"kpi": 2.0}}
        )
        await tell(
            house, job, house.sink.event, "stage_changed", {"env_steps": 144, "stage": "training"}
        )
        await tell(house, job, house.sink.event, "something_else", {})
        await commit_checkpoint(house, job)
    run = await run_of(house)
    assert run.summary.env_steps == 144
    assert run.summary.stage == "training"
    assert run.latest["loss"].value == 0.5
    assert [one.scores for one in run.evaluations] == [{"kpi": 2.0}]
    assert await count(house, experiments.metric) == 2
    assert await count(house, jobs.checkpoint) == 1
    async with house.database.read() as connection:
        assert await connection.scalar(select(jobs.checkpoint.c.run_id)) == run.summary.id


async def test_success_registers_the_artifact_in_the_same_transaction(house):
    await submit(house)
    job = await claim(house)
    await finish(house, job)
    run = await run_of(house)
    assert run.summary.state is RunState.SUCCEEDED
    (model,) = run.models
    assert (model.agent, model.version, model.sha256) == ("resource_allocator", 1, "a" * 64)
    assert model.card == {"agent": "x"}


async def test_a_result_without_artifact_registers_nothing(house):
    await submit(house)
    job = await claim(house)
    await tell(house, job, house.sink.finished, {**RESULT, "artifact_sha256": None})
    assert await count(house, registry.artifact) == 0


async def test_a_stale_attempt_writes_nothing(house):
    await submit(house)
    stale = await claim(house)
    await house.leases.reap(["w1"])
    house.clock.advance(3600)
    current = await claim(house)
    assert current.fence > stale.fence
    for report in (
        (house.sink.metrics, [(9, {"loss": 1.0})]),
        (house.sink.event, "evaluated", {"env_steps": 9, "scores": {}}),
        (house.sink.finished, RESULT),
    ):
        with pytest.raises(LeaseLostError):
            await tell(house, stale, *report)
    with pytest.raises(LeaseLostError):
        await commit_checkpoint(house, stale)
    for table in (
        *(experiments.metric, experiments.evaluation, jobs.checkpoint, registry.model_version),
    ):
        assert await count(house, table) == 0
    await finish(house, current)
    assert await count(house, registry.model_version) == 1


async def test_rows_of_checkpoints_follow_the_files_and_lineage_is_kept(house):
    await submit(house)
    job = await claim(house)
    for step in (72, 144, 216):
        record = replace(CHECKPOINT, step=step, path=f"/runs/x/step-{step}.json")
        await commit_checkpoint(house, job, record)
    kept = {"env_steps": 216, "score": 2.5, "kept": ["runs/x/step-72.json", "/y/step-216.json"]}
    lineage = {
        "parents": [{"relation": "resume", "run_id": "r0", "checkpoint_sha256": "c" * 64}],
        "data": [{"role": "held_out", "about": "20 days", "sha256": "d" * 64}],
    }
    for _ in range(2):
        await tell(house, job, house.sink.event, "checkpoints_kept", kept)
        await tell(house, job, house.sink.event, "lineage", lineage)
    run = await run_of(house)
    async with house.database.read() as connection:
        found = await list_checkpoints(connection, run.summary.id)
    assert [(one.step, one.score) for one in found] == [(216, 2.5), (72, None)]
    assert [one.run_id for one in run.facts.parents] == ["r0"]
    assert [one.role for one in run.facts.data] == ["held_out"]


async def test_listeners_hear_every_report(house):
    await submit(house)
    job = await claim(house)
    await tell(house, job, house.sink.metrics, [(144, {"loss": 0.5})])
    await tell(house, job, house.sink.event, "evaluated", {"env_steps": 144, "scores": {"kpi": 2}})
    await tell(house, job, house.sink.event, "stage_changed", {"env_steps": 144, "stage": "late"})
    await commit_checkpoint(house, job)
    await finish(house, job)
    assert [type(event) for event in house.heard] == [
        *(RunStarted, MetricsReported, Evaluated, StageChanged, CheckpointWritten, RunEnded)
    ]
    assert {event.run.run_id for event in house.heard} == {house.spec.run_id}
    assert {event.run.job_id for event in house.heard} == {job.id}


async def test_metric_families_show_a_run_until_it_ends(house):
    families = CollectorRegistry()
    exporter = MetricsExporter(TrainingMetrics(families), house.clock)
    house.events.subscribe(exporter)
    labels = {"environment": CONFIG.environment, "algorithm": CONFIG.algorithm}
    labels["run"] = house.spec.run_id

    def sample(name):
        return families.get_sample_value(name, labels)

    await submit(house)
    job = await claim(house)
    await tell(house, job, house.sink.metrics, [(144, {"policy_loss": 0.5})])
    await tell(house, job, house.sink.event, "evaluated", {"env_steps": 144, "scores": {"kpi": 2}})
    await commit_checkpoint(house, job)
    assert sample("rl_policy_loss") == 0.5
    assert sample("rl_env_steps_total") == 144
    assert sample("rl_evaluation_score") == 2
    assert sample("rl_checkpoint_size_bytes") == 3
    await finish(house, job)
    assert sample("rl_policy_loss") is None
