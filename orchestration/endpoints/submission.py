"""How jobs come in over HTTP: checked, with a spec of our own making, once per idempotency key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from fastapi import HTTPException

from ai_agents.base_agent import FieldProblem, RequestError
from orchestration.endpoints.callers import Caller
from orchestration.endpoints.job_views import JobRequest
from orchestration.endpoints.parts import ApiParts
from orchestration.jobs import (
    Condition,
    Job,
    JobTransitionError,
    Limits,
    Need,
    NewJob,
    Resources,
)
from orchestration.tasks import TRAIN, TrainSpec, find_start_point, make_train_spec
from rl.training.pairing import check_learnable
from rl.training.settings_check import find_problems
from rl.training.training_config import TrainingConfig
from utils.config import from_json
from utils.errors import ConfigError
from utils.persistence.access_tokens import Scope
from utils.persistence.engine_queries import RETRIED, find_retried, list_needs
from utils.persistence.run_facts import check_tags


async def submit(request: JobRequest, parts: ApiParts, caller: Caller, key: str | None) -> Job:
    """Queue a job.

    Args:
        request: What is wanted.
        parts: Behind the doors.
        caller: Who wants it.
        key: Names the submission: the same one again returns the same job.

    Raises:
        RequestError: A field is wrong.
        HTTPException: Only an admin may submit this kind.
        IdempotencyConflictError: The key was used for another request.
    """
    spec, version = await _make_spec(request, parts, caller)
    delay = timedelta(seconds=request.delay_seconds)
    new = NewJob(
        kind=request.kind,
        spec=spec,
        version=version,
        dedupe_key=request.dedupe_key,
        idempotency_key=key,
        request_sha256=hashlib.sha256(request.model_dump_json().encode()).hexdigest(),
        priority=request.priority,
        max_attempts=request.max_attempts,
        run_at=parts.clock.now() + delay if delay else None,
        limits=Limits(**request.limits.model_dump()),
        resources=Resources(**request.resources.model_dump()),
    )
    (job,) = await parts.store.submit_all([new])
    parts.wake()
    return job


async def retry(job_id: str, parts: ApiParts, key: str | None) -> Job:
    """Queue a new job that does what a finished one should have done.

    Args:
        job_id: The finished one.
        parts: Behind the doors.
        key: Names the submission.

    Raises:
        JobNotFoundError: There is no such job.
        JobTransitionError: It is not finished.
        IdempotencyConflictError: The key was used for another request.
    """
    job = await parts.store.get(job_id)
    if not job.state.is_terminal:
        raise JobTransitionError(
            f"job {job.id} is {job.state.value}: only finished ones are retried"
        )
    new = NewJob(
        kind=job.kind,
        spec=_spec_again(job, parts),
        version=job.version,
        idempotency_key=key,
        request_sha256=hashlib.sha256(f"retry {job.id}".encode()).hexdigest(),
        priority=job.priority,
        max_attempts=job.max_attempts,
        max_lost=job.max_lost,
        limits=job.limits,
        resources=job.resources,
        limit_key=job.limit_key,
    )
    async with parts.database.write() as connection:
        needs = tuple(
            Need(job_id=row["job_id"], name=row["name"], condition=Condition(row["condition"]))
            for row in await list_needs(connection, job.id)
        )
        made = await parts.store.submit_in(connection, replace(new, needs=needs))
        if await find_retried(connection, made.id) is None:
            await parts.ledger.announce(connection, made.id, RETRIED, {"job_id": job.id})
    parts.wake()
    return made


async def _make_spec(
    request: JobRequest, parts: ApiParts, caller: Caller
) -> tuple[dict[str, Any], int]:
    if request.kind not in parts.kinds:
        known = ", ".join(sorted(parts.kinds))
        raise RequestError([FieldProblem(field="kind", problem=f"unknown; there are {known}")])
    if request.kind == TRAIN.kind:
        if request.spec:
            problem = "write `config`; the rest of a training's spec is made here"
            raise RequestError([FieldProblem(field="spec", problem=problem)])
        config = read_whole_config(request.config)
        async with parts.database.read() as connection:
            init = await find_start_point(connection, config)
        spec = make_train_spec(config, output_dir=parts.output_dir, clock=parts.clock, init=init)
        return spec.to_json(), TRAIN.version
    if request.config:
        raise RequestError([FieldProblem(field="config", problem="only `train` has one")])
    if Scope.ADMIN not in caller.scopes:
        detail = (
            f"jobs of kind {request.kind!r} may name files: this needs a token of scope `admin`"
        )
        raise HTTPException(HTTPStatus.FORBIDDEN, detail)
    return request.spec, parts.kinds[request.kind].definition.version


def _spec_again(job: Job, parts: ApiParts) -> Mapping[str, Any]:
    if job.kind != TRAIN.kind:
        return job.spec
    spec = TrainSpec.from_json(job.spec, job.version)
    again = make_train_spec(
        spec.config,
        output_dir=parts.output_dir,
        clock=parts.clock,
        init=spec.init,
        rerun_of=spec.run_id,
    )
    return again.to_json()


def read_whole_config(values: Mapping[str, Any]) -> TrainingConfig:
    """Build the config of a run from what a caller sent: all of it, so that it fits together.

    Args:
        values: Fields by name.

    Raises:
        RequestError: Fields are unknown or wrong; each is named.
    """
    config = read_config(values)
    try:
        check_learnable(config)
    except ConfigError as error:
        raise RequestError([FieldProblem(field="config.algorithm", problem=str(error))]) from error
    return config


def read_config(values: Mapping[str, Any]) -> TrainingConfig:
    """Build a training config from what a caller sent; others may be laid over it.

    Args:
        values: Fields by name.

    Raises:
        RequestError: Fields are unknown or wrong; each is named.
    """
    if values.get("traces") is not None:
        problem = "callers name no folders; start the server with QUARTERMASTER_TRACES"
        raise RequestError([FieldProblem(field="config.traces", problem=problem)])
    try:
        config = from_json(TrainingConfig, values, "config.")
    except ConfigError as error:
        problems = [
            FieldProblem(field=f"config.{name}", problem=problem)
            for name, problem in find_problems(values).items()
        ]
        whole = FieldProblem(field="config", problem=str(error))
        raise RequestError(problems or [whole]) from error
    try:
        check_tags(config.tags)
    except ConfigError as error:
        raise RequestError([FieldProblem(field="config.tags", problem=str(error))]) from error
    return config
