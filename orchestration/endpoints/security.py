"""Which routes a caller may use: bearer tokens with scopes, checked before a route does anything.

Without any token a server on loopback is open to this machine; once a token exists, all need one.
"""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from orchestration.endpoints.callers import Caller
from orchestration.endpoints.guard import HOW_TO_GET_ONE, check_scope, find_caller
from orchestration.endpoints.parts import Parts
from utils.persistence.access_tokens import Scope

bearer = HTTPBearer(auto_error=False, scheme_name="bearer", description=HOW_TO_GET_ONE)


async def identify(
    request: Request,
    wanted: SecurityScopes,
    _: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    parts: Parts,
) -> Caller:
    """Return who calls; the audit log learns it too.

    Args:
        request: Any.
        wanted: Scopes of which the route wants one.
        parts: Behind the doors.

    Raises:
        HTTPException: A token is needed, is not valid, or has too small a scope.
    """
    request.state.caller = await find_caller(parts.callers, request.headers.get("authorization"))
    check_scope(request.state.caller, wanted.scopes)
    return cast("Caller", request.state.caller)


async def leave_unaudited(request: Request) -> None:
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
