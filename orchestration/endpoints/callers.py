"""Who a caller is, by the token that it sends; remembered for a moment, as a proof costs queries.

A token that was revoked, and the first one that is made, thus count within a second. While the
database is away those proved shortly before go on being known: what needs no database answers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from utils.clock import Clock
from utils.persistence.access_tokens import (
    Scope,
    has_tokens,
    is_use_worth_noting,
    note_use,
    prove_token,
)
from utils.persistence.engine import Database
from utils.persistence.errors import DatabaseError

TRUST_SECONDS = 1.0
OUTAGE_SECONDS = 600.0
"""After the last proof; a token that another server revokes opens this one no longer than that."""
MOST_REMEMBERED = 1024


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who sent a request."""

    name: str
    """`token:NAME`, or `local` for anybody on this machine."""
    scopes: frozenset[Scope]


LOCAL = Caller(name="local", scopes=frozenset(Scope))


@dataclass(frozen=True, kw_only=True)
class _Proof:
    caller: Caller
    proved: float
    asked: float
    """When the database was asked last, in vain or not."""


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
        self._proved: dict[str, _Proof] = {}

    async def find(self, text: str | None) -> Caller | None:
        """Return who sends a token, or none; None if that opens nothing.

        Args:
            text: The token; None if none was sent.

        Raises:
            DatabaseError: It is away, and did not prove this one in the last minutes.
        """
        key = "" if text is None else hashlib.sha256(text.encode(errors="replace")).hexdigest()
        now = self._clock.monotonic()
        known = self._proved.get(key)
        if known is not None and now < known.asked + self._trust_seconds:
            return known.caller
        try:
            found = await (self._prove_nothing() if text is None else self._prove(text))
        except DatabaseError:
            if known is None or now >= known.proved + OUTAGE_SECONDS:
                raise
            self._proved[key] = replace(known, asked=now)
            return known.caller
        self._proved.pop(key, None)
        if found is not None:  # what is wrong is not remembered: anybody may send much of it
            if len(self._proved) >= MOST_REMEMBERED:
                self._proved.clear()
            self._proved[key] = _Proof(caller=found, proved=now, asked=now)
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
