"""Webhooks of a server, as calls; they want scope `admin`."""

from __future__ import annotations

from collections.abc import Sequence

from orchestration.client.connection import Connection
from orchestration.endpoints.webhook_routes import WebhookRequest, WebhookTest, WebhookView
from orchestration.webhooks.deliveries import Delivery


class WebhookCalls:
    """Who outside is told of what."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, name: str, url: str, *, events: Sequence[str], secret: str) -> WebhookView:
        """Have events sent from now on.

        Args:
            name: Of its own.
            url: At a host that the server's operator lists.
            events: Their types.
            secret: The server's environment variable that holds the signing secret, `env:NAME`.

        Raises:
            InvalidRequestError: The name is taken, the host not listed, or a value is wrong.
        """
        body = WebhookRequest(name=name, url=url, events=list(events), secret=secret).model_dump()
        call = self._connection.call
        return await call("POST", "/v1/webhooks", WebhookView, body=body, may_repeat=False)

    async def list(self) -> list[WebhookView]:
        """Return all, by name, each with how many deliveries are in which state."""
        return await self._connection.call("GET", "/v1/webhooks", list[WebhookView])

    async def deliveries(
        self, name: str, *, count: int = 20, before: str | None = None
    ) -> Sequence[Delivery]:
        """Return what was sent or waits, newest first.

        Args:
            name: Of the webhook.
            count: At most so many.
            before: Only those older than the delivery with this id.
        """
        path = f"/v1/webhooks/{name}/deliveries"
        query = {"count": count} | ({} if before is None else {"before": before})
        return await self._connection.call("GET", path, list[Delivery], query=query)

    async def test(self, name: str) -> str | None:
        """Send a test message now; returns what went wrong, or None.

        Args:
            name: Of the webhook.
        """
        path = f"/v1/webhooks/{name}/test"
        answer = await self._connection.call("POST", path, WebhookTest, may_repeat=False)
        return answer.error

    async def delete(self, name: str) -> None:
        """Forget a webhook and what waits for it.

        Args:
            name: Its name.
        """
        await self._connection.call("DELETE", f"/v1/webhooks/{name}", type(None))
