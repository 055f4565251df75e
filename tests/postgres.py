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


@contextlib.contextmanager
def run_server(*, fsync="off"):
    """Start a server; give the URL of its database. Only benchmarks want commits on the disk."""
    lacking = missing()
    if lacking:
        pytest.skip(lacking)
    binaries = BINARIES[-1].parent
    root = Path(tempfile.mkdtemp(prefix="qm-pg-"))  # sockets want short paths
    user = []
    if os.geteuid() == 0:  # the server refuses to run as root
        account = pwd.getpwnam("postgres")
        os.chown(root, account.pw_uid, account.pw_gid)
        user = ["runuser", "-u", "postgres", "--"]

    def call(*words):
        subprocess.run(
            [*user, *words], check=True, cwd=root, stdin=subprocess.DEVNULL, capture_output=True
        )

    data = str(root / "data")
    options = f"-c listen_addresses='' -c unix_socket_directories={root} -c fsync={fsync}"
    try:
        call(binaries / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8")
        call(binaries / "pg_ctl", "-D", data, "-w", "-l", str(root / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://postgres@/postgres?host={root}"
        finally:
            call(binaries / "pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextlib.asynccontextmanager
async def open_server_database(url, folder):
    """Open the server's database, its tables of the newest revision and empty."""
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.begin() as connection:
        upgrade_connection(connection, url)
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()
    database = Database(create_async_engine(url, poolclass=pool.NullPool), folder / "server")
    yield database
    await database.aclose()
