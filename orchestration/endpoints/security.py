"""Who calls, and whether they may: bearer tokens with scopes, checked before a route does anything.

Without any token a server on loopback is open to this machine; once a token exists, all need one.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from orchestration.endpoints.parts import Parts
from utils.logs import get_logger
from utils.persistence.access_tokens import (
    Scope,
    StoredToken,
    has_tokens,
    is_use_worth_noting,
    note_use,
    prove_token,
)

CHALLENGE = {"WWW-Authenticate": "Bearer"}
HOW_TO_GET_ONE = "`python -m orchestration tokens create NAME --scope SCOPE` makes one"
bearer = HTTPBearer(auto_error=False, scheme_name="bearer", description=HOW_TO_GET_ONE)
logger = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who sent a request."""

    name: str
    """`token:NAME`, or `local` for anybody on this machine."""
    scopes: frozenset[Scope]

    def may(self, wanted: SecurityScopes) -> bool:
        """Say whether one of the scopes that a route wants is there.

        Args:
            wanted: Any of these opens the route.
        """
        return Scope.ADMIN in self.scopes or bool(self.scopes & set(wanted.scopes))


LOCAL = Caller(name="local", scopes=frozenset(Scope))


async def identify(
    request: Request,
    wanted: SecurityScopes,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    parts: Parts,
) -> Caller:
    """Return who calls; the audit log learns it too.

    Args:
        request: Any.
        wanted: Scopes of which the route wants one.
        credentials: What the caller sent.
        parts: Behind the doors.

    Raises:
        HTTPException: A token is needed, is not valid, or has too small a scope.
    """
    caller = await _find_caller(request, credentials, parts)
    request.state.caller = caller
    if not caller.may(wanted):
        names = " or ".join(f"`{one}`" for one in wanted.scopes)
        raise HTTPException(HTTPStatus.FORBIDDEN, f"this needs a token of scope {names}")
    return caller


async def _find_caller(
    request: Request, credentials: HTTPAuthorizationCredentials | None, parts: Parts
) -> Caller:
    now = parts.clock.now()
    async with parts.database.read() as connection:
        if "authorization" not in request.headers:
            if parts.is_open and not await has_tokens(connection):
                return LOCAL
            raise _refused(f"send a token as `Authorization: Bearer TOKEN`; {HOW_TO_GET_ONE}")
        token = None
        if credentials is not None:
            token = await prove_token(connection, credentials.credentials, now=now)
    if token is None:
        raise _refused("the token is wrong, expired or revoked")
    if is_use_worth_noting(token, now):
        async with parts.database.write() as connection:
            await note_use(connection, token, now=now)
    return _caller_of(token)


def _caller_of(token: StoredToken) -> Caller:
    return Caller(name=f"token:{token.name}", scopes=frozenset(token.scopes))


def _refused(detail: str) -> HTTPException:
    return HTTPException(HTTPStatus.UNAUTHORIZED, detail, headers=CHALLENGE)


def leave_unaudited(request: Request) -> None:
    """Keep a request out of the audit log: it asks much and often, and changes nothing lasting.

    Args:
        request: Of such a route.
    """
    request.state.is_unaudited = True


Anyone = Security(identify, scopes=[Scope.INVOKE, Scope.TRAIN])
Invoker = Security(identify, scopes=[Scope.INVOKE])
Trainer = Security(identify, scopes=[Scope.TRAIN])
Admin = Security(identify, scopes=[Scope.ADMIN])
Unaudited = Depends(leave_unaudited)
