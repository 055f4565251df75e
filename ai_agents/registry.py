"""Which agents there are, which version is champion, and each of them set up once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import anyio

from ai_agents.cards import AgentCard, describe
from ai_agents.domains import DOMAINS, AnyDomain
from ai_agents.policy_agent import PolicyAgent
from ai_agents.registry_store import ArtifactRecord, RegistryStore
from rl.artifacts import PolicyArtifact
from utils.clock import Clock, SystemClock
from utils.config import to_json
from utils.errors import ConfigError, QuartermasterError
from utils.persistence.errors import ArtifactCorruptError

CHAMPION = "champion"


class UnknownAgentError(QuartermasterError, LookupError):
    """No agent of this name is registered, or it has no such alias; the message lists what is."""


class UnknownVersionError(QuartermasterError, LookupError):
    """The agent has no such version; the message lists those it has."""


AnyAgent = PolicyAgent[Any, Any, Any]
Listener = Callable[[str, str, int], None]
"""Told agent, alias and version whenever an alias moves; must return at once and not fail."""


class AgentRegistry:
    """Finds agents by name and keeps those in use set up."""

    def __init__(
        self,
        store: RegistryStore,
        *,
        domains: Mapping[str, Callable[[PolicyArtifact], AnyDomain]] = DOMAINS,
        clock: Clock | None = None,
        alias_seconds: float = 1.0,
    ) -> None:
        """Start with nothing loaded.

        Args:
            store: The truth about versions and aliases.
            domains: Makers of what each domain adds to an agent.
            clock: Measures the age of what was read.
            alias_seconds: How long an alias may be followed without asking the store, which other
                processes write too.
        """
        self._store = store
        self._makers = domains
        self._clock = clock or SystemClock()
        self._alias_seconds = alias_seconds
        self._aliases: dict[tuple[str, str], tuple[ArtifactRecord, float]] = {}
        self._agents: dict[tuple[str, int], AnyAgent] = {}
        self._domains: dict[tuple[str, int], str] = {}
        self._listeners: list[Listener] = []
        self._lock = anyio.Lock()

    def subscribe(self, listener: Listener) -> None:
        """Tell somebody whenever an alias moves in this process, or is seen to have moved.

        Args:
            listener: Told from then on.
        """
        self._listeners.append(listener)

    async def register(self, content: bytes, *, run_id: str | None = None) -> ArtifactRecord:
        """Take an artifact in as the next version of the agent on its card.

        Args:
            content: The artifact.
            run_id: The run it came from, if the store knows runs.

        Raises:
            ArtifactCorruptError: It is not a whole artifact.
            ConfigError: It is of a domain that this program can answer for, but no agent can be
                made of it. One of another domain is kept, for programs that can.
        """
        artifact = PolicyArtifact.from_bytes(content)
        if artifact.domain in self._makers:
            self._make(artifact, artifact.card.agent, "new")
        return await self._store.add_version(
            artifact.card.agent, content, card=to_json(artifact.card), run_id=run_id
        )

    async def promote(
        self, agent: str, version: int, *, alias: str = CHAMPION, reason: str = ""
    ) -> None:
        """Let callers of an alias meet another version; followed at once in this process.

        Args:
            agent: Its name.
            version: An existing version; it is read and, if this program can ask it, set up first,
                so that a bad one changes nothing.
            alias: Which alias moves.
            reason: For the history.

        Raises:
            UnknownAgentError: There is no such agent.
            UnknownVersionError: It has no such version.
        """
        record = await self._find_version(agent, version)
        if await self.can_ask(record):
            await self._ready(record)
        await self._store.set_alias(agent, alias, version, reason=reason)
        self._note(record, alias)

    async def resolve(
        self, name: str, *, alias: str = CHAMPION, version: int | None = None
    ) -> AnyAgent:
        """Return an agent that is set up.

        Args:
            name: Of the agent.
            alias: Which of its versions, by what it is for.
            version: Which of its versions, by number; the alias is then not looked at.

        Raises:
            UnknownAgentError: There is no such agent, or nothing has this alias.
            UnknownVersionError: It has no such version.
            ArtifactCorruptError: Its artifact is damaged.
        """
        if version is not None:
            known = self._agents.get((name, version))
            return known or await self._ready(await self._find_version(name, version))
        return await self._ready(await self._follow(name, alias))

    async def cards(self, *, alias: str = CHAMPION) -> list[AgentCard]:
        """Return the cards of all agents that have an alias and can be asked, by name.

        Args:
            alias: Which of their versions.
        """
        names = await self._store.list_agents()
        named = [name for name in names if alias in await self._store.aliases(name)]
        found = [await self._follow(name, alias) for name in named]
        return [describe(await self._ready(one)) for one in found if await self.can_ask(one)]

    async def can_ask(self, record: ArtifactRecord) -> bool:
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

    async def aclose(self) -> None:
        """Close all agents."""
        for agent in self._agents.values():
            await agent.aclose()
        self._agents.clear()
        self._aliases.clear()

    async def _follow(self, name: str, alias: str) -> ArtifactRecord:
        now = self._clock.monotonic()
        record, read_at = self._aliases.get((name, alias), (None, now))
        if record is not None and now - read_at < self._alias_seconds:
            return record
        aliases = await self._store.aliases(name)
        if alias not in aliases:
            await self._refuse(name, f"{name} has no {alias}; it has: {_listed(aliases)}")
        record = await self._find_version(name, aliases[alias])
        self._note(record, alias)
        return record

    def _note(self, record: ArtifactRecord, alias: str) -> None:
        key = (record.agent, alias)
        former, _ = self._aliases.get(key, (None, 0.0))
        self._aliases[key] = (record, self._clock.monotonic())
        if former is None or former.version != record.version:
            for listener in self._listeners:
                listener(record.agent, alias, record.version)

    async def _find_version(self, name: str, version: int) -> ArtifactRecord:
        versions = {record.version: record for record in await self._store.list_versions(name)}
        if not versions:
            await self._refuse(name, "")
        if version not in versions:
            raise UnknownVersionError(
                f"{name} has no version {version}; it has: {_listed(versions)}"
            )
        return versions[version]

    async def _refuse(self, name: str, otherwise: str) -> NoReturn:
        agents = await self._store.list_agents()
        if name in agents:
            raise UnknownAgentError(f"{otherwise}; promote a version first")
        raise UnknownAgentError(f"no agent {name!r}; registered: {_listed(agents)}")

    async def _ready(self, record: ArtifactRecord) -> AnyAgent:
        key = (record.agent, record.version)
        if key not in self._agents:
            async with self._lock:
                if key not in self._agents:
                    self._agents[key] = await self._set_up(record)
        return self._agents[key]

    async def _set_up(self, record: ArtifactRecord) -> AnyAgent:
        artifact = await self._load(record)
        agent = self._make(artifact, record.agent, str(record.version))
        await agent.setup()
        return agent

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
                f"no agent for domain {artifact.domain!r}; known: {_listed(self._makers)}"
            )
        domain = self._makers[artifact.domain](artifact)
        return PolicyAgent(artifact, domain, name=name, version=version, clock=self._clock)


def _listed(names: Any) -> str:
    return ", ".join(str(name) for name in names) or "none"
