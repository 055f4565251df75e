"""Which agents there are, which version is champion, and each of them set up once."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NoReturn

import anyio.to_thread

from ai_agents.cards import AgentCard, describe
from ai_agents.domains import DOMAINS, AnyDomain
from ai_agents.registry_aliases import FollowedAliases, Listener
from ai_agents.registry_making import AgentMaker, AnyAgent, listed
from ai_agents.registry_store import ArtifactRecord, RegistryStore
from ai_agents.registry_versions import LoadedVersions, Phase
from rl.artifacts import PolicyArtifact
from utils.clock import Clock, SystemClock
from utils.config import to_json
from utils.errors import ConfigError, QuartermasterError
from utils.logs import get_logger
from utils.persistence.errors import (
    ArtifactCorruptError,
    ArtifactMissingError,
    ArtifactsUnreachableError,
)

CHAMPION, CHALLENGER, SHADOW = "champion", "challenger", "shadow"
NOT_THERE = (
    ArtifactCorruptError,
    ArtifactMissingError,
    ArtifactsUnreachableError,
    ConfigError,
)
"""Why a version cannot be set up."""
logger = get_logger(__name__)


class UnknownAgentError(QuartermasterError, LookupError):
    """No agent of this name is registered, or it has no such alias; the message lists what is."""


class UnknownVersionError(QuartermasterError, LookupError):
    """The agent has no such version; the message lists those it has."""


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
        clock = clock or SystemClock()
        self._maker = AgentMaker(store, domains, clock)
        self._loaded = LoadedVersions(self._maker.make)
        self.find_ready = self._loaded.find
        self._aliases = FollowedAliases(
            store,
            clock,
            seconds=alias_seconds,
            prepare=self.prepare,
            keep=self._loaded.keep,
        )

    def subscribe(self, listener: Listener) -> None:
        """Tell somebody whenever an alias moves in this process, or is seen to have moved.

        Args:
            listener: Told from then on.
        """
        self._aliases.listeners.append(listener)

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
        artifact = await anyio.to_thread.run_sync(PolicyArtifact.from_bytes, content)
        self._maker.check(artifact)
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
        record = await self.find_version(agent, version)
        async with self.hold(record):
            await self._store.set_alias(agent, alias, version, reason=reason)
            await self._aliases.moved(agent, {alias: record})

    async def follow_moves(self, agent: str, versions: Mapping[str, int]) -> None:
        """Follow at once what this process has moved in the store itself.

        Args:
            agent: Its name.
            versions: By alias.
        """
        records = {alias: await self.find_version(agent, n) for alias, n in versions.items()}
        await self._aliases.moved(agent, records)

    async def prepare(self, record: ArtifactRecord) -> None:
        """Load and warm up a version, if this program has an agent for its domain.

        Args:
            record: The version.

        Raises:
            ArtifactCorruptError: Its artifact is damaged.
            ConfigError: No agent can be made of it.
        """
        if await self.can_ask(record):
            await self._loaded.ready(record)

    @contextlib.asynccontextmanager
    async def hold(self, record: ArtifactRecord) -> AsyncIterator[None]:
        """Prepare a version and keep it ready until its alias has moved.

        Args:
            record: The version.

        Raises:
            ArtifactCorruptError: Its artifact is damaged.
            ConfigError: No agent can be made of it.
        """
        if not await self.can_ask(record):
            yield
            return
        async with self._loaded.use(await self._loaded.ready(record)):
            yield

    async def resolve(
        self, name: str, *, alias: str = CHAMPION, version: int | None = None
    ) -> AnyAgent:
        """Return an agent that is set up; it is closed some time after it was replaced.

        Args:
            name: Of the agent.
            alias: Which of its versions, by what it is for.
            version: Which of its versions, by number; the alias is then not looked at.

        Raises:
            UnknownAgentError: There is no such agent, or nothing has this alias.
            UnknownVersionError: It has no such version.
            ArtifactCorruptError: Its artifact is damaged.
        """
        if version is None:
            return await self._loaded.ready(await self._follow(name, alias))
        known = self._loaded.find(name, version)
        if known is not None:
            await self._loaded.need(name, version)
            return known
        record = await self.find_version(name, version)
        await self._loaded.need(name, version)
        return await self._loaded.ready(record)

    @contextlib.asynccontextmanager
    async def lease(
        self, name: str, *, alias: str = CHAMPION, version: int | None = None
    ) -> AsyncIterator[AnyAgent]:
        """Hold an agent open while it is asked, however the aliases move meanwhile.

        Args:
            name: Of the agent.
            alias: Which of its versions, by what it is for.
            version: Which of its versions, by number; the alias is then not looked at.

        Raises:
            UnknownAgentError: There is no such agent, or nothing has this alias.
            UnknownVersionError: It has no such version.
            ArtifactCorruptError: Its artifact is damaged.
        """
        agent = await self.resolve(name, alias=alias, version=version)
        async with self._loaded.use(agent):
            yield agent

    def known_version(self, name: str, alias: str) -> int | None:
        """Return the version that an alias meant when it was last looked at; asks nobody.

        Args:
            name: Of the agent.
            alias: Which one.
        """
        record = self._aliases.known(name).get(alias)
        return None if record is None else record.version

    def phase(self, name: str, version: int) -> Phase:
        """Return how far a version is in this process.

        Args:
            name: Of the agent.
            version: Which one.
        """
        return self._loaded.phase(name, version)

    async def cards(self, *, alias: str = CHAMPION) -> list[AgentCard]:
        """Return the cards of all agents that have an alias and can be asked, by name.

        One whose artifact is damaged, missing or out of reach is left out and logged, so that the
        others are still found.

        Args:
            alias: Which of their versions.
        """
        cards = []
        for name in await self._store.list_agents():
            record = await self._aliases.follow(name, alias)
            try:
                if record is not None and await self.can_ask(record):
                    cards.append(describe(await self._loaded.ready(record)))
            except NOT_THERE as error:
                logger.warning("agent_not_listed", agent=name, reason=str(error))
        return cards

    async def can_ask(self, record: ArtifactRecord) -> bool:
        """Say whether this program has a business agent for a version's domain.

        Args:
            record: The version.

        Raises:
            ArtifactCorruptError: Its artifact is damaged.
        """
        return await self._maker.can_make(record)

    async def find_version(self, name: str, version: int) -> ArtifactRecord:
        """Return what is known of a version.

        Args:
            name: Of the agent.
            version: Its number.

        Raises:
            UnknownAgentError: There is no such agent.
            UnknownVersionError: It has no such version.
        """
        versions = {record.version: record for record in await self._store.list_versions(name)}
        if not versions:
            await self._refuse(name, "")
        if version not in versions:
            raise UnknownVersionError(
                f"{name} has no version {version}; it has: {listed(versions)}"
            )
        return versions[version]

    async def run(self) -> None:
        """Follow the aliases in the background until cancelled, so that no request waits for it."""
        await self._aliases.run()

    async def aclose(self) -> None:
        """Close all agents."""
        await self._loaded.aclose()
        self._aliases.clear()

    async def _follow(self, name: str, alias: str) -> ArtifactRecord:
        record = await self._aliases.follow(name, alias)
        if record is None:
            known = self._aliases.known(name)
            await self._refuse(name, f"{name} has no {alias}; it has: {listed(known)}")
        return record

    async def _refuse(self, name: str, otherwise: str) -> NoReturn:
        agents = await self._store.list_agents()
        if name in agents:
            raise UnknownAgentError(f"{otherwise}; promote a version first")
        raise UnknownAgentError(f"no agent {name!r}; registered: {listed(agents)}")
