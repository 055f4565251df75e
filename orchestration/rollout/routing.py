"""What the desk asks about versions: who answers a request, and what becomes of the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from orchestration.rollout.judge import Sample
from utils.logs import get_logger

if TYPE_CHECKING:
    from ai_agents.registry import AgentRegistry
    from orchestration.decision_ports import Served
    from orchestration.rollout.canary import Canary
    from orchestration.rollout.second_answers import SecondAnswers

logger = get_logger(__name__)


class VersionRouter:
    """Routes by the canaries, and passes answers on to them and to second answers."""

    def __init__(self, registry: AgentRegistry, canary: Canary, second: SecondAnswers) -> None:
        """Keep the parts.

        Args:
            registry: Sets challengers up.
            canary: Knows the trials.
            second: Asks other versions the same.
        """
        self._registry = registry
        self._canary = canary
        self._second = second

    async def run(self) -> None:
        """Follow the plans and ask second answers in the background, until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._canary.run)
            group.start_soon(self._second.run)

    async def route(self, agent: str, key: str) -> int | None:
        """Return the challenger's version if a request goes to it; None leaves it the champion.

        A challenger that cannot be set up here gets no request; that counts as its error.

        Args:
            agent: Who is asked.
            key: Of the request.
        """
        version = await self._canary.route(agent, key)
        if version is None:
            return None
        try:
            await self._registry.resolve(agent, version=version)
        except Exception as error:  # noqa: BLE001  whatever is wrong with it, the champion answers
            logger.warning("challenger_not_ready", agent=agent, version=version, error=str(error))
            await self._canary.saw(agent, str(version), [Sample(outcome="error", seconds=0.0)])
            return None
        return version

    async def served(self, served: Served) -> None:
        """Take note of what came of requests that named no version.

        Args:
            served: What came of them.
        """
        samples = [
            Sample(outcome="fallback" if one.fallback_used else "decision", seconds=served.seconds)
            for one in served.decisions
        ] or [Sample(outcome="error", seconds=served.seconds)]
        for request, decision in zip(served.requests, served.decisions, strict=False):
            self._second.put(request, decision)
        await self._canary.saw(served.agent, served.version, samples)
