"""Moves an alias in the transaction that ends the job which decided so, at most once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ai_agents.registry import CHAMPION
from orchestration.executors.binding import NullSink, TaskBinding
from orchestration.pipelines.kinds import EVALUATE, GENERATE, PROMOTE
from utils.persistence.alias_log import find_alias, find_version, lock_aliases, move_alias
from utils.persistence.outbox import add_line
from utils.persistence.rollout_log import add_evidence, add_gate_result
from utils.persistence.run_removal import list_files_behind, pin_checkpoints

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from orchestration.jobs import Job
    from utils.clock import Clock

KEPT = "model_kept"


class PromotionSink(NullSink):
    """Carries out what a `promote` step decided, unless the champion is another one by now."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def finished(
        self, connection: AsyncConnection, job: Job, result: Mapping[str, Any]
    ) -> None:
        """Move the alias, or say why it stays.

        Args:
            connection: The transaction in which the job succeeds.
            job: With the attempt's fence.
            result: What `rl.training.promotion.decide_promotion` returned.
        """
        agent, alias = str(result["agent"]), str(result["alias"])
        await lock_aliases(connection, agent)
        current = await find_alias(connection, agent, alias)
        version = await find_version(connection, agent, str(result["sha256"]))
        if version is not None and version == current:
            return  # moved before
        reasons = list(result["reasons"])
        if version is None:
            reasons.append("it is not registered, or was deleted")
        if current != result["judged_against"]:
            judged = result["judged_against"] or "none"
            reasons.append(
                f"{alias} is version {current or 'none'} by now, and it was judged against "
                f"{judged}: evaluate it again"
            )
        if version is not None and alias == CHAMPION:
            said = {"agent": agent, "version": version, "champion": current, "reasons": reasons}
            said |= {"is_passed": not reasons, "evidence": result.get("evidence")}
            await add_gate_result(connection, {**said, "at": self._clock.now()})
        if version is None or reasons:
            told = {"agent": agent, "alias": alias, "version": version, "current": current}
            line = {**told, "sha256": result["sha256"], "reasons": reasons}
            await add_line(connection, KEPT, line, at=self._clock.now(), job_id=job.id)
            return
        reason = f"job {job.id}: {result['because']}"
        await move_alias(connection, agent, alias, version, reason=reason, clock=self._clock)
        files = await list_files_behind(connection, agent, version)
        await pin_checkpoints(connection, [file.path for file in files])


class EvidenceSink(NullSink):
    """Keeps what an `evaluate` step found, for the promotion gate."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def finished(
        self, connection: AsyncConnection, job: Job, result: Mapping[str, Any]
    ) -> None:
        """Keep the evidence.

        Args:
            connection: The transaction in which the job succeeds.
            job: With the attempt's fence.
            result: What `rl.training.evaluation_job.judge_policy` returned.
        """
        await add_evidence(connection, job.id, result["evidence"], at=self._clock.now())


def make_registry(clock: Clock) -> dict[str, TaskBinding]:
    """Return the kinds of jobs that pipelines add, by name.

    Args:
        clock: Tells when aliases moved.
    """
    return {
        GENERATE.kind: TaskBinding(definition=GENERATE),
        EVALUATE.kind: TaskBinding(definition=EVALUATE, sink=EvidenceSink(clock)),
        PROMOTE.kind: TaskBinding(definition=PROMOTE, sink=PromotionSink(clock)),
    }
