"""A worker that loses its PostgreSQL connections: others finish its work, and it goes on later."""

from __future__ import annotations

import contextlib
from collections import Counter
from functools import partial
from pathlib import Path

import anyio
import pytest
from sqlalchemy import make_url, text

from orchestration.jobs import JobState
from tests.integration.machines import open_machines, until
from tests.integration.node_worker import KIND
from tests.postgres import missing, run_server
from tests.tcp_proxy import Proxy

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing() or "PostgreSQL is there"),
]
NAME = "to-be-cut"
LISTENERS = text(
    f"SELECT pid FROM pg_stat_activity WHERE application_name = '{NAME}' AND query LIKE 'LISTEN %'"
)
END_ALL = text(
    "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
    f" WHERE application_name = '{NAME}'"
)


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def find_listener(machines, former=frozenset()):
    """The server's processes that the worker listens to, once there is a new one."""
    async with machines.database.read() as connection:
        found = set((await connection.execute(LISTENERS)).scalars())
    return found if found - former else None


async def submit_held(machines, go):
    return await machines.store.submit(KIND, {"steps": 6, "hold": {"3": str(go)}})


async def test_a_worker_whose_connections_are_ended_makes_new_ones_and_loses_nothing(tmp_path):
    with run_server() as url:
        async with open_machines(url, tmp_path) as machines:
            go = tmp_path / "go"
            job = await submit_held(machines, go)
            worker = machines.start_worker(
                location=f"{url}&application_name={NAME}", lease_seconds=20
            )
            await machines.until_told(job, "step_done", 3)
            former = await until(partial(find_listener, machines))
            for _ in range(3):
                async with machines.database.write() as connection:
                    assert await connection.scalar(END_ALL) >= 2
                former = await until(partial(find_listener, machines, former))
            go.touch()
            ended = await machines.until_ended(job)
            assert (ended.state, ended.result) == (JobState.SUCCEEDED, {"total": 21})
            assert (ended.fence, ended.lost, ended.attempt) == (1, 0, 1)
            steps = await machines.told(job, "step_done")
            assert Counter(told["step"] for told in steps) == Counter(range(1, 7))
            assert worker.poll() is None


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Proxy.refuse, ["database_out_of_reach"]),
        # Late words arrive and are refused; a transaction that was open has been ended.
        (Proxy.fall_silent, ["lease_lost", "idle-in-transaction timeout"]),
        (Proxy.forget, ["no answer in"]),
    ],
)
async def test_a_worker_that_is_cut_off_loses_its_job_and_works_again_later(
    tmp_path, monkeypatch, fault, words
):
    if fault is Proxy.forget:
        monkeypatch.setenv("ANSWER_SECONDS", "3")
    with run_server() as url, contextlib.ExitStack() as ways:
        path = Path(make_url(url).query["host"]) / ".s.PGSQL.5432"
        async with open_machines(url, tmp_path) as machines:
            proxy = ways.enter_context(Proxy(str(path)))
            go = tmp_path / "go"
            job = await submit_held(machines, go)
            way = f"postgresql+psycopg://postgres@127.0.0.1:{proxy.port}/postgres"
            worker = machines.start_worker(
                location=f"{way}?application_name={NAME}", lease_seconds=2
            )
            (began,) = await machines.until_told(job, "began")
            await machines.until_told(job, "step_done", 3)
            former = await until(partial(find_listener, machines))
            fault(proxy)
            other = machines.start_worker(lease_seconds=20)
            _, again = await machines.until_told(job, "began", 2)
            assert (again["step"], again["fence"]) == (3, 2)
            go.touch()
            ended = await machines.until_ended(job)
            proxy.heal()
            assert (ended.state, ended.result) == (JobState.SUCCEEDED, {"total": 21})
            log = anyio.Path(tmp_path / "machine-0.log")
            await until(partial(_said, log, words))
            if fault is Proxy.refuse:
                await until(partial(find_listener, machines, former))
            other.kill()
            other.wait()
            later = await machines.store.submit(KIND, {"steps": 2})
            assert (await machines.until_ended(later)).result == {"total": 3}
            (told,) = await machines.told(later, "began")
            assert told["var"] == began["var"]
            assert worker.poll() is None
            assert (await machines.store.get(job.id)) == ended
            outcomes = [one.outcome for one in await machines.attempts(job)]
            assert outcomes == ["lost", "succeeded"]
            steps = await machines.told(job, "step_done")
            assert Counter(told["step"] for told in steps) == Counter(range(1, 7))
            assert {told["fence"] for told in steps if told["step"] > 3} == {2}
            assert len(await machines.told(job, "job_succeeded")) == 1


async def _said(log, words):
    text = await log.read_text()
    return any(one in text for one in words)
