"""Plans of canaries in the database; every process of it sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestration.rollout.plan import CanaryLimits, CanaryPlan, check_share
from utils.config import from_json, to_json
from utils.errors import QuartermasterError
from utils.persistence.rollout_log import CanaryState, end_plan, list_plans, start_plan

if TYPE_CHECKING:
    from utils.clock import Clock
    from utils.persistence.engine import Database


class NoCanaryError(QuartermasterError, LookupError):
    """The agent has no canary, or none that runs."""


class SqlPlans:
    """Begins, finds and ends trials."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep the parts.

        Args:
            database: Holds the plans.
            clock: Tells when they change.
        """
        self._database = database
        self._clock = clock

    async def find(self, agent: str) -> CanaryPlan | None:
        """Return an agent's last plan, running or not; None if it never had one.

        Args:
            agent: Its name.
        """
        async with self._database.read() as connection:
            rows = await list_plans(connection, agent=agent)
        return read_plan(rows[0]) if rows else None

    async def running(self) -> dict[str, CanaryPlan]:
        """Return the plans that run, by agent."""
        async with self._database.read() as connection:
            rows = await list_plans(connection, state=CanaryState.RUNNING)
        return {row["agent"]: read_plan(row) for row in rows}

    async def start(
        self,
        agent: str,
        version: int,
        *,
        share: float,
        limits: CanaryLimits | None = None,
        reason: str = "",
    ) -> CanaryPlan:
        """Begin a trial, in place of any that the agent has.

        Args:
            agent: Its name.
            version: The challenger, an existing one.
            share: Of the keys, from 0 to 1.
            limits: What it must not exceed.
            reason: In words.

        Raises:
            ConfigError: The share is none.
        """
        check_share(share)
        plan = {"agent": agent, "version": version, "share": float(share), "reason": reason}
        row = {**plan, "limits": to_json(limits or CanaryLimits())}
        async with self._database.write(durable=True) as connection:
            return read_plan(await start_plan(connection, row, at=self._clock.now()))

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

        Returns:
            Whether it was this call that ended it.
        """
        async with self._database.write(durable=True) as connection:
            return await end_plan(
                connection,
                plan.agent,
                state,
                revision=plan.revision,
                reason=reason,
                at=self._clock.now(),
                figures=figures,
            )


def read_plan(row: Mapping[str, Any]) -> CanaryPlan:
    """Make a plan of its row.

    Args:
        row: Of `canary_plan`.
    """
    limits = from_json(CanaryLimits, row["limits"], "limits.")
    return CanaryPlan(**{**row, "limits": limits, "state": CanaryState(row["state"])})
