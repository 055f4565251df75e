"""The port through which the registry keeps versions, aliases and artifacts, and one in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from utils.clock import Clock, SystemClock
from utils.persistence.alias_log import check_expected
from utils.persistence.errors import ArtifactMissingError


@dataclass(frozen=True, kw_only=True)
class ArtifactRecord:
    """One version of an agent."""

    agent: str
    version: int
    sha256: str
    run_id: str | None
    created_at: datetime


class RegistryStore(Protocol):
    """Where versions, aliases and artifacts are kept."""

    async def list_agents(self) -> list[str]:
        """Return all names, sorted."""
        ...

    async def list_versions(self, agent: str) -> list[ArtifactRecord]:
        """Return the versions of an agent, oldest first; none if it is unknown.

        Args:
            agent: Its name.
        """
        ...

    async def aliases(self, agent: str) -> dict[str, int]:
        """Return which version each alias of an agent means.

        Args:
            agent: Its name.
        """
        ...

    async def load(self, sha256: str) -> bytes:
        """Return an artifact.

        Args:
            sha256: Its address.

        Raises:
            ArtifactMissingError: It is not there.
            ArtifactCorruptError: It is not what was stored.
        """
        ...

    async def add_version(
        self, agent: str, content: bytes, *, card: Mapping[str, Any], run_id: str | None
    ) -> ArtifactRecord:
        """Keep an artifact as the next version; the same bytes again are the version they were.

        Args:
            agent: Whose version.
            content: The artifact.
            card: Its card, to be found without reading the artifact.
            run_id: The run it came from, if that is known.
        """
        ...

    async def set_alias(self, agent: str, alias: str, version: int, *, reason: str) -> None:
        """Let an alias mean a version from now on, and remember why.

        Args:
            agent: Its name.
            alias: Such as `champion`.
            version: An existing version.
            reason: For the history.
        """
        ...

    async def move_aliases(
        self,
        agent: str,
        moves: Mapping[str, int],
        *,
        expected: Mapping[str, int | None],
        reason: str,
    ) -> None:
        """Let several aliases mean other versions at once, or none of them.

        Args:
            agent: Its name.
            moves: The existing version that each shall mean.
            expected: The version that each means now; None where it means none.
            reason: For the history.

        Raises:
            AliasMovedError: One of them means another version by now.
        """
        ...

    async def meanings(self, agent: str, alias: str) -> list[int]:
        """Return the versions that an alias has meant, oldest first.

        Args:
            agent: Its name.
            alias: Such as `champion`.
        """
        ...


@dataclass
class InMemoryRegistryStore:
    """A registry that lasts as long as the process; for tests and for use as a library."""

    clock: Clock = field(default_factory=SystemClock)
    history: list[tuple[str, str, int, str]] = field(default_factory=list)
    """Agent, alias, version and reason, oldest first."""
    _versions: dict[str, list[ArtifactRecord]] = field(default_factory=dict)
    _aliases: dict[str, dict[str, int]] = field(default_factory=dict)
    _contents: dict[str, bytes] = field(default_factory=dict)

    async def list_agents(self) -> list[str]:
        """Return all names, sorted."""
        return sorted(self._versions)

    async def list_versions(self, agent: str) -> list[ArtifactRecord]:
        """Return the versions of an agent, oldest first; none if it is unknown.

        Args:
            agent: Its name.
        """
        return list(self._versions.get(agent, []))

    async def aliases(self, agent: str) -> dict[str, int]:
        """Return which version each alias of an agent means.

        Args:
            agent: Its name.
        """
        return dict(self._aliases.get(agent, {}))

    async def load(self, sha256: str) -> bytes:
        """Return an artifact.

        Args:
            sha256: Its address.

        Raises:
            ArtifactMissingError: It is not there.
        """
        if sha256 not in self._contents:
            raise ArtifactMissingError(f"no artifact {sha256}: register it first")
        return self._contents[sha256]

    async def add_version(
        self, agent: str, content: bytes, *, card: Mapping[str, Any], run_id: str | None
    ) -> ArtifactRecord:
        """Keep an artifact as the next version; the same bytes again are the version they were.

        Args:
            agent: Whose version.
            content: The artifact.
            card: Not kept; it can be read from the artifact.
            run_id: The run it came from, if that is known.
        """
        del card
        sha256 = hashlib.sha256(content).hexdigest()
        versions = self._versions.setdefault(agent, [])
        for record in versions:
            if record.sha256 == sha256:
                return record
        record = ArtifactRecord(
            agent=agent,
            version=len(versions) + 1,
            sha256=sha256,
            run_id=run_id,
            created_at=self.clock.now(),
        )
        versions.append(record)
        self._contents[sha256] = content
        return record

    async def set_alias(self, agent: str, alias: str, version: int, *, reason: str) -> None:
        """Let an alias mean a version from now on, and remember why.

        Args:
            agent: Its name.
            alias: Such as `champion`.
            version: An existing version.
            reason: For the history.
        """
        self._aliases.setdefault(agent, {})[alias] = version
        self.history.append((agent, alias, version, reason))

    async def move_aliases(
        self,
        agent: str,
        moves: Mapping[str, int],
        *,
        expected: Mapping[str, int | None],
        reason: str,
    ) -> None:
        """Let several aliases mean other versions at once, or none of them.

        Args:
            agent: Its name.
            moves: The existing version that each shall mean.
            expected: The version that each means now; None where it means none.
            reason: For the history.

        Raises:
            AliasMovedError: One of them means another version by now.
        """
        for alias, version in expected.items():
            check_expected(agent, alias, version, self._aliases.get(agent, {}).get(alias))
        for alias, version in moves.items():
            await self.set_alias(agent, alias, version, reason=reason)

    async def meanings(self, agent: str, alias: str) -> list[int]:
        """Return the versions that an alias has meant, oldest first.

        Args:
            agent: Its name.
            alias: Such as `champion`.
        """
        return [
            version for name, what, version, _ in self.history if (name, what) == (agent, alias)
        ]
