"""Who gets through a door: found by the token that was sent, and judged by its scopes."""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus

from fastapi import HTTPException
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from orchestration.endpoints.callers import Caller, Callers
from utils.persistence.access_tokens import Scope

CHALLENGE = {"WWW-Authenticate": "Bearer"}
HOW_TO_GET_ONE = "`python -m orchestration tokens create NAME --scope SCOPE` makes one"


async def find_caller(callers: Callers, authorization: str | None) -> Caller:
    """Return who calls.

    Args:
        callers: Knows them.
        authorization: The header of that name; None if there is none.

    Raises:
        HTTPException: A token is needed, or is not valid.
    """
    if authorization is None:
        caller = await callers.find(None)
        missing = f"send a token as `Authorization: Bearer TOKEN`; {HOW_TO_GET_ONE}"
    else:
        kind, _, token = authorization.partition(" ")
        caller = await callers.find(token if kind.lower() == "bearer" else "")
        missing = "the token is wrong, expired or revoked"
    if caller is None:
        raise HTTPException(HTTPStatus.UNAUTHORIZED, missing, headers=CHALLENGE)
    return caller


def check_scope(caller: Caller, wanted: Collection[str]) -> None:
    """Refuse a caller whose token does not open this.

    Args:
        caller: Who calls.
        wanted: Scopes of which one is needed.

    Raises:
        HTTPException: It has none of them.
    """
    if Scope.ADMIN not in caller.scopes and caller.scopes.isdisjoint(wanted):
        names = " or ".join(f"`{one}`" for one in wanted)
        raise HTTPException(HTTPStatus.FORBIDDEN, f"this needs a token of scope {names}")


async def let_in(scope: AsgiScope, callers: Callers, wanted: Collection[Scope]) -> Caller:
    """Return who sends a request that asks and changes nothing.

    Args:
        scope: Of the request; notes who it is, and that the audit log needs no line.
        callers: Known ones.
        wanted: Scopes of which one is needed.

    Raises:
        HTTPException: The caller may not.
    """
    authorization = next((v for k, v in scope["headers"] if k == b"authorization"), None)
    text = None if authorization is None else authorization.decode("latin-1")
    caller = await find_caller(callers, text)
    state = scope.setdefault("state", {})
    state["caller"], state["is_unaudited"] = caller, True
    check_scope(caller, wanted)
    return caller


class Guard:
    """An ASGI application that only callers of a scope reach; they ask, and change nothing."""

    def __init__(self, app: ASGIApp, callers: Callers, *wanted: Scope) -> None:
        """Keep what lies behind.

        Args:
            app: Behind the guard.
            callers: Known ones.
            wanted: Scopes of which one is needed.
        """
        self._app = app
        self._callers = callers
        self._wanted = wanted

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Args:
            scope: As ASGI defines it.
            receive: As ASGI defines it.
            send: As ASGI defines it.

        Raises:
            HTTPException: The caller may not.
        """
        await let_in(scope, self._callers, self._wanted)
        await self._app(scope, receive, send)
