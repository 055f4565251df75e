"""Passes events on to webhooks and sends what is due; any number of processes may."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio

from orchestration.webhooks.deliveries import Claim, SqlWebhooks, Webhook, WebhookNotFoundError
from orchestration.webhooks.sending import Message, Sender
from utils.clock import new_id
from utils.logs import get_logger
from utils.persistence.outbox import settled_seq
from utils.persistence.polling import Quiet, look_for_ever

if TYPE_CHECKING:
    from utils.clock import Clock
    from utils.persistence.engine import Database

POLL_SECONDS = 2.0
SENT_AT_ONCE = 8
TEST_BODY = '{"type": "webhook_test", "data": {}}'
logger = get_logger(__name__)


class Courier:
    """Carries events to webhooks."""

    def __init__(
        self,
        database: Database,
        sender: Sender,
        clock: Clock,
        *,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """Put the parts together; `run` does the work.

        Args:
            database: Holds outbox and webhooks.
            sender: Sends.
            clock: Tells the time.
            poll_seconds: How often to look.
        """
        self.webhooks = SqlWebhooks(database, clock)
        self._database = database
        self._sender = sender
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._seen_seq = -1
        self._quiet = Quiet(database, clock)

    async def run(self) -> None:
        """Look and send until cancelled."""
        await look_for_ever(self.look, self._clock, self._poll_seconds, logger)

    async def look(self) -> list[str]:
        """Pass on new events, attempt what is due, and return what became of it."""
        if self._quiet.lasts:
            return []
        self._quiet.begin()
        newest, next_time = await self.webhooks.glance()
        is_due = next_time is not None and next_time <= self._clock.now()
        if newest == self._seen_seq and not is_due:
            self._quiet.settle(next_time)
        if newest != self._seen_seq:
            settled = await settled_seq(self._database)
            try:
                spread = await self.webhooks.spread(settled)
            except WebhookNotFoundError:  # deleted since we looked
                spread = 1
            self._seen_seq = -1 if spread else settled
            is_due = is_due or spread > 0
        states: list[str] = []
        claims = await self.webhooks.claim(SENT_AT_ONCE) if is_due else []
        async with anyio.create_task_group() as group:
            for claim in claims:
                group.start_soon(self._attempt, claim, states)
        return states

    async def add(self, name: str, url: str, events: Sequence[str], secret: str) -> Webhook:
        """Keep a webhook, if the operator allows its host.

        Args:
            name: Of its own.
            url: Where to.
            events: Types of events that it hears of, from now on.
            secret: Where the secret is, `env:NAME` or `file:PATH`.

        Raises:
            WebhookRefusedError: Its host is not listed, or the URL is none.
            ConfigError: Something else is wrong; it is named.
        """
        self._sender.rules.check_url(url)
        return await self.webhooks.add(name, url, events, secret)

    async def test(self, name: str) -> str | None:
        """Send a test message now; returns what went wrong, or None.

        Args:
            name: Of the webhook.

        Raises:
            WebhookNotFoundError: There is none.
        """
        hook = await self.webhooks.get(name)
        message = Message(id=new_id(self._clock), url=hook.url, secret=hook.secret, body=TEST_BODY)
        return await self._sender.send(message)

    async def _attempt(self, claim: Claim, states: list[str]) -> None:
        error = await self._sender.send(claim.message)
        state = await self.webhooks.record(claim, error)
        states.append(state)
        told = {"webhook": claim.webhook, "delivery": claim.delivery_id, "state": state}
        if error is None:
            logger.info("webhook_sent", **told)
        else:
            logger.warning("webhook_failed", attempt=claim.attempt, reason=error, **told)
