"""The outermost door: bodies up to a size, from this site only, before any route sees a byte.

A server on loopback may be open without tokens. That does not keep web pages out: a page in this
machine's browser may send requests to it. Hence foreign origins and names are refused, and a server
that others can reach answers to the names that its operator gave.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY_BYTES = 64 * 1024
LARGEST_BULK_BYTES = 1024 * 1024
"""Where many requests, or the state of many machines, come at once."""
BULK_ENDS = (":invoke", ":batch", "/mcp")
PROBLEM = "application/problem+json"
LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


class BodyLimit:
    """Reads the body up to a limit and hands it on whole; refuses what is larger or foreign."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        allowed_hosts: Collection[str] = (),
    ) -> None:
        self._app = app
        self._names = LOCAL_NAMES | set(allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Args:
            scope: As ASGI defines it.
            receive: As ASGI defines it.
            send: As ASGI defines it.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(reversed(scope["headers"]))  # the first of a name counts
        if not _is_expected(headers, self._names):
            detail = "this server does not answer to that Host or Origin; see --allow-host"
            await _refuse(send, HTTPStatus.FORBIDDEN, detail)
            return
        if _is_upload(scope):  # its route reads piece by piece and has a limit of its own
            await self._app(scope, receive, send)
            return
        is_bulk = scope["path"].endswith(BULK_ENDS)
        most = LARGEST_BULK_BYTES if is_bulk else LARGEST_BODY_BYTES
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 20 or int(length) > most:
            await _refuse_size(send, most)
            return
        await self._serve(scope, receive, send, most=most)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, *, most: int) -> None:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > most:
                await _refuse_size(send, most)
                return
            if not message.get("more_body", False):
                break
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, replay, send)


def problem(status: int, detail: str) -> dict[str, Any]:
    """Return the body of an error answer (RFC 9457).

    Args:
        status: HTTP status.
        detail: What happened and what to do.
    """
    title = HTTPStatus(status).phrase
    return {"type": "about:blank", "title": title, "status": int(status), "detail": detail}


def _is_expected(headers: Mapping[bytes, bytes], names: Collection[str]) -> bool:
    host = headers.get(b"host", b"").decode("latin-1")
    name = f"{host.partition(']')[0]}]" if host.startswith("[") else host.partition(":")[0]
    if name not in names:
        return False
    origin = headers.get(b"origin")
    return origin is None or origin.decode("latin-1") in {f"http://{host}", f"https://{host}"}


def _is_upload(scope: Scope) -> bool:
    method, path = scope.get("method"), scope["path"]
    return (method == "PUT" and path.startswith("/v1/artifacts/")) or (
        method == "POST" and path == "/v1/policies"
    )


async def _refuse_size(send: Send, most: int) -> None:
    detail = f"the body is larger than {most} bytes; send less"
    await _refuse(send, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)


async def _refuse(send: Send, status: HTTPStatus, detail: str) -> None:
    # The rest of the body stays unread, so the connection cannot serve another request.
    headers = [(b"content-type", PROBLEM.encode()), (b"connection", b"close")]
    body = json.dumps(problem(status, detail)).encode()
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body})
