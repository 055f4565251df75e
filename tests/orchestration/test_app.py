"""The composition root: settings that are refused, parts that fit, signals that stop it."""

from __future__ import annotations

import os
import signal

import anyio
import pytest

from orchestration.app import Settings, open_application, run_with
from orchestration.endpoints.rest import ApiServer
from rl.training.training_config import TrainingConfig
from tests.orchestration.house import AGENT, REQUEST, open_house
from utils.errors import ConfigError
from utils.observability import exposition
from utils.persistence.errors import DatabaseError

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("host", "said"),
    [("0.0.0.0", "allow-host"), ("::", "allow-host"), ("example.org", "IP address"), ("", "IP")],
)
def test_addresses_that_nobody_could_name_are_refused(host, said):
    with pytest.raises(ConfigError, match=said):
        Settings(host=host)


def test_an_address_that_others_reach_is_no_local_one():
    assert not Settings(host="192.168.1.4").is_local


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_loopback_is_served(host):
    assert Settings(host=host).host == host


def test_ports_are_checked():
    with pytest.raises(ConfigError, match="port=70000"):
        Settings(port=70_000)


async def test_a_taken_port_is_named():
    server = ApiServer(lambda: None, host="127.0.0.1", port=0)
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(ConfigError, match=f"{port}.*choose another --port"):
        ApiServer(lambda: None, host="127.0.0.1", port=port)
    server._socket.close()


async def test_state_outlives_the_application(tmp_path):
    async with open_house(tmp_path, versions=1) as application:
        job = await application.orchestrator.submit_training(TrainingConfig())
    async with open_house(tmp_path) as application:
        assert (await application.orchestrator.job(job.id)).id == job.id
        assert (await application.orchestrator.invoke(AGENT, REQUEST)).version == "1"


async def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "quartermaster.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(DatabaseError, match="another database"):
        async with open_application(Settings(var=tmp_path), with_worker=False):
            pass


async def test_only_an_application_with_a_worker_carries_jobs(tmp_path):
    async with open_application(Settings(var=tmp_path), with_worker=False) as application:
        assert application.worker is None
    async with open_application(Settings(var=tmp_path), with_worker=True) as application:
        assert application.worker is not None


async def test_work_runs_beside_the_background(tmp_path):
    async with open_house(tmp_path) as application:

        async def work():
            while b"job_snapshot_timestamp_seconds 1" not in exposition(application.metrics):  # noqa: ASYNC110  a gauge has no event
                await anyio.sleep(0.01)
            return "seen"

        assert await run_with(application, work) == "seen"


async def test_errors_of_the_work_arrive_as_they_are(tmp_path):
    async def work():
        raise ConfigError("seed=x")

    async with open_house(tmp_path) as application:
        with pytest.raises(ConfigError, match="seed=x"):
            await run_with(application, work)


async def test_the_echo_of_a_signal_does_not_end_the_saving(tmp_path):
    cleaned = []

    async def work():
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await anyio.sleep_forever()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # would end this very process
            cleaned.append("saved")

    async with open_house(tmp_path) as application:
        assert await run_with(application, work) is None
    assert cleaned == ["saved"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_work_and_gives_signals_back(tmp_path, number):
    before = signal.getsignal(number)
    cleaned = []

    async def work():
        os.kill(os.getpid(), number)
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.append(number)

    async with open_house(tmp_path) as application:
        assert await run_with(application, work) is None
    assert cleaned == [number]
    assert signal.getsignal(number) == before
