"""What aliases mean, followed from the store: read now and then, kept while it is away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from utils.logs import get_logger
from utils.persistence.errors import DatabaseError

if TYPE_CHECKING:
    from ai_agents.registry_store import ArtifactRecord, RegistryStore
    from utils.clock import Clock

logger = get_logger(__name__)
Listener = Callable[[str, str, int], None]
"""Told agent, alias and version whenever an alias moves; must return at once and not fail."""
Meanings = Mapping[str, "ArtifactRecord"]
"""Versions by alias."""


class FollowedAliases:
    """The aliases of the agents that are asked, as this process sees them.

    Where `run` runs, it looks into the store and no request waits for that. Elsewhere one caller
    looks, and loads what is new there, while the others go on with what was known. A move that
    cannot be followed, because the version cannot be loaded, changes nothing here and is tried
    again.
    """

    def __init__(
        self,
        store: RegistryStore,
        clock: Clock,
        *,
        seconds: float,
        prepare: Callable[[ArtifactRecord], Awaitable[object]],
        keep: Callable[[str, frozenset[int]], Awaitable[None]],
    ) -> None:
        """Start with nothing known.

        Args:
            store: The truth.
            clock: Measures the age of what was read.
            seconds: How old it may be.
            prepare: Sets a version up before callers meet it.
            keep: Told which versions of an agent the aliases mean, after a move.
        """
        self._store = store
        self._clock = clock
        self._seconds = seconds
        self._prepare = prepare
        self._keep = keep
        self._known: dict[str, Meanings] = {}
        self._read_at: dict[str, float] = {}
        self._moves: dict[str, int] = {}
        self._is_running = False
        self.listeners: list[Listener] = []

    def known(self, agent: str) -> Meanings:
        """Return what the aliases of an agent meant when last looked at.

        Args:
            agent: Its name.
        """
        return self._known.get(agent, {})

    async def follow(self, agent: str, alias: str) -> ArtifactRecord | None:
        """Return the version that an alias means; None if it means none.

        Args:
            agent: Its name.
            alias: Which one.

        Raises:
            DatabaseError: The store is away, and nothing is known yet.
        """
        known = self.known(agent)
        age = self._clock.monotonic() - self._read_at.get(agent, float("-inf"))
        is_stale = age >= self._seconds and not self._is_running
        if alias not in known or is_stale:
            await self._look(agent, is_known=alias in known)
        return self.known(agent).get(alias)

    async def moved(self, agent: str, meanings: Meanings) -> None:
        """Follow moves that this process has made.

        Args:
            agent: Its name.
            meanings: The aliases that moved.
        """
        self._moves[agent] = self._moves.get(agent, 0) + 1
        await self._adopt(agent, {**self.known(agent), **meanings})

    async def run(self) -> None:
        """Look at the aliases of known agents every so often, until cancelled."""
        self._is_running = True
        try:
            while True:
                await self._clock.sleep(self._seconds)
                for agent in list(self._known):
                    await self._look_safely(agent)
        finally:
            self._is_running = False

    def clear(self) -> None:
        """Forget everything but the listeners."""
        self._known.clear()
        self._read_at.clear()

    async def _look_safely(self, agent: str) -> None:
        try:
            await self._look(agent, is_known=True)
        except Exception as error:  # noqa: BLE001  it is tried again; the last known version answers
            reason = f"{type(error).__name__}: {error}"
            logger.warning("aliases_not_read", agent=agent, reason=reason)

    async def _look(self, agent: str, *, is_known: bool) -> None:
        moves = self._moves.get(agent, 0)
        if is_known:
            self._read_at[agent] = self._clock.monotonic()
        try:
            aliases = await self._store.aliases(agent)
            versions = {one.version: one for one in await self._store.list_versions(agent)}
        except DatabaseError as error:
            if not is_known:
                raise
            logger.warning("aliases_not_read", agent=agent, reason=str(error))
            return
        meanings = {alias: versions[n] for alias, n in aliases.items() if n in versions}
        meanings |= await self._not_followed(agent, meanings)
        if self._moves.get(agent, 0) == moves:  # else what was read is older than our own move
            self._read_at[agent] = self._clock.monotonic()
            await self._adopt(agent, meanings)

    async def _not_followed(self, agent: str, meanings: Meanings) -> Meanings:
        """Set new versions up; return the old ones of those that cannot be."""
        stay = {}
        for alias, former in self.known(agent).items():
            record = meanings.get(alias)
            if record is None or record.version == former.version:
                continue
            try:
                await self._prepare(record)
            except Exception as error:  # noqa: BLE001  whatever is wrong with it, others answer
                reason = f"{alias} {record.version}: {type(error).__name__}: {error}"
                logger.warning("alias_not_followed", agent=agent, reason=reason)
                stay[alias] = former
        return stay

    async def _adopt(self, agent: str, meanings: Meanings) -> None:
        former, self._known[agent] = self.known(agent), meanings
        for alias, record in meanings.items():
            if alias not in former or former[alias].version != record.version:
                for listener in self.listeners:
                    listener(agent, alias, record.version)
        await self._keep(agent, frozenset(one.version for one in meanings.values()))
