"""What of deleted runs and unwanted files is known: tombstones, and what protects a file.

Functions on an open transaction. First something gets a tombstone; a grace period later, if nothing
refers to it then, whoever owns the files removes it and its tombstone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import PurePath
from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, or_, select, update
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT compiles for SQLite as well

from utils.errors import QuartermasterError
from utils.persistence.experiments import run, run_artifact, run_parent, tombstone
from utils.persistence.jobs import checkpoint
from utils.persistence.registry import alias_history, artifact, model_alias, model_version

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.ext.asyncio import AsyncConnection


class RunInUseError(QuartermasterError):
    """Callers meet a model of this run."""


class Kind(StrEnum):
    """What a tombstone stands for."""

    ARTIFACT = "artifact"
    """Bytes in the artifact store, by hash."""
    FOLDER = "folder"
    """A folder among those of the runs, by name."""


@dataclass(frozen=True, kw_only=True)
class CheckpointFile:
    """A recorded checkpoint that may still be on disk."""

    path: str
    sha256: str


async def mark_run(connection: AsyncConnection, run_id: str, now: datetime) -> None:
    """Delete a run for everybody who looks: it, and those of its models that never had an alias.

    Args:
        connection: An open write transaction.
        run_id: An existing run.
        now: When.

    Raises:
        RunInUseError: An alias means a version that came from it.
    """
    version, alias = model_version, model_alias
    query = select(alias.c.agent, alias.c.alias, alias.c.version).join(
        version, (version.c.agent == alias.c.agent) & (version.c.version == alias.c.version)
    )
    used = (await connection.execute(query.where(version.c.run_id == run_id))).first()
    if used is not None:
        raise RunInUseError(
            f"run {run_id} made version {used.version} of {used.agent}, which is its {used.alias}: "
            "promote another version first"
        )
    await connection.execute(update(run).where(run.c.id == run_id).values(deleted_at=now))
    elsewhere = exists().where(
        run_artifact.c.sha256 == version.c.artifact_sha256, run_artifact.c.run_id.in_(_live_runs())
    )
    unwanted = version.c.run_id == run_id, ~_ever_named(), ~elsewhere
    await connection.execute(update(version).where(*unwanted).values(deleted_at=now))
    wanted = exists().where(
        version.c.artifact_sha256 == artifact.c.sha256, version.c.deleted_at.is_(None)
    )
    mine = artifact.c.sha256.in_(
        select(version.c.artifact_sha256).where(version.c.run_id == run_id)
    )
    await connection.execute(update(artifact).where(mine, ~wanted).values(deleted_at=now))
    hashes = await connection.scalars(
        select(run_artifact.c.sha256).where(run_artifact.c.run_id == run_id)
    )
    await add_tombstones(connection, Kind.ARTIFACT, set(hashes), now)


async def add_tombstones(
    connection: AsyncConnection, kind: Kind, names: Collection[str], now: datetime
) -> int:
    """Note since when things are unwanted; an earlier note stands.

    Args:
        connection: An open write transaction.
        kind: What they are.
        names: Their names.
        now: When.

    Returns:
        How many are new.
    """
    added = 0
    for name in sorted(names):
        line = {"kind": kind.value, "name": name, "deleted_at": now}
        new = insert(tombstone).values(line).on_conflict_do_nothing()
        counted = new.execution_options(preserve_rowcount=True)
        added += (await connection.execute(counted)).rowcount
    return added


async def drop_tombstones(connection: AsyncConnection, kind: Kind, names: Collection[str]) -> None:
    """Forget tombstones: the things are gone, or wanted again.

    Args:
        connection: An open write transaction.
        kind: What they are.
        names: Their names.
    """
    for name in names:
        mine = (tombstone.c.kind == kind.value) & (tombstone.c.name == name)
        await connection.execute(delete(tombstone).where(mine))


async def list_tombstones(
    connection: AsyncConnection, kind: Kind, *, until: datetime | None = None
) -> list[str]:
    """List what is unwanted.

    Args:
        connection: An open transaction.
        kind: What.
        until: Only since at least then.
    """
    query = select(tombstone.c.name).where(tombstone.c.kind == kind.value)
    if until is not None:
        query = query.where(tombstone.c.deleted_at <= until)
    return list(await connection.scalars(query.order_by(tombstone.c.name)))


async def list_deleted_runs(connection: AsyncConnection, *, until: datetime) -> list[str]:
    """List runs that were deleted.

    Args:
        connection: An open transaction.
        until: At least so long ago.
    """
    query = select(run.c.id).where(run.c.deleted_at <= until).order_by(run.c.id)
    return list(await connection.scalars(query))


async def list_known_runs(connection: AsyncConnection) -> set[str]:
    """Return the ids of all runs, deleted ones included until they are swept.

    Args:
        connection: An open transaction.
    """
    return set(await connection.scalars(select(run.c.id)))


async def list_wanted_artifacts(connection: AsyncConnection) -> set[str]:
    """Return the hashes that a run, a model or an alias still refers to.

    Args:
        connection: An open transaction.
    """
    of_runs = select(run_artifact.c.sha256).where(run_artifact.c.run_id.in_(_live_runs()))
    of_models = select(artifact.c.sha256).where(artifact.c.deleted_at.is_(None))
    of_names = select(model_version.c.artifact_sha256).where(_ever_named())
    found: set[str] = set()
    for query in (of_runs, of_models, of_names):
        found |= set(await connection.scalars(query))
    return found


async def list_ready_checkpoints(connection: AsyncConnection) -> set[str]:
    """Return the manifests' hashes of all checkpoints that somebody may go on from.

    Args:
        connection: An open transaction.
    """
    query = select(checkpoint.c.sha256).where(checkpoint.c.state == "ready")
    return set(await connection.scalars(query))


async def list_wanted_checkpoints(connection: AsyncConnection) -> set[str]:
    """Return the manifests' hashes that must stay although their run was deleted.

    Those that other runs began with, and those that a model with an alias, now or earlier, is of.

    Args:
        connection: An open transaction.
    """
    parents = select(run_parent.c.checkpoint_sha256).where(run_parent.c.run_id.in_(_live_runs()))
    cards = select(artifact.c.card).join(
        model_version, model_version.c.artifact_sha256 == artifact.c.sha256
    )
    found = set(await connection.scalars(parents))
    for card in await connection.scalars(cards.where(_ever_named())):
        found.add(str(card.get("checkpoint_sha256", "")))
    return found - {""}


async def list_checkpoint_files(connection: AsyncConnection, run_id: str) -> list[CheckpointFile]:
    """List the checkpoints of a run that are not known to be gone.

    Args:
        connection: An open transaction.
        run_id: Which run.
    """
    query = select(checkpoint.c.path, checkpoint.c.sha256)
    mine = (checkpoint.c.run_id == run_id) & (checkpoint.c.state == "ready")
    rows = (await connection.execute(query.where(mine))).mappings()
    return [CheckpointFile(**row) for row in rows]


async def list_files_behind(
    connection: AsyncConnection, agent: str, version: int
) -> list[CheckpointFile]:
    """List the recorded checkpoints that a model was exported from; usually one.

    Args:
        connection: An open transaction.
        agent: Whose model.
        version: Which of its versions.
    """
    model = model_version
    card = await connection.scalar(
        select(artifact.c.card)
        .join(model, model.c.artifact_sha256 == artifact.c.sha256)
        .where(model.c.agent == agent, model.c.version == version)
    )
    query = select(checkpoint.c.path, checkpoint.c.sha256)
    sha256 = str((card or {}).get("checkpoint_sha256", ""))
    rows = await connection.execute(
        query.where(checkpoint.c.sha256 == sha256, checkpoint.c.state == "ready")
    )
    return [CheckpointFile(**row) for row in rows.mappings()]


async def pin_checkpoints(connection: AsyncConnection, paths: Collection[str]) -> None:
    """Note that checkpoints are kept for good.

    Args:
        connection: An open write transaction.
        paths: Of their manifests.
    """
    mine = checkpoint.c.path.in_(list(paths))
    await connection.execute(update(checkpoint).where(mine).values(pinned=True))


async def drop_checkpoints(
    connection: AsyncConnection, run_id: str, *, but: Collection[str]
) -> None:
    """Note that the files of a run's checkpoints are gone.

    Args:
        connection: An open write transaction.
        run_id: Which run.
        but: Names of the manifests that stay.
    """
    for file in await list_checkpoint_files(connection, run_id):
        if PurePath(file.path).name not in but:
            mine = (checkpoint.c.run_id == run_id) & (checkpoint.c.path == file.path)
            await connection.execute(update(checkpoint).where(mine).values(state="deleted"))


async def drop_run(connection: AsyncConnection, run_id: str) -> None:
    """Remove a deleted run and all of its rows; its models' rows stay as history.

    Args:
        connection: An open write transaction.
        run_id: Which run; one that is not deleted stays.
    """
    deleted = select(run.c.id).where(run.c.id == run_id, run.c.deleted_at.is_not(None))
    for table in (artifact, model_version):
        mine = table.c.run_id.in_(deleted)
        await connection.execute(update(table).where(mine).values(run_id=None))
    await connection.execute(delete(run).where(run.c.id.in_(deleted)))


def _live_runs() -> Select[str]:
    return select(run.c.id).where(run.c.deleted_at.is_(None))


def _ever_named() -> ColumnElement[bool]:
    """Say of a model version whether it has or had an alias."""
    version = model_version
    return or_(
        *(
            exists().where(table.c.agent == version.c.agent, table.c.version == version.c.version)
            for table in (model_alias, alias_history)
        )
    )
