"""Which version an alias means: moved, remembered and announced in the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as upsert  # compiles for SQLite as well

from utils.errors import QuartermasterError
from utils.persistence.locks import lock_name
from utils.persistence.outbox import add_line
from utils.persistence.registry import alias_history, model_alias, model_version
from utils.persistence.rollout_log import end_plan_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from utils.clock import Clock

PROMOTED = "model_promoted"
CHAMPION = "champion"


class AliasMovedError(QuartermasterError):
    """An alias means another version than it did when the move was decided; nothing moved."""


async def lock_aliases(connection: AsyncConnection, agent: str) -> None:
    """Let nobody else move an agent's aliases until the transaction ends.

    Args:
        connection: An open write transaction that has not read them yet.
        agent: Whose aliases.
    """
    await lock_name(connection, f"aliases {agent}")


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
    await lock_aliases(connection, agent)
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
    if alias == CHAMPION:
        await end_plan_of(connection, agent, version, reason=reason, at=changed_at)


async def move_aliases(
    connection: AsyncConnection,
    agent: str,
    moves: Mapping[str, int],
    *,
    expected: Mapping[str, int | None],
    reason: str,
    clock: Clock,
) -> None:
    """Let several aliases mean other versions at once, if they mean what they are thought to.

    Args:
        connection: An open write transaction.
        agent: Whose aliases.
        moves: The version that each shall mean.
        expected: The version that each means now; None where it means none.
        reason: For the history.
        clock: Tells when.

    Raises:
        AliasMovedError: One of them means another version by now.
    """
    await lock_aliases(connection, agent)
    for alias, version in expected.items():
        check_expected(agent, alias, version, await find_alias(connection, agent, alias))
    for alias, version in moves.items():
        await move_alias(connection, agent, alias, version, reason=reason, clock=clock)


def check_expected(agent: str, alias: str, expected: int | None, current: int | None) -> None:
    """Refuse a move that was decided on what is no longer so.

    Args:
        agent: Whose alias.
        alias: Which one.
        expected: What it was thought to mean.
        current: What it means.

    Raises:
        AliasMovedError: The two differ.
    """
    if current != expected:
        raise AliasMovedError(
            f"{agent}: {alias} is version {current or 'none'} by now, not {expected or 'none'}: "
            "look again, then decide"
        )


async def list_meanings(connection: AsyncConnection, agent: str, alias: str) -> list[int]:
    """Return the versions that an alias has meant, oldest first.

    Args:
        connection: An open transaction.
        agent: Whose alias.
        alias: Such as `champion`.
    """
    query = select(alias_history.c.version).filter_by(agent=agent, alias=alias)
    return list(await connection.scalars(query.order_by(alias_history.c.seq)))


def version_before(meanings: Sequence[int], existing: Collection[int]) -> int | None:
    """Return the version to go back to; None if there is none.

    A move to the version before is a step back, not a step on, so that going back twice goes back
    two versions rather than to and fro.

    Args:
        meanings: The versions that the alias has meant, oldest first; the last is today's.
        existing: The versions that there still are; others are passed over.
    """
    path: list[int] = []
    for version in meanings:
        if version not in existing or (path and path[-1] == version):
            continue
        if len(path) > 1 and path[-2] == version:
            path.pop()
        else:
            path.append(version)
    return path[-2] if len(path) > 1 else None
