"""Pipelines as data, submitted whole or not at all; promotion in one transaction, once."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import pytest
import yaml
from sqlalchemy import insert, select

from orchestration.events import Completed
from orchestration.jobs import Desired, JobState
from orchestration.pipelines.declaration import (
    MissingStepError,
    Pipeline,
    PipelineCycleError,
    PipelineError,
    RepeatedStepError,
    Step,
    UnknownKindError,
    load_declaration,
    read_pipeline,
)
from orchestration.pipelines.kinds import KINDS, Surroundings
from orchestration.pipelines.promoting import KEPT, PromotionSink, make_registry
from orchestration.pipelines.retraining import Retraining
from orchestration.pipelines.submission import (
    PipelineDesk,
    PipelineNotFoundError,
    plan_from_json,
    plan_to_json,
)
from orchestration.tasks import RunStateObserver, make_train_spec
from rl.training.training_config import TrainingConfig
from tests.orchestration.conftest import _open as open_kind
from tests.orchestration.conftest import make_engine
from utils.clock import ManualClock
from utils.errors import ConfigError
from utils.persistence import jobs as tables
from utils.persistence.alias_log import PROMOTED, move_alias
from utils.persistence.model_log import NewArtifact, register_model
from utils.persistence.registry import alias_history, model_alias
from utils.persistence.run_queries import RunNotFoundError

pytestmark = pytest.mark.anyio
CONFIG = {"total_episodes": 64, "num_envs": 8, "seed": 3}
LINE = {
    "name": "line",
    "steps": [
        {"name": "promote", "kind": "promote", "needs": ["judge"]},
        {"name": "data", "kind": "generate", "spec": {"config": CONFIG, "episodes": 9, "seed": 5}},
        {"name": "judge", "kind": "evaluate", "needs": ["learn", "data"]},
        {"name": "learn", "kind": "train", "spec": {"config": CONFIG}},
    ],
}
AGENT = "resource_allocator"


def steps(*needs, kind="train"):
    return tuple(Step(name=name, kind=kind, needs=tuple(needed.split())) for name, needed in needs)


@pytest.fixture(params=["memory", "server"])
async def engine(request, tmp_path):
    """A store on SQLite and on a server; the store's own tests have all three."""
    async with contextlib.AsyncExitStack() as stack:
        yield make_engine(await open_kind(request, stack, tmp_path))


@pytest.fixture
def desk(engine, tmp_path):
    engine.ledger._observer = RunStateObserver(engine.clock)
    engine.wakes = []
    surroundings = Surroundings(output_dir=tmp_path, clock=engine.clock)
    engine.desk = PipelineDesk(
        engine.database, engine.store, surroundings, wake=lambda: engine.wakes.append(1)
    )
    engine.root = tmp_path
    return engine


async def finish(place, job_id, result, sink=None):
    job = await place.leases.claim("w", list(KINDS), lease_seconds=60)
    assert job.id == job_id
    async with place.leases.fenced(job.id, job.fence) as connection:
        if sink is not None:
            await sink.finished(connection, job, result)
        done = Completed(fence=job.fence, result=result)
        await place.ledger.apply(connection, job.id, done)


async def register(place, letter, run_id=None):
    async with place.database.write() as connection:
        new = NewArtifact(sha256=letter * 64, size_bytes=1, card={}, run_id=run_id)
        return await register_model(connection, AGENT, new, clock=place.clock)


async def promote(place, version):
    async with place.database.write() as connection:
        how = {"reason": "by hand", "clock": place.clock}
        await move_alias(connection, AGENT, "champion", version, **how)


async def champion(place):
    async with place.database.read() as connection:
        return await connection.scalar(select(model_alias.c.version))


async def history(place):
    async with place.database.read() as connection:
        query = select(alias_history.c.version).order_by(alias_history.c.seq)
        return list(await connection.scalars(query))


async def told(place, type_):
    return [one for one in await place.store.events() if one.type == type_]


# The declaration


def test_each_mistake_has_an_error_of_its_own():
    with pytest.raises(MissingStepError, match="needs b, which is not a step; there are a"):
        Pipeline(name="p", steps=steps(("a", "b")))
    with pytest.raises(PipelineCycleError, match=r"a -> b|b -> a"):
        Pipeline(name="p", steps=steps(("a", "b"), ("b", "a")))
    with pytest.raises(PipelineCycleError):
        Pipeline(name="p", steps=steps(("a", "a")))
    with pytest.raises(RepeatedStepError, match="called a"):
        Pipeline(name="p", steps=steps(("a", ""), ("a", "")))
    with pytest.raises(UnknownKindError, match="'dance' is unknown; there are evaluate"):
        Pipeline(name="p", steps=steps(("a", ""), kind="dance")).check_kinds(KINDS)
    with pytest.raises(PipelineError, match="1 to 100"):
        Pipeline(name="p", steps=())
    with pytest.raises(PipelineError, match="60 letters"):
        Pipeline(name="../p", steps=steps(("a", "")))
    with pytest.raises(PipelineError, match="twice"):
        Pipeline(name="p", steps=steps(("b", ""), ("a", "b b")))


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([], "fields, not list"),
        ({"name": "p"}, "lacks steps"),
        ({"name": "p", "steps": [], "x": 1}, "no field 'x'"),
        ({"name": "p", "steps": "train"}, "list, not str"),
        ({"name": 1, "steps": []}, "wants text"),
        ({"name": "p", "steps": [{"name": "a"}]}, "lacks kind"),
        ({"name": "p", "steps": [{"name": "a", "kind": "train", "spec": 3}]}, "spec wants"),
        ({"name": "p", "steps": [{"name": "a", "kind": "train", "needs": "b"}]}, "needs wants"),
        ({"retrain": {"agent": 3}}, "agent is a name"),
        ({"retrain": {"agent": " "}}, "name the agent"),
        ({"retrain": {"agent": "a", "seed": 1}}, "agent and settings"),
    ],
)
def test_what_is_no_pipeline_is_refused(values, word):
    with pytest.raises(PipelineError, match=word):
        plan_from_json(values)


@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_files_and_plans_come_back_the_same(tmp_path, ending):
    path = tmp_path / f"p.{ending}"
    path.write_text(json.dumps(LINE))
    pipeline = plan_from_json(load_declaration(path))
    assert [step.name for step in pipeline.in_order()][-1] == "promote"
    assert plan_from_json(plan_to_json(pipeline)) == pipeline
    order = Retraining(agent="a", settings={"seed": 1})
    assert plan_from_json(plan_to_json(order)) == order


def test_the_example_of_the_page_is_a_pipeline():
    page = Path(__file__).parents[2] / "docs" / "orchestration" / "pipelines.md"
    (example,) = re.findall(r"```yaml\n(.*?)```", page.read_text(), flags=re.DOTALL)
    pipeline = read_pipeline(yaml.safe_load(example))
    pipeline.check_kinds(KINDS)
    assert [step.kind for step in pipeline.steps] == ["generate", "train", "evaluate", "promote"]
    for step in pipeline.steps:
        KINDS[step.kind].check(step)


def test_files_that_cannot_be_read_say_so(tmp_path):
    for name, content in (("a.yaml", "a: [1"), ("b.json", "{"), ("c.yaml", "\xff")):
        (tmp_path / name).write_bytes(content.encode("latin-1"))
        with pytest.raises(PipelineError, match="no YAML or JSON"):
            load_declaration(tmp_path / name)
    with pytest.raises(PipelineError, match="cannot be read"):
        load_declaration(tmp_path / "absent.yaml")
    (tmp_path / "big.yaml").write_bytes(b"#" * (1 << 20) + b"#")
    with pytest.raises(PipelineError, match="larger than"):
        load_declaration(tmp_path / "big.yaml")
    (tmp_path / "evil.yaml").write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(PipelineError, match="no YAML"):
        load_declaration(tmp_path / "evil.yaml")


# Submission


async def test_jobs_wait_for_what_they_need_and_know_their_pipeline(desk):
    jobs = {job.step: job for job in await desk.desk.submit(read_pipeline(LINE))}
    states = {name: job.state for name, job in jobs.items()}
    assert states == {
        "learn": JobState.QUEUED,
        "data": JobState.QUEUED,
        "judge": JobState.PENDING,
        "promote": JobState.PENDING,
    }
    assert len({job.pipeline_id for job in jobs.values()}) == 1
    assert desk.wakes == [1]
    spec = jobs["judge"].spec
    assert (spec["candidate"], spec["scenarios"], spec["champions"]) == ("learn", "data", {})
    assert spec["config"]["seed"] == 3
    assert jobs["promote"].spec["evaluation"] == "judge"
    listed = await desk.desk.jobs(jobs["learn"].pipeline_id)
    assert {job.id for job in listed} == {job.id for job in jobs.values()}
    with pytest.raises(PipelineNotFoundError):
        await desk.desk.jobs("nothing")


async def test_pipelines_are_listed_and_found_by_their_end(desk):
    first = await desk.desk.submit(read_pipeline(LINE))
    desk.clock.advance(1)
    second = await desk.desk.submit(read_pipeline(LINE))
    await desk.store.submit(
        "train", make_train_spec(TrainingConfig(), output_dir=desk.root, clock=desk.clock).to_json()
    )  # of no pipeline
    assert await desk.desk.recent() == [second, first]
    assert await desk.desk.recent(limit=1) == [second]
    ids = [str(jobs[0].pipeline_id) for jobs in (first, second)]
    assert [await desk.desk.find(one[-8:]) for one in ids] == ids
    for end in ("%", "____", "", ids[0][-3:], "zzzz"):
        with pytest.raises(PipelineNotFoundError, match="no pipeline"):
            await desk.desk.find(end)


async def test_a_failed_step_ends_those_that_need_it(desk):
    jobs = {job.step: job for job in await desk.desk.submit(read_pipeline(LINE))}
    await desk.store.request(jobs["learn"].id, Desired.CANCEL)
    judge, last = [await desk.store.get(jobs[name].id) for name in ("judge", "promote")]
    assert judge.state.is_terminal
    assert last.state.is_terminal
    assert JobState.SUCCEEDED not in {judge.state, last.state}


def change(step, **fields):
    found = [{**one, **(fields if one["name"] == step else {})} for one in LINE["steps"]]
    return {"name": "line", "steps": found}


@pytest.mark.parametrize(
    ("values", "error", "word"),
    [
        (change("learn", spec={"config": {"algorithm": "magic"}}), ConfigError, "algorithm"),
        (change("learn", spec={"confg": {}}), ConfigError, "learn.confg"),
        (change("learn", spec={"config": {"seed": "x"}}), ConfigError, "learn.config.seed"),
        (change("learn", spec={"config": {"init_from": "a@champion"}}), ConfigError, "a@champion"),
        (change("data", spec={"episodes": 0}), ConfigError, "episodes"),
        (change("judge", spec={"episodes": 0}), ConfigError, "episodes=0"),
        (change("judge", spec={"run": "r"}), PipelineError, "not both"),
        (change("judge", needs=[]), PipelineError, "need one train step"),
        (change("judge", needs=[], spec={"run": "r"}), RunNotFoundError, "r"),
        (change("promote", needs=["learn"]), PipelineError, "one evaluate step"),
        (change("promote", spec={"alias": "other"}), PipelineError, "same alias"),
        (change("promote", spec={"most_violation": float("nan")}), ConfigError, "most_violation"),
        (change("data", kind="dance"), UnknownKindError, "dance"),
    ],
)
async def test_a_mistake_anywhere_submits_nothing(desk, values, error, word):
    with pytest.raises(error, match=word):
        await desk.desk.submit(read_pipeline(values))
    assert await desk.store.list_jobs() == []
    assert desk.wakes == []


# Retraining


async def make_champion(place):
    """A run with a checkpoint whose policy is champion."""
    config = TrainingConfig(total_episodes=64, num_envs=4, seed=11)
    spec = make_train_spec(config, output_dir=place.root, clock=place.clock)
    job = await place.store.submit("train", spec.to_json())
    row = {"job_id": job.id, "run_id": spec.run_id, "step": 9, "path": "/c.json"}
    more = {"sha256": "c" * 64, "size_bytes": 3, "state": "ready", "created_at": place.clock.now()}
    async with place.database.write() as connection:
        await connection.execute(insert(tables.checkpoint), {**row, **more})
    version = await register(place, "a", spec.run_id)
    await promote(place, version)
    await place.store.request(job.id, Desired.CANCEL)
    return config, spec


async def test_retraining_begins_with_the_champion_and_its_settings(desk):
    config, spec = await make_champion(desk)
    train, judge, last = await desk.desk.submit(Retraining(agent=AGENT, settings={"num_envs": 2}))
    assert [job.kind for job in (train, judge, last)] == ["train", "evaluate", "promote"]
    told = train.spec["config"]
    assert told["init_from"] == f"{AGENT}@champion"
    assert (told["num_envs"], told["total_episodes"]) == (2, 64)
    assert told["seed"] != config.seed
    assert train.spec["init"] == {"path": "/c.json", "sha256": "c" * 64, "run_id": spec.run_id}
    assert judge.spec["champions"] == {AGENT: {"version": 1, "sha256": "a" * 64}}
    again, *_ = await desk.desk.submit(Retraining(agent=AGENT))
    assert again.spec["config"]["seed"] != told["seed"]
    fixed, *_ = await desk.desk.submit(Retraining(agent=AGENT, settings={"seed": 5}))
    assert fixed.spec["config"]["seed"] == 5


async def test_retraining_without_a_champion_or_with_wrong_settings_says_so(desk):
    with pytest.raises(ConfigError, match="no agent has this alias"):
        await desk.desk.submit(Retraining(agent=AGENT))
    await make_champion(desk)
    with pytest.raises(ConfigError, match="num_envs"):
        await desk.desk.submit(Retraining(agent=AGENT, settings={"num_envs": 0}))
    with pytest.raises(ConfigError, match="speed"):
        await desk.desk.submit(Retraining(agent=AGENT, settings={"speed": 9}))


async def test_a_champion_from_elsewhere_cannot_be_trained_on_and_a_schedule_hears_it(desk):
    await promote(desk, await register(desk, "b"))
    with pytest.raises(ConfigError, match="its version came from elsewhere"):
        await desk.desk.check(Retraining(agent=AGENT))
    await make_champion(desk)
    with pytest.raises(ConfigError, match="speed"):
        await desk.desk.check(Retraining(agent=AGENT, settings={"speed": 9}))
    await desk.desk.check(Retraining(agent=AGENT))


async def test_a_run_that_has_ended_can_be_judged_by_itself(desk):
    _, spec = await make_champion(desk)
    declared = {
        "name": "again",
        "steps": [{"name": "judge", "kind": "evaluate", "spec": {"run": spec.run_id}}],
    }
    (judge,) = await desk.desk.submit(read_pipeline(declared))
    assert judge.spec["candidate"] == "a" * 64
    assert judge.spec["config"]["seed"] == 11


async def test_the_end_of_a_run_is_told_once(desk):
    _, spec = await make_champion(desk)
    (event,) = await told(desk, "run_finished")
    assert event.payload == {
        "run_id": spec.run_id,
        "state": "cancelled",
        "environment": "resource_allocation",
        "experiment_name": "quartermaster",
    }


# Promotion


def verdict(letter="b", *, against=1, reasons=()):
    return {
        "agent": AGENT,
        "sha256": letter * 64,
        "alias": "champion",
        "judged_against": against,
        "promote": not reasons,
        "reasons": list(reasons),
        "because": "+2 [+1, +3] to version 1",
    }


@pytest.fixture
async def contest(desk):
    await register(desk, "a")
    await register(desk, "b")
    await promote(desk, 1)
    desk.sink = PromotionSink(desk.clock)
    return desk


async def conclude(place, result):
    job = await place.store.submit("promote", {})
    await finish(place, job.id, result, place.sink)
    return job


async def die_before_the_commit(place, job):
    async with place.leases.fenced(job.id, job.fence) as connection:
        await place.sink.finished(connection, job, verdict())
        raise RuntimeError("killed")


async def test_the_better_one_takes_over_in_the_transaction_that_ends_the_job(contest):
    job = await contest.store.submit("promote", {})
    claimed = await contest.leases.claim("w", ["promote"], lease_seconds=60)
    with pytest.raises(RuntimeError, match="killed"):
        await die_before_the_commit(contest, claimed)
    assert await champion(contest) == 1
    assert await told(contest, KEPT) == []
    async with contest.leases.fenced(claimed.id, claimed.fence) as connection:
        await contest.sink.finished(connection, claimed, verdict())
        done = Completed(fence=claimed.fence, result={})
        await contest.ledger.apply(connection, job.id, done)
    assert await champion(contest) == 2
    event = (await told(contest, PROMOTED))[-1]
    assert event.payload["previous_version"] == 1
    assert event.payload["reason"] == f"job {job.id}: +2 [+1, +3] to version 1"


async def test_promoting_twice_moves_once(contest):
    await conclude(contest, verdict())
    await conclude(contest, verdict())
    assert await history(contest) == [1, 2]
    assert await told(contest, KEPT) == []


async def test_the_champion_is_kept_and_the_reason_told(contest):
    await conclude(contest, verdict(reasons=["it is not surely better"]))
    assert await champion(contest) == 1
    (kept,) = await told(contest, KEPT)
    assert kept.payload["reasons"] == ["it is not surely better"]
    assert (kept.payload["version"], kept.payload["current"]) == (2, 1)


async def test_a_champion_that_changed_meanwhile_is_not_overrun(contest):
    await register(contest, "c")
    await promote(contest, 3)
    await conclude(contest, verdict(against=1))
    assert await champion(contest) == 3
    (kept,) = await told(contest, KEPT)
    assert "version 3 by now, and it was judged against 1" in kept.payload["reasons"][0]


async def test_what_is_not_registered_is_not_promoted(contest):
    await conclude(contest, verdict("f"))
    assert await champion(contest) == 1
    assert "not registered" in (await told(contest, KEPT))[0].payload["reasons"][0]


def test_every_kind_of_step_can_be_run():
    assert {*make_registry(ManualClock()), "train"} == set(KINDS)
