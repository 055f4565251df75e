"""The registry's port on our database: versions and aliases as rows, artifacts by their hash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from sqlalchemy import select

from ai_agents.registry_store import ArtifactRecord
from rl.training.run_removal import keep_promoted
from utils.errors import ConfigError
from utils.persistence.alias_log import list_meanings, move_alias, move_aliases
from utils.persistence.experiments import run
from utils.persistence.model_log import NewArtifact, register_model
from utils.persistence.registry import model_alias, model_version

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from utils.clock import Clock
    from utils.persistence.artifact_store import ArtifactStore
    from utils.persistence.engine import Database


class SqlRegistryStore:
    """Versions of agents that every process of this database sees."""

    def __init__(self, database: Database, artifacts: ArtifactStore, clock: Clock) -> None:
        self._database = database
        self._artifacts = artifacts
        self._clock = clock

    async def list_agents(self) -> list[str]:
        """Return all names, sorted."""
        query = select(model_version.c.agent).where(model_version.c.deleted_at.is_(None))
        query = query.distinct().order_by(model_version.c.agent)
        async with self._database.read() as connection:
            return list(await connection.scalars(query))

    async def list_versions(self, agent: str) -> list[ArtifactRecord]:
        """Return the versions of an agent, oldest first; none if it is unknown.

        Args:
            agent: Its name.
        """
        async with self._database.read() as connection:
            return await _versions(connection, agent)

    async def aliases(self, agent: str) -> dict[str, int]:
        """Return which version each alias of an agent means.

        Args:
            agent: Its name.
        """
        query = select(model_alias.c.alias, model_alias.c.version)
        query = query.where(model_alias.c.agent == agent).order_by(model_alias.c.alias)
        async with self._database.read() as connection:
            return {row.alias: row.version for row in await connection.execute(query)}

    async def load(self, sha256: str) -> bytes:
        """Return an artifact.

        Args:
            sha256: Its address.

        Raises:
            ArtifactMissingError: It is not there.
            ArtifactCorruptError: It is not what was stored.
        """
        return await anyio.to_thread.run_sync(self._artifacts.get, sha256)

    async def add_version(
        self, agent: str, content: bytes, *, card: Mapping[str, Any], run_id: str | None
    ) -> ArtifactRecord:
        """Keep an artifact as the next version; the same bytes again are the version they were.

        Args:
            agent: Whose version.
            content: The artifact.
            card: Its card, to be found without reading the artifact.
            run_id: The run it came from, if this database knows it.

        Raises:
            ConfigError: This database knows no such run.
        """
        sha256 = await anyio.to_thread.run_sync(self._artifacts.put, content)  # before its row
        new = NewArtifact(sha256=sha256, size_bytes=len(content), card=card, run_id=run_id)
        async with self._database.write(durable=True) as connection:
            await _check_run(connection, run_id)
            version = await register_model(connection, agent, new, clock=self._clock)
            versions = await _versions(connection, agent)
        return next(record for record in versions if record.version == version)

    async def set_alias(self, agent: str, alias: str, version: int, *, reason: str) -> None:
        """Let an alias mean a version from now on, remember why, and keep its checkpoint.

        Args:
            agent: Its name.
            alias: Such as `champion`.
            version: An existing version.
            reason: For the history.
        """
        async with self._database.write(durable=True) as connection:
            await move_alias(connection, agent, alias, version, reason=reason, clock=self._clock)
        await keep_promoted(self._database, agent, version)

    async def move_aliases(
        self,
        agent: str,
        moves: Mapping[str, int],
        *,
        expected: Mapping[str, int | None],
        reason: str,
    ) -> None:
        """Let several aliases mean other versions in one transaction, and keep their checkpoints.

        Args:
            agent: Its name.
            moves: The existing version that each shall mean.
            expected: The version that each means now; None where it means none.
            reason: For the history.

        Raises:
            AliasMovedError: One of them means another version by now.
        """
        async with self._database.write(durable=True) as connection:
            await move_aliases(
                connection, agent, moves, expected=expected, reason=reason, clock=self._clock
            )
        for version in set(moves.values()):
            await keep_promoted(self._database, agent, version)

    async def meanings(self, agent: str, alias: str) -> list[int]:
        """Return the versions that an alias has meant, oldest first.

        Args:
            agent: Its name.
            alias: Such as `champion`.
        """
        async with self._database.read() as connection:
            return await list_meanings(connection, agent, alias)


async def _versions(connection: AsyncConnection, agent: str) -> list[ArtifactRecord]:
    query = (
        select(
            model_version.c.agent,
            model_version.c.version,
            model_version.c.artifact_sha256.label("sha256"),
            model_version.c.run_id,
            model_version.c.created_at,
        )
        .where(model_version.c.agent == agent, model_version.c.deleted_at.is_(None))
        .order_by(model_version.c.version)
    )
    return [ArtifactRecord(**row) for row in (await connection.execute(query)).mappings()]


async def _check_run(connection: AsyncConnection, run_id: str | None) -> None:
    known = run_id is None or await connection.scalar(select(run.c.id).where(run.c.id == run_id))
    if not known:
        raise ConfigError(f"no run {run_id} in this database: leave run_id out")
