"""Access tokens: made, proved, listed and revoked, on an open transaction.

A token is 256 random bits that only its owner holds; here lies its hash.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from utils.errors import ConfigError
from utils.persistence.access import access_token

PREFIX = "qm"
USE_NOTED_EVERY = timedelta(minutes=1)
LONGEST_NAME = 100
_NOBODY = hashlib.sha256(b"").hexdigest()


class Scope(StrEnum):
    """What the holder of a token may do; `admin` may all."""

    INVOKE = "invoke"
    TRAIN = "train"
    ADMIN = "admin"


@dataclass(frozen=True, kw_only=True)
class StoredToken:
    """All that is known of a token; nobody can use it with this alone."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


async def create_token(
    connection: AsyncConnection,
    name: str,
    scopes: Collection[Scope],
    *,
    now: datetime,
    expires_at: datetime | None = None,
) -> str:
    """Make a token and return it; it is never shown again.

    Args:
        connection: An open write transaction.
        name: For the audit log; unique among tokens that are not revoked.
        scopes: What its holder may do.
        now: When.
        expires_at: From when on it opens nothing.

    Raises:
        ConfigError: The name is empty, too long or taken, no scope is named, or it expires at once.
    """
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise ConfigError(f"name {name!r}: choose 1 to {LONGEST_NAME} printable characters")
    if not scopes:
        raise ConfigError(f"token {name!r} opens nothing: name a scope ({', '.join(Scope)})")
    if expires_at is not None and expires_at <= now:
        raise ConfigError(f"expires_at={expires_at}: choose a moment that is still to come")
    if await _find(connection, name) is not None:
        raise ConfigError(f"a token {name!r} exists already: revoke it first, or choose a new name")
    token_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    text = f"{PREFIX}_{token_id}_{secret}"
    row = {
        "id": token_id,
        "name": name,
        "sha256": _hash(text),
        "scopes": sorted(scopes),
        "created_at": now,
        "expires_at": expires_at,
    }
    await connection.execute(insert(access_token), row)
    return text


async def prove_token(
    connection: AsyncConnection, text: str, *, now: datetime
) -> StoredToken | None:
    """Return the token that a caller holds; None if it opens nothing now.

    Args:
        connection: An open transaction.
        text: What the caller sent.
        now: When.
    """
    _, _, rest = text.partition(f"{PREFIX}_")
    query = select(access_token).where(access_token.c.id == rest.partition("_")[0][:16])
    row = (await connection.execute(query)).mappings().first()
    is_same = hmac.compare_digest(_hash(text), _NOBODY if row is None else row["sha256"])
    if row is None or not is_same:
        return None
    token = _to_token(row)
    is_over = token.expires_at is not None and token.expires_at <= now
    return None if is_over or token.revoked_at is not None else token


async def note_use(connection: AsyncConnection, token: StoredToken, *, now: datetime) -> None:
    """Record that a token was used.

    Args:
        connection: An open write transaction.
        token: As it was proved.
        now: When.
    """
    used = update(access_token).where(access_token.c.id == token.id)
    await connection.execute(used, {"last_used_at": now})


def is_use_worth_noting(token: StoredToken, now: datetime) -> bool:
    """Say whether the recorded use is old; once a minute is enough.

    Args:
        token: As it was proved.
        now: When.
    """
    return token.last_used_at is None or now - token.last_used_at >= USE_NOTED_EVERY


async def has_tokens(connection: AsyncConnection) -> bool:
    """Say whether somebody made a token that is not revoked; an expired one counts.

    Args:
        connection: An open transaction.
    """
    query = select(exists().where(access_token.c.revoked_at.is_(None)))
    return bool(await connection.scalar(query))


async def list_tokens(connection: AsyncConnection) -> list[StoredToken]:
    """List all tokens, oldest first, revoked ones too.

    Args:
        connection: An open transaction.
    """
    query = select(access_token).order_by(access_token.c.created_at, access_token.c.id)
    return [_to_token(row) for row in (await connection.execute(query)).mappings()]


async def revoke_token(connection: AsyncConnection, name: str, *, now: datetime) -> StoredToken:
    """Have a token open nothing from now on.

    Args:
        connection: An open write transaction.
        name: As it was made.
        now: When.

    Raises:
        ConfigError: There is no such token.
    """
    token = await _find(connection, name)
    if token is None:
        raise ConfigError(f"no token {name!r} is valid: `tokens list` names them")
    ended = update(access_token).where(access_token.c.id == token.id)
    await connection.execute(ended, {"revoked_at": now})
    return token


async def _find(connection: AsyncConnection, name: str) -> StoredToken | None:
    query = select(access_token).where(
        access_token.c.name == name, access_token.c.revoked_at.is_(None)
    )
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else _to_token(row)


def _to_token(row: Any) -> StoredToken:
    fields = {name: row[name] for name in StoredToken.__dataclass_fields__}
    return StoredToken(**{**fields, "scopes": tuple(Scope(one) for one in fields["scopes"])})


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
