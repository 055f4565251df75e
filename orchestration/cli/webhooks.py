"""`webhooks`: who outside is told of what."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestration.cli import tables
from orchestration.cli.parts import AsJson, print_json, print_parts, run_opened

FAILED = 1
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the webhook.")]
group = typer.Typer(no_args_is_help=True, help="Send events, signed, to hosts that are listed.")


@group.command()
def add(
    context: typer.Context,
    name: Name,
    url: Annotated[str, typer.Argument(metavar="URL", help="https://host/path")],
    *,
    event: Annotated[list[str], typer.Option(help="A type of event to send; may be repeated.")],
    secret: Annotated[
        str, typer.Option(help="Where the signing secret is: env:NAME or file:PATH.")
    ],
) -> None:
    """Send events from now on to a host that QUARTERMASTER_WEBHOOK_HOSTS lists."""
    run_opened(context, lambda a: a.orchestrator.automation.courier.add(name, url, event, secret))
    print_parts(f"Webhook {name} is told of {', '.join(event)}. Try it: `webhooks test {name}`.")


@group.command(name="list")
def list_webhooks(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List all webhooks, and how many deliveries arrived, wait or were given up."""
    found = run_opened(
        context, lambda a: a.orchestrator.automation.courier.webhooks.list_webhooks()
    )
    if as_json:
        print_json([{**vars(hook), "deliveries": states} for hook, states in found])
        return
    table = tables.make_table("webhook", "url", "events", "deliveries")
    for hook, states in found:
        counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        table.add_row(hook.name, hook.url, ", ".join(hook.events), counts)
    print_parts(table if found else "No webhooks yet.")


@group.command()
def deliveries(
    context: typer.Context,
    name: Name,
    *,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List what was sent or waits, newest first."""
    found = run_opened(
        context,
        lambda a: a.orchestrator.automation.courier.webhooks.deliveries(name, limit=count),
    )
    if as_json:
        print_json([vars(one) for one in found])
        return
    table = tables.make_table("event", "state", "attempts", "came (UTC)", "ended", "error")
    for one in found:
        ended = "" if one.ended_at is None else f"{one.ended_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(
            f"{one.event} {one.event_seq}",
            one.status,
            str(one.attempts),
            f"{one.created_at:%Y-%m-%d %H:%M:%S}",
            ended,
            one.error or "",
        )
    print_parts(table if found else "No deliveries yet.")


@group.command()
def test(context: typer.Context, name: Name) -> None:
    """Send a test message now and say what came of it."""
    error = run_opened(context, lambda a: a.orchestrator.automation.courier.test(name))
    print_parts(f"Webhook {name}: {error or 'arrived'}.")
    if error is not None:
        raise typer.Exit(FAILED)


@group.command()
def delete(context: typer.Context, name: Name) -> None:
    """Forget a webhook and what waits for it."""
    run_opened(context, lambda a: a.orchestrator.automation.courier.webhooks.delete(name))
    print_parts(f"Webhook {name} is deleted.")


def register(cli: typer.Typer) -> None:
    """Add the commands.

    Args:
        cli: To these.
    """
    cli.add_typer(group, name="webhooks")
