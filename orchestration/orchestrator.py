"""The one conductor: training goes in as durable jobs, decisions come out of promoted agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ai_agents.cards import AgentCard, describe
from ai_agents.registry import CHAMPION, UnknownAgentError
from ai_agents.registry_store import ArtifactRecord
from orchestration.decision_desk import DecisionDesk
from orchestration.delegation.agent_calls import AgentCalls
from orchestration.delegation.circuit_breaker import CircuitBreakers
from orchestration.delegation.decision_shelf import DecisionShelf
from orchestration.delegation.patterns import Patterns
from orchestration.feedback.regret import RegretReplay
from orchestration.feedback.review import Reviews
from orchestration.feedback.supervision import Supervision
from orchestration.jobs import Desired, Job, NewJob, Resources
from orchestration.tasks import TRAIN, find_start_point, make_train_spec
from utils.persistence import run_filter, run_queries

if TYPE_CHECKING:
    from ai_agents.registry import AgentRegistry
    from ai_agents.registry_store import RegistryStore
    from orchestration.delegation.blackboard import Blackboard
    from orchestration.delegation.decision_log import DecisionLog
    from orchestration.job_store.store import SqlJobStore
    from orchestration.pipelines.automation import Automation
    from orchestration.rollout.desk import RolloutDesk
    from orchestration.rollout.routing import VersionRouter
    from rl.monitoring.serving_metrics import ServingMetrics
    from rl.training.training_config import TrainingConfig
    from utils.clock import Clock
    from utils.persistence.engine import Database
    from utils.persistence.run_queries import MetricPoint, RunDetails, RunSummary

WAIT_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class AgentSummary:
    """An agent's versions and what they are called."""

    name: str
    versions: tuple[ArtifactRecord, ...]
    """Oldest first."""
    aliases: Mapping[str, int]

    @property
    def champion(self) -> int | None:
        """The version that callers meet, if one was promoted."""
        return self.aliases.get(CHAMPION)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the orchestrator conducts; built in one place, `orchestration.app`."""

    database: Database
    store: SqlJobStore
    registry: AgentRegistry
    registry_store: RegistryStore
    serving_metrics: ServingMetrics
    decision_log: DecisionLog
    router: VersionRouter
    rollout: RolloutDesk
    blackboard: Blackboard
    clock: Clock
    output_dir: Path
    """Where runs leave their files."""
    wake: Callable[[], None]
    """Tells a worker of this process, if there is one, that a job waits."""
    automation: Automation
    """Schedules, pipelines and webhooks."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a job stands among others."""

    priority: int = 0
    """Higher ones start first, and may have running lower ones stop at a checkpoint."""
    resources: Resources = field(default_factory=Resources)
    """What it occupies on a worker."""
    limit_key: str | None = None
    """Jobs with this key run at most as many at once as the key allows."""


ANYWHERE = Standing()


class RunReader:
    """What the database says about runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def runs(self, *, experiment: str | None = None, limit: int = 100) -> list[RunSummary]:
        """List runs, newest first.

        Args:
            experiment: Only of this experiment.
            limit: At most so many.
        """
        async with self._database.read() as connection:
            return await run_filter.list_runs(connection, experiment=experiment, limit=limit)

    async def runs_ending(self, end: str, *, shortest: int) -> list[RunSummary]:
        """Find up to two runs by the end of their id or of their job's, newest first.

        Args:
            end: An id, or the end of one.
            shortest: Fewer characters are not taken for an end.
        """
        async with self._database.read() as connection:
            return await run_filter.find_by_end(connection, end, shortest=shortest)

    async def run(self, run_id: str) -> RunDetails:
        """Load a run with its newest metrics, evaluations and models.

        Args:
            run_id: Its id.

        Raises:
            RunNotFoundError: There is none.
        """
        async with self._database.read() as connection:
            return await run_queries.get_run(connection, run_id)

    async def run_of(self, job_id: str) -> RunDetails | None:
        """Load the run that a job carries out; None while there is none.

        Args:
            job_id: The job.
        """
        async with self._database.read() as connection:
            run_id = await run_queries.find_run_of_job(connection, job_id)
            return None if run_id is None else await run_queries.get_run(connection, run_id)

    async def curve(self, run_id: str, key: str, *, max_points: int = 200) -> list[MetricPoint]:
        """Read a metric of a run over steps, thinned evenly if it has too many points.

        Args:
            run_id: Which run.
            key: Which metric.
            max_points: At most so many.
        """
        async with self._database.read() as connection:
            return await run_queries.read_curve(connection, run_id, key, max_points=max_points)


class Orchestrator:
    """What people and programs ask of the system; every door leads here."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store, self.registry = parts.store, parts.registry
        self.automation, self.rollout = parts.automation, parts.rollout
        self.supervision = Supervision(parts.database, parts.clock, parts.serving_metrics)
        self.reviews = Reviews(self.supervision.approvals, parts.registry)
        self.regret = RegretReplay(
            parts.database,
            parts.clock,
            parts.serving_metrics,
            registry=parts.registry,
            supervision=self.supervision,
        )
        tell = parts.serving_metrics.circuit_changed
        self.circuits = CircuitBreakers(parts.clock, tell=tell)
        self._desk = DecisionDesk(
            parts.registry,
            parts.serving_metrics,
            parts.clock,
            gate=self.circuits,
            records=parts.decision_log,
            router=parts.router,
            supervisor=self.supervision,
        )
        self.invoke, self.invoke_batch = self._desk.invoke, self._desk.invoke_batch
        reader = RunReader(parts.database)
        self.runs, self.run = reader.runs, reader.run
        self.runs_ending = reader.runs_ending
        self.run_of, self.curve = reader.run_of, reader.curve
        self.facts = parts.blackboard
        self.decisions = DecisionShelf(parts.database, parts.clock, parts.decision_log)
        patterns, calls = Patterns(parts.clock), AgentCalls(self._desk, parts.registry)
        self.parallel, self.first = patterns.parallel, patterns.first
        self.sequential, self.consensus = patterns.sequential, patterns.consensus
        self.hierarchical = patterns.hierarchical
        self.call, self.averaging = calls.call, calls.averaging

    async def submit_training(
        self,
        config: TrainingConfig,
        *,
        dedupe_key: str | None = None,
        place: Standing = ANYWHERE,
        rerun_of: str | None = None,
    ) -> Job:
        """Queue a training run.

        Args:
            config: What to train.
            dedupe_key: Names the work: while a job with it is unfinished, that job is returned.
            place: In the queue, and on a worker.
            rerun_of: The run whose settings and seed it repeats, if any.

        Raises:
            RunNotFoundError: `config.init_from` names no run.
            ConfigError: It names a run without a checkpoint, or no agent's version.
        """
        folder, clock = self._parts.output_dir, self._parts.clock
        async with self._parts.database.read() as connection:
            init = await find_start_point(connection, config)
        spec = make_train_spec(config, output_dir=folder, clock=clock, init=init, rerun_of=rerun_of)
        new = NewJob(
            kind=TRAIN.kind,
            spec=spec.to_json(),
            version=TRAIN.version,
            dedupe_key=dedupe_key,
            priority=place.priority,
            resources=place.resources,
            limit_key=place.limit_key,
        )
        (job,) = await self._store.submit_all([new])
        self._parts.wake()
        return job

    async def job(self, job_id: str) -> Job:
        """Load a job.

        Args:
            job_id: Its id.

        Raises:
            JobNotFoundError: There is none.
        """
        return await self._store.get(job_id)

    async def find_unfinished(self, dedupe_key: str) -> Job | None:
        """Find the unfinished job of this key, if any.

        Args:
            dedupe_key: As submitted.
        """
        return await self._store.find_unfinished(dedupe_key)

    async def cancel(self, job_id: str) -> Job:
        """Stop a job for good; its checkpoints stay.

        Args:
            job_id: Which job.

        Raises:
            JobNotFoundError: There is none.
        """
        return await self._request(job_id, Desired.CANCEL)

    async def pause(self, job_id: str) -> Job:
        """Have a job save its work and wait.

        Args:
            job_id: Which job.

        Raises:
            JobNotFoundError: There is none.
        """
        return await self._request(job_id, Desired.PAUSE)

    async def resume(self, job_id: str) -> Job:
        """Let a paused job go on from its checkpoint.

        Args:
            job_id: Which job.

        Raises:
            JobNotFoundError: There is none.
        """
        return await self._request(job_id, Desired.RUN)

    async def wait(self, job_id: str) -> Job:
        """Wait until nothing can happen to a job any more, whoever carries it.

        Args:
            job_id: Which job.

        Raises:
            JobNotFoundError: There is none.
        """
        while not (job := await self._store.get(job_id)).state.is_terminal:
            await self._parts.clock.sleep(WAIT_SECONDS)
        return job

    async def agents(self) -> list[AgentSummary]:
        """List all agents with their versions, by name."""
        return [await self.agent(name) for name in await self._parts.registry_store.list_agents()]

    async def agent(self, name: str) -> AgentSummary:
        """Return an agent's versions and aliases.

        Args:
            name: Of the agent.

        Raises:
            UnknownAgentError: There is no such agent.
        """
        store = self._parts.registry_store
        versions = tuple(await store.list_versions(name))
        if not versions:
            known = ", ".join(await store.list_agents()) or "none; train and promote one first"
            raise UnknownAgentError(f"no agent {name!r}; registered: {known}")
        return AgentSummary(name=name, versions=versions, aliases=await store.aliases(name))

    async def card(
        self, name: str, *, alias: str = CHAMPION, version: int | None = None
    ) -> AgentCard:
        """Return what an agent says about itself.

        Args:
            name: Of the agent.
            alias: Which of its versions, by what it is for.
            version: Which of its versions, by number, rather than by alias.

        Raises:
            UnknownAgentError: There is no such agent, or nothing has this alias.
            UnknownVersionError: It has no such version.
        """
        return describe(await self._parts.registry.resolve(name, alias=alias, version=version))

    async def promote(
        self,
        agent: str,
        version: int | Literal["latest"] = "latest",
        *,
        alias: str = CHAMPION,
        reason: str = "",
    ) -> ArtifactRecord:
        """Let callers of an alias meet another version.

        Args:
            agent: Its name.
            version: An existing version.
            alias: Which alias moves.
            reason: For the history.

        Returns:
            The version that has the alias now.

        Raises:
            UnknownAgentError: There is no such agent.
            UnknownVersionError: It has no such version.
            ArtifactCorruptError: Its artifact is damaged; the alias stays.
        """
        versions = (await self.agent(agent)).versions
        number = versions[-1].version if version == "latest" else version
        await self._parts.registry.promote(agent, number, alias=alias, reason=reason)
        return next(record for record in versions if record.version == number)

    async def _request(self, job_id: str, desired: Desired) -> Job:
        job = await self._store.request(job_id, desired)
        self._parts.wake()
        return job
