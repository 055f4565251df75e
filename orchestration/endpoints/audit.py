"""Writes down every request that changes something, before its answer leaves; and lets admins read.

Refusals of known callers are kept too. Callers without a valid token change nothing and are only
logged, so that they cannot fill the disk.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestration.endpoints.parts import ApiParts, Parts
from orchestration.endpoints.security import Admin
from orchestration.endpoints.shapes import LARGEST_SEQ, may_fail
from utils.logs import get_logger
from utils.persistence.audit_log import (
    AuditLine,
    StoredAuditLine,
    add_audit,
    find_break,
    list_audit,
)
from utils.persistence.errors import DatabaseError

READING = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
logger = get_logger(__name__)
router = APIRouter(
    prefix="/v1/audit", tags=["operations"], dependencies=[Admin], responses=may_fail()
)


class AuditPage(BaseModel):
    """Lines of the audit log, newest first."""

    lines: list[StoredAuditLine]
    next: int | None = Field(description="`before` of the next page, if there may be one.")


class AuditCheck(BaseModel):
    """Whether the log is as it was written."""

    is_whole: bool
    broken_at: int | None = Field(description="The first line that does not follow the one before.")


@router.get("")
async def read_audit(
    parts: Parts,
    before: Annotated[int | None, Query(ge=1, le=LARGEST_SEQ)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AuditPage:
    """List who changed what, newest first."""
    async with parts.database.read() as connection:
        lines = await list_audit(connection, before=before, limit=limit)
    return AuditPage(lines=lines, next=lines[-1].seq if len(lines) == limit else None)


@router.get("/check")
async def check_audit(parts: Parts) -> AuditCheck:
    """Compute all digests again; tells whether a line was changed or removed."""
    async with parts.database.read() as connection:
        broken_at = await find_break(connection)
    return AuditCheck(is_whole=broken_at is None, broken_at=broken_at)


class AuditTrail:
    """An ASGI application that notes what another one changes."""

    def __init__(self, app: ASGIApp, parts: ApiParts) -> None:
        self._app = app
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Args:
            scope: As ASGI defines it.
            receive: As ASGI defines it.
            send: As ASGI defines it.
        """
        if scope["type"] != "http" or scope["method"] in READING:
            await self._app(scope, receive, send)
            return
        state: dict[str, Any] = scope.setdefault("state", {})

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._note(scope, state, message)
            await send(message)

        await self._app(scope, receive, send_noted)

    async def _note(self, scope: Scope, state: dict[str, Any], answer: Message) -> None:
        caller = state.get("caller")
        if caller is None:
            logger.info("change_refused", path=scope["path"], status=answer["status"])
            return
        if state.get("is_unaudited"):
            return
        route = scope.get("route")
        made = Headers(raw=answer["headers"]).get("location")
        line = AuditLine(
            at=self._parts.clock.now(),
            who=caller.name,
            action=f"{scope['method']} {getattr(route, 'path', scope['path'])}",
            target=made or scope["path"],
            outcome=str(answer["status"]),
        )
        try:
            async with self._parts.database.write() as connection:
                await add_audit(connection, line)
        except DatabaseError as error:  # the change has happened: its answer must say so
            logger.exception("audit_line_lost", who=line.who, action=line.action, reason=str(error))
