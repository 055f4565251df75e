"""The way to the server: one pool of connections, retries of what may be repeated, and streams."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import random
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from orchestration.client.errors import (
    ApiError,
    BusyError,
    UnavailableError,
    UnreachableError,
    make_error,
)
from utils.clock import Clock, SystemClock
from utils.errors import ConfigError

Answer = TypeVar("Answer")
STREAM_SILENCE_SECONDS = 60.0
"""The server breaks the silence of a stream more often."""


@dataclass(frozen=True, kw_only=True)
class ClientConfig:
    """How a client behaves."""

    timeout_seconds: float = 30.0
    """How long one answer may take."""
    max_tries: int = 5
    """How often a call that may be repeated is tried."""
    first_delay_seconds: float = 0.2
    """Before the second try; doubled for each further one, less up to half of it at random."""
    longest_delay_seconds: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: A number is not positive.
        """
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name}={value}: choose a positive number")

    def delay(self, failures: int) -> float:
        """Return how long to wait after failures in a row.

        Args:
            failures: How many; at least one.
        """
        longest = min(self.first_delay_seconds * 2.0 ** (failures - 1), self.longest_delay_seconds)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311  spreads callers, hides nothing


@functools.cache
def _trusted() -> ssl.SSLContext:
    """Read this machine's certificates once: that takes longer than many a call."""
    return httpx.create_ssl_context()


@dataclass(frozen=True, kw_only=True)
class StreamEvent:
    """One event of a stream."""

    id: int
    type: str
    data: Any


class Connection:
    """Speaks HTTP with one server."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        config: ClientConfig | None = None,
        clock: Clock | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Connect with the first call.

        Args:
            url: Of the server, such as http://127.0.0.1:8321.
            token: As `tokens create` printed it.
            config: How to behave.
            clock: Waits between tries.
            transport: Carries requests; over the network if absent.
        """
        self.config = config or ClientConfig()
        self._clock = clock or SystemClock()
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            timeout=self.config.timeout_seconds,
            verify=_trusted(),
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all connections.

        Args:
            kind: Of an error, if one ended the block.
            error: It.
            trace: Where it came from.
        """
        await self._http.aclose()

    async def call(
        self,
        method: str,
        path: str,
        answer: type[Answer],
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        may_repeat: bool = True,
        seconds: float | None = None,
    ) -> Answer:
        """Ask for something and return what the server says.

        Args:
            method: Of HTTP.
            path: On the server.
            answer: What type it has.
            body: Plain JSON to send.
            query: Beside the path; what is None stays out.
            headers: To send.
            may_repeat: Whether asking twice does no harm, if no answer came to the first.
            seconds: From now on, after which it is tried no more.

        Raises:
            ApiError: The server refuses; its class says why.
            UnreachableError: No answer came.
        """
        request = self._http.build_request(
            method,
            path,
            json=body,
            params={k: v for k, v in (query or {}).items() if v is not None},
            headers=headers,
        )
        tries = self.config.max_tries if may_repeat else 1
        content = await self._send(request, tries=tries, seconds=seconds)
        return _read(content or b"null", answer, request)

    async def fetch(self, path: str) -> bytes:
        """Download something.

        Args:
            path: On the server.

        Raises:
            ApiError: The server refuses.
            UnreachableError: No answer came.
        """
        return await self._send(self._http.build_request("GET", path), tries=self.config.max_tries)

    async def upload(
        self,
        path: str,
        content: bytes,
        answer: type[Answer],
        *,
        query: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Send a file and return what the server says; sending it twice must do no harm.

        Args:
            path: On the server.
            content: Of the file.
            answer: What type it has.
            query: Beside the path; what is None stays out.

        Raises:
            ApiError: The server refuses.
            UnreachableError: No answer came.
        """
        request = self._http.build_request(
            "POST",
            path,
            content=content,
            params={k: v for k, v in (query or {}).items() if v is not None},
            headers={"Content-Type": "application/octet-stream"},
        )
        content = await self._send(request, tries=self.config.max_tries)
        return _read(content, answer, request)

    async def _send(
        self, request: httpx.Request, *, tries: int, seconds: float | None = None
    ) -> bytes:
        failures, started = 0, self._clock.monotonic()
        while True:
            try:
                response = await self._http.send(request)
                if response.is_success:
                    return response.content
                raise _error_of(response)
            except (httpx.TransportError, UnavailableError, BusyError) as error:
                failures += 1
                delay = self._delay(error, failures)
                passed = self._clock.monotonic() - started
                is_late = seconds is not None and passed + (delay or 0.0) >= seconds
                if failures >= tries or delay is None or is_late:
                    raise _explained(error, request) from error
            await self._clock.sleep(delay)

    def _delay(self, error: Exception, failures: int) -> float | None:
        """Return how long to wait before the next try; None if there shall be none."""
        asked = error.retry_after_seconds if isinstance(error, ApiError) else None
        if asked is None:  # full, and nobody knows for how long
            return None if isinstance(error, BusyError) else self.config.delay(failures)
        return None if asked > self.config.longest_delay_seconds else asked

    async def follow(
        self, path: str, *, after: int = 0, query: Mapping[str, Any] | None = None
    ) -> AsyncIterator[StreamEvent]:
        """Yield the events of a stream until it says that nothing more can come.

        A connection that ends before is made again, and goes on after the last event.

        Args:
            path: Of the stream.
            after: The last id already seen.
            query: Beside the path; what is None stays out.

        Raises:
            ApiError: The server refuses.
            UnreachableError: It cannot be reached, however often that is tried.
        """
        params = {k: v for k, v in (query or {}).items() if v is not None}
        timeout = httpx.Timeout(self.config.timeout_seconds, read=STREAM_SILENCE_SECONDS)
        failures = 0
        while True:
            request = self._http.build_request(
                "GET", path, params=params, headers={"Last-Event-ID": str(after)}, timeout=timeout
            )
            try:
                async with contextlib.aclosing(self._events(request)) as events:
                    async for event in events:
                        failures = 0
                        if event.type == "end":
                            return
                        after = event.id
                        yield event
            except (httpx.TransportError, UnavailableError, BusyError) as error:
                failures += 1
                if failures >= self.config.max_tries:
                    raise _explained(error, request) from error
                await self._clock.sleep(self.config.delay(failures))

    async def _events(self, request: httpx.Request) -> AsyncGenerator[StreamEvent, None]:
        response = await self._http.send(request, stream=True)
        try:
            if not response.is_success:
                await response.aread()
                raise _error_of(response)
            fields: dict[str, str] = {}
            async for line in response.aiter_lines():
                name, _, value = line.partition(": ")
                if name:
                    fields[name] = value
                    continue
                if "event" in fields:  # anything else is a comment
                    yield StreamEvent(
                        id=int(fields.get("id", 0)),
                        type=fields["event"],
                        data=json.loads(fields["data"]),
                    )
                fields = {}
        finally:
            await response.aclose()


def _read(content: bytes, answer: type[Answer], request: httpx.Request) -> Answer:
    adapter: TypeAdapter[Answer] = TypeAdapter(answer)
    try:
        return adapter.validate_json(content)
    except ValidationError as error:  # a proxy, or another server
        raise UnreachableError(
            f"{request.method} {request.url} was answered by no server of this version: check "
            f"the address ({error.error_count()} fields do not fit)"
        ) from error


def _error_of(response: httpx.Response) -> ApiError:
    retry_after = response.headers.get("retry-after", "")
    return make_error(response.status_code, response.content, retry_after)


def _explained(error: Exception, request: httpx.Request) -> Exception:
    if not isinstance(error, httpx.TransportError):
        return error
    what = str(error) or type(error).__name__
    return UnreachableError(f"{request.method} {request.url} got no answer: {what}")
