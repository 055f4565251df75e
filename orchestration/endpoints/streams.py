"""Server-sent events: bounded in number and age, kept alive by comments, ended when we stop.

A reader that comes back sends the id of the last event it saw as `Last-Event-ID` and misses none.
Ending old streams lets a token that was revoked meanwhile see nothing more.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import anyio
from fastapi import HTTPException
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from utils.clock import Clock
from utils.errors import ConfigError

EVENT_STREAM = "text/event-stream"
STREAM_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            EVENT_STREAM: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string", "description": "Where to go on after it."},
                        "event": {"type": "string"},
                        "data": {"type": "string", "description": "JSON."},
                    },
                    "required": ["event", "data"],
                }
            }
        },
        "description": "Server-sent events.",
    }
}


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """How streams behave."""

    most: int = 64
    """How many are open at once."""
    longest_seconds: float = 600.0
    """When a stream ends and its reader connects again."""
    heartbeat_seconds: float = 15.0
    """How long it is silent at most."""
    poll_seconds: float = 0.25
    """How soon news are seen."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: A number is not positive.
        """
        for name in ("most", "longest_seconds", "heartbeat_seconds", "poll_seconds"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)}: choose a positive number")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One event for the reader."""

    id: int
    """Where to go on after it."""
    type: str
    data: Any
    """Plain JSON."""

    def encode(self) -> str:
        """Return it as the protocol wants it."""
        return f"id: {self.id}\nevent: {self.type}\ndata: {json.dumps(self.data)}\n\n"


Source = Callable[[int], Awaitable[tuple[Sequence[Piece], bool]]]
"""Returns what came after an id, and whether nothing more can come."""


class Streams:
    """All open streams of a server."""

    def __init__(self, clock: Clock, config: StreamConfig | None = None) -> None:
        """Begin without any.

        Args:
            clock: Measures their age.
            config: How they behave.
        """
        self._clock = clock
        self._config = config or StreamConfig()
        self._stopping = anyio.Event()
        self.open = 0

    def stop(self) -> None:
        """End all streams soon, and let none begin."""
        self._stopping.set()

    def answer(self, source: Source, after: int) -> StreamingResponse:
        """Return an answer that follows a source.

        Args:
            source: What is followed.
            after: The last id that the reader has seen.

        Raises:
            HTTPException: Too many are open.
        """
        if self.open >= self._config.most:
            raise HTTPException(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"{self.open} streams are open already: close one, or ask for pages instead",
                headers={"Retry-After": "5"},
            )
        most = self._config.longest_seconds + self._config.heartbeat_seconds
        return _CountedAnswer(self, self._follow(source, after), most_seconds=most)

    async def _follow(self, source: Source, after: int) -> AsyncIterator[str]:
        config = self._config
        began = spoke = self._clock.monotonic()
        yield ": connected\n\n"
        while not self._stopping.is_set():
            pieces, is_over = await source(after)
            for piece in pieces:
                yield piece.encode()
                after = piece.id
            if is_over:
                yield "event: end\ndata: {}\n\n"
                return
            now = self._clock.monotonic()
            if now - began >= config.longest_seconds:
                return
            if pieces:
                spoke = now
                continue
            if now - spoke >= config.heartbeat_seconds:
                yield ": still here\n\n"
                spoke = now
            await self._rest()

    async def _rest(self) -> None:
        with anyio.move_on_after(self._config.poll_seconds):
            await self._stopping.wait()


class _CountedAnswer(StreamingResponse):
    """Counts as open from the first byte until the reader has left, however that happens.

    One that takes nothing of what is sent is left after a while: it would keep its place for ever.
    """

    def __init__(
        self, streams: Streams, content: AsyncIterator[str], *, most_seconds: float
    ) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(content, media_type=EVENT_STREAM, headers=headers)
        self._streams = streams
        self._most_seconds = most_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._streams.open += 1
        try:
            with anyio.move_on_after(self._most_seconds):
                await super().__call__(scope, receive, send)
        finally:
            self._streams.open -= 1
