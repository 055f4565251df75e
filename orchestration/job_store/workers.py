"""Who works: one row per worker process, and which of this machine's are surely dead."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT compiles for SQLite as well

from orchestration.jobs import LIVE, Resources
from utils.clock import new_id
from utils.persistence.errors import DatabaseError
from utils.persistence.jobs import job, worker

SEEN_SECONDS = 60
"""A worker that was heard of more recently is taken to be alive."""

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from orchestration.job_store.ledger import JobLedger


@dataclass(frozen=True, kw_only=True)
class WorkerIdentity:
    """One life of one process; ids are never reused, unlike pids and host names."""

    id: str
    host: str
    boot_id: str
    pid: int
    pid_started: int


class SqlWorkers:
    """The rows of workers."""

    def __init__(self, ledger: JobLedger) -> None:
        self._ledger = ledger

    def identify(self) -> WorkerIdentity:
        """Make a new identity for this process."""
        return WorkerIdentity(
            id=new_id(self._ledger.clock),
            host=_host(),
            boot_id=_boot_id(),
            pid=os.getpid(),
            pid_started=process_start(os.getpid()) or 0,
        )

    async def seen(
        self,
        identity: WorkerIdentity,
        *,
        parallel_jobs: int = 1,
        capacity: Resources | None = None,
    ) -> None:
        """Record that a worker lives.

        Args:
            identity: Its own.
            parallel_jobs: How many jobs it carries at once.
            capacity: What it has for them; None counts nothing.

        Raises:
            DatabaseError: The database is a file, and a worker of another machine uses it now.
        """
        has = {} if capacity is None else asdict(capacity)
        database = self._ledger.database
        async with database.write() as connection:
            now = await self._ledger.now(connection)
            if not database.is_server:
                await _refuse_other_machines(connection, identity, now)
            row = {**asdict(identity), **has, "last_seen": now, "parallel_jobs": parallel_jobs}
            statement = insert(worker).values(**row)
            await connection.execute(
                statement.on_conflict_do_update(index_elements=["id"], set_={"last_seen": now})
            )

    async def find_dead(self) -> list[str]:
        """Return the owners of live jobs that ran on this machine and are surely gone."""
        live = [state.value for state in LIVE]
        query = (
            select(worker.c.id, worker.c.boot_id, worker.c.pid, worker.c.pid_started)
            .join(job, job.c.lease_owner == worker.c.id)
            .where(job.c.state.in_(live), worker.c.host == _host())
            .distinct()
        )
        async with self._ledger.database.read() as connection:
            rows = (await connection.execute(query)).all()
        boot_id = _boot_id()
        return [
            row.id
            for row in rows
            if row.boot_id != boot_id or process_start(row.pid) != row.pid_started
        ]


async def _refuse_other_machines(
    connection: AsyncConnection, identity: WorkerIdentity, now: datetime
) -> None:
    """SQLite's locks do not hold between machines, whatever the file system promises."""
    name = identity.host.partition("/")[0]
    query = select(worker.c.host).where(
        worker.c.boot_id != identity.boot_id,  # containers of one machine share it
        worker.c.host.not_like(f"{name}/%"),  # this machine may have been restarted since
        worker.c.last_seen > now - timedelta(seconds=SEEN_SECONDS),
    )
    other = await connection.scalar(query.limit(1))
    if other is not None:
        raise DatabaseError(
            f"a worker of another machine ({other}) uses this SQLite file: share a PostgreSQL "
            f"database instead, or wait {SEEN_SECONDS} s if that worker has just been stopped"
        )


def process_start(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if there is none.

    Args:
        pid: Its number, in our process namespace.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else int(fields[18])


def _host() -> str:
    # Two containers may share a host name and a database, but see different processes.
    return f"{socket.gethostname()}/{Path('/proc/self/ns/pid').readlink()}"


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
