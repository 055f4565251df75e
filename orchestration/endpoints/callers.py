"""Who a caller is, by the token that it sends; remembered for a moment, as a proof costs queries.

A token that was revoked, and the first one that is made, thus count within a second.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from utils.clock import Clock
from utils.persistence.access_tokens import (
    Scope,
    has_tokens,
    is_use_worth_noting,
    note_use,
    prove_token,
)
from utils.persistence.engine import Database

TRUST_SECONDS = 1.0
MOST_REMEMBERED = 1024


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who sent a request."""

    name: str
    """`token:NAME`, or `local` for anybody on this machine."""
    scopes: frozenset[Scope]


LOCAL = Caller(name="local", scopes=frozenset(Scope))


class Callers:
    """Knows callers by their tokens."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        is_open: bool,
        trust_seconds: float = TRUST_SECONDS,
    ) -> None:
        """Begin without knowing any.

        Args:
            database: Holds the tokens.
            clock: Tells the time.
            is_open: Whether callers need no token as long as there is none.
            trust_seconds: How long a proof holds.
        """
        self._database = database
        self._clock = clock
        self._is_open = is_open
        self._trust_seconds = trust_seconds
        self._proved: dict[str, tuple[Caller, float]] = {}

    async def find(self, text: str | None) -> Caller | None:
        """Return who sends a token, or none; None if that opens nothing.

        Args:
            text: The token; None if none was sent.
        """
        key = "" if text is None else hashlib.sha256(text.encode(errors="replace")).hexdigest()
        now = self._clock.monotonic()
        caller, until = self._proved.get(key, (None, now))
        if now < until:
            return caller
        found = await (self._prove_nothing() if text is None else self._prove(text))
        if found is not None:  # what is wrong is not remembered: anybody may send much of it
            if len(self._proved) >= MOST_REMEMBERED:
                self._proved.clear()
            self._proved[key] = found, now + self._trust_seconds
        return found

    async def _prove_nothing(self) -> Caller | None:
        if not self._is_open:
            return None
        async with self._database.read() as connection:
            return None if await has_tokens(connection) else LOCAL

    async def _prove(self, text: str) -> Caller | None:
        now = self._clock.now()
        async with self._database.read() as connection:
            token = await prove_token(connection, text, now=now)
        if token is None:
            return None
        if is_use_worth_noting(token, now):
            async with self._database.write() as connection:
                await note_use(connection, token, now=now)
        return Caller(name=f"token:{token.name}", scopes=frozenset(token.scopes))
