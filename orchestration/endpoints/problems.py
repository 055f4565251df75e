"""Errors as answers: one status per family, problem+json bodies that name the field."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import cast

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException

from ai_agents.base_agent import AgentNotReadyError, FieldProblem, RequestError, field_path
from ai_agents.registry import UnknownAgentError, UnknownVersionError
from orchestration.delegation.blackboard import FactConflictError, FactNameError
from orchestration.delegation.decision_shelf import DecisionNotFoundError, OutcomeKnownError
from orchestration.delegation.json_values import JsonValueError
from orchestration.endpoints.bodies import PROBLEM, problem
from orchestration.endpoints.reception import TooManyCallsError
from orchestration.environment_sessions import (
    SessionBusyError,
    SessionConflictError,
    SessionEndedError,
    SessionLimitError,
    SessionNotFoundError,
)
from orchestration.feedback.approvals import ApprovalNotFoundError, VerdictKnownError
from orchestration.feedback.regret import NothingKeptError
from orchestration.job_store.rows import JobNotFoundError
from orchestration.job_store.submission import IdempotencyConflictError
from orchestration.jobs import JobTransitionError
from orchestration.pipelines.submission import PipelineNotFoundError
from orchestration.rollout.gate import GateClosedError
from orchestration.rollout.plan_store import NoCanaryError
from orchestration.scheduler.schedules import ScheduleNotFoundError
from orchestration.webhooks.deliveries import WebhookNotFoundError
from utils.errors import ConfigError, QuartermasterError
from utils.logs import get_logger
from utils.persistence.alias_log import AliasMovedError
from utils.persistence.errors import ArtifactCorruptError, ArtifactMissingError, DatabaseError
from utils.persistence.run_queries import RunNotFoundError

logger = get_logger(__name__)
CONVERTOR = re.compile(r":\w+}")
"""In the path of a route, such as `{name:word}`; its documentation says `{name}`."""
STATUSES: dict[type[QuartermasterError], HTTPStatus] = {
    RequestError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ConfigError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownAgentError: HTTPStatus.NOT_FOUND,
    UnknownVersionError: HTTPStatus.NOT_FOUND,
    JobNotFoundError: HTTPStatus.NOT_FOUND,
    RunNotFoundError: HTTPStatus.NOT_FOUND,
    ScheduleNotFoundError: HTTPStatus.NOT_FOUND,
    PipelineNotFoundError: HTTPStatus.NOT_FOUND,
    WebhookNotFoundError: HTTPStatus.NOT_FOUND,
    DecisionNotFoundError: HTTPStatus.NOT_FOUND,
    ApprovalNotFoundError: HTTPStatus.NOT_FOUND,
    OutcomeKnownError: HTTPStatus.CONFLICT,
    VerdictKnownError: HTTPStatus.CONFLICT,
    NothingKeptError: HTTPStatus.CONFLICT,
    FactConflictError: HTTPStatus.CONFLICT,
    FactNameError: HTTPStatus.UNPROCESSABLE_ENTITY,
    JsonValueError: HTTPStatus.UNPROCESSABLE_ENTITY,
    JobTransitionError: HTTPStatus.CONFLICT,
    IdempotencyConflictError: HTTPStatus.CONFLICT,
    NoCanaryError: HTTPStatus.NOT_FOUND,
    GateClosedError: HTTPStatus.CONFLICT,
    AliasMovedError: HTTPStatus.CONFLICT,
    SessionNotFoundError: HTTPStatus.NOT_FOUND,
    SessionBusyError: HTTPStatus.CONFLICT,
    SessionConflictError: HTTPStatus.CONFLICT,
    SessionEndedError: HTTPStatus.GONE,
    SessionLimitError: HTTPStatus.TOO_MANY_REQUESTS,
    TooManyCallsError: HTTPStatus.TOO_MANY_REQUESTS,
    AgentNotReadyError: HTTPStatus.SERVICE_UNAVAILABLE,
    DatabaseError: HTTPStatus.SERVICE_UNAVAILABLE,
    ArtifactMissingError: HTTPStatus.SERVICE_UNAVAILABLE,
    ArtifactCorruptError: HTTPStatus.SERVICE_UNAVAILABLE,
}


def explain_errors(app: FastAPI) -> None:
    """Have every error of an app answered as problem+json.

    Args:
        app: Whose.
    """
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)


async def explain(request: Request, error: Exception) -> Response:
    """Return the answer to an error, as problem+json.

    Args:
        request: That failed.
        error: Why.
    """
    handler = next(HANDLERS[kind] for kind in type(error).__mro__ if kind in HANDLERS)
    return await handler(request, error)


async def _ours(_: Request, error: Exception) -> Response:
    status = next(
        (status for kind, status in STATUSES.items() if isinstance(error, kind)),
        HTTPStatus.INTERNAL_SERVER_ERROR,
    )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.warning("request_failed", status=int(status), reason=str(error))
    problems = error.problems if isinstance(error, RequestError) else ()
    answer = _answer(status, str(error), problems)
    if isinstance(error, TooManyCallsError):
        answer.headers["Retry-After"] = str(math.ceil(error.retry_after_seconds))
    return answer


async def _invalid(_: Request, error: Exception) -> Response:
    found = cast("RequestValidationError", error).errors()
    problems = [FieldProblem(field=field_path(one["loc"][1:]), problem=one["msg"]) for one in found]
    detail = "; ".join(f"{one.field}: {one.problem}" for one in problems)
    return _answer(HTTPStatus.UNPROCESSABLE_ENTITY, detail, problems)


async def _http(request: Request, error: Exception) -> Response:
    http = cast("HTTPException", error)
    status, detail = HTTPStatus(http.status_code), str(http.detail)
    if detail == HTTPStatus.NOT_FOUND.phrase:  # of the router, not of a route
        detail = f"nothing at {request.url.path}; /openapi.json lists what there is"
    answer = _answer(status, detail)
    answer.headers.update(http.headers or {})
    route = request.scope.get("route")
    if status is HTTPStatus.METHOD_NOT_ALLOWED and route is not None:
        path = CONVERTOR.sub("}", getattr(route, "path", ""))
        methods = request.app.openapi()["paths"].get(path)
        if methods:  # the router knows those of one route
            answer.headers["Allow"] = ", ".join(sorted(method.upper() for method in methods))
    return answer


async def _unfit(_: Request, error: Exception) -> Response:
    logger.warning("value_does_not_fit", reason=str(error))
    detail = "a value is too long or too large for the database; nothing was changed"
    return _answer(HTTPStatus.UNPROCESSABLE_ENTITY, detail)


async def _unexpected(_: Request, error: Exception) -> Response:
    logger.error("request_broke", exc_info=error)
    return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, "a fault of ours; the log tells more")


def _answer(status: HTTPStatus, detail: str, problems: Sequence[FieldProblem] = ()) -> Response:
    content = problem(status, detail)
    if problems:
        content["problems"] = jsonable_encoder(list(problems))
    body = json.dumps(content)  # ASCII: what a caller sent may hold halves of characters
    return Response(body, status_code=status, media_type=PROBLEM)


HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    QuartermasterError: _ours,
    RequestValidationError: _invalid,
    HTTPException: _http,
    DataError: _unfit,
    OverflowError: _unfit,
    Exception: _unexpected,
}
