"""One attempt to send one delivery: signed, bounded in time and size, followed nowhere."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import httpx

from orchestration.webhooks.hosts import Destination, HostRules, WebhookRefusedError
from utils.errors import ConfigError

if TYPE_CHECKING:
    from utils.clock import Clock

ATTEMPT_SECONDS = 10.0
STEP_SECONDS = 5.0
SHORTEST_SECRET = 16
LARGEST_SECRET_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Message:
    """What is sent."""

    id: str
    """The same at every attempt, so that a receiver can tell a repetition."""
    url: str
    secret: str
    """Where the secret is: `env:NAME` or `file:PATH`."""
    body: str


class Sender:
    """Sends messages."""

    def __init__(
        self, rules: HostRules, clock: Clock, *, attempt_seconds: float = ATTEMPT_SECONDS
    ) -> None:
        """Keep what is allowed.

        Args:
            rules: Where to.
            clock: Tells the time that is signed.
            attempt_seconds: An attempt may take so long.
        """
        self.rules = rules
        self._clock = clock
        self._attempt_seconds = attempt_seconds

    async def send(self, message: Message) -> str | None:
        """Send a message; returns what went wrong, or None.

        Args:
            message: Any.
        """
        try:
            secret = await anyio.to_thread.run_sync(load_secret, message.secret)
            with anyio.fail_after(self._attempt_seconds):
                place = await anyio.to_thread.run_sync(
                    self.rules.find, message.url, abandon_on_cancel=True
                )
                status = await self._post(place, message, secret)
        except TimeoutError:
            return f"no answer within {self._attempt_seconds:g} s"
        except WebhookRefusedError as error:
            return f"refused: {error}"
        except (ConfigError, OSError, httpx.HTTPError) as error:
            return f"{type(error).__name__}: {error}"[:500]
        if 300 <= status < 400:
            return f"status {status}: redirects are not followed; give the final address"
        return None if 200 <= status < 300 else f"status {status}"

    async def _post(self, place: Destination, message: Message, secret: bytes) -> int:
        timestamp = str(int(self._clock.now().timestamp()))
        body = message.body.encode()
        headers = {
            "host": httpx.URL(place.url).netloc.decode(),
            "content-type": "application/json",
            "user-agent": "quartermaster",
            "webhook-id": message.id,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign(secret, message.id, timestamp, body),
        }
        # The address that was checked is connected to; TLS still proves the name.
        url = httpx.URL(place.url).copy_with(host=place.address)
        extensions = {"sni_hostname": place.host} if place.is_secure else {}
        limits = httpx.Limits(max_keepalive_connections=0)
        async with (
            httpx.AsyncClient(trust_env=False, timeout=STEP_SECONDS, limits=limits) as client,
            client.stream(
                "POST", url, content=body, headers=headers, extensions=extensions
            ) as answer,
        ):
            return answer.status_code  # its body is not read


def sign(secret: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """Return the signature, as the Standard Webhooks convention writes it.

    Args:
        secret: Shared with the receiver.
        message_id: As in the header `webhook-id`.
        timestamp: Seconds since 1970, as in the header `webhook-timestamp`.
        body: All bytes of it.
    """
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


def check_secret_name(secret: str) -> None:
    """Refuse what does not say where a secret is.

    Args:
        secret: `env:NAME` or `file:PATH`.

    Raises:
        ConfigError: It is neither.
    """
    kind, _, place = secret.partition(":")
    if kind not in {"env", "file"} or not place or len(secret) > 255:
        raise ConfigError(
            "secret: write where it is, env:NAME or file:PATH; the secret itself is never stored"
        )


def load_secret(secret: str) -> bytes:
    """Read a secret.

    Args:
        secret: Where it is.

    Raises:
        ConfigError: It is not there, or too short to protect anything.
    """
    check_secret_name(secret)
    kind, _, place = secret.partition(":")
    try:
        content = os.environ[place] if kind == "env" else _read(Path(place))
    except (KeyError, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"secret {secret} cannot be read by this process") from error
    if len(content.strip()) < SHORTEST_SECRET:
        raise ConfigError(f"secret {secret} is shorter than {SHORTEST_SECRET} characters")
    return content.strip().encode()


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(LARGEST_SECRET_BYTES).decode()
