"""Jobs in threads of a worker, and urgent jobs that get the place of others."""

from __future__ import annotations

import contextlib

import anyio
import pytest

from orchestration.executors.binding import Place, TaskBinding, TaskDefinition
from orchestration.executors.child import describe
from orchestration.executors.process import ProcessExecutor
from orchestration.executors.supervisor import AttemptConfig
from orchestration.job_store.leases import SqlLeases
from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.store import SqlJobStore
from orchestration.jobs import Desired, JobState, Limits, Need, NewJob, Resources
from orchestration.retry import RetryPolicy
from orchestration.worker import Worker, WorkerConfig
from tests.orchestration.policies import AT_ONCE
from tests.orchestration.test_worker import RecordingSink
from tests.postgres import open_server_database
from utils.clock import SystemClock
from utils.errors import ConfigError
from utils.persistence.engine import open_database
from utils.persistence.errors import DatabaseError

pytestmark = pytest.mark.anyio
QUICK = AttemptConfig(lease_seconds=3, poll_seconds=0.02, flush_seconds=0.1, stop_grace_seconds=2)
KINDS = ("add_up", "note_inputs", "until_stopped", "deaf", "raise_value_error", "use_all_memory")


def bind(place, sink=None):
    words = {} if sink is None else {"sink": sink}
    return {
        f"{place.value}.{kind}": TaskBinding(
            definition=TaskDefinition(
                kind=f"{place.value}.{kind}",
                target=f"tests.orchestration.targets:{kind}",
                executor=place,
            ),
            **words,
        )
        for kind in KINDS
    }


class House:
    def __init__(self, database, tmp_path):
        self.database = database
        self.work_root = tmp_path / "work"
        self.ledger = JobLedger(database, SystemClock(), trusts_server_clock=True)
        self.store = SqlJobStore(self.ledger)
        self.sink = RecordingSink()
        self.retry = AT_ONCE

    @contextlib.asynccontextmanager
    async def working(self, *, sink=None, **settings):
        settings = {"attempt": QUICK, "idle_seconds": 0.2, **settings}
        worker = Worker(
            self.ledger,
            ProcessExecutor(),
            {**bind(Place.THREAD, sink), **bind(Place.PROCESS, sink)},
            work_root=self.work_root,
            config=WorkerConfig(**settings),
            retry=self.retry,
        )
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            yield worker
            group.cancel_scope.cancel()

    async def submit(self, kind, **fields):
        (job,) = await self.store.submit_all([NewJob(kind=kind, **fields)])
        return job

    async def until(self, job, *states):
        with anyio.fail_after(120):
            while (now := await self.store.get(job.id)).state not in states:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        return now

    async def told(self, job, type_):
        events = await self.store.events(job_id=job.id)
        return [event.payload for event in events if event.type == type_]

    async def until_told(self, job, type_):
        with anyio.fail_after(120):
            while not (told := await self.told(job, type_)):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        return told


@pytest.fixture(params=["file", "server"])
async def house(request, tmp_path):
    if request.param == "server":
        url = request.getfixturevalue("server_url")
        async with open_server_database(url, tmp_path) as database:
            yield House(database, tmp_path)
        return
    database = await open_database(tmp_path / "q.sqlite")
    yield House(database, tmp_path)
    await database.aclose()


async def test_a_thread_has_the_same_face_as_a_process(house):
    async with house.working(sink=house.sink):
        job = await house.submit("thread.add_up", spec={"steps": 4})
        done = await house.until(job, JobState.SUCCEEDED)
    assert (done.result, done.attempt, done.fence) == ({"total": 10}, 1, 1)
    assert house.sink.rows == [(step, {"total": total}) for step, total in
                               ((1, 1.0), (2, 3.0), (3, 6.0), (4, 10.0))]  # fmt: skip
    assert house.sink.finished_results == [{"total": 10}]
    steps = [told["step"] for told in await house.told(job, "checkpoint_committed")]
    assert steps == [1, 2, 3, 4]


async def test_many_short_jobs_each_end_once(house):
    async with house.working():
        jobs = await house.store.submit_all(
            [NewJob(kind="thread.note_inputs", spec={"name": name}) for name in range(300)]
        )
        for job in jobs:
            done = await house.until(job, JobState.SUCCEEDED)
            assert done.result["name"] == job.spec["name"]
    ended = [event.job_id for event in await all_events(house) if event.type == "job_succeeded"]
    assert sorted(ended) == sorted(job.id for job in jobs)


async def all_events(house):
    found = []
    while page := await house.store.events(found[-1].seq if found else 0):
        found += page
    return found


@pytest.mark.parametrize("place", Place)
async def test_results_of_needed_jobs_come_in(house, place):
    async with house.working():
        first = await house.submit("thread.note_inputs", spec={"name": "one"})
        needs = (Need(job_id=first.id, name="before"),)
        second = await house.submit(f"{place.value}.note_inputs", needs=needs)
        done = await house.until(second, JobState.SUCCEEDED)
    assert done.result["inputs"] == {"before": {"inputs": {}, "name": "one"}}


async def test_errors_of_threads_have_their_classes(house):
    house.retry = RetryPolicy(resource=None)
    async with house.working():
        wrong = await house.submit("thread.raise_value_error")
        large = await house.submit("thread.use_all_memory")
        newer = await house.submit("thread.note_inputs", version=7)
        ended = [await house.until(job, JobState.FAILED) for job in (wrong, large, newer)]
    assert [job.error_class for job in ended] == ["user", "resource", "config"]
    assert "the answer is 41" in ended[0].error
    assert "submit it again" in ended[2].error


@pytest.mark.parametrize(
    ("error", "has_trace"), [(ConfigError("n=0"), False), (TypeError("n=0"), True)]
)
def test_what_a_setting_did_wrong_is_told_without_where_it_was_found(error, has_trace):
    with pytest.raises(type(error)) as raised:
        raise error
    message = describe(raised.value)["message"]
    assert message.startswith(f"{type(error).__name__}: n=0.")
    assert ("Traceback" in message) == has_trace


async def test_owners_stop_threads_and_workers_hand_them_back(house):
    async with house.working():
        one = await house.submit("thread.until_stopped")
        two = await house.submit("thread.until_stopped")
        await house.until_told(one, "ready")
        await house.until_told(two, "ready")
        await house.store.request(one.id, Desired.CANCEL)
        await house.until(one, JobState.CANCELLED)
        await house.store.request(two.id, Desired.PAUSE)
        assert (await house.until(two, JobState.PAUSED)).attempt == 0
        await house.store.request(two.id, Desired.RUN)
        await house.until(two, JobState.RUNNING)
    left = await house.store.get(two.id)
    assert (left.state, left.attempt, left.lost) == (JobState.QUEUED, 0, 0)
    assert left.progress_done == 1


@pytest.mark.parametrize("place", Place)
async def test_a_run_that_takes_too_long_times_out(house, place):
    limits = Limits(run_seconds=0.3)
    async with house.working():
        job = await house.submit(f"{place.value}.until_stopped", limits=limits)
        ended = await house.until(job, JobState.TIMED_OUT)
    assert (ended.error_class, ended.error.startswith("it ran for more than 0.3 s")) == (
        "timeout",
        True,
    )


async def test_a_thread_that_does_not_listen_holds_nobody_up_and_writes_nothing(house, tmp_path):
    async with house.working(attempt=AttemptConfig(
        lease_seconds=0.6, poll_seconds=0.02, stop_grace_seconds=0.1)):  # fmt: skip
        job = await house.submit("thread.deaf", spec={"go": str(tmp_path / "go")})
        await house.until_told(job, "ready")
    left = await house.store.get(job.id)
    assert (left.state, left.fence) == (JobState.RUNNING, 1)
    (tmp_path / "go").touch()  # it returns, but its worker has gone
    async with house.working():
        done = await house.until(job, JobState.SUCCEEDED)
    assert (done.fence, done.lost) == (2, 1)
    assert len(await house.told(job, "job_succeeded")) == 1


async def test_writes_go_on_when_the_database_comes_back(house, monkeypatch):
    refused = []
    write = house.database.write

    def away(**words):
        if len(refused) < 5:
            refused.append(1)
            raise DatabaseError("away")
        return write(**words)

    async with house.working():
        job = await house.submit("thread.until_stopped")
        await house.until_told(job, "ready")
        await house.store.request(job.id, Desired.PAUSE)
        monkeypatch.setattr(house.database, "write", away)
        await house.until(job, JobState.PAUSED)
    assert len(refused) == 5


async def test_an_urgent_job_gets_the_place_of_a_lesser_one_which_goes_on_after_it(house, tmp_path):
    go = tmp_path / "go"
    async with house.working(parallel_jobs=1):
        lesser = await house.submit("process.add_up", spec={"steps": 3, "hold": {"2": str(go)}})
        await house.until(lesser, JobState.RUNNING)
        with anyio.fail_after(120):
            while len(await house.told(lesser, "step_done")) < 2:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        urgent = await house.submit("process.note_inputs", priority=5)
        await house.until(urgent, JobState.SUCCEEDED)
        go.touch()
        done = await house.until(lesser, JobState.SUCCEEDED)
    assert (done.result, done.attempt, done.fence, done.lost) == ({"total": 6}, 1, 2, 0)
    assert [told["step"] for told in await house.told(lesser, "resumed")] == [0, 2]


async def test_resources_bound_what_runs_together(house):
    half = Resources(cpu_milli=600)
    async with house.working(parallel_jobs=4, capacity=Resources(cpu_milli=1000)):
        one = await house.submit("process.until_stopped", resources=half)
        two = await house.submit("process.until_stopped", resources=half)
        await house.until_told(one, "ready")
        assert (await house.store.get(two.id)).state is JobState.QUEUED
        await house.store.request(one.id, Desired.CANCEL)
        await house.until_told(two, "ready")


async def test_a_submission_elsewhere_wakes_an_idle_worker(house, tmp_path):
    """Without a sign it would look only once a minute."""
    url = house.database.url.render_as_string(hide_password=False)
    other = await open_database(url if house.database.is_server else tmp_path / "q.sqlite")
    try:
        async with house.working(idle_seconds=60):
            first = await house.submit("thread.note_inputs")  # it is idle afterwards
            await house.until(first, JobState.SUCCEEDED)
            elsewhere = SqlJobStore(JobLedger(other, SystemClock()))
            (job,) = await elsewhere.submit_all([NewJob(kind="thread.note_inputs")])
            await house.until(job, JobState.SUCCEEDED)
    finally:
        await other.aclose()


async def test_a_job_that_is_claimed_while_its_worker_leaves_is_handed_back(house):
    for _ in range(8):  # the moment of leaving differs
        job = await house.submit("thread.until_stopped")
        async with house.working():
            await house.until(job, JobState.RUNNING)
        left = await house.store.get(job.id)
        assert (left.state, left.lost) == (JobState.QUEUED, 0)
        await house.store.request(job.id, Desired.CANCEL)


@pytest.mark.parametrize("place", Place)
async def test_a_worker_may_claim_a_job_again_while_its_lost_attempt_still_leaves(
    house, tmp_path, place
):
    async with house.working(parallel_jobs=2):
        job = await house.submit(f"{place.value}.deaf", spec={"go": str(tmp_path / "go")})
        await house.until_told(job, "ready")
        owner = (await house.store.get(job.id)).lease_owner
        (lost,) = await SqlLeases(house.ledger, retry=AT_ONCE).reap([owner])  # somebody's mistake
        assert lost.state is JobState.RETRY_WAIT
        with anyio.fail_after(120):
            while len(await house.told(job, "ready")) < 2:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        (tmp_path / "go").touch()
        done = await house.until(job, JobState.SUCCEEDED)
        assert (done.fence, done.lost) == (2, 1)
        other = await house.submit(f"{place.value}.note_inputs")  # the worker lives on
        await house.until(other, JobState.SUCCEEDED)
    assert len(await house.told(job, "job_succeeded")) == 1
