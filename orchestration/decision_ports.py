"""What the decision desk asks of others: who may be asked, who answers, who keeps and who hears."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ai_agents.base_agent import Decision, DecisionRequest
    from rl.deployment.guardrails import FallbackReason
    from utils.persistence.decisions import DecisionRecord


class Verdict(StrEnum):
    """How a policy did that was asked."""

    SOUND = "sound"
    FAILED = "failed"  # it broke, or was late
    UNKNOWN = "unknown"  # it was not asked after all, or nobody waited for it


class Gate(Protocol):
    """Knows which policies had better not be asked."""

    def admit(self, agent: str, version: str) -> Callable[[Verdict], None] | None:
        """Return where to tell how the policy does; None while it must not be asked.

        Args:
            agent: Its name.
            version: Which one.
        """
        ...


class Records(Protocol):
    """Keeps what agents decided."""

    def record(self, record: DecisionRecord) -> None:
        """Keep one record; never waits and never fails.

        Args:
            record: What was decided.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Served:
    """What came of requests that named neither a version nor an alias."""

    agent: str
    version: str
    requests: Sequence[DecisionRequest]
    decisions: Sequence[Decision]
    """One a request; none if nobody could answer."""
    seconds: float


class Router(Protocol):
    """Says which version answers those who name none, and hears what came of it."""

    async def route(self, agent: str, key: str) -> int | None:
        """Return a version that is being tried on requests with this key; None: the champion.

        Args:
            agent: Its name.
            key: Of the request.
        """
        ...

    async def served(self, served: Served) -> None:
        """Take note; must not fail, and wait for nobody but the database.

        Args:
            served: What came of it.
        """
        ...


class Supervisor(Protocol):
    """Says who decides, and what becomes of decisions before they are handed out."""

    def stand_in(self, agent: str, version: str) -> FallbackReason | None:
        """Say why the expert shall answer rather than the policy; None if there is no reason.

        Args:
            agent: Its name.
            version: Which one.
        """
        ...

    async def supervise(
        self, requests: Sequence[DecisionRequest], decisions: Sequence[Decision]
    ) -> list[Decision]:
        """Return decisions as they may be handed out.

        Args:
            requests: As they were read.
            decisions: Of one agent, one a request.
        """
        ...
