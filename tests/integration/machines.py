"""A queue and workers with folders of their own, each a process to kill, freeze or cut off."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from functools import partial

import anyio
from sqlalchemy import select

from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.store import SqlJobStore
from tests.ray_clusters import ROOT
from utils.clock import SystemClock
from utils.persistence.engine import open_database
from utils.persistence.jobs import attempt


class Machines:
    """A queue, and workers with folders of their own."""

    def __init__(self, location, database, folder):
        self.location, self.database, self.folder = location, database, folder
        self.store = SqlJobStore(JobLedger(database, SystemClock(), trusts_server_clock=True))
        self.processes = []

    def start_worker(self, *more, lease_seconds=20, location=None):
        name = f"machine-{len(list(self.folder.glob('machine-*.log')))}"
        folders = self.folder / name, self.folder / "artifacts"
        arguments = [location or self.location, *folders, lease_seconds]
        command = [sys.executable, "-m", "tests.integration.node_worker", *map(str, arguments)]
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen([*command, *more], cwd=ROOT, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    async def told(self, job, type_):
        events = await self.store.events(job_id=job.id)
        return [event.payload for event in events if event.type == type_]

    async def until_told(self, job, type_, count=1):
        return await until(partial(self._told_so_often, job, type_, count))

    async def _told_so_often(self, job, type_, count):
        found = await self.told(job, type_)
        return found if len(found) >= count else None

    async def until_ended(self, job):
        async def ended():
            now = await self.store.get(job.id)
            return now if now.state.is_terminal else None

        return await until(ended)

    async def attempts(self, job):
        query = select(attempt).where(attempt.c.job_id == job.id).order_by(attempt.c.fence)
        async with self.database.read() as connection:
            return (await connection.execute(query)).all()


async def until(condition, seconds=240):
    with anyio.fail_after(seconds):
        while not (value := await condition()):  # noqa: ASYNC110  # other processes change it
            await anyio.sleep(0.05)
    return value


@contextlib.asynccontextmanager
async def open_machines(location, folder):
    database = await open_database(location)
    machines = Machines(str(location), database, folder)
    try:
        yield machines
    finally:
        for process in machines.processes:
            process.kill()
            process.wait()
        await database.aclose()
