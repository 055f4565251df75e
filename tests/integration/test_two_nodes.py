"""Several machines: each with a folder of its own, a shared database, artifacts by hash."""

from __future__ import annotations

import json
import shutil
import signal
import socket
from collections import Counter
from functools import partial
from types import SimpleNamespace

import anyio
import pytest
import torch
from sqlalchemy import select

from orchestration.app import Settings, open_application
from orchestration.endpoints.rest import ApiServer, make_api
from orchestration.executors.ray_executor import RayConfig
from orchestration.executors.supervisor import AttemptConfig
from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.store import SqlJobStore
from orchestration.jobs import JobState
from orchestration.pipelines.declaration import Pipeline, Step
from orchestration.pipelines.kinds import EVALUATE
from orchestration.serving import make_api_parts
from orchestration.tasks import TRAIN
from rl.artifacts import PolicyArtifact
from rl.domains.allocation_experts import EXPERTS
from rl.training import training_run
from rl.training.checkpointing import load_checkpoint
from rl.training.conclusion import Places, leave_unfinished
from rl.training.evaluation_job import judge_policy
from rl.training.recorder import NullRecorder, StopReason
from rl.training.shared_checkpoints import SharedCheckpoints
from rl.training.training_config import EPISODE_STEPS, TrainingConfig
from rl.training.training_events import CheckpointWritten
from rl.training.training_run import train_problem
from tests.integration.machines import open_machines, until
from tests.integration.node_worker import KIND
from tests.postgres import missing, run_server
from tests.ray_clusters import needs_ray, run_cluster
from utils.clock import SystemClock
from utils.config import to_json
from utils.persistence.artifact_store import DirectoryArtifactStore
from utils.persistence.engine import open_database
from utils.persistence.experiments import metric, run
from utils.persistence.jobs import attempt, checkpoint
from utils.persistence.registry import model_version

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
CONFIG = TrainingConfig(
    total_episodes=12,
    num_envs=2,
    eval_frequency=4,
    eval_episodes=8,
    checkpoint_frequency=2,
    num_agents=3,
)
UPDATE = CONFIG.num_envs * EPISODE_STEPS["resource_allocation"]
QUICK = AttemptConfig(lease_seconds=15, poll_seconds=0.1, flush_seconds=0.2)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.skipif(bool(missing()), reason=missing() or "PostgreSQL is there")
async def test_three_workers_and_two_orchestrators_share_a_server(tmp_path):
    """One worker is cut off in its work: others take over by hash, and its late words are void."""
    with run_server() as url:
        async with open_machines(url, tmp_path) as one, open_machines(url, tmp_path) as other:
            go = tmp_path / "go"
            held = await one.store.submit(KIND, {"steps": 6, "hold": {"3": str(go)}})
            frozen = one.start_worker(lease_seconds=2)
            (began,) = await one.until_told(held, "began")
            await one.until_told(held, "step_done", 3)
            frozen.send_signal(signal.SIGSTOP)
            (tmp_path / "machine-0").rename(
                tmp_path / "out-of-sight"
            )  # as another machine's disk is
            keys = [f"work-{number}" for number in range(12)]
            submitted = {}
            for orchestrator in (one, other):
                for key in keys:
                    job = await orchestrator.store.submit(KIND, {"steps": 3}, dedupe_key=key)
                    submitted.setdefault(key, set()).add(job.id)
            for orchestrator in (one, other):
                orchestrator.start_worker(lease_seconds=6)
            _, again = await other.until_told(held, "began", 2)
            assert again["step"] == 3
            assert again["var"] != began["var"]
            go.touch()
            ended = await other.until_ended(held)
            frozen.send_signal(signal.SIGCONT)  # it wakes up late, with words of its child
            assert (ended.state, ended.result) == (JobState.SUCCEEDED, {"total": 21})
            jobs = [job for ids in submitted.values() for job in ids]
            for job_id in jobs:
                job = await one.store.get(job_id)
                assert (await one.until_ended(job)).result == {"total": 6}
                assert len(await one.told(job, "job_succeeded")) == 1
            assert await until(partial(_said, frozen, tmp_path / "machine-0.log", "lease_lost"))
            assert (ended.lost, ended.attempt) == (1, 1)
            steps = await one.told(held, "step_done")
            assert Counter(told["step"] for told in steps) == Counter(range(1, 7))
            assert {told["fence"] for told in steps if told["step"] > 3} == {2}
            assert len(await one.told(held, "job_succeeded")) == 1


async def _said(process, log, words):
    assert process.poll() is None
    return words in await anyio.Path(log).read_text()


@needs_ray
async def test_a_killed_orchestrator_is_followed_without_doing_anything_again(tmp_path):
    with run_cluster(num_cpus=1) as cluster:
        async with open_machines(tmp_path / "q.sqlite", tmp_path) as machines:
            go = tmp_path / "go"
            job = await machines.store.submit(KIND, {"steps": 6, "hold": {"3": str(go)}})
            first = machines.start_worker(cluster.address, lease_seconds=60)
            await machines.until_told(job, "step_done", 3)
            first.kill()
            first.wait()
            machines.start_worker(cluster.address, lease_seconds=60)
            await until(partial(_has_attempts, machines, job, 2))
            go.touch()
            ended = await machines.until_ended(job)
            assert (ended.state, ended.result) == (JobState.SUCCEEDED, {"total": 21})
            assert (ended.lost, ended.fence) == (1, 2)
            assert len(await machines.told(job, "began")) == 1  # the same actor, to the end
            steps = await machines.told(job, "step_done")
            assert {told["step"] for told in steps} == set(range(1, 7))
            assert {told["fence"] for told in steps} == {1}
            assert len(await machines.told(job, "job_succeeded")) == 1


async def _has_attempts(machines, job, count):
    return len(await machines.attempts(job)) >= count


def leave_experts(folder):
    """Tuning would take most of the time and is not what is tested here."""
    folder.mkdir(parents=True)
    experts = [{"name": name, "parameters": []} for name in EXPERTS]
    (folder / "experts.json").write_text(json.dumps(experts))


def train_undisturbed(folder):
    """All tensors of the last checkpoint; the policy itself is not judged again."""
    leave_experts(folder)
    last = []

    class Recorder(NullRecorder):
        def checkpoint_written(self, checkpoint):
            last[:] = [checkpoint]

    def dismiss(study, agent, outcome, curve, *, curriculum):
        return leave_unfinished(study.problem, StopReason.PREEMPT, outcome)

    places = Places(folder=folder, artifacts=DirectoryArtifactStore(folder / "artifacts"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_run, "conclude_run", dismiss)
        train_problem(CONFIG, Recorder(), places, run_id="r")
    return load_checkpoint(last[0].path, last[0].sha256).tensors


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Blocker:
    """Occupies a node."""


def find_node(cluster, name):
    """The node of the cluster that an actor runs on."""
    import ray
    from ray._private.state import actors

    (found,) = [one for one in actors().values() if one["Name"] == name]
    node_id = found["Address"]["NodeID"]
    assert node_id in {one["NodeID"] for one in ray.nodes()}
    return next(one for one in cluster.list_all_nodes() if one.node_id == node_id)


async def rows(database, table):
    async with database.read() as connection:
        return (await connection.execute(select(table))).mappings().all()


JUDGED = 16
LINE = Pipeline(
    name="line",
    steps=(
        Step(name="train", kind=TRAIN.kind, spec={"config": to_json(CONFIG)}),
        Step(name="evaluate", kind=EVALUATE.kind, needs=("train",), spec={"episodes": JUDGED}),
    ),
)


@needs_ray
async def test_train_and_evaluate_survive_a_node_and_end_as_if_nothing_had_been(tmp_path):
    """Node and disk are gone; the other node fetches checkpoint and policy by HTTP and hash."""
    port, var = free_port(), tmp_path / "node"
    with run_cluster(num_cpus=0) as cluster:
        import ray

        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        settings = Settings(
            var=tmp_path / "house",
            artifacts=f"http://127.0.0.1:{port}",
            executor="ray",
            ray=RayConfig(address=cluster.address),
            ray_var=var,
            attempt=QUICK,
        )
        deep_enough = anyio.Event()

        def listen(event):
            if isinstance(event, CheckpointWritten) and event.env_steps >= 2 * UPDATE:
                deep_enough.set()

        async with (
            open_application(settings, with_worker=True) as application,
            anyio.create_task_group() as group,
        ):
            application.training_events.subscribe(listen)
            api = make_api(make_api_parts(application))
            group.start_soon(ApiServer(api, host="127.0.0.1", port=port).run)
            job, judging = await application.orchestrator.automation.pipelines.submit(LINE)
            leave_experts(var / "runs" / job.spec["run_id"])
            ray.init(address=cluster.address, namespace="quartermaster", log_to_driver=False)
            blocker = ray.remote(Blocker).options(num_cpus=1).remote()
            ray.get(blocker.__ray_ready__.remote())
            with anyio.fail_after(360):
                group.start_soon(application.run)
                await deep_enough.wait()
                node = find_node(cluster, f"job-{job.id}-1")
                assert node in nodes
                await anyio.to_thread.run_sync(
                    partial(cluster.remove_node, node, allow_graceful=False)
                )
                await until(partial(_is_lost, application, job.id))
                shutil.rmtree(var)
                ray.kill(blocker)
                judged = await until(partial(_find_ended, application, judging.id), seconds=180)
                assert find_node(cluster, f"job-{judging.id}-1") in set(nodes) - {node}
            group.cancel_scope.cancel()
        database = await open_database(tmp_path / "house" / "quartermaster.sqlite")
        store = DirectoryArtifactStore(tmp_path / "house" / "artifacts")
        last = await _check_ended_once(database, job, judging, store)
        await anyio.to_thread.run_sync(_check_figures, judged)
        path = SharedCheckpoints(store, tmp_path / "fetched").fetch(*last, "checkpoints")
        ours = load_checkpoint(path, last[1]).tensors
        await database.aclose()
    theirs = await anyio.to_thread.run_sync(train_undisturbed, tmp_path / "undisturbed")
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


async def _is_lost(application, job_id):
    return (await application.orchestrator.job(job_id)).lost == 1


async def _find_ended(application, job_id):
    job = await application.orchestrator.job(job_id)
    return job if job.state.is_terminal else None


def _check_figures(judged):
    """The figures of the job are those of the same judgement here."""
    assert (judged.state, judged.attempt, judged.lost) == (JobState.SUCCEEDED, 1, 0)
    sha256 = judged.result["evidence"]["sha256"]
    context = SimpleNamespace(inputs={}, var=None, artifacts=None)
    assert judged.result["evidence"]["episodes"] == JUDGED
    assert judge_policy({**judged.spec, "candidate": sha256}, context) == judged.result


async def _check_ended_once(database, job, judging, store):
    """And return the last checkpoint, path and hash."""
    (only_run,) = await rows(database, run)
    assert (only_run["state"], only_run["error"]) == ("succeeded", None)
    attempts = sorted(await rows(database, attempt), key=lambda one: one["fence"])
    first, second = [one for one in attempts if one["job_id"] == job.id]
    assert (first["outcome"], second["outcome"]) == ("lost", "succeeded")
    assert [one["outcome"] for one in attempts if one["job_id"] == judging.id] == ["succeeded"]
    assert "fence-1.json" in second["resume_checkpoint"]
    measured = Counter((one["key"], one["step"]) for one in await rows(database, metric))
    assert set(measured.values()) == {1}
    assert sorted(step for key, step in measured if key == "return") == [
        UPDATE * number for number in range(1, 7)
    ]
    (model,) = await rows(database, model_version)
    for one in (job, judging):
        events = await SqlJobStore(JobLedger(database, SystemClock())).events(job_id=one.id)
        assert Counter(event.type for event in events)["job_succeeded"] == 1
    assert PolicyArtifact.from_bytes(store.get(model["artifact_sha256"])).card.run_id
    saved = max(await rows(database, checkpoint), key=lambda one: one["step"])
    assert (saved["step"], saved["fence"]) == (6 * UPDATE, 2)
    return saved["path"], saved["sha256"]
