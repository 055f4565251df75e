"""Commands of how versions come into use: canary, gate, rollback."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from orchestration.app import Application
from orchestration.cli import tables
from orchestration.cli.parts import AsJson, print_json, print_parts, run_opened
from orchestration.rollout.plan import CanaryLimits
from utils.errors import ConfigError

if TYPE_CHECKING:
    from orchestration.rollout.plan import CanaryPlan

USUAL = CanaryLimits()
Agent = Annotated[str, typer.Argument(metavar="AGENT", help="Name of the agent.")]
Reason = Annotated[str, typer.Option(help="Kept in the history.")]


def register(cli: typer.Typer) -> None:
    """Add the commands.

    Args:
        cli: To it.
    """
    cli.command()(canary)
    cli.command("promote-challenger")(promote_challenger)
    cli.command()(rollback)
    cli.command()(gate)


def canary(  # noqa: PLR0913  each is an option of the command line
    context: typer.Context,
    agent: Agent,
    *,
    share: Annotated[
        float | None, typer.Option(help="Of the request keys for the challenger, 0 to 1.")
    ] = None,
    version: Annotated[
        int | None, typer.Option(min=1, help="Becomes the challenger; the present one if absent.")
    ] = None,
    stop: Annotated[bool, typer.Option(help="End it: all requests go to the champion.")] = False,
    window: Annotated[
        int, typer.Option(help="The challenger's last so many requests are judged.")
    ] = USUAL.window,
    fewest: Annotated[int, typer.Option(help="Nothing is concluded from fewer.")] = USUAL.fewest,
    most_errors: Annotated[
        float, typer.Option(help="Ratio of errors above the champion's.")
    ] = USUAL.most_errors,
    most_fallbacks: Annotated[
        float, typer.Option(help="Ratio of fallbacks above the champion's.")
    ] = USUAL.most_fallbacks,
    most_slowdown: Annotated[
        float, typer.Option(help="95th percentile of latency, as a multiple of the champion's.")
    ] = USUAL.most_slowdown,
    most_regret: Annotated[
        float, typer.Option(help="Mean value that the champion would have had more, relative.")
    ] = USUAL.most_regret,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Show an agent's canary, begin one with --share, or end it with --stop.

    Servers see the change within a second. A broken limit ends the canary by itself.
    """
    if stop and share is not None:
        raise ConfigError("--share begins a canary and --stop ends it: give one of them")
    if version is not None and share is None:
        raise ConfigError("--version says which version a canary tries: give --share too")
    limits = CanaryLimits(
        window=window,
        fewest=fewest,
        most_errors=most_errors,
        most_fallbacks=most_fallbacks,
        most_slowdown=most_slowdown,
        most_regret=most_regret,
    )

    async def work(application: Application) -> CanaryPlan:
        rollout = application.orchestrator.rollout
        if stop:
            return await rollout.stop_canary(agent, reason=reason)
        if share is None:
            return await rollout.canary(agent)
        return await rollout.start_canary(
            agent, share=share, version=version, limits=limits, reason=reason
        )

    plan = run_opened(context, work)
    if as_json:
        print_json(asdict(plan))
        return
    why = f": {plan.reason}" if plan.reason else ""
    print_parts(f"{agent}: version {plan.version} on {plan.share:.1%}, {plan.state.value}{why}")


def promote_challenger(
    context: typer.Context,
    agent: Agent,
    *,
    force: Annotated[
        bool, typer.Option(help="Whatever the gate says; wants a --reason, which is kept.")
    ] = False,
    reason: Reason = "",
) -> None:
    """Let challenger and champion change places, if the promotion gate lets it through.

    It must have been judged (`pipelines`, an evaluate step) against the champion of today, be
    better than champion and expert with the whole interval, and break no limit.
    """
    if force and not reason.strip():
        raise ConfigError("--force wants a --reason: it is kept with what the gate said")
    forced = reason if force else None
    result = run_opened(
        context,
        lambda a: a.orchestrator.rollout.promote_challenger(
            agent, force_because=forced, reason="" if force else reason
        ),
    )
    print_parts(f"{agent}: champion is version {result.version} now.")


def rollback(context: typer.Context, agent: Agent, *, reason: Reason = "") -> None:
    """Let the champion be the version that it was before; twice goes back two versions."""
    record = run_opened(context, lambda a: a.orchestrator.rollout.rollback(agent, reason=reason))
    print_parts(f"{agent}: champion is version {record.version} again.")


def gate(context: typer.Context, agent: Agent, *, as_json: AsJson = False) -> None:
    """List what the promotion gate said of an agent's versions, newest first."""
    found = run_opened(context, lambda a: a.orchestrator.rollout.gate_results(agent))
    if as_json:
        print_json([asdict(one) for one in found])
        return
    if not found:
        print_parts("No version stood before the gate yet.")
        return
    table = tables.make_table("at", "version", "champion", "verdict", "why")
    for one in found:
        verdict = "passed" if one.is_passed else "refused"
        verdict = f"{verdict}, forced" if one.forced_because else verdict
        why = "; ".join([*one.reasons, *filter(None, [one.forced_because])])
        at, champion = f"{one.at:%Y-%m-%d %H:%M}", str(one.champion or "none")
        table.add_row(at, str(one.version), champion, verdict, why)
    print_parts(table)
