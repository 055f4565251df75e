"""Which states a job can resume from: rows committed under a fence, files that hash as recorded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT compiles for SQLite as well

from utils.persistence.files import hash_file
from utils.persistence.jobs import attempt, checkpoint

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from orchestration.job_store.ledger import JobLedger
    from orchestration.jobs import Job
    from utils.persistence.artifact_store import ArtifactStore


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A resumable state of a job: a whole file, named by path and hash."""

    path: str
    sha256: str
    step: int
    size_bytes: int


class SqlCheckpoints:
    """The committed checkpoints of jobs."""

    def __init__(self, ledger: JobLedger) -> None:
        self._ledger = ledger

    async def commit(self, connection: AsyncConnection, job: Job, record: Checkpoint) -> None:
        """Make a checkpoint the newest to resume from; a repeated one changes nothing.

        Args:
            connection: A transaction that has proved the job's fence.
            job: The job, with the attempt's fence.
            record: The file, already whole on disk.
        """
        now = self._ledger.clock.now()
        row = {**asdict(record), "job_id": job.id, "fence": job.fence, "created_at": now}
        values = insert(checkpoint).values(**row, state="ready").on_conflict_do_nothing()
        if (await connection.execute(values.returning(checkpoint.c.id))).first() is not None:
            payload = {"step": record.step, "sha256": record.sha256}
            await self._ledger.announce(connection, job.id, "checkpoint_committed", payload)

    async def newest(self, job_id: str, *, store: ArtifactStore | None = None) -> Checkpoint | None:
        """Return the newest checkpoint that is still whole; older ones stand in for it.

        Args:
            job_id: Whose.
            store: Where files of other machines are found by their hash.

        Raises:
            ArtifactsUnreachableError: The store does not answer.
        """
        table = checkpoint
        query = (
            select(table.c.path, table.c.sha256, table.c.step, table.c.size_bytes)
            .where(table.c.job_id == job_id, table.c.state == "ready")
            .order_by(table.c.step.desc(), table.c.fence.desc())
        )
        async with self._ledger.database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        for row in rows:
            record = Checkpoint(**row)
            if await anyio.to_thread.run_sync(_is_whole, record, store):
                return record
        return None

    async def note_resume(self, connection: AsyncConnection, job: Job, record: Checkpoint) -> None:
        """Record what the current attempt resumed from.

        Args:
            connection: A transaction that has proved the job's fence.
            job: The job, with the attempt's fence.
            record: Where it starts.
        """
        this_attempt = update(attempt).filter_by(job_id=job.id, fence=job.fence)
        await connection.execute(this_attempt, {"resume_checkpoint": record.path})


def _is_whole(record: Checkpoint, store: ArtifactStore | None) -> bool:
    path = Path(record.path)
    if path.is_file() and hash_file(path) == record.sha256:
        return True
    return store is not None and store.holds(record.sha256)
