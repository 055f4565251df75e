"""What is written about models: artifacts by hash and the numbered versions of agents.

Functions on an open write transaction. Which version is champion is not decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT compiles for SQLite as well
from sqlalchemy.ext.asyncio import AsyncConnection

from utils.clock import Clock
from utils.persistence.locks import lock_name
from utils.persistence.plain_json import json_safe
from utils.persistence.registry import artifact, model_version
from utils.persistence.run_facts import RunArtifact, add_artifacts

POLICY = "policy"


@dataclass(frozen=True, kw_only=True)
class NewArtifact:
    """Bytes that the artifact store already holds."""

    sha256: str
    size_bytes: int
    card: Mapping[str, Any]
    run_id: str | None = None
    kind: str = POLICY


async def register_model(
    connection: AsyncConnection, agent: str, content: NewArtifact, *, clock: Clock
) -> int:
    """Make an artifact the next version of an agent; a known one keeps its number.

    One that was deleted is back: its bytes are in the store again.

    Args:
        connection: An open write transaction.
        agent: Name of the business agent.
        content: What is registered.
        clock: Tells when.

    Returns:
        The version.
    """
    await lock_name(connection, f"model {agent}")  # two that register at once get two numbers
    now = clock.now()
    row = {
        "sha256": content.sha256,
        "kind": content.kind,
        "size_bytes": content.size_bytes,
        "run_id": content.run_id,
        "card": json_safe(content.card),
        "created_at": now,
    }
    await connection.execute(insert(artifact).values(row).on_conflict_do_nothing())
    await _revive(connection, agent, content.sha256)
    if content.run_id is not None:
        mine = RunArtifact(
            name=f"{agent}.policy",
            kind=content.kind,
            sha256=content.sha256,
            size_bytes=content.size_bytes,
        )
        await add_artifacts(connection, content.run_id, [mine], clock=clock)
    table = model_version
    known = select(func.min(table.c.version)).where(
        table.c.agent == agent, table.c.artifact_sha256 == content.sha256
    )
    version = await connection.scalar(known)
    if version is None:
        newest = select(func.max(table.c.version)).where(table.c.agent == agent)
        version = (await connection.scalar(newest) or 0) + 1
        key = {"agent": agent, "version": version, "artifact_sha256": content.sha256}
        line = {**key, "run_id": content.run_id, "created_at": now}
        await connection.execute(insert(table).values(line))
    return int(version)


async def _revive(connection: AsyncConnection, agent: str, sha256: str) -> None:
    bytes_ = update(artifact).where(artifact.c.sha256 == sha256)
    await connection.execute(bytes_.values(deleted_at=None))
    versions = update(model_version).where(
        model_version.c.agent == agent, model_version.c.artifact_sha256 == sha256
    )
    await connection.execute(versions.values(deleted_at=None))
