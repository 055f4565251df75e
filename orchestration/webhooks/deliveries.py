"""The rows of webhooks and deliveries: what each process may know, claim and record."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from orchestration.webhooks.sending import Message, check_secret_name
from utils.clock import new_id
from utils.errors import ConfigError, QuartermasterError
from utils.persistence.jobs import event
from utils.persistence.outbox import NEWEST, add_line
from utils.persistence.schedules import delivery, webhook

if TYPE_CHECKING:
    from sqlalchemy import RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

    from utils.clock import Clock
    from utils.persistence.engine import Database

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
EVENT = re.compile(r"[a-z][a-z0-9_]{0,59}")
PENDING, DELIVERED, GAVE_UP = "pending", "delivered", "gave_up"
MOST_ATTEMPTS = 12
FIRST_WAIT = timedelta(seconds=15)
LONGEST_WAIT = timedelta(hours=6)
CLAIM = timedelta(seconds=60)
"""Whoever sends has so long before another may; more than an attempt takes."""
EVENTS_PER_LOOK = 100
MOST_PENDING = 1000
"""Deliveries that wait for one webhook; further events wait in the outbox."""
LARGEST_DATA_BYTES = 64 * 1024
OWN_EVENTS = "webhook_"
"""Events of webhooks themselves are not sent, or a dead one would tell of itself for ever."""


class WebhookNotFoundError(QuartermasterError, LookupError):
    """No webhook has this name."""


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """Who is told of what."""

    id: str
    name: str
    url: str
    events: tuple[str, ...]
    secret: str
    active: bool
    event_seq: int
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One event on its way to one webhook."""

    id: str
    event: str
    """Its type."""
    event_seq: int
    status: str
    attempts: int
    error: str | None
    next_at: datetime
    """When the next attempt is due, if it waits."""
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A delivery that this process may attempt."""

    delivery_id: str
    webhook: str
    attempt: int
    message: Message


class SqlWebhooks:
    """Webhooks for their owners, and deliveries for whoever sends them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(self, name: str, url: str, events: Sequence[str], secret: str) -> Webhook:
        """Keep a webhook; it hears of events from now on.

        Args:
            name: Of its own.
            url: Already checked.
            events: Their types.
            secret: Where the secret is.

        Raises:
            ConfigError: The name is taken or none, or an event's type or the secret's place is.
        """
        if not NAME.fullmatch(name):
            raise ConfigError(f"name={name!r}: take up to 100 letters, digits, points, - and _")
        wrong = [one for one in events if not EVENT.fullmatch(one) or one.startswith(OWN_EVENTS)]
        if wrong or not events:
            raise ConfigError(f"events {wrong or 'missing'}: name types such as model_promoted")
        check_secret_name(secret)
        row = {
            "id": new_id(self._clock),
            "name": name,
            "url": url,
            "events": sorted(set(events)),
            "secret": secret,
            "active": True,
            "created_at": self._clock.now(),
        }
        async with self._database.write() as connection:
            row["event_seq"] = await connection.scalar(NEWEST)
            try:
                await connection.execute(insert(webhook), row)
            except IntegrityError as error:
                raise ConfigError(f"webhook {name} exists already: delete it first") from error
            return await _load(connection, name)

    async def get(self, name: str) -> Webhook:
        """Load a webhook.

        Args:
            name: Its name.

        Raises:
            WebhookNotFoundError: There is none.
        """
        async with self._database.read() as connection:
            return await _load(connection, name)

    async def list_webhooks(self) -> list[tuple[Webhook, dict[str, int]]]:
        """Return all by name, each with how many deliveries are in which state."""
        count = func.count().label("count")
        totals = select(delivery.c.webhook_id, delivery.c.status, count).group_by(
            delivery.c.webhook_id, delivery.c.status
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(select(webhook).order_by(webhook.c.name))).mappings()
            hooks = [_to_webhook(row) for row in rows]
            states: dict[str, dict[str, int]] = {hook.id: {} for hook in hooks}
            for row in await connection.execute(totals):
                states[row[0]][row[1]] = row[2]
        return [(hook, states[hook.id]) for hook in hooks]

    async def deliveries(
        self, name: str, *, limit: int = 20, before: str | None = None
    ) -> list[Delivery]:
        """Return deliveries of a webhook, newest first.

        Args:
            name: Its name.
            limit: At most so many.
            before: Only those older than the one with this id.

        Raises:
            WebhookNotFoundError: There is no such webhook.
        """
        async with self._database.read() as connection:
            hook = await _load(connection, name)
            query = select(delivery).where(delivery.c.webhook_id == hook.id)
            if before is not None:
                query = query.where(delivery.c.id < before)
            rows = await connection.execute(query.order_by(delivery.c.id.desc()).limit(limit))
            return [_to_delivery(row) for row in rows.mappings()]

    async def delete(self, name: str) -> None:
        """Forget a webhook and what waits for it.

        Args:
            name: Its name.

        Raises:
            WebhookNotFoundError: There is none.
        """
        async with self._database.write() as connection:
            hook = await _load(connection, name, lock=True)
            await connection.execute(delete(delivery).where(delivery.c.webhook_id == hook.id))
            await connection.execute(delete(webhook).where(webhook.c.id == hook.id))

    async def spread(self, settled: int) -> int:
        """Write a delivery for each new event and each webhook that wants it, once.

        Args:
            settled: Look at no later event.

        Returns:
            How many webhooks had something to look at; they may have more.
        """
        behind = select(webhook.c.name).where(webhook.c.active, webhook.c.event_seq < settled)
        async with self._database.read() as connection:
            names = list(await connection.scalars(behind.order_by(webhook.c.name)))
        for name in names:
            async with self._database.write() as connection:
                await self._spread_to(connection, name, settled)
        return len(names)

    async def glance(self) -> tuple[int, datetime | None]:
        """Return the newest line of the outbox, and when the next delivery is due."""
        due = select(func.min(delivery.c.next_at)).where(delivery.c.status == PENDING)
        async with self._database.read() as connection:
            newest = int(await connection.scalar(NEWEST) or 0)
            return newest, await connection.scalar(due)

    async def claim(self, limit: int) -> list[Claim]:
        """Take deliveries that are due; nobody else attempts them for a while.

        Args:
            limit: At most so many.
        """
        now = self._clock.now()
        due = (
            select(delivery, webhook.c.name, webhook.c.url, webhook.c.secret)
            .join(webhook, webhook.c.id == delivery.c.webhook_id)
            .where(delivery.c.status == PENDING, delivery.c.next_at <= now, webhook.c.active)
            .order_by(delivery.c.next_at, delivery.c.event_seq)
            .limit(limit)
        )
        async with self._database.write() as connection:
            locked = due.with_for_update(of=delivery, skip_locked=True)
            rows = (await connection.execute(locked)).mappings().all()
            for row in rows:
                taken = {"attempts": row["attempts"] + 1, "next_at": now + CLAIM}
                mine = update(delivery).where(delivery.c.id == row["id"])
                await connection.execute(mine, taken)
        return [
            Claim(
                delivery_id=row["id"],
                webhook=row["name"],
                attempt=row["attempts"] + 1,
                message=Message(
                    id=row["id"], url=row["url"], secret=row["secret"], body=row["body"]
                ),
            )
            for row in rows
        ]

    async def record(self, claim: Claim, error: str | None) -> str:
        """Record what an attempt came to, unless another one began since.

        Args:
            claim: The attempt.
            error: What went wrong, or None.

        Returns:
            The delivery's state.
        """
        now = self._clock.now()
        ended: datetime | None = now
        if error is None:
            state = DELIVERED
        elif claim.attempt >= MOST_ATTEMPTS:
            state = GAVE_UP
        else:
            state, ended = PENDING, None
        told = {"status": state, "error": error, "ended_at": ended}
        if state == PENDING:
            told["next_at"] = now + wait_after(claim.attempt)
        mine = update(delivery).where(
            delivery.c.id == claim.delivery_id,
            delivery.c.attempts == claim.attempt,
            delivery.c.status == PENDING,
        )
        async with self._database.write() as connection:
            changed = (await connection.execute(mine.values(**told))).rowcount
            if changed and state == GAVE_UP:
                payload = {"webhook": claim.webhook, "delivery": claim.delivery_id, "error": error}
                await add_line(connection, "webhook_gave_up", payload, at=now)
        return state

    async def _spread_to(self, connection: AsyncConnection, name: str, settled: int) -> None:
        hook = await _load(connection, name, lock=True)
        waiting = (
            select(func.count())
            .select_from(delivery)
            .where(delivery.c.webhook_id == hook.id, delivery.c.status == PENDING)
        )
        room = min(MOST_PENDING - int(await connection.scalar(waiting) or 0), EVENTS_PER_LOOK)
        if room <= 0:
            return
        wanted = select(event).where(
            event.c.seq > hook.event_seq, event.c.seq <= settled, event.c.type.in_(hook.events)
        )
        lines = (
            (await connection.execute(wanted.order_by(event.c.seq).limit(room))).mappings().all()
        )
        now = self._clock.now()
        for line in lines:
            delivery_id = new_id(self._clock)
            row = {"id": delivery_id, "webhook_id": hook.id, "event_seq": line["seq"]}
            more = {"body": make_body(delivery_id, line), "status": PENDING, "next_at": now}
            await connection.execute(insert(delivery), {**row, **more, "created_at": now})
        seen = lines[-1]["seq"] if len(lines) == room else max(settled, hook.event_seq)
        moved = update(webhook).where(webhook.c.id == hook.id)
        await connection.execute(moved, {"event_seq": seen})


def wait_after(attempt: int) -> timedelta:
    """Return how long to wait after a failed attempt.

    Args:
        attempt: Its number, from 1.
    """
    return min(FIRST_WAIT * (1 << attempt - 1), LONGEST_WAIT)


def make_body(delivery_id: str, line: Any) -> str:
    """Return what is sent for an event; data that is too large stays here.

    Args:
        delivery_id: Of the delivery.
        line: Of the outbox.
    """
    told = {"id": delivery_id, "type": line["type"], "seq": line["seq"], "job_id": line["job_id"]}
    told["at"] = line["at"].isoformat()
    data = json.dumps(line["payload"], sort_keys=True)
    if len(data) > LARGEST_DATA_BYTES:
        return json.dumps({**told, "data": None, "data_omitted": True})
    return json.dumps({**told, "data": line["payload"]}, sort_keys=True)


async def _load(connection: AsyncConnection, name: str, *, lock: bool = False) -> Webhook:
    query = select(webhook).where(webhook.c.name == name)
    if lock:
        query = query.with_for_update()
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        raise WebhookNotFoundError(
            f"no webhook {name!r}: `python -m orchestration webhooks list` names them"
        )
    return _to_webhook(row)


def _to_delivery(row: RowMapping) -> Delivery:
    told = {name: row[name] for name in ("id", "event_seq", "status", "attempts", "error")}
    times = {name: row[name] for name in ("next_at", "created_at", "ended_at")}
    return Delivery(**told, **times, event=json.loads(row["body"])["type"])


def _to_webhook(row: RowMapping) -> Webhook:
    return Webhook(**{**row, "events": tuple(row["events"])})
