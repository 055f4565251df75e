"""What is expected of a PostgreSQL server that does not answer, and of the network before it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from tests.postgres import run_server
from tests.tcp_proxy import Proxy
from utils.persistence import engine
from utils.persistence.engine import open_database
from utils.persistence.errors import DatabaseError

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
def url():
    with run_server() as found:
        yield found


@pytest.mark.parametrize("way", ["read", "write"])
async def test_a_server_that_does_not_answer_is_out_of_reach_and_asked_again(url, monkeypatch, way):
    database = await open_database(url)
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE IF NOT EXISTS kept (n int)"))
    monkeypatch.setattr(engine, "ANSWER_SECONDS", 0.5)

    async def wait_for_long():
        async with getattr(database, way)() as connection:
            if way == "write":
                await connection.execute(text("INSERT INTO kept VALUES (1)"))
            await connection.execute(text("SELECT pg_sleep(60)"))

    with pytest.raises(DatabaseError, match=r"no answer in 0\.5 s"):
        await wait_for_long()
    monkeypatch.undo()
    async with database.write() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM kept")) == 0
    await database.aclose()


async def test_the_kernel_gives_up_connections_that_the_network_lost(url):
    with Proxy(str(Path(make_url(url).query["host"]) / ".s.PGSQL.5432")) as proxy:
        way = f"postgresql+psycopg://postgres@127.0.0.1:{proxy.port}/postgres"
        database = await open_database(way)
        async with database.read() as connection:
            raw = await connection.get_raw_connection()
            with socket.socket(fileno=os.dup(raw.driver_connection.fileno())) as wire:
                assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                timeouts = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT]
                timeouts.append(socket.TCP_USER_TIMEOUT)
                set_ = [wire.getsockopt(socket.IPPROTO_TCP, one) for one in timeouts]
        assert set_ == [10, 5, 3, 25_000]
        await database.aclose()
