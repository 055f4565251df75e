"""Routes of webhooks: who outside is told of what, and what became of it."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from orchestration.endpoints.parts import Conductor
from orchestration.endpoints.schedule_shapes import EVENT_PATTERN, STRICT
from orchestration.endpoints.security import Admin
from orchestration.endpoints.shapes import TEXT_PATTERN, Cursor, may_fail
from orchestration.webhooks.deliveries import NAME, Delivery, Webhook
from orchestration.webhooks.hosts import LONGEST_URL

NAME_PATTERN = f"^{NAME.pattern}$"
router = APIRouter(
    prefix="/v1/webhooks", tags=["webhooks"], dependencies=[Admin], responses=may_fail(404)
)
WebhookName = Annotated[str, Path(pattern=NAME_PATTERN, description="Of a webhook.")]
Count = Annotated[int, Query(ge=1, le=100, description="How many.")]


class WebhookRequest(BaseModel):
    """A webhook that somebody wants."""

    model_config = STRICT
    name: str = Field(pattern=NAME_PATTERN)
    url: str = Field(
        max_length=LONGEST_URL, pattern=TEXT_PATTERN, description="At a host that is listed."
    )
    events: list[Annotated[str, Field(pattern=EVENT_PATTERN)]] = Field(
        min_length=1, max_length=100, description="Types, such as run_finished."
    )
    secret: str = Field(
        pattern=r"^env:[A-Za-z_][A-Za-z0-9_]{0,99}$",
        description="The server's environment variable that holds the signing secret, `env:NAME`.",
    )


class WebhookView(BaseModel):
    """A webhook."""

    name: str
    url: str
    events: list[str]
    secret: str = Field(description="Where the secret is; never the secret.")
    active: bool
    created_at: datetime
    deliveries: dict[str, int] = Field(description="How many are in each state.")


class WebhookTest(BaseModel):
    """What a test message came to."""

    error: str | None = Field(description="What went wrong; none if it arrived.")


@router.post("", status_code=HTTPStatus.CREATED)
async def add_webhook(
    request: WebhookRequest, orchestrator: Conductor, response: Response
) -> WebhookView:
    """Send events from now on, to a host that the operator lists."""
    courier = orchestrator.automation.courier
    hook = await courier.add(request.name, request.url, request.events, request.secret)
    response.headers["Location"] = f"/v1/webhooks/{hook.name}"
    return _view(hook, {})


@router.get("")
async def list_webhooks(orchestrator: Conductor) -> list[WebhookView]:
    """List all webhooks, by name."""
    found = await orchestrator.automation.courier.webhooks.list_webhooks()
    return [_view(hook, states) for hook, states in found]


@router.delete("/{name}", status_code=HTTPStatus.NO_CONTENT)
async def delete_webhook(name: WebhookName, orchestrator: Conductor) -> None:
    """Forget a webhook and what waits for it."""
    await orchestrator.automation.courier.webhooks.delete(name)


@router.post("/{name}/test")
async def test_webhook(name: WebhookName, orchestrator: Conductor) -> WebhookTest:
    """Send a test message now."""
    return WebhookTest(error=await orchestrator.automation.courier.test(name))


@router.get("/{name}/deliveries")
async def list_deliveries(
    name: WebhookName, orchestrator: Conductor, count: Count = 20, before: Cursor = None
) -> list[Delivery]:
    """List what was sent or waits, newest first; `before` the last id of the page before."""
    webhooks = orchestrator.automation.courier.webhooks
    return await webhooks.deliveries(name, limit=count, before=before)


def _view(hook: Webhook, states: dict[str, int]) -> WebhookView:
    return WebhookView(
        name=hook.name,
        url=hook.url,
        events=list(hook.events),
        secret=hook.secret,
        active=hook.active,
        created_at=hook.created_at,
        deliveries=states,
    )
