"""Which logs of jobs that have ended may go."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
from sqlalchemy import select

from orchestration.job_logs import MIB, RemovedLogs, collect
from orchestration.jobs import TERMINAL
from utils.errors import ConfigError
from utils.persistence.jobs import job

if TYPE_CHECKING:
    from datetime import datetime

    from utils.clock import Clock
    from utils.persistence.engine import Database

KEPT_DAYS, KEPT_MIB = 30.0, 1024.0


async def remove_old_logs(
    database: Database,
    work_root: Path,
    *,
    clock: Clock,
    days: float = KEPT_DAYS,
    mib: float = KEPT_MIB,
) -> RemovedLogs:
    """Remove logs of jobs that ended long ago, then the oldest while they take too much space.

    Args:
        database: Knows the jobs.
        work_root: Folder of their work folders.
        clock: Tells the time.
        days: How long after its job's end a log stays.
        mib: How much space those of ended jobs may take.

    Raises:
        ConfigError: A number is negative or none.
    """
    if not (0 <= days < 100_000 and 0 <= mib < 1e12):
        raise ConfigError(f"log days {days} and MiB {mib}: write 0 or more")
    ended = [state.value for state in TERMINAL]
    query = select(job.c.id, job.c.finished_at).where(job.c.state.in_(ended))
    async with database.read() as connection:
        finished: dict[str, datetime | None] = {
            row.id: row.finished_at for row in await connection.execute(query)
        }
    older_than = clock.now() - timedelta(days=days)

    def work() -> RemovedLogs:
        return collect(work_root, finished, older_than=older_than, max_bytes=int(mib * MIB))

    return await anyio.to_thread.run_sync(work)
