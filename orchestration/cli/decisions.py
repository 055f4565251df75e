"""`decisions`: what agents decided, what came of it, and what the expert would have done better."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from typing import Annotated, Any

import typer
from rich.table import Table

from orchestration.cli.approvals import Agent, DecisionId, change_settings
from orchestration.cli.parts import AsJson, print_json, print_parts, run_opened
from orchestration.cli.words import read_words
from orchestration.delegation.decision_shelf import DecisionFilter, DecisionNotFoundError
from orchestration.feedback.regret import MOST_REPLAYED, RegretReport
from utils.errors import ConfigError
from utils.persistence.decisions import DecisionRecord

group = typer.Typer(no_args_is_help=True, help="Look decisions up and tell what came of them.")


@group.command(name="list")
def list_all(
    context: typer.Context,
    *,
    agent: Annotated[str | None, typer.Option(help="Only of this one.")] = None,
    outcome: Annotated[
        str | None, typer.Option(help="Only decision, fallback, refused or error.")
    ] = None,
    request_id: Annotated[str | None, typer.Option(help="The caller's name for it.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List decisions, newest first."""
    wanted = DecisionFilter(agent=agent, outcome=outcome, request_id=request_id)
    found = run_opened(context, lambda a: a.orchestrator.decisions.find(wanted, limit=limit))
    if as_json:
        print_json([asdict(one) for one in found])
    elif found:
        print_parts(_table(found))
    else:
        print_parts("No such decisions.")


@group.command()
def show(context: typer.Context, decision: DecisionId) -> None:
    """Show the record of a decision as JSON."""
    found = run_opened(context, lambda a: a.orchestrator.decisions.get(decision))
    if found is None:
        raise DecisionNotFoundError(f"no decision {decision!r}: `decisions list` names them")
    print_json(asdict(found))


@group.command()
def report(
    context: typer.Context,
    decision: DecisionId,
    words: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE...", help="What was seen; a.b=1 nests.")
    ],
) -> None:
    """Tell what came of a decision, such as served_work=71.5 arrived.search=30."""
    realised = read_words(words)
    run_opened(context, lambda a: a.orchestrator.decisions.report_outcome(decision, realised))
    print_parts(f"Kept what came of {decision}.")


@group.command()
def keep(
    context: typer.Context,
    agent: Agent,
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="So many; 0 keeps none.")],
    *,
    regret_limit: Annotated[
        float | None, typer.Option(help="Tell `regret_high` where mean regret is above it.")
    ] = None,
) -> None:
    """Keep the newest requests of an agent for replay, from now on."""
    edit = partial(replace, keep_requests=number, regret_limit=regret_limit)
    run_opened(context, partial(change_settings, agent=agent, edit=edit))
    print_parts(f"The newest {number} requests to {agent} are kept from now on.")


@group.command()
def drift(
    context: typer.Context,
    agent: Agent,
    answer: Annotated[
        str, typer.Argument(metavar="ANSWER", help="`expert` answers meanwhile, or the `policy`.")
    ],
) -> None:
    """Say who answers while the requests to an agent have drifted."""
    if answer not in {"expert", "policy"}:
        raise ConfigError(f"{answer!r}: write `expert` or `policy`")
    edit = partial(replace, expert_on_drift=answer == "expert")
    run_opened(context, partial(change_settings, agent=agent, edit=edit))
    print_parts(f"While requests to {agent} have drifted its {answer} answers.")


@group.command()
def regret(
    context: typer.Context,
    agent: Agent,
    *,
    limit: Annotated[
        int, typer.Option(min=1, max=MOST_REPLAYED, help="At most so many.")
    ] = MOST_REPLAYED,
    as_json: AsJson = False,
) -> None:
    """Play the kept requests again, and say what the expert would have done better."""
    found = run_opened(context, lambda a: a.orchestrator.regret.replay(agent, limit=limit))
    if as_json:
        print_json(asdict(found))
    else:
        print_parts(_sentence(found))


def _sentence(found: RegretReport) -> str:
    if found.mean is None:
        return f"None of the {found.num_skipped} kept requests of {found.agent} can be replayed."
    interval = "" if found.low is None else f" [{found.low:.4g}, {found.high:.4g}]"
    above = f"; above the limit of {found.limit:g}" if found.is_high else ""
    return (
        f"The expert's decisions would have been worth {found.mean:.4g}{interval} more each, over "
        f"{found.num_decisions} decisions, {found.num_realised} of them by what really came; "
        f"{found.num_skipped} were skipped{above}."
    )


def _table(found: list[DecisionRecord]) -> Table:
    table = Table("decision", "agent", "version", "outcome", "why", "at", "known", box=None)
    for one in found:
        known = "yes" if one.result_known_at else "no"
        moment = f"{one.at:%Y-%m-%d %H:%M:%S}"
        why = one.fallback_reason or ""
        table.add_row(one.id, one.agent, one.version, one.outcome, why, moment, known)
    return table


def register(cli: typer.Typer) -> None:
    """Add the commands.

    Args:
        cli: To these.
    """
    typed: Any = group
    cli.add_typer(typed, name="decisions")
