"""Artifacts of another machine, by HTTP: what leaves and what comes is proved by its hash."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Final, TypeVar

import httpx

from utils.errors import ConfigError
from utils.persistence.artifact_store import ArtifactStore, DirectoryArtifactStore, is_sha256
from utils.persistence.errors import (
    ArtifactCorruptError,
    ArtifactMissingError,
    ArtifactsUnreachableError,
)

T = TypeVar("T")
LARGEST_ARTIFACT_BYTES: Final = 1 << 30
TOKEN_VARIABLE: Final = "QUARTERMASTER_TOKEN"  # noqa: S105  # its name, not its value
DELAYS_SECONDS: Final = (0.2, 1.0, 5.0, 20.0)
"""How long to wait before each repetition."""
_TRANSIENT = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}


def open_artifact_store(location: str, cache: Path, *, token: str | None = None) -> ArtifactStore:
    """Return the store at a place.

    Args:
        location: `http(s)://...` of an API of ours, or a folder.
        cache: Folder for what was fetched by HTTP.
        token: For the API; by default what the variable QUARTERMASTER_TOKEN holds.

    Raises:
        ConfigError: It is neither a URL of HTTP nor an absolute path.
    """
    if location.startswith(("http://", "https://")):
        kept = DirectoryArtifactStore(cache)
        return HttpArtifactStore(location, kept, token=token or os.environ.get(TOKEN_VARIABLE))
    if location.startswith("/"):
        return DirectoryArtifactStore(Path(location))
    raise ConfigError(f"artifacts={location!r}: write http://HOST:PORT or an absolute path")


class HttpArtifactStore:
    """The artifacts behind an API; a broken transfer begins again, a few times."""

    def __init__(
        self,
        url: str,
        cache: DirectoryArtifactStore,
        *,
        token: str | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Remember where to ask; nothing is sent yet.

        Args:
            url: Of the API, such as `http://127.0.0.1:8321`.
            cache: Keeps what was fetched.
            token: Sent with each request.
            transport: Another way to send; for tests.
            sleep: Waits between repetitions.
        """
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._url = url.rstrip("/")
        self._cache = cache
        self._sleep = sleep
        self._client = httpx.Client(
            headers=headers, transport=transport, timeout=httpx.Timeout(60.0, connect=10.0)
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def put(self, content: bytes) -> str:
        """Send bytes and return their sha256; known content is not sent again.

        Args:
            content: All of it.

        Raises:
            ConfigError: It is larger than the API takes.
            ArtifactsUnreachableError: The API does not answer, or refuses.
        """
        if len(content) > LARGEST_ARTIFACT_BYTES:
            raise ConfigError(
                f"an artifact of {len(content)} bytes is over {LARGEST_ARTIFACT_BYTES}: make it "
                "smaller, or work where the artifacts are a folder"
            )
        sha256 = hashlib.sha256(content).hexdigest()
        if not self.holds(sha256):
            self._repeat(lambda: self._send(sha256, content))
        return sha256

    def holds(self, sha256: str) -> bool:
        """Say whether whole bytes are stored under this hash.

        Args:
            sha256: As `put` returned it.

        Raises:
            ArtifactsUnreachableError: The API does not answer, or refuses.
        """
        return is_sha256(sha256) and self._repeat(lambda: self._ask(sha256))

    def get(self, sha256: str) -> bytes:
        """Load bytes and prove their hash.

        Args:
            sha256: As `put` returned it.

        Raises:
            ArtifactMissingError: Nothing is stored under this hash.
            ArtifactCorruptError: The stored bytes have another hash.
            ArtifactsUnreachableError: The API does not answer, or refuses.
        """
        if self._cache.renew(sha256):
            return self._cache.get(sha256)
        if not is_sha256(sha256):
            raise ArtifactMissingError(f"{sha256!r} is not a sha256 in lower-case hexadecimal")
        content = self._repeat(lambda: self._fetch(sha256))
        self._cache.put(content)
        return content

    def path(self, sha256: str) -> Path:
        """Return a file with the bytes, which is fetched if need be.

        Args:
            sha256: As `put` returned it.

        Raises:
            ArtifactMissingError: Nothing is stored under this hash.
            ArtifactCorruptError: The stored bytes have another hash.
            ArtifactsUnreachableError: The API does not answer, or refuses.
        """
        self.get(sha256)
        return self._cache.path(sha256)

    def _place(self, sha256: str) -> str:
        return f"{self._url}/v1/artifacts/{sha256}"

    def _ask(self, sha256: str) -> bool:
        answer = self._client.head(self._place(sha256))
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return False
        _check(answer)
        return True

    def _send(self, sha256: str, content: bytes) -> None:
        headers = {"content-type": "application/octet-stream"}
        _check(self._client.put(self._place(sha256), content=content, headers=headers))

    def _fetch(self, sha256: str) -> bytes:
        content = bytearray()
        with self._client.stream("GET", self._place(sha256)) as answer:
            if answer.status_code == HTTPStatus.NOT_FOUND:
                raise ArtifactMissingError(f"no artifact {sha256} at {self._url}: was it removed?")
            if not answer.is_success:
                answer.read()
            _check(answer)
            for piece in answer.iter_bytes():
                content += piece
                if len(content) > LARGEST_ARTIFACT_BYTES:
                    raise ArtifactCorruptError(
                        f"{self._url} sends more than {LARGEST_ARTIFACT_BYTES} bytes for {sha256}"
                    )
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise ArtifactCorruptError(
                f"what {self._url} sent for {sha256} has the sha256 {found}: "
                "store the artifact again"
            )
        return bytes(content)

    def _repeat(self, request: Callable[[], T]) -> T:
        for delay in DELAYS_SECONDS:
            try:
                return request()
            except (httpx.TransportError, _TransientAnswerError):
                self._sleep(delay)
        try:
            return request()
        except (httpx.TransportError, _TransientAnswerError) as error:
            raise ArtifactsUnreachableError(
                f"the artifacts at {self._url} cannot be reached ({error}): see that the API runs "
                "there and that its machine can be reached, then submit the job again"
            ) from error


class _TransientAnswerError(Exception):
    """Worth another try."""


def _check(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    said = f"{answer.status_code} {answer.reason_phrase}: {answer.text[:500]}".rstrip(": ")
    if answer.status_code in _TRANSIENT:
        raise _TransientAnswerError(said)
    raise ArtifactsUnreachableError(f"the artifacts at {answer.url.host} were refused, {said}")
