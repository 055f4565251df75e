"""What people and programs ask about versions: try one, end the trial, promote it, go back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ai_agents.registry import CHALLENGER, CHAMPION, UnknownAgentError, UnknownVersionError
from orchestration.rollout.gate import GateClosedError, GateResult, weigh
from orchestration.rollout.plan import check_share
from orchestration.rollout.plan_store import NoCanaryError, SqlPlans
from rl.training.run_removal import keep_promoted
from utils.errors import ConfigError
from utils.persistence.alias_log import find_alias, lock_aliases, move_aliases, version_before
from utils.persistence.rollout_log import (
    CanaryState,
    add_gate_result,
    find_evidence,
    list_gate_results,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ai_agents.registry import AgentRegistry
    from ai_agents.registry_store import ArtifactRecord, RegistryStore
    from orchestration.rollout.canary import Canary
    from orchestration.rollout.plan import CanaryLimits, CanaryPlan
    from utils.clock import Clock
    from utils.persistence.engine import Database


class RolloutDesk:
    """Moves versions from challenger to champion and back, each step in one transaction."""

    def __init__(
        self,
        database: Database,
        registry: AgentRegistry,
        store: RegistryStore,
        canary: Canary,
        *,
        clock: Clock,
    ) -> None:
        """Keep the parts.

        Args:
            database: Holds plans, evidence and history.
            registry: Sets versions up, and follows what is moved here.
            store: The truth about versions and aliases, in the same database.
            canary: This process's trials; told at once of what changes here.
            clock: Tells when.
        """
        self._database = database
        self._registry = registry
        self._store = store
        self._canary = canary
        self.figures = canary.figures
        self._clock = clock
        self._plans = SqlPlans(database, clock)

    async def start_canary(
        self,
        agent: str,
        *,
        share: float,
        version: int | None = None,
        limits: CanaryLimits | None = None,
        reason: str = "",
    ) -> CanaryPlan:
        """Give a share of the request keys to the challenger, in place of any trial there is.

        Args:
            agent: Its name.
            share: Of the keys, from 0 to 1.
            version: Becomes the challenger first; the present one if absent.
            limits: What it must not exceed.
            reason: For the record.

        Raises:
            UnknownAgentError: There is no such agent, or it has no challenger or no champion.
            UnknownVersionError: It has no such version.
            ArtifactCorruptError: The challenger's artifact is damaged; nothing changed.
            ConfigError: The share is none, or challenger and champion are the same version.
        """
        check_share(share)
        aliases = await self._aliases(agent)
        tried = aliases.get(CHALLENGER) if version is None else version
        if tried is None or CHAMPION not in aliases:
            lacking = CHALLENGER if CHAMPION in aliases else CHAMPION
            raise UnknownAgentError(
                f"{agent} has no {lacking}: `promote {agent} VERSION --alias {lacking}` first"
            )
        if tried == aliases[CHAMPION]:
            raise ConfigError(f"version {tried} of {agent} is champion: try another version")
        await self._registry.prepare(await self._registry.find_version(agent, tried))
        if tried != aliases.get(CHALLENGER):
            await self._registry.promote(agent, tried, alias=CHALLENGER, reason=reason)
        plan = await self._plans.start(agent, tried, share=share, limits=limits, reason=reason)
        await self._canary.refresh()
        return plan

    async def stop_canary(self, agent: str, *, reason: str = "") -> CanaryPlan:
        """End a trial: all requests go to the champion.

        Args:
            agent: Its name.
            reason: For the record.

        Raises:
            NoCanaryError: None runs.
        """
        plan = await self._plans.find(agent)
        reason = reason or "by hand"
        if plan is None or not await self._plans.end(plan, CanaryState.OFF, reason=reason):
            raise NoCanaryError(f"{agent} has no canary that runs")
        await self._canary.refresh()
        return await self.canary(agent)

    async def canary(self, agent: str) -> CanaryPlan:
        """Return an agent's last trial, running or not.

        Args:
            agent: Its name.

        Raises:
            NoCanaryError: It never had one.
        """
        plan = await self._plans.find(agent)
        if plan is None:
            raise NoCanaryError(f"{agent} never had a canary")
        return plan

    async def promote_challenger(
        self, agent: str, *, force_because: str | None = None, reason: str = ""
    ) -> GateResult:
        """Let challenger and champion change places, if the gate lets the challenger through.

        What the gate says is kept either way. A trial of the challenger ends as promoted.

        Args:
            agent: Its name.
            force_because: Why it shall pass although the gate refuses it; kept.
            reason: For the history.

        Raises:
            UnknownAgentError: There is no such agent, or it has no challenger.
            ArtifactCorruptError: The challenger's artifact is damaged; nothing changed.
            GateClosedError: The gate refused it; nothing moved.
            ConfigError: It is forced without a reason, or is champion already.
        """
        if force_because is not None and not force_because.strip():
            raise ConfigError("force: say why; it is kept with what the gate said")
        challenger = (await self._aliases(agent)).get(CHALLENGER)
        if challenger is None:
            raise UnknownAgentError(f"{agent} has no {CHALLENGER}: promote one to that alias first")
        record = await self._registry.find_version(agent, challenger)
        async with self._registry.hold(record):
            result = await self._pass(record, force_because=force_because, reason=reason)
            if not result.is_open:
                raise GateClosedError(
                    f"{agent} version {challenger} stays {CHALLENGER}: {'; '.join(result.reasons)}"
                )
            await self._registry.follow_moves(agent, await self._aliases(agent))
        await keep_promoted(self._database, agent, challenger)
        await self._canary.refresh()
        return result

    async def gate_results(self, agent: str, *, limit: int = 20) -> list[GateResult]:
        """List what the gate said of an agent's versions, newest first.

        Args:
            agent: Its name.
            limit: At most so many.
        """
        async with self._database.read() as connection:
            rows = await list_gate_results(connection, agent, limit=limit)
        names = GateResult.__dataclass_fields__
        return [
            GateResult(**{name: row[name] for name in names} | {"reasons": tuple(row["reasons"])})
            for row in rows
        ]

    async def rollback(self, agent: str, *, reason: str = "") -> ArtifactRecord:
        """Let the champion be the version that it was before; twice goes back two versions.

        Args:
            agent: Its name.
            reason: For the history.

        Raises:
            UnknownAgentError: There is no such agent, or it has no champion.
            UnknownVersionError: There is no version before.
            ArtifactCorruptError: The version before is damaged; nothing changed.
            AliasMovedError: Somebody else moved the champion at the same time; nothing changed.
        """
        await self._aliases(agent)
        meanings = await self._store.meanings(agent, CHAMPION)
        existing = {record.version: record for record in await self._store.list_versions(agent)}
        before = version_before(meanings, existing)
        if not meanings:
            raise UnknownAgentError(f"{agent} has no {CHAMPION}: promote one first")
        if before is None:
            raise UnknownVersionError(
                f"{agent}: {CHAMPION} is version {meanings[-1]}, and there is none before to go "
                "back to; promote one"
            )
        reason = f"rollback from version {meanings[-1]}: {reason or 'by hand'}"
        moves, expected = {CHAMPION: before}, {CHAMPION: meanings[-1]}
        async with self._registry.hold(existing[before]):
            await self._store.move_aliases(agent, moves, expected=expected, reason=reason)
            await self._registry.follow_moves(agent, moves)
        return existing[before]

    async def _aliases(self, agent: str) -> dict[str, int]:
        if not (aliases := await self._store.aliases(agent)):
            versions = await self._store.list_versions(agent)
            known = ", ".join(await self._store.list_agents()) or "none"
            if not versions:
                raise UnknownAgentError(f"no agent {agent!r}; registered: {known}")
        return aliases

    async def _pass(
        self, record: ArtifactRecord, *, force_because: str | None, reason: str
    ) -> GateResult:
        async with self._database.write(durable=True) as connection:
            result = await self._judge(connection, record, force_because)
            await add_gate_result(connection, {**asdict(result), "reasons": list(result.reasons)})
            if result.is_open:
                await self._swap(connection, result, reason)
        return result

    async def _judge(
        self, connection: AsyncConnection, record: ArtifactRecord, force_because: str | None
    ) -> GateResult:
        await lock_aliases(connection, record.agent)
        champion = await find_alias(connection, record.agent, CHAMPION)
        if champion == record.version:
            raise ConfigError(f"version {record.version} of {record.agent} is champion already")
        evidence = await find_evidence(connection, record.agent, record.sha256)
        reasons = weigh(evidence, version=record.version, champion=champion)
        return GateResult(
            agent=record.agent,
            version=record.version,
            champion=champion,
            is_passed=not reasons,
            reasons=tuple(reasons),
            evidence=evidence,
            forced_because=force_because if reasons else None,
            at=self._clock.now(),
        )

    async def _swap(self, connection: AsyncConnection, result: GateResult, reason: str) -> None:
        moves = {CHAMPION: result.version}
        if result.champion is not None:
            moves[CHALLENGER] = result.champion
        passed = f"forced: {result.forced_because}" if result.forced_because else "passed the gate"
        await move_aliases(
            connection,
            result.agent,
            moves,
            expected={CHAMPION: result.champion, CHALLENGER: result.version},
            reason=f"{passed}; {reason}" if reason else passed,
            clock=self._clock,
        )
