"""`approvals`: which agents need them, what waits, and a person's verdict."""

from __future__ import annotations

import getpass
import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from orchestration.app import Application
from orchestration.cli.parts import AsJson, print_json, print_parts, run_opened
from orchestration.feedback.approvals import Approval, ApprovalState
from orchestration.feedback.settings import AgentSettings
from utils.errors import ConfigError

Agent = Annotated[str, typer.Argument(metavar="AGENT", help="Name of the agent.")]
DecisionId = Annotated[str, typer.Argument(metavar="DECISION", help="Its id.")]
Reason = Annotated[str, typer.Option(help="Kept with the verdict.")]
group = typer.Typer(no_args_is_help=True, help="Have people approve what agents decide.")


@group.command()
def require(
    context: typer.Context,
    agent: Agent,
    *,
    seconds: Annotated[
        float, typer.Option(help="A decision that waited so long counts as rejected.")
    ] = 3600.0,
) -> None:
    """Let the decisions of an agent wait for a person from now on."""
    edit = partial(replace, needs_approval=True, approval_seconds=seconds)
    run_opened(context, partial(change_settings, agent=agent, edit=edit))
    print_parts(f"Decisions of {agent} wait for approval now, at most {seconds:g} seconds each.")


@group.command()
def release(context: typer.Context, agent: Agent) -> None:
    """Let the decisions of an agent hold at once again; those that wait go on waiting."""
    edit = partial(replace, needs_approval=False)
    run_opened(context, partial(change_settings, agent=agent, edit=edit))
    print_parts(f"Decisions of {agent} need no approval now.")


@group.command(name="list")
def list_all(
    context: typer.Context,
    *,
    agent: Annotated[str | None, typer.Option(help="Only of this one.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also those that got a verdict.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List decisions that wait for a person, newest first."""
    state = None if every else ApprovalState.WAITING
    found = run_opened(
        context,
        lambda a: a.orchestrator.supervision.approvals.list_all(
            agent=agent, state=state, limit=limit
        ),
    )
    if as_json:
        print_json([asdict(one) for one in found])
    elif found:
        print_parts(_table(found))
    else:
        print_parts("Nothing waits for approval.")


@group.command()
def show(context: typer.Context, decision: DecisionId) -> None:
    """Show a decision that waits or waited, with its request, as JSON."""
    found = run_opened(context, lambda a: a.orchestrator.supervision.approvals.get(decision))
    print_json(asdict(found))


@group.command()
def approve(context: typer.Context, decision: DecisionId, *, reason: Reason = "") -> None:
    """Let a decision hold as the agent made it."""
    _tell(
        run_opened(
            context, lambda a: a.orchestrator.reviews.approve(decision, by=_who(), reason=reason)
        )
    )


@group.command()
def override(
    context: typer.Context,
    decision: DecisionId,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Your own decision, as JSON.")],
    *,
    reason: Reason = "",
) -> None:
    """Let your own decision hold instead; one that is infeasible is refused."""
    wish = _read_object(file)
    _tell(
        run_opened(
            context,
            lambda a: a.orchestrator.reviews.override(decision, wish, by=_who(), reason=reason),
        )
    )


@group.command()
def reject(context: typer.Context, decision: DecisionId, *, reason: Reason = "") -> None:
    """Let a decision not hold."""
    _tell(
        run_opened(
            context, lambda a: a.orchestrator.reviews.reject(decision, by=_who(), reason=reason)
        )
    )


async def change_settings(application: Application, *, agent: str, edit: Any) -> AgentSettings:
    """Change how an agent is supervised.

    Args:
        application: Knows the agents.
        agent: Its name.
        edit: Turns its settings into the new ones.

    Raises:
        UnknownAgentError: There is no such agent.
    """
    await application.orchestrator.agent(agent)
    return await application.orchestrator.supervision.settings.change(agent, edit, by=_who())


def _who() -> str:
    return f"cli:{getpass.getuser()}"


def _read_object(file: Path) -> dict[str, Any]:
    try:
        wish = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; name a JSON file") from error
    except ValueError as error:
        raise ConfigError(f"{file} is no JSON: {error}") from error
    if not isinstance(wish, dict):
        raise ConfigError(f"{file} holds no object: write the fields of a decision")
    return wish


def _tell(settled: Approval) -> None:
    print_parts(f"Decision {settled.decision_id} is {settled.state.value} now.")


def _table(found: list[Approval]) -> Table:
    table = Table("decision", "agent", "version", "state", "asked", "until", "by", box=None)
    for one in found:
        table.add_row(
            one.decision_id,
            one.agent,
            one.version,
            one.state.value,
            f"{one.asked_at:%Y-%m-%d %H:%M:%S}",
            f"{one.expires_at:%Y-%m-%d %H:%M:%S}",
            one.decided_by or "",
        )
    return table


def register(cli: typer.Typer) -> None:
    """Add the commands.

    Args:
        cli: To these.
    """
    typed: Any = group
    cli.add_typer(typed, name="approvals")
