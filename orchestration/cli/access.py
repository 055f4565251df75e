"""Commands for access tokens: make, list, revoke; each leaves a line in the audit log."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from orchestration.app import Application
from orchestration.cli.parts import AsJson, print_json, print_parts, run_opened
from utils.clock import SystemClock
from utils.persistence.access_tokens import (
    Scope,
    StoredToken,
    create_token,
    has_tokens,
    list_tokens,
    revoke_token,
)
from utils.persistence.audit_log import AuditLine, add_audit

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

CLOCK = SystemClock()
LONGEST_DAYS = 3650
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the token, for list and audit.")]
tokens = typer.Typer(
    help="Make, list and revoke tokens of the HTTP API.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@tokens.command()
def create(
    context: typer.Context,
    name: Name,
    *,
    scope: Annotated[
        list[Scope], typer.Option(help="What it opens; may be given again. `admin` opens all.")
    ],
    expires_days: Annotated[
        int | None, typer.Option(min=1, max=LONGEST_DAYS, help="How long it is valid; for ever.")
    ] = None,
) -> None:
    """Make a token and print it; it is shown this once, and kept as a hash only.

    From the first one on, every request to the API needs a token.
    """
    now = CLOCK.now()
    until = None if expires_days is None else now + timedelta(days=expires_days)

    async def make(application: Application) -> str:
        async with application.database.write() as connection:
            text = await create_token(connection, name, set(scope), now=now, expires_at=until)
            await _note(connection, "tokens create", f"{name} ({', '.join(sorted(scope))})", now)
        return text

    typer.echo(run_opened(context, make))


@tokens.command("list")
def list_all(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List tokens: what they open, until when, and when they were last used."""

    async def load(application: Application) -> list[StoredToken]:
        async with application.database.read() as connection:
            return await list_tokens(connection)

    found = run_opened(context, load)
    if as_json:
        print_json([asdict(token) for token in found])
    elif found:
        print_parts(_table(found, CLOCK.now()))
    else:
        print_parts("No tokens: a server on loopback is open to everybody on this machine.")


@tokens.command()
def revoke(context: typer.Context, name: Name) -> None:
    """Have a token open nothing from now on."""
    print_parts(run_opened(context, partial(_revoke, name=name)))


async def _revoke(application: Application, name: str) -> str:
    now = CLOCK.now()
    async with application.database.write() as connection:
        await revoke_token(connection, name, now=now)
        await _note(connection, "tokens revoke", name, now)
        left = await has_tokens(connection)
    if left:
        return f"Token {name} opens nothing now."
    return (
        f"Token {name} opens nothing now. It was the last: a server on loopback is open to "
        "everybody on this machine again, any other refuses all."
    )


async def _note(connection: AsyncConnection, action: str, target: str, now: datetime) -> None:
    line = AuditLine(
        at=now, who=f"cli:{getpass.getuser()}", action=action, target=target, outcome="done"
    )
    await add_audit(connection, line)


def _table(found: list[StoredToken], now: datetime) -> Table:
    table = Table("name", "scopes", "created", "last used", "state", box=None)
    for token in found:
        table.add_row(
            token.name,
            ", ".join(token.scopes),
            _day(token.created_at),
            _day(token.last_used_at),
            _state(token, now),
        )
    return table


def _state(token: StoredToken, now: datetime) -> str:
    if token.revoked_at is not None:
        return f"revoked {_day(token.revoked_at)}"
    if token.expires_at is None:
        return "valid"
    verb = "expired" if token.expires_at <= now else "valid until"
    return f"{verb} {_day(token.expires_at)}"


def _day(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"


def register(cli: typer.Typer) -> None:
    """Add the commands.

    Args:
        cli: To these.
    """
    group: Any = tokens
    cli.add_typer(group, name="tokens")
