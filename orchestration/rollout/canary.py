"""Trials as one process carries them: it routes by the plans, judges what it sees, and acts.

Every process judges its own window. The first that finds a broken limit ends the plan in the
database, on condition that it is still the one that it read; the others see so within a second.
Here the challenger gets no more requests from the moment of the verdict, whether or not the
database can be reached; what could not be written is tried again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from sqlalchemy.exc import SQLAlchemyError

from orchestration.rollout.figures import TrialFigures, figures_of
from orchestration.rollout.judge import Rollback, Sample, Window, judge
from utils.logs import get_logger
from utils.persistence.errors import DatabaseError
from utils.persistence.rollout_log import CanaryState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from orchestration.rollout.plan import CanaryPlan
    from rl.monitoring.rollout_metrics import RolloutMetrics
    from utils.clock import Clock

logger = get_logger(__name__)
PLAN_SECONDS = 1.0
"""How old what is known of the plans may be."""


class Plans(Protocol):
    """Where the trials are kept; see `orchestration.rollout.plan_store`."""

    async def running(self) -> dict[str, CanaryPlan]:
        """Return the plans that run, by agent."""
        ...

    async def end(
        self,
        plan: CanaryPlan,
        state: CanaryState,
        *,
        reason: str,
        figures: Mapping[str, Any] | None = None,
    ) -> bool:
        """End a trial, unless somebody ended or changed it since it was read.

        Args:
            plan: As it was read.
            state: How it ends.
            reason: In words.
            figures: What was measured, for the event.
        """
        ...


@dataclass(kw_only=True, eq=False)
class _Trial:
    """What this process has seen of one plan."""

    plan: CanaryPlan
    challenger: deque[Sample]
    champion: deque[Sample]
    regrets: deque[float]
    champion_version: str | None = None
    verdict: Rollback | None = field(default=None)

    @property
    def window(self) -> Window:
        """What is judged."""
        return Window(challenger=self.challenger, champion=self.champion, regrets=self.regrets)


class Canary:
    """Routes requests that name no version, and ends trials that go badly."""

    def __init__(self, plans: Plans, clock: Clock, metrics: RolloutMetrics) -> None:
        """Start with no plan known.

        Args:
            plans: The truth about trials.
            clock: Measures the age of what was read.
            metrics: Count what is routed and rolled back.
        """
        self._plans = plans
        self._clock = clock
        self._metrics = metrics
        self._trials: dict[str, _Trial] = {}
        self._read_at = float("-inf")
        self._is_running = False

    async def route(self, agent: str, key: str) -> int | None:
        """Return the challenger's version if a request goes to it; None leaves it the champion.

        Args:
            agent: Who is asked.
            key: Of the request.
        """
        if not self._is_running and self._clock.monotonic() - self._read_at >= PLAN_SECONDS:
            await self.refresh()
        trial = self._trials.get(agent)
        if trial is None or trial.verdict is not None:
            return None
        is_reached = trial.plan.reaches(key)
        self._metrics.routed(agent, arm="challenger" if is_reached else "champion")
        return trial.plan.version if is_reached else None

    def tries(self, agent: str, version: str) -> bool:
        """Say whether a version is on trial here.

        Args:
            agent: Its name.
            version: Which one.
        """
        trial = self._trials.get(agent)
        return trial is not None and trial.verdict is None and version == str(trial.plan.version)

    def figures(self, agent: str) -> TrialFigures | None:
        """Return what this process has seen of an agent's trial; None if none runs here.

        Args:
            agent: Its name.
        """
        trial = self._trials.get(agent)
        return None if trial is None else figures_of(trial.window, trial.verdict)

    async def saw(self, agent: str, version: str, samples: Sequence[Sample]) -> None:
        """Take note of requests that were answered, or failed.

        Args:
            agent: Who was asked.
            version: Which version answered.
            samples: What became of them.
        """
        trial = self._trials.get(agent)
        if trial is None or trial.verdict is not None:
            return
        if version == str(trial.plan.version):
            trial.challenger.extend(samples)
            await self._judge(trial)
            return
        if version != trial.champion_version:  # another champion since: it is another comparison
            trial.champion.clear()
            trial.champion_version = version
        trial.champion.extend(samples)

    async def compared(
        self, agent: str, version: str, *, champion: Sample, regret: float | None
    ) -> None:
        """Take note of what the champion would have decided in a challenger's place.

        Args:
            agent: Who was asked.
            version: Which version answered.
            champion: How the champion did. It counts only where all requests go to the challenger:
                asked in the background it is slower than callers find it.
            regret: How much better it would have done, relative; None if nobody knows.
        """
        trial = self._trials.get(agent)
        if trial is None or trial.verdict is not None or version != str(trial.plan.version):
            return
        if trial.plan.share == 1:
            trial.champion.append(champion)
        if regret is not None:
            trial.regrets.append(regret)
            await self._judge(trial)

    async def run(self) -> None:
        """Look at the plans every second until cancelled, so that no request waits for it."""
        await self.refresh()
        self._is_running = True
        try:
            while True:
                await self._clock.sleep(PLAN_SECONDS)
                await self.refresh()
        finally:
            self._is_running = False

    async def refresh(self) -> None:
        """Look at the plans now; the last known ones go on while the database is away."""
        self._read_at = self._clock.monotonic()
        try:
            running = await self._plans.running()
        except (DatabaseError, SQLAlchemyError) as error:
            logger.warning("canary_plans_not_read", reason=str(error))
            return
        for agent in self._trials.keys() - running.keys():
            self._metrics.sharing(agent, 0.0)
            del self._trials[agent]
        for agent, plan in running.items():
            trial = self._trials.get(agent)
            if trial is None or trial.plan.revision != plan.revision:
                self._begin(plan)
            elif trial.verdict is not None:
                await self._end(trial, trial.verdict)  # it could not be written before

    def _begin(self, plan: CanaryPlan) -> None:
        most = plan.limits.window
        self._trials[plan.agent] = _Trial(
            plan=plan,
            challenger=deque(maxlen=most),
            champion=deque(maxlen=most),
            regrets=deque(maxlen=most),
        )
        self._metrics.sharing(plan.agent, plan.share)

    async def _judge(self, trial: _Trial) -> None:
        verdict = judge(trial.window, trial.plan.limits)
        if verdict is not None:
            trial.verdict = verdict
            self._metrics.sharing(trial.plan.agent, 0.0)
            await self._end(trial, verdict)

    async def _end(self, trial: _Trial, verdict: Rollback) -> None:
        plan, reason = trial.plan, f"{verdict.rule}: {verdict.reason}"
        figures = {
            "rule": verdict.rule.value,
            "figure": verdict.figure,
            "limit": verdict.limit,
            "samples": verdict.samples,
        }
        try:
            is_ours = await self._plans.end(
                plan, CanaryState.ROLLED_BACK, reason=reason, figures=figures
            )
        except (DatabaseError, SQLAlchemyError) as error:
            logger.warning("rollback_not_written", agent=plan.agent, reason=str(error))
            return
        if is_ours:
            self._metrics.rolled_back(plan.agent, rule=verdict.rule.value)
            logger.warning("agent_rolled_back", agent=plan.agent, version=plan.version, why=reason)
