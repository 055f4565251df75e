"""Realised regret: kept requests played again, with the expert's decisions in place of ours.

For each kept request the domain says what the decision was worth in its step, and what the
expert's would have been; their difference is the regret. Where it is known what really came (an
outcome was reported, or the agent's next request continues this one), both are worth what that made
of them; else what was expected. Decisions by people count as theirs; rejected and waiting ones do
not count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import numpy as np
from numpy.typing import ArrayLike
from sqlalchemy import select

from ai_agents.base_agent import Decision, DecisionRequest, Header, RequestError
from ai_agents.registry import UnknownVersionError
from ai_agents.registry_making import AnyAgent
from orchestration.feedback.approvals import ApprovalState
from utils.errors import QuartermasterError
from utils.logs import get_logger
from utils.persistence.approvals import approval
from utils.persistence.decisions import decision
from utils.persistence.outbox import add_line
from utils.persistence.polling import look_for_ever

if TYPE_CHECKING:
    from ai_agents.registry import AgentRegistry
    from orchestration.feedback.kept_requests import KeptRequest
    from orchestration.feedback.supervision import Supervision
    from rl.monitoring.serving_metrics import ServingMetrics
    from utils.clock import Clock
    from utils.persistence.engine import Database

REGRET_EVENT = "regret_high"
MOST_REPLAYED = 2000
FEWEST = 20
"""Fewer decisions give no interval, and tell nothing."""
RESAMPLES = 2000
LOOK_SECONDS = 600.0
IDS_PER_QUERY = 500
logger = get_logger(__name__)


class NothingKeptError(QuartermasterError, LookupError):
    """No requests of the agent are kept."""


@dataclass(frozen=True, kw_only=True)
class RegretReport:
    """What the expert would have done better."""

    agent: str
    num_decisions: int
    """That were played again."""
    num_realised: int
    """Of them those for which it is known what really came."""
    num_skipped: int
    """Kept ones that could not be played again, or that a person rejected."""
    mean: float | None
    """Value of the expert's decisions minus that of those given, per decision; None without any."""
    low: float | None
    """Lower end of the 95 % interval of the mean; None for fewer than 20 decisions."""
    high: float | None
    """Upper end."""
    limit: float | None
    is_high: bool
    """Whether the whole interval lies above the limit."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """One decision that was played again."""

    regret: float
    is_realised: bool


class RegretReplay:
    """Plays kept requests again."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        metrics: ServingMetrics,
        *,
        registry: AgentRegistry,
        supervision: Supervision,
    ) -> None:
        """Keep the parts.

        Args:
            database: Holds outcomes and the outbox.
            clock: Tells the time.
            metrics: Show the mean.
            registry: Knows the agents.
            supervision: Knows the kept requests and the limits.
        """
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._registry = registry
        self._supervision = supervision
        self._told: set[str] = set()

    async def replay(self, agent: str, *, limit: int = MOST_REPLAYED) -> RegretReport:
        """Play the newest kept requests of an agent again.

        Args:
            agent: Its name.
            limit: At most so many.

        Raises:
            NothingKeptError: Of this agent.
        """
        kept = await self._supervision.kept.find(agent, limit=min(limit, MOST_REPLAYED))
        settings = await self._supervision.settings.find(agent)
        if not kept:
            raise NothingKeptError(
                f"{agent}: no requests are kept; `python -m orchestration decisions keep {agent} "
                "1000` keeps the newest ones from now on"
            )
        outcomes, verdicts = await self._load(kept)
        agents = await self._find_agents(agent, kept)
        played = await anyio.to_thread.run_sync(partial(_play, kept, agents, outcomes, verdicts))
        regrets = [one.regret for one in played]
        mean, low, high = estimate_mean(regrets)
        bound = settings.regret_limit
        report = RegretReport(
            agent=agent,
            num_decisions=len(played),
            num_realised=sum(one.is_realised for one in played),
            num_skipped=len(kept) - len(played),
            mean=mean,
            low=low,
            high=high,
            limit=bound,
            is_high=bound is not None and low is not None and low > bound,
        )
        if mean is not None:
            self._metrics.regretted(agent, mean=mean)
        await self._tell(report)
        return report

    async def look(self) -> list[RegretReport]:
        """Replay every agent that has a limit and keeps requests."""
        found = []
        for settings in await self._supervision.settings.list_all():
            if settings.keep_requests and settings.regret_limit is not None:
                try:
                    found.append(await self.replay(settings.agent))
                except NothingKeptError as error:
                    logger.info("nothing_to_replay", agent=settings.agent, reason=str(error))
        return found

    async def run(self) -> None:
        """Look every ten minutes, until cancelled."""
        await look_for_ever(self.look, self._clock, LOOK_SECONDS, logger)

    async def _find_agents(self, agent: str, kept: Sequence[KeptRequest]) -> dict[str, AnyAgent]:
        agents = {}
        for version in dict.fromkeys(one.version for one in kept):
            try:
                agents[version] = await self._registry.resolve(agent, version=int(version))
            except UnknownVersionError:
                logger.warning("version_not_replayed", agent=agent, version=version)
        return agents

    async def _load(
        self, kept: Sequence[KeptRequest]
    ) -> tuple[dict[str, Mapping[str, Any]], dict[str, tuple[str, str | None]]]:
        """Return reported outcomes, and verdicts with the decisions that they gave, by id."""
        ids = [one.decision_id for one in kept]
        outcomes: dict[str, Mapping[str, Any]] = {}
        verdicts: dict[str, tuple[str, str | None]] = {}
        async with self._database.read() as connection:
            for start in range(0, len(ids), IDS_PER_QUERY):
                part = ids[start : start + IDS_PER_QUERY]
                known = select(decision.c.id, decision.c.realised).where(
                    decision.c.id.in_(part), decision.c.result_known_at.is_not(None)
                )
                outcomes |= {row.id: row.realised for row in await connection.execute(known)}
                given = select(approval.c.decision_id, approval.c.state, approval.c.given)
                rows = await connection.execute(given.where(approval.c.decision_id.in_(part)))
                verdicts |= {row.decision_id: (row.state, row.given) for row in rows}
        return outcomes, verdicts

    async def _tell(self, report: RegretReport) -> None:
        if not report.is_high:
            self._told.discard(report.agent)
            return
        if report.agent in self._told:
            return
        async with self._database.write() as connection:
            await add_line(connection, REGRET_EVENT, asdict(report), at=self._clock.now())
        self._told.add(report.agent)
        logger.warning("regret_high", **asdict(report))


def estimate_mean(values: ArrayLike) -> tuple[float | None, float | None, float | None]:
    """Return a mean with its 95 % interval, by resampling blocks of consecutive values.

    Decisions that follow one another are alike; blocks of about the root of their number keep them
    together.

    Args:
        values: `[decision]`, in their order.

    Returns:
        Mean and interval; None where there are too few.
    """
    numbers = np.asarray(values, np.float64)
    count = len(numbers)
    if count == 0:
        return None, None, None
    mean = float(numbers.mean())
    if count < FEWEST:
        return mean, None, None
    length = math.isqrt(count)
    starts = np.random.default_rng(0).integers(0, count, (RESAMPLES, -(-count // length)))
    rows = (starts[..., None] + np.arange(length)).reshape(RESAMPLES, -1)[:, :count] % count
    low, high = np.quantile(numbers[rows].mean(-1), [0.025, 0.975])
    return mean, float(low), float(high)


def _play(
    kept: Sequence[KeptRequest],
    agents: Mapping[str, AnyAgent],
    outcomes: Mapping[str, Mapping[str, Any]],
    verdicts: Mapping[str, tuple[str, str | None]],
) -> list[Played]:
    found = []
    for position, one in enumerate(kept):
        state, given = verdicts.get(one.decision_id, (ApprovalState.APPROVED.value, None))
        agent = agents.get(one.version)
        if agent is None or state in {ApprovalState.WAITING.value, ApprovalState.REJECTED.value}:
            continue
        following = kept[position + 1] if position + 1 < len(kept) else None
        try:
            played = _play_one(agent, one, given or one.decision, outcomes, following=following)
        except (RequestError, ValueError) as error:
            logger.warning("request_not_replayed", decision=one.decision_id, reason=str(error))
            continue
        if played is not None:
            found.append(played)
    return found


def _play_one(
    agent: AnyAgent,
    one: KeptRequest,
    given: str,
    outcomes: Mapping[str, Mapping[str, Any]],
    *,
    following: KeptRequest | None,
) -> Played | None:
    domain = agent.domain
    request = agent.parse(one.request)
    situation = domain.read(request)
    after = _read_following(agent, following)
    came = domain.realised(request, outcomes.get(one.decision_id), after)
    ours = agent.decision_type.model_validate_json(given)
    (action,) = domain.ask_expert([situation])
    header = _header(ours, domain.expert_name)
    by_expert = domain.decide(situation, action, header=header, expert=None)
    worth = domain.worth(situation, ours, came), domain.worth(situation, by_expert, came)
    if worth[0] is None or worth[1] is None:
        return None
    return Played(regret=worth[1] - worth[0], is_realised=came is not None)


def _read_following(agent: AnyAgent, following: KeptRequest | None) -> DecisionRequest | None:
    if following is None:
        return None
    try:
        read: DecisionRequest = agent.parse(following.request)
    except RequestError:  # of a later version, whose requests are others
        return None
    return read


def _header(ours: Decision, expert: str) -> Header:
    return Header(
        agent=ours.agent,
        version=ours.version,
        request_id=ours.request_id,
        decision_id=ours.decision_id,
        decided_by=expert,
        fallback_used=True,
        fallback_reason=None,
        duration_seconds=0.0,
        warnings=[],
    )
