"""Agents of registered versions: the artifact read and proved whole, the domain put to it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ai_agents.domains import AnyDomain
from ai_agents.policy_agent import PolicyAgent
from rl.artifacts import PolicyArtifact
from utils.errors import ConfigError
from utils.persistence.errors import ArtifactCorruptError

if TYPE_CHECKING:
    from ai_agents.registry_store import ArtifactRecord, RegistryStore
    from utils.clock import Clock

AnyAgent = PolicyAgent[Any, Any, Any]
UNFIT = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What a world's settings may raise that nobody of ours wrote."""


class AgentMaker:
    """Makes agents of versions; keeps none."""

    def __init__(
        self,
        store: RegistryStore,
        domains: Mapping[str, Callable[[PolicyArtifact], AnyDomain]],
        clock: Clock,
    ) -> None:
        """Keep the parts.

        Args:
            store: Holds the artifacts.
            domains: Makers of what each domain adds to an agent.
            clock: Measures how long decisions take.
        """
        self._store = store
        self._makers = domains
        self._clock = clock
        self._domains: dict[tuple[str, int], str] = {}

    def check(self, artifact: PolicyArtifact) -> None:
        """Refuse an artifact of a known domain of which no agent can be made.

        Args:
            artifact: Not registered yet.

        Raises:
            ConfigError: It is one.
        """
        if artifact.domain not in self._makers:
            return
        try:
            self._make(artifact, artifact.card.agent, "new")
        except ConfigError:
            raise
        except UNFIT as error:
            raise ConfigError(
                f"its {artifact.domain} world cannot be read ({type(error).__name__}: {error}): "
                "export the checkpoint again"
            ) from error

    async def can_make(self, record: ArtifactRecord) -> bool:
        """Say whether this program has a business agent for a version's domain.

        Args:
            record: The version.

        Raises:
            ArtifactCorruptError: Its artifact is damaged.
        """
        key = (record.agent, record.version)
        if key not in self._domains:
            self._domains[key] = (await self._load(record)).domain
        return self._domains[key] in self._makers

    async def make(self, record: ArtifactRecord) -> AnyAgent:
        """Make the agent of a version; it is not set up.

        Args:
            record: The version.

        Raises:
            ArtifactCorruptError: Its artifact is damaged.
            ConfigError: No agent can be made of it.
        """
        return self._make(await self._load(record), record.agent, str(record.version))

    async def _load(self, record: ArtifactRecord) -> PolicyArtifact:
        content = await self._store.load(record.sha256)
        if hashlib.sha256(content).hexdigest() != record.sha256:
            raise ArtifactCorruptError(
                f"artifact {record.sha256} of {record.agent} {record.version} has other bytes "
                "than were registered: restore it, or promote another version"
            )
        return PolicyArtifact.from_bytes(content)

    def _make(self, artifact: PolicyArtifact, name: str, version: str) -> AnyAgent:
        if artifact.domain not in self._makers:
            raise ConfigError(
                f"no agent for domain {artifact.domain!r}; known: {listed(self._makers)}"
            )
        domain = self._makers[artifact.domain](artifact)
        return PolicyAgent(artifact, domain, name=name, version=version, clock=self._clock)


def listed(names: Iterable[object]) -> str:
    """Write names in a row.

    Args:
        names: Any number.
    """
    return ", ".join(str(name) for name in names) or "none"
