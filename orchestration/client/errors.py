"""What the API refuses, as errors with a class per kind; made from its problem+json answers."""

from __future__ import annotations

import contextlib
import json
from http import HTTPStatus
from typing import Any

from utils.errors import QuartermasterError


class ApiError(QuartermasterError):
    """The server answered that it cannot do this."""

    def __init__(self, status: int, detail: str, problems: dict[str, str]) -> None:
        """Keep what the server said.

        Args:
            status: HTTP status.
            detail: What happened and what to do.
            problems: Wrong fields, by name.
        """
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.problems = problems
        self.retry_after_seconds: float | None = None
        """When the server says to come back, if it does."""


class TokenError(ApiError):
    """A token is needed, or this one is wrong, expired or revoked."""


class ScopeError(ApiError):
    """The token does not open this."""


class NotFoundError(ApiError):
    """There is no such thing."""


class ConflictError(ApiError):
    """Its state does not allow this."""


class OverError(ApiError):
    """It is over, such as a session that nobody used."""


class InvalidRequestError(ApiError):
    """A value is wrong; `problems` names it."""


class BusyError(ApiError):
    """Too many at once; try again later."""


class UnavailableError(ApiError):
    """The server is there but cannot work now."""


class UnreachableError(QuartermasterError):
    """No answer came; what was asked for may have happened or not."""


BY_STATUS: dict[int, type[ApiError]] = {
    401: TokenError,
    403: ScopeError,
    404: NotFoundError,
    409: ConflictError,
    410: OverError,
    413: InvalidRequestError,
    422: InvalidRequestError,
    429: BusyError,
    503: UnavailableError,
}


def make_error(status: int, content: bytes, retry_after: str = "") -> ApiError:
    """Return what an answer means.

    Args:
        status: Its HTTP status, 400 or higher.
        content: Its body; anything.
        retry_after: Its header of that name, in seconds.
    """
    problem: Any = None
    with contextlib.suppress(ValueError):  # of a proxy in between: the status says enough
        problem = json.loads(content)
    if not isinstance(problem, dict):
        problem = {}
    fields = {one["field"]: one["problem"] for one in problem.get("problems", [])}
    detail = str(problem.get("detail") or f"the server answered {HTTPStatus(status).phrase}")
    error = BY_STATUS.get(status, ApiError)(status, detail, fields)
    if retry_after.isdecimal():
        error.retry_after_seconds = float(retry_after[:6])
    return error
