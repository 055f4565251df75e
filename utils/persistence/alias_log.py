"""Which version an alias means: moved, remembered and announced in the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as upsert  # compiles for SQLite as well

from utils.persistence.outbox import add_line
from utils.persistence.registry import alias_history, model_alias, model_version

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from utils.clock import Clock

PROMOTED = "model_promoted"


async def find_alias(connection: AsyncConnection, agent: str, alias: str) -> int | None:
    """Return the version that an alias means; locked until the transaction ends.

    Args:
        connection: An open transaction.
        agent: Whose alias.
        alias: Such as `champion`.
    """
    query = select(model_alias.c.version).filter_by(agent=agent, alias=alias).with_for_update()
    version: int | None = await connection.scalar(query)
    return version


async def find_version(connection: AsyncConnection, agent: str, sha256: str) -> int | None:
    """Return the version of an agent that an artifact is; None if it is none, or deleted.

    Args:
        connection: An open transaction.
        agent: Whose version.
        sha256: Of the artifact.
    """
    table = model_version
    query = select(table.c.version).where(
        table.c.agent == agent, table.c.artifact_sha256 == sha256, table.c.deleted_at.is_(None)
    )
    version: int | None = await connection.scalar(query.order_by(table.c.version).limit(1))
    return version


async def list_aliased(connection: AsyncConnection, alias: str) -> dict[str, tuple[int, str]]:
    """Return the version and the hash that an alias means now, by agent.

    Args:
        connection: An open transaction.
        alias: Such as `champion`.
    """
    same = (model_alias.c.agent == model_version.c.agent) & (
        model_alias.c.version == model_version.c.version
    )
    query = select(
        model_alias.c.agent, model_alias.c.version, model_version.c.artifact_sha256
    ).join(model_version, same)
    rows = await connection.execute(query.where(model_alias.c.alias == alias))
    return {row.agent: (row.version, row.artifact_sha256) for row in rows}


async def move_alias(
    connection: AsyncConnection, agent: str, alias: str, version: int, *, reason: str, clock: Clock
) -> None:
    """Let an alias mean a version from now on.

    Args:
        connection: An open write transaction.
        agent: Whose alias.
        alias: Such as `champion`.
        version: An existing version.
        reason: For the history.
        clock: Tells when.
    """
    previous = await find_alias(connection, agent, alias)
    changed_at = clock.now()
    row = {"agent": agent, "alias": alias, "version": version, "changed_at": changed_at}
    moved = upsert(model_alias).values(**row)
    moved = moved.on_conflict_do_update(
        index_elements=["agent", "alias"], set_={"version": version, "changed_at": changed_at}
    )
    await connection.execute(moved)
    told = {"agent": agent, "alias": alias, "version": version, "previous_version": previous}
    line = {**told, "reason": reason, "changed_at": changed_at}
    await connection.execute(insert(alias_history), line)
    await add_line(connection, PROMOTED, {**told, "reason": reason}, at=changed_at)
