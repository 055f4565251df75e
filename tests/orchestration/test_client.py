"""The client against a real server, and against networks that fail on purpose."""

from __future__ import annotations

import json

import anyio
import httpx
import pytest

from ai_agents.allocation_schema import AllocationDecision, AllocationRequest
from orchestration.client import errors
from orchestration.client.client import Client
from orchestration.client.connection import ClientConfig, Connection
from orchestration.endpoints.job_views import JobRequest
from orchestration.endpoints.run_routes import RunPage
from orchestration.jobs import JobState
from tests.orchestration.doors import open_doors
from tests.orchestration.house import AGENT, REQUEST, Hand
from tests.orchestration.test_streams import open_served
from utils.clock import ManualClock
from utils.errors import ConfigError
from utils.persistence.errors import ArtifactCorruptError

pytestmark = pytest.mark.anyio
QUICK = ClientConfig(first_delay_seconds=0.001, max_tries=3)
BASE = "http://127.0.0.1:8321"


@pytest.fixture
async def doors(tmp_path):
    async with open_doors(tmp_path, versions=2) as found:
        yield found


def connect(doors, token=None, *, fails=None):
    """Straight to the application; `fails` may break a request before or after it."""
    inner = httpx.ASGITransport(doors.api, raise_app_exceptions=False)
    return Connection(BASE, token=token, config=QUICK, transport=Broken(inner, fails))


class Broken(httpx.AsyncBaseTransport):
    """Loses requests or answers as a script says: 'request', 'answer' or None, one per request."""

    def __init__(self, inner, script=None):
        self.inner, self.script, self.sent = inner, list(script or []), []

    async def handle_async_request(self, request):
        self.sent.append(request)
        fate = self.script.pop(0) if self.script else None
        if fate == "request":
            raise httpx.ConnectError("no route")
        response = await self.inner.handle_async_request(request)
        if fate == "answer":
            await response.aread()
            raise httpx.ReadError("cut off")
        return response


async def test_jobs_by_client(doors):
    async with connect(doors) as connection:
        client = Client(connection)
        made = [await client.jobs.submit(JobRequest(config={"seed": n})) for n in (1, 2)]
        assert [job.id async for job in client.jobs.list()] == [made[1].id, made[0].id]
        assert (await client.jobs.pause(made[0].id)).state is JobState.PAUSED
        paused = client.jobs.list(states=[JobState.PAUSED], kind="train")
        assert [job.id async for job in paused] == [made[0].id]
        assert (await client.jobs.resume(made[0].id)).state is JobState.QUEUED
        assert (await client.jobs.cancel(made[0].id)).state is JobState.CANCELLED
        again = await client.jobs.retry(made[0].id)
        assert (again.retried_from, again.config["seed"]) == (made[0].id, 1)
        assert await client.jobs.attempts(again.id) == ()
        assert [run.id async for run in client.runs.list()][-1] == made[0].run_id
        assert (await client.runs.get(again.run_id)).summary.job_id == again.id
        assert (await client.engine()).jobs[JobState.QUEUED] == 2


async def test_agents_by_client(doors):
    async with connect(doors) as connection:
        client = Client(connection)
        (agent,) = await client.agents.list()
        assert (agent.name, agent.champion) == (AGENT, 1)
        answer = await client.agents.invoke(AGENT, REQUEST, AllocationDecision, request_id="mine")
        assert isinstance(answer, AllocationDecision)
        assert (answer.version, answer.request_id) == ("1", "mine")
        typed = AllocationRequest.model_validate(REQUEST)
        both = await client.agents.invoke_batch(AGENT, [REQUEST, typed], AllocationDecision)
        assert [one.version for one in both] == ["1", "1"]
        assert both[0].services == both[1].services
        wrong = {**REQUEST, "time_of_day": 2.0}
        with pytest.raises(errors.InvalidRequestError) as caught:
            await client.agents.invoke_batch(AGENT, [REQUEST, wrong], AllocationDecision)
        assert list(caught.value.problems) == ["[1].time_of_day"]
        assert (await client.agents.promote(AGENT, 2, reason="better")).version == 2
        assert (await client.agents.history(AGENT))[0].reason == "better"
        assert (await client.agents.card(AGENT))["version"] == "2"
        content = await client.runs.artifact(agent.versions[0].sha256)
        assert len(content) > 100


async def test_sessions_by_client(doors):
    async with connect(doors) as connection:
        client = Client(connection)
        world = await client.sessions.open("newsvendor", seed=1)
        ((agent, about),) = world.agents.items()
        step = await client.sessions.step(world.id, {agent: [0.5] * about.action.size})
        page = await client.sessions.trajectory(world.id)
        assert (page.total, page.steps[0].rewards) == (1, step.rewards)
        await client.sessions.close(world.id)
        with pytest.raises(errors.OverError, match="closed"):
            await client.sessions.step(world.id, {})


async def test_errors_have_classes(doors):
    token = await doors.make_token("ci", "train")
    async with connect(doors) as connection:
        with pytest.raises(errors.TokenError):
            await Client(connection).engine()
    async with connect(doors, token) as connection:
        client = Client(connection)
        with pytest.raises(errors.ScopeError, match="admin"):
            await client.agents.promote(AGENT, 2)
        with pytest.raises(errors.NotFoundError, match="no job"):
            await client.jobs.get("none")
        with pytest.raises(errors.InvalidRequestError) as caught:
            await client.jobs.submit(JobRequest(config={"sead": 1}))
        assert list(caught.value.problems) == ["config.sead"]
        assert caught.value.status == 422
        job = await client.jobs.submit(JobRequest())
        with pytest.raises(errors.ConflictError, match="only finished"):
            await client.jobs.retry(job.id)


async def test_a_submission_whose_answer_was_lost_is_made_once(doors):
    async with connect(doors, fails=["request", "answer"]) as connection:
        client = Client(connection)
        await client.jobs.submit(JobRequest(config={"seed": 1}))
        assert len([job async for job in client.jobs.list()]) == 1
        keys = {one.headers.get("idempotency-key") for one in connection._http._transport.sent[:3]}
        assert len(keys) == 1


class Busy(httpx.AsyncBaseTransport):
    """Answers what a script says: statuses, with when to come back."""

    def __init__(self, *script):
        self.script, self.asked = list(script), 0

    async def handle_async_request(self, request):
        self.asked += 1
        status, retry_after = self.script.pop(0)
        headers = {} if retry_after is None else {"retry-after": retry_after}
        return httpx.Response(status, headers=headers, json={"detail": "so it is"})


class Sleeper(ManualClock):
    """Lets time pass at once, and remembers how much."""

    def __init__(self):
        super().__init__()
        self.slept = []

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.advance(seconds)


@pytest.mark.parametrize("status", [429, 503])
async def test_it_comes_back_when_it_is_told_to(status):
    transport, clock = Busy((status, "7"), (status, "3"), (422, None)), Sleeper()
    connection = Connection(BASE, config=QUICK, clock=clock, transport=transport)
    with pytest.raises(errors.InvalidRequestError):
        await Client(connection).agents.invoke(AGENT, REQUEST, AllocationDecision)
    assert clock.slept == [7.0, 3.0]


@pytest.mark.parametrize(
    ("deadline", "retry_after"), [(5.0, "7"), (None, "3600"), (None, None), (None, "soon")]
)
async def test_it_gives_up_rather_than_be_late(deadline, retry_after):
    transport, clock = Busy((429, retry_after)), Sleeper()
    connection = Connection(BASE, config=QUICK, clock=clock, transport=transport)
    agents = Client(connection).agents
    with pytest.raises(errors.BusyError):
        await agents.invoke(AGENT, REQUEST, AllocationDecision, deadline_seconds=deadline)
    assert (transport.asked, clock.slept) == (1, [])


async def test_after_some_tries_it_says_so(doors):
    async with connect(doors, fails=["request"] * 3) as connection:
        with pytest.raises(errors.UnreachableError, match="no route"):
            await Client(connection).engine()
        assert len(connection._http._transport.sent) == 3


async def test_what_would_happen_twice_is_not_repeated(doors):
    async with connect(doors, fails=["answer"]) as connection:
        with pytest.raises(errors.UnreachableError, match="cut off"):
            await Client(connection).sessions.step("s", {})
        assert len(connection._http._transport.sent) == 1


async def test_tries_wait_longer_each_time():
    config = ClientConfig(first_delay_seconds=1, longest_delay_seconds=3)
    for failures, longest in [(1, 1), (2, 2), (3, 3), (9, 3)]:
        assert longest / 2 <= config.delay(failures) <= longest
    clock, sent = ManualClock(), []

    def refuse(request):
        sent.append(request)
        return httpx.Response(503, json={"detail": "database away"})

    transport = httpx.MockTransport(refuse)
    async with (
        Connection(BASE, config=config, clock=clock, transport=transport) as connection,
        anyio.create_task_group() as group,
    ):

        async def ask():
            with pytest.raises(errors.UnavailableError, match="database away"):
                await Client(connection).engine()

        group.start_soon(ask)
        for tries in range(1, 6):
            await anyio.wait_all_tasks_blocked()
            assert len(sent) == tries
            clock.advance(config.longest_delay_seconds)


async def test_answers_of_something_else_are_explained():
    for content, words in [(b"<html>", "Bad Gateway"), (b"[1]", "Bad Gateway")]:
        transport = httpx.MockTransport(lambda _, body=content: httpx.Response(502, content=body))
        async with Connection(BASE, transport=transport) as connection:
            with pytest.raises(errors.ApiError, match=words):
                await Client(connection).engine()


async def test_an_artifact_that_came_damaged_is_refused():
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=b"other"))
    async with Connection(BASE, transport=transport) as connection:
        with pytest.raises(ArtifactCorruptError):
            await Client(connection).runs.artifact("0" * 64)


async def test_streams_go_on_after_the_last_event():
    positions = []

    def stream(request):
        after = int(request.headers["last-event-id"])
        positions.append(after)
        if len(positions) in {2, 3}:
            raise httpx.ReadError("cut off")
        lines = [": hello", "", f"id: {after + 1}", "event: note", 'data: {"n": 1}', ""]
        if len(positions) == 4:
            lines += ["event: end", "data: {}", ""]
        text = "\n".join([*lines, ""])
        return httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})

    transport = httpx.MockTransport(stream)
    async with Connection(BASE, config=QUICK, transport=transport) as connection:
        events = [one.id async for one in connection.follow("/v1/events/stream", after=6)]
    assert (events, positions) == ([7, 8], [6, 7, 7, 7])


async def test_a_job_is_waited_for_over_streams_that_end(tmp_path):
    async with open_served(tmp_path, longest_seconds=0.1, poll_seconds=0.01) as served:
        hand = Hand(served.application)
        async with (
            Connection(served.url, config=QUICK) as connection,
            anyio.create_task_group() as group,
        ):
            client = Client(connection)
            job = await client.jobs.submit(JobRequest())
            done = []

            async def wait():
                done.append(await client.jobs.wait(job.id, timeout_seconds=30))

            group.start_soon(wait)
            await anyio.sleep(0.3)  # longer than a stream lives
            await hand.finish(await hand.claim())
        assert done[0].state is JobState.SUCCEEDED
        async with Connection(served.url, config=QUICK) as connection:
            jobs = Client(connection).jobs
            types = [event.type async for event in jobs.events(job.id)]
            assert (types[0], types[-2:]) == ("job_submitted", ["job_succeeded", "run_finished"])
            log = tmp_path / "work" / job.id / "attempt-1.log"
            log.parent.mkdir(parents=True)
            log.write_text("hello\n")
            assert (await jobs.logs(job.id)).text == "hello\n"
            assert [text async for text in jobs.follow_logs(job.id, offset=2)] == ["llo\n"]
            other = await jobs.submit(JobRequest())
            with pytest.raises(TimeoutError):
                await jobs.wait(other.id, timeout_seconds=0.05)


@pytest.mark.parametrize("field", ["timeout_seconds", "max_tries", "first_delay_seconds"])
def test_settings_are_positive(field):
    with pytest.raises(ConfigError, match=field):
        ClientConfig(**{field: 0})


def test_problems_that_are_none_do_not_break_the_client():
    error = errors.make_error(422, json.dumps({"problems": []}).encode())
    assert "Unprocessable" in str(error)


@pytest.mark.parametrize("content", [b"<html>welcome</html>", b"", b"[]", b"{}", b"\xff"])
async def test_an_answer_of_somebody_else_is_told(content):
    stranger = httpx.MockTransport(lambda request: httpx.Response(200, content=content))
    async with Connection(BASE, config=QUICK, transport=stranger) as connection:
        with pytest.raises(errors.UnreachableError, match="no server of this version"):
            await connection.call("GET", "/v1/runs", RunPage)
        with pytest.raises(errors.UnreachableError, match="no server of this version"):
            await connection.upload("/v1/policies", b"x", RunPage)
