"""Second answers: another version is asked the same, behind the caller's back.

The shadow is asked what anybody asks; the champion is asked what a canary's challenger answered, so
that its regret is known. Nobody waits: requests queue up to a bound, beyond it they are dropped and
counted. Policies are asked in a thread with a deadline, so that a slow one holds up nobody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import anyio
from sqlalchemy.exc import SQLAlchemyError

from ai_agents.base_agent import Decision, DecisionRequest, InvocationContext
from ai_agents.registry import CHAMPION, SHADOW
from orchestration.rollout.comparison import compare
from orchestration.rollout.judge import Sample
from utils.logs import get_logger
from utils.persistence.errors import DatabaseError
from utils.persistence.rollout_log import add_second_answers

if TYPE_CHECKING:
    from ai_agents.registry import AgentRegistry
    from orchestration.rollout.canary import Canary
    from rl.monitoring.rollout_metrics import RolloutMetrics
    from utils.clock import Clock
    from utils.persistence.engine import Database

logger = get_logger(__name__)
MOST_WAITING = 256
DEADLINE_SECONDS = 1.0
BATCH_ROWS = 100


@dataclass(frozen=True, kw_only=True)
class Question:
    """What another version shall be asked."""

    role: str
    """The alias of who is asked besides: `shadow` or `champion`."""
    request: DecisionRequest
    served: Decision
    """What the caller got."""


class SecondAnswers:
    """Asks other versions in the background, compares and records."""

    def __init__(
        self,
        registry: AgentRegistry,
        canary: Canary,
        database: Database,
        *,
        clock: Clock,
        metrics: RolloutMetrics,
    ) -> None:
        """Start with nothing waiting.

        Args:
            registry: Knows the agents.
            canary: Told the regret of challengers, and how champions do.
            database: Keeps the comparisons.
            clock: Measures durations.
            metrics: Count what came of them.
        """
        self._registry = registry
        self._canary = canary
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._send, self._receive = anyio.create_memory_object_stream[Question](MOST_WAITING)

    def put(self, request: DecisionRequest, served: Decision) -> None:
        """Have other versions asked too, if any is to be; returns at once.

        Args:
            request: What the caller asked.
            served: What the caller got.
        """
        for role in self._roles(served):
            question = Question(role=role, request=request, served=served)
            try:
                self._send.send_nowait(question)
            except anyio.WouldBlock:
                self._metrics.second_answer(served.agent, role=role, outcome="dropped")

    async def run(self) -> None:
        """Ask what waits, until cancelled."""
        while True:
            await self.work([await self._receive.receive()])

    async def work(self, questions: Sequence[Question] = ()) -> None:
        """Ask what waits now, and keep what comes of it.

        Args:
            questions: To begin with.
        """
        waiting = list(questions)
        rows: list[dict[str, Any] | None] = []
        while len(rows) < BATCH_ROWS:
            try:
                question = waiting.pop() if waiting else self._receive.receive_nowait()
            except anyio.WouldBlock:
                break
            rows.append(await self._ask(question))
        kept = [row for row in rows if row is not None]
        if kept:
            await self._keep(kept)

    def close(self) -> None:
        """Drop what waits."""
        self._send.close()
        self._receive.close()

    def _roles(self, served: Decision) -> list[str]:
        shadow = self._registry.known_version(served.agent, SHADOW)
        is_shadowed = shadow is not None and str(shadow) != served.version
        roles = [SHADOW] if is_shadowed else []
        if self._canary.tries(served.agent, served.version):
            roles.append(CHAMPION)
        return roles

    async def _ask(self, question: Question) -> dict[str, Any] | None:
        served, role = question.served, question.role
        started = self._clock.monotonic()
        context = InvocationContext(
            request_id=served.request_id,
            decision_ids=(served.decision_id,),
            deadline_seconds=DEADLINE_SECONDS,
        )
        try:
            async with self._registry.lease(served.agent, alias=role) as agent:
                (other,) = await agent.invoke_batch([question.request], context)
                situation, domain = agent.domain.read(question.request), agent.domain
            found = compare(served, other, domain, situation)
        except Exception as error:  # noqa: BLE001  whatever is wrong with it, nobody waits for it
            logger.warning("second_answer_failed", agent=served.agent, role=role, error=str(error))
            self._metrics.second_answer(served.agent, role=role, outcome="failed")
            return None
        seconds = self._clock.monotonic() - started
        outcome = "failed" if other.fallback_used and role == SHADOW else found.outcome
        self._metrics.second_answer(served.agent, role=role, outcome=outcome)
        self._metrics.compared(
            served.agent, role=role, distance=found.distance, regret=found.regret
        )
        if role == CHAMPION:
            await self._tell_canary(served, other, found.regret, seconds)
        return {
            "decision_id": served.decision_id,
            "version": other.version,
            "agent": served.agent,
            "served_version": served.version,
            "outcome": outcome,
            "distance": found.distance,
            "regret": found.regret,
            "latency_seconds": seconds,
            "at": self._clock.now(),
        }

    async def _tell_canary(
        self, served: Decision, champion: Decision, regret: float | None, seconds: float
    ) -> None:
        outcome: Literal["decision", "fallback"]
        outcome = "fallback" if champion.fallback_used else "decision"
        sample = Sample(outcome=outcome, seconds=seconds)
        await self._canary.compared(served.agent, served.version, champion=sample, regret=regret)

    async def _keep(self, rows: Sequence[dict[str, Any]]) -> None:
        try:
            async with self._database.write() as connection:
                await add_second_answers(connection, rows)
        except (DatabaseError, SQLAlchemyError) as error:
            logger.warning("second_answers_lost", number=len(rows), reason=str(error))
