"""The versions in memory: loaded and warmed up once, drained when replaced, closed when idle.

registered -> loading -> warming -> ready -> draining -> retired. What is retired lies in the store
only and may be loaded again.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio

from utils.logs import get_logger

if TYPE_CHECKING:
    from ai_agents.base_agent import BusinessAgent
    from ai_agents.registry_store import ArtifactRecord

logger = get_logger(__name__)
AgentT = TypeVar("AgentT", bound="BusinessAgent[Any, Any]")
MOST_SPARE = 4
"""Versions that nothing means but that were asked for by number; the latest so many stay."""


class Phase(StrEnum):
    """How far a version is in a process."""

    REGISTERED = "registered"  # in the store; not here
    LOADING = "loading"  # being read
    WARMING = "warming"  # answers its first request, which nobody waits for
    READY = "ready"
    DRAINING = "draining"  # replaced; ends what it has begun
    RETIRED = "retired"  # closed, and out of memory


@dataclass(kw_only=True, eq=False)
class _Place(Generic[AgentT]):
    """Where one version stands in memory."""

    agent: AgentT | None = None
    phase: Phase = Phase.REGISTERED
    in_use: int = 0


class LoadedVersions(Generic[AgentT]):
    """Keeps the versions in use set up, and lets go of the others when they are idle."""

    def __init__(self, load: Callable[[ArtifactRecord], Awaitable[AgentT]]) -> None:
        """Start with none.

        Args:
            load: Makes the agent of a version; it is set up here.
        """
        self._load = load
        self._places: dict[tuple[str, int], _Place[AgentT]] = {}
        self._meant: dict[str, frozenset[int]] = {}
        self._spare: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._lock = anyio.Lock()

    def phase(self, agent: str, version: int) -> Phase:
        """Return how far a version is here.

        Args:
            agent: Its name.
            version: Which one.
        """
        place = self._places.get((agent, version))
        return Phase.REGISTERED if place is None else place.phase

    def find(self, agent: str, version: int) -> AgentT | None:
        """Return a version that is ready, if it is.

        Args:
            agent: Its name.
            version: Which one.
        """
        place = self._places.get((agent, version))
        return place.agent if place is not None and place.phase is Phase.READY else None

    async def ready(self, record: ArtifactRecord) -> AgentT:
        """Load and warm up a version, once however many wait for it.

        Args:
            record: The version.
        """
        key = (record.agent, record.version)
        if (agent := self.find(*key)) is not None:
            return agent
        async with self._lock:
            place = self._places.get(key)
            if place is None or place.agent is None:
                return await self._set_up(record)
            self._move(key, place, Phase.READY)  # it was draining, and is wanted again
            return place.agent

    async def need(self, agent: str, version: int) -> None:
        """Note that a version was asked for by number; that of the longest ago may go for it.

        Args:
            agent: Its name.
            version: Which one.
        """
        key = (agent, version)
        if version in self._meant.get(agent, ()) or key == next(reversed(self._spare), None):
            return
        self._spare[key] = None
        self._spare.move_to_end(key)
        while len(self._spare) > MOST_SPARE:
            (name, number), _ = self._spare.popitem(last=False)
            await self._let_go(name, number)

    async def keep(self, agent: str, versions: Collection[int]) -> None:
        """Note which versions the aliases of an agent mean; others are drained.

        Args:
            agent: Its name.
            versions: Those that stay.
        """
        self._meant[agent] = frozenset(versions)
        for name, number in list(self._places):
            if name == agent:
                await self._let_go(name, number)

    @contextlib.asynccontextmanager
    async def use(self, agent: AgentT) -> AsyncIterator[AgentT]:
        """Hold a version open while it is asked.

        Args:
            agent: As `ready` returned it, with nothing awaited in between.
        """
        key = (agent.name, int(agent.version))
        place = self._places.get(key)
        if place is None or place.agent is not agent:  # closed since; it says so itself
            yield agent
            return
        place.in_use += 1
        try:
            yield agent
        finally:
            place.in_use -= 1
            if place.in_use == 0 and not self._is_wanted(key):
                await self._let_go(*key)

    async def aclose(self) -> None:
        """Close all of them, at once."""
        places, self._places = self._places, {}
        self._meant.clear()
        self._spare.clear()
        for place in places.values():
            if place.agent is not None:
                await place.agent.aclose()

    async def _set_up(self, record: ArtifactRecord) -> AgentT:
        key = (record.agent, record.version)
        place = self._places[key] = _Place[AgentT]()
        try:
            self._move(key, place, Phase.LOADING)
            agent = await self._load(record)
            self._move(key, place, Phase.WARMING)
            await agent.setup()
        except BaseException:
            del self._places[key]
            raise
        place.agent = agent
        self._move(key, place, Phase.READY)
        return agent

    def _is_wanted(self, key: tuple[str, int]) -> bool:
        agent, version = key
        return key in self._spare or version in self._meant.get(agent, frozenset())

    async def _let_go(self, name: str, number: int) -> None:
        key = (name, number)
        place = self._places.get(key)
        if place is None or place.agent is None or self._is_wanted(key):
            return
        if place.in_use:
            self._move(key, place, Phase.DRAINING)
            return
        del self._places[key]
        with anyio.CancelScope(shield=True):
            await place.agent.aclose()
        self._move(key, place, Phase.RETIRED)

    def _move(self, key: tuple[str, int], place: _Place[AgentT], phase: Phase) -> None:
        if place.phase is phase:
            return
        place.phase = phase
        logger.info("version_phase", agent=key[0], version=key[1], phase=phase.value)
