"""A PostgreSQL server of our own, in a folder of its own, behind a Unix socket only."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import create_engine, pool
from sqlalchemy.ext.asyncio import create_async_engine

from utils.persistence.engine import Database
from utils.persistence.plain_json import write_json
from utils.persistence.schema import metadata
from utils.persistence.upgrade import upgrade_connection

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def missing() -> str:
    """Say what PostgreSQL tests lack here; nothing if they can run."""
    if not BINARIES:
        return "PostgreSQL is not installed (/usr/lib/postgresql)"
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is not installed"
    return ""


class Server:
    """A PostgreSQL server in a folder, to be started and stopped as often as one likes."""

    def __init__(self, root: Path, *, fsync: bool):
        self.url = f"postgresql+psycopg://postgres@/postgres?host={root}"
        self._root = root
        self._fsync = "on" if fsync else "off"
        self._user = []
        if os.geteuid() == 0:  # the server refuses to run as root
            account = pwd.getpwnam("postgres")
            os.chown(root, account.pw_uid, account.pw_gid)
            self._user = ["runuser", "-u", "postgres", "--"]
        self._call("initdb", "-U", "postgres", "--auth=trust", "-E", "UTF8")

    def start(self):
        options = f"-c listen_addresses='' -c unix_socket_directories={self._root}"
        options += f" -c fsync={self._fsync}"
        self._call("pg_ctl", "-w", "-l", str(self._root / "log"), "-o", options, "start")

    def stop(self, mode="immediate"):
        self._call("pg_ctl", "-m", mode, "stop")

    def _call(self, program, *words):
        subprocess.run(
            [*self._user, BINARIES[-1].parent / program, "-D", self._root / "data", *words],
            check=True,
            cwd=self._root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )


@contextlib.contextmanager
def run_server(*, fsync=False):
    """Start a server; give the URL of its database."""
    with open_server(fsync=fsync) as server:
        yield server.url


@contextlib.contextmanager
def open_server(*, fsync=False):
    """Start a server that may be stopped and started again."""
    lacking = missing()
    if lacking:
        pytest.skip(lacking)
    root = Path(tempfile.mkdtemp(prefix="qm-pg-"))  # sockets want short paths
    try:
        server = Server(root, fsync=fsync)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def empty_tables(url):
    """Leave the server's tables of the newest revision and empty."""
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.begin() as connection:
        upgrade_connection(connection, url)
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()


@contextlib.asynccontextmanager
async def open_server_database(url, folder):
    """Open the server's database, its tables of the newest revision and empty."""
    empty_tables(url)
    engine = create_async_engine(url, poolclass=pool.NullPool, json_serializer=write_json)
    database = Database(engine, folder / "server")
    yield database
    await database.aclose()
