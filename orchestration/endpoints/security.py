"""Which routes a caller may use: bearer tokens with scopes, checked before a route does anything.

Without any token a server on loopback is open to this machine; once a token exists, all need one.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from orchestration.endpoints.callers import Caller
from orchestration.endpoints.parts import Parts
from utils.persistence.access_tokens import Scope

CHALLENGE = {"WWW-Authenticate": "Bearer"}
HOW_TO_GET_ONE = "`python -m orchestration tokens create NAME --scope SCOPE` makes one"
bearer = HTTPBearer(auto_error=False, scheme_name="bearer", description=HOW_TO_GET_ONE)


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
    if "authorization" not in request.headers:
        caller = await parts.callers.find(None)
        missing = f"send a token as `Authorization: Bearer TOKEN`; {HOW_TO_GET_ONE}"
    else:
        caller = await parts.callers.find("" if credentials is None else credentials.credentials)
        missing = "the token is wrong, expired or revoked"
    if caller is None:
        raise HTTPException(HTTPStatus.UNAUTHORIZED, missing, headers=CHALLENGE)
    request.state.caller = caller
    if not (Scope.ADMIN in caller.scopes or caller.scopes & set(wanted.scopes)):
        names = " or ".join(f"`{one}`" for one in wanted.scopes)
        raise HTTPException(HTTPStatus.FORBIDDEN, f"this needs a token of scope {names}")
    return caller


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
