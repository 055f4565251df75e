"""Worlds in children of their own: played over HTTP, bounded, and freed however they end."""

from __future__ import annotations

import os
import signal
from typing import get_args

import anyio
import pytest

from orchestration.endpoints.session_routes import World
from orchestration.environment_sessions import (
    EnvironmentSessions,
    SessionBusyError,
    SessionConfig,
    SessionEndedError,
    SessionLimitError,
    SessionNotFoundError,
    SessionOrder,
)
from orchestration.executors.process import ProcessExecutor
from rl.environments.catalog import PRESETS
from tests.orchestration.doors import open_doors
from utils.clock import ManualClock
from utils.errors import ConfigError

pytestmark = pytest.mark.anyio
ORDER = SessionOrder(environment="newsvendor", seed=3)
SESSIONS = "/v1/environments/sessions"


@pytest.fixture
async def clock():
    return ManualClock()


@pytest.fixture
async def sessions(tmp_path, clock):
    executor = ProcessExecutor(preload=["torch", "numpy"])
    found = EnvironmentSessions(
        executor, clock, work_root=tmp_path, config=SessionConfig(most=2, idle_seconds=50)
    )
    async with anyio.create_task_group() as group:
        group.start_soon(found.run)
        await anyio.wait_all_tasks_blocked()
        yield found
        group.cancel_scope.cancel()
    assert found.open == 0
    assert list(tmp_path.iterdir()) == []


def pid_of(sessions, session_id):
    return sessions._open[session_id].child._pid


async def test_places_are_few_and_freed_when_a_session_closes(sessions):
    first, _ = await sessions.start(ORDER)
    await sessions.start(ORDER)
    with pytest.raises(SessionLimitError, match="2 sessions are open"):
        await sessions.start(ORDER)
    await sessions.close(first)
    await sessions.close(first)
    await sessions.start(ORDER)
    with pytest.raises(SessionEndedError, match="closed"):
        await sessions.step(first, {})
    with pytest.raises(SessionNotFoundError):
        await sessions.close("never")


async def test_a_killed_child_is_told_and_frees_its_place(sessions):
    session_id, _ = await sessions.start(ORDER)
    session = sessions._open[session_id]
    os.kill(pid_of(sessions, session_id), signal.SIGKILL)
    await session.gone.wait()
    assert sessions.open == 0
    with pytest.raises(SessionEndedError, match="SIGKILL"):
        await sessions.step(session_id, {})


async def test_a_child_that_dies_over_a_question_is_told(sessions):
    session_id, _ = await sessions.start(ORDER)
    os.kill(pid_of(sessions, session_id), signal.SIGSTOP)
    async with anyio.create_task_group() as group:

        async def ask():
            with pytest.raises(SessionEndedError, match="SIGKILL"):
                await sessions.step(session_id, {})

        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(SessionBusyError):
            await sessions.step(session_id, {})
        os.kill(pid_of(sessions, session_id), signal.SIGKILL)


async def test_unused_sessions_end(sessions, clock):
    session_id, _ = await sessions.start(ORDER)
    gone = sessions._open[session_id].gone
    clock.advance(49)
    await sessions.step(session_id, {})
    clock.advance(49)
    assert sessions.open == 1
    clock.advance(1)
    sessions.sweep()
    with anyio.fail_after(120):
        await gone.wait()
    with pytest.raises(SessionEndedError, match="nobody used it for 50 s"):
        await sessions.step(session_id, {})


async def test_a_world_that_does_not_answer_is_ended(tmp_path, clock):
    found = EnvironmentSessions(
        ProcessExecutor(), clock, work_root=tmp_path, config=SessionConfig(answer_seconds=0.001)
    )
    async with anyio.create_task_group() as group:
        group.start_soon(found.run)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(SessionEndedError, match=r"no answer within 0\.001 s"):
            await found.start(ORDER)
        group.cancel_scope.cancel()


async def test_a_world_that_cannot_be_built_takes_no_place(sessions):
    for order, words in [
        (SessionOrder(environment="nowhere"), "no world 'nowhere'"),
        (SessionOrder(environment="job_scheduling", actions="binned"), r"continuous"),
    ]:
        with pytest.raises(ConfigError, match=words):
            await sessions.start(order)


async def test_without_its_keeper_nothing_opens(tmp_path, clock):
    found = EnvironmentSessions(ProcessExecutor(), clock, work_root=tmp_path)
    with pytest.raises(SessionLimitError):
        await found.start(ORDER)


@pytest.mark.parametrize("field", ["most", "idle_seconds", "longest_seconds", "answer_seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_bounds_are_positive(field, value):
    with pytest.raises(ConfigError, match=field):
        SessionConfig(**{field: value})


def test_the_worlds_of_the_api_are_those_of_the_catalog():
    assert sorted(get_args(World)) == sorted(PRESETS)


async def test_a_world_whose_caller_left_while_it_was_built_takes_no_place(tmp_path, monkeypatch):
    closed = []

    async def start(order):
        return "s1", {"agents": {}, "charts": [], "experts": [], "num_costs": 0,
                      "observations": {}, "info": {}}  # fmt: skip

    async def close(session_id):
        closed.append(session_id)

    async with open_doors(tmp_path) as doors:
        monkeypatch.setattr(doors.parts.sessions, "start", start)
        monkeypatch.setattr(doors.parts.sessions, "close", close)
        async with doors.caller() as client:
            answer = await client.post(SESSIONS, json={"environment": "newsvendor"})
        assert (answer.status_code, closed) == (201, [])
        body = b'{"environment": "newsvendor"}'
        told = [{"type": "http.request", "body": body, "more_body": False}]
        headers = [(b"host", b"127.0.0.1:8321"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": SESSIONS, "query_string": b"",
                 "headers": headers, "raw_path": SESSIONS.encode(), "http_version": "1.1",
                 "scheme": "http", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8321),
                 "root_path": ""}  # fmt: skip

        async def receive():
            return told.pop() if told else {"type": "http.disconnect"}

        async def send(message):
            """Nobody listens."""

        await doors.api(scope, receive, send)
        assert closed == ["s1"]


async def test_an_episode_over_http(tmp_path):
    async with open_doors(tmp_path) as doors, doors.caller() as client:
        body = {"environment": "newsvendor", "seed": 3, "settings": {"actions": "own"}}
        answer = await client.post(SESSIONS, json=body)
        assert answer.status_code == 201, answer.text
        world, place = answer.json(), answer.headers["location"]
        ((agent, about),) = world["agents"].items()
        assert len(world["observations"][agent]) == about["observation_size"]
        action = [0.5] * about["action"]["size"]
        for actions, status, word in [
            ({agent: [float("1e8")] * 99}, 422, "shape"),
            ({"nobody": action}, 422, "no agents nobody"),
            ({agent: "up"}, 422, "actions"),
        ]:
            answer = await client.post(f"{place}/step", json={"actions": actions})
            assert (answer.status_code, word in answer.text) == (status, True), answer.text
        nan = f'{{"actions": {{"{agent}": [NaN]}}}}'
        headers = {"content-type": "application/json"}
        answer = await client.post(f"{place}/step", content=nan, headers=headers)
        assert answer.status_code == 422
        steps = []
        while not steps or not steps[-1]["has_ended"]:
            answer = await client.post(f"{place}/step", json={"actions": {agent: action}})
            assert answer.status_code == 200, answer.text
            steps.append(answer.json())
        assert [step["step"] for step in steps] == list(range(1, len(steps) + 1))
        answer = await client.post(f"{place}/step", json={"actions": {agent: action}})
        assert (answer.status_code, "has ended" in answer.text) == (409, True)
        page = (await client.get(f"{place}/trajectory", params={"offset": 1, "limit": 2})).json()
        assert page["total"] == len(steps)
        for kept, told in zip(page["steps"], steps[1:3], strict=True):
            assert kept.pop("actions") == {agent: action}
            assert kept == told
        again = (await client.post(SESSIONS, json=body)).json()
        assert again["observations"] == world["observations"]
        assert (await client.delete(place)).status_code == 204
        assert (await client.delete(place)).status_code == 204
        assert (await client.post(f"{place}/step", json={"actions": {}})).status_code == 410
        assert (await client.delete(f"{SESSIONS}/none")).status_code == 404
