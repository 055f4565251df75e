"""Submits a pipeline: all of its jobs, or none, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from orchestration.job_store.rows import to_job
from orchestration.jobs import Condition, Job, Need, NewJob
from orchestration.pipelines.declaration import Pipeline, PipelineError, read_pipeline
from orchestration.pipelines.kinds import KINDS, StepKind, Surroundings
from orchestration.pipelines.retraining import RETRAIN, Retraining, plan_retraining
from utils.clock import new_id
from utils.errors import QuartermasterError
from utils.persistence.jobs import job as table

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from orchestration.job_store.store import SqlJobStore
    from utils.persistence.engine import Database

SHORTEST_END = 4
Order = Pipeline | Retraining
"""What can be submitted: declared steps, or the built-in pipeline and for whom."""


class PipelineNotFoundError(QuartermasterError, LookupError):
    """No jobs belong to a pipeline of this id."""


class PipelineDesk:
    """Takes in pipelines."""

    def __init__(
        self,
        database: Database,
        store: SqlJobStore,
        surroundings: Surroundings,
        *,
        wake: Callable[[], None],
        kinds: Mapping[str, StepKind] = KINDS,
    ) -> None:
        """Put the parts together.

        Args:
            database: Holds the jobs.
            store: Takes jobs in.
            surroundings: What steps find.
            wake: Tells a worker of this process that jobs wait.
            kinds: Of steps, by name.
        """
        self._database = database
        self._store = store
        self._surroundings = surroundings
        self._wake = wake
        self._kinds = kinds

    async def check(self, order: Order) -> None:
        """Refuse what could not be submitted today.

        Args:
            order: What somebody wants.

        Raises:
            PipelineError: A step's kind is unknown.
            ConfigError: A step is told something wrong; it is named. Or there is nothing to train
                on from, as no run made the agent's champion.
        """
        if isinstance(order, Pipeline):
            self._check_steps(order)
            return
        async with self._database.read() as connection:
            await plan_retraining(connection, order, pipeline_id="")

    def _check_steps(self, pipeline: Pipeline) -> None:
        pipeline.check_kinds(self._kinds)
        for step in pipeline.steps:
            self._kinds[step.kind].check(step)

    async def submit(self, order: Order, *, priority: int = 0) -> list[Job]:
        """Queue a pipeline.

        Args:
            order: What is wanted.
            priority: Of all of its jobs.

        Returns:
            Its jobs, each after those that it needs.

        Raises:
            PipelineError: It cannot be carried out; see `orchestration.pipelines.declaration`.
            ConfigError: A step is told something wrong; it is named.
        """
        async with self._database.write() as connection:
            jobs = await self._submit(connection, order, after=(), priority=priority)
        self._wake()
        return jobs

    async def launch(
        self, connection: AsyncConnection, plan: Mapping[str, Any], *, after: Sequence[str]
    ) -> str:
        """Submit in a transaction of the caller's, such as a schedule's fire.

        Args:
            connection: The open transaction.
            plan: What `plan_to_json` returned.
            after: Jobs that must have ended first, however.

        Raises:
            PipelineError: The plan cannot be carried out.
            ConfigError: A step is told something wrong; it is named.
        """
        jobs = await self._submit(connection, plan_from_json(plan), after=after, priority=0)
        return str(jobs[0].pipeline_id)

    async def jobs(self, pipeline_id: str) -> list[Job]:
        """Return the jobs of a pipeline, oldest first.

        Args:
            pipeline_id: Its id.

        Raises:
            PipelineNotFoundError: There are none.
        """
        found = await self._store.list_jobs(pipeline_id=pipeline_id, limit=1000)
        if not found:
            raise PipelineNotFoundError(
                f"no pipeline {pipeline_id}: `python -m orchestration pipelines list` names them"
            )
        return found[::-1]

    async def recent(self, *, limit: int = 20) -> list[list[Job]]:
        """Return the jobs of the newest pipelines, newest pipeline first.

        Args:
            limit: At most so many pipelines.
        """
        column = table.c.pipeline_id
        newest = select(column).where(column.is_not(None)).group_by(column)
        newest = newest.order_by(column.desc()).limit(limit)  # ids sort by time
        async with self._database.read() as connection:
            ids = list(await connection.scalars(newest))
            query = select(table).where(column.in_(ids)).order_by(table.c.id)
            jobs = [to_job(row) for row in (await connection.execute(query)).mappings()]
        return [[job for job in jobs if job.pipeline_id == one] for one in ids]

    async def find(self, end: str) -> str:
        """Return the id of the one pipeline whose id ends so.

        Args:
            end: The id, or at least four characters of its end.

        Raises:
            PipelineNotFoundError: None ends so, or several do.
        """
        column = table.c.pipeline_id
        query = select(column).where(column.endswith(end, autoescape=True)).distinct().limit(2)
        async with self._database.read() as connection:
            found = list(await connection.scalars(query)) if len(end) >= SHORTEST_END else []
        if len(found) == 1:
            return str(found[0])
        many = "several pipelines end in" if found else "no pipeline ends in"
        raise PipelineNotFoundError(
            f"{many} {end!r}: `python -m orchestration pipelines list` names them"
        )

    async def _submit(
        self, connection: AsyncConnection, order: Order, *, after: Sequence[str], priority: int
    ) -> list[Job]:
        pipeline_id = new_id(self._surroundings.clock)
        if isinstance(order, Retraining):
            pipeline = await plan_retraining(connection, order, pipeline_id=pipeline_id)
        else:
            pipeline = order
        self._check_steps(pipeline)
        former = tuple(
            Need(job_id=job_id, name=f"former-{number}", condition=Condition.FINISHED)
            for number, job_id in enumerate(after)
        )
        jobs: dict[str, Job] = {}
        for step in pipeline.in_order():
            kind = self._kinds[step.kind]
            spec = await kind.prepare(connection, step, pipeline, self._surroundings)
            needs = tuple(Need(job_id=jobs[name].id, name=name) for name in step.needs)
            new = NewJob(
                kind=step.kind,
                spec=spec,
                version=kind.definition.version,
                priority=priority,
                needs=needs or former,
                pipeline_id=pipeline_id,
                step=step.name,
            )
            jobs[step.name] = await self._store.submit_in(connection, new)
        return list(jobs.values())


def plan_to_json(order: Order) -> dict[str, Any]:
    """Return what is to be submitted as plain JSON.

    Args:
        order: Declared steps, or the built-in pipeline.
    """
    return {RETRAIN: order.to_json()} if isinstance(order, Retraining) else order.to_json()


def plan_from_json(values: Any) -> Order:
    """Read what is to be submitted.

    Args:
        values: `{"name": ..., "steps": [...]}`, or `{"retrain": {"agent": ..., "settings": {}}}`.

    Raises:
        PipelineError: It is neither.
    """
    if not isinstance(values, Mapping) or set(values) != {RETRAIN}:
        return read_pipeline(values)
    fields = values[RETRAIN]
    if not isinstance(fields, Mapping) or set(fields) - {"agent", "settings"}:
        raise PipelineError(f"{RETRAIN} wants agent and settings, not {fields!r}")
    agent, settings = fields.get("agent", ""), fields.get("settings") or {}
    if not isinstance(agent, str) or not isinstance(settings, Mapping):
        raise PipelineError(f"{RETRAIN}: agent is a name and settings are fields, not {fields!r}")
    return Retraining(agent=agent, settings=dict(settings))
