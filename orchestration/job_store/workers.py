"""Who works: one row per worker process, and which of this machine's are surely dead."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from orchestration.jobs import LIVE
from utils.clock import new_id
from utils.persistence.jobs import job, worker

if TYPE_CHECKING:
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

    async def seen(self, identity: WorkerIdentity) -> None:
        """Record that a worker lives.

        Args:
            identity: Its own.
        """
        row = {**asdict(identity), "last_seen": self._ledger.clock.now()}
        statement = insert(worker).values(**row)
        statement = statement.on_conflict_do_update(
            index_elements=["id"], set_={"last_seen": row["last_seen"]}
        )
        async with self._ledger.database.write() as connection:
            await connection.execute(statement)

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
