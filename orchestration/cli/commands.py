"""`python -m orchestration`: train, follow, promote and ask agents; no server is needed."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from ai_agents.base_agent import Decision
from ai_agents.registry import CHAMPION
from orchestration.app import Application
from orchestration.cli import (
    access,
    adoption,
    approvals,
    decisions,
    experiments,
    limits,
    operations,
    pipelines,
    policies,
    reports,
    schedules,
    tables,
    training,
    versions,
    watching,
    webhooks,
    working,
)
from orchestration.cli.parts import DATABASE, AsJson, Run
from orchestration.cli.parts import print_json as _print_json
from orchestration.cli.parts import print_parts as _print
from orchestration.cli.parts import run_opened as _run
from orchestration.jobs import Job, Resources
from orchestration.orchestrator import Orchestrator, Standing
from utils.clock import SystemClock
from utils.errors import ConfigError, QuartermasterError
from utils.logs import configure_logs
from utils.persistence.run_queries import RunDetails

USER_ERROR = 2


class _Group(TyperGroup):
    """Says in one line what a user can do about an error."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command.

        Args:
            ctx: As typer made it.
        """
        try:
            return super().invoke(ctx)
        except QuartermasterError as error:
            typer.echo(f"error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(USER_ERROR) from error
        except UnicodeEncodeError as error:  # words reach a program as any bytes
            typer.echo(f"error: {error.object!r} is no text in UTF-8: type it anew", err=True)
            raise typer.Exit(USER_ERROR) from error


cli = typer.Typer(
    cls=_Group,
    name="python -m orchestration",
    help="Train allocation agents, follow the runs, promote and ask the agents.",
    epilog="A RUN is the id of a run or its job, the end of one, or `latest`. State is kept in "
    "the folder --var; every command opens its database itself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
experiments.register(cli)
adoption.register(cli)
access.register(cli)
approvals.register(cli)
decisions.register(cli)
limits.register(cli)
operations.register(cli)
pipelines.register(cli)
policies.register(cli)
schedules.register(cli)
versions.register(cli)
webhooks.register(cli)
working.register(cli)


@cli.callback()
def set_up(
    context: typer.Context,
    var: Annotated[Path, typer.Option(help="Folder of database, artifacts and runs.")] = Path(
        "var"
    ),
    database: Annotated[
        str | None,
        typer.Option(
            envvar="QUARTERMASTER_DATABASE",
            help="URL, such as postgresql+psycopg://USER@HOST/NAME; a SQLite file in --var if "
            "absent.",
        ),
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "warning",
) -> None:
    """Train allocation agents, follow the runs, promote and ask the agents."""
    context.obj = var
    context.meta[DATABASE] = database
    configure_logs(level=log_level)


@cli.command()
def submit(  # noqa: PLR0913  each is an option of the command line
    context: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="What to do: train.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="What to train.")
    ] = None,
    *,
    watch: Annotated[bool, typer.Option(help="Carry it in this process and look on.")] = False,
    fresh: Annotated[
        bool, typer.Option(help="Start anew instead of going on with the same settings' job.")
    ] = False,
    priority: Annotated[
        int | None,
        typer.Option(
            min=-1000, max=1000, help="Higher ones go first; 10 with --watch, else 0, if absent."
        ),
    ] = None,
    cpus: Annotated[
        float, typer.Option(min=0, max=1000, help="Cores that it occupies on a worker.")
    ] = 0.0,
    gpus: Annotated[
        float, typer.Option(min=0, max=1000, help="Accelerators that it occupies.")
    ] = 0.0,
    limit_key: Annotated[
        str | None, typer.Option(help="Counted against this key's limit: see `limits`.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Queue a training run; the unfinished one of the same settings goes on instead.

    Without --watch it waits for a worker (`worker` or `serve`). With it, Ctrl-C saves the work, and
    the same command goes on from there.
    """
    if kind != "train":
        raise ConfigError(f"kind {kind!r}: only `train` is known")
    config = training.read_settings(settings or [])
    console = Console(stderr=as_json)
    usual = training.WATCHED.priority if watch else 0
    place = Standing(
        priority=usual if priority is None else priority,
        resources=Resources(cpu_milli=round(cpus * 1000), gpu_milli=round(gpus * 1000)),
        limit_key=limit_key,
    )

    async def queue(application: Application) -> Job | None:
        orchestrator = application.orchestrator
        job, found = await training.submit_or_continue(
            orchestrator, config, fresh=fresh, place=place
        )
        if not as_json:
            words = "Found unfinished" if found else "Queued"
            console.print(
                f"{words}: job {tables.short(job.id)}. It waits for a worker: start one with "
                "`python -m orchestration worker`, or look on with --watch.",
                soft_wrap=True,
            )
        return job

    async def carry(application: Application) -> Job | None:
        return await training.train_watched(
            application, config, fresh=fresh, console=console, place=place
        )

    if watch:
        with _logs_to(context.obj / "orchestration.log"):
            job = _run(context, carry, with_worker=True)
    else:
        job = _run(context, queue)
    if job is None:
        console.print("Saved. The same command goes on from there.")
        raise typer.Exit(training.INTERRUPTED)
    if as_json:
        views = importlib.import_module("orchestration.endpoints.job_views")  # with FastAPI
        _print_json(views.view(job).model_dump(mode="json"))
    elif watch:
        training.tell_end(console, job)
    raise typer.Exit(training.exit_code(job))


@cli.command()
def show(context: typer.Context, run: Run, *, as_json: AsJson = False) -> None:
    """Show all about one run: state, settings, evaluations, models, newest metrics."""

    async def load(application: Application) -> tuple[RunDetails, Job | None]:
        orchestrator = application.orchestrator
        details = await orchestrator.run((await training.find_run(orchestrator, run)).id)
        job_id = details.summary.job_id
        return details, await orchestrator.job(job_id) if job_id else None

    details, job = _run(context, load)
    table = (job.result or {}).get("table") if job else None
    if as_json:
        _print_json({**asdict(details), "table": table})
        return
    _print(tables.run_page(details, SystemClock().now()))
    if table is not None:
        _print("", tables.scores_table(table), tables.verdict(table))


@cli.command()
def cancel(context: typer.Context, run: Run) -> None:
    """Stop a run for good; its checkpoints stay."""
    _change(context, run, Orchestrator.cancel)


@cli.command()
def pause(context: typer.Context, run: Run) -> None:
    """Have a run save its work and wait."""
    _change(context, run, Orchestrator.pause)


@cli.command()
def resume(context: typer.Context, run: Run) -> None:
    """Let a paused run go on from its checkpoint, as soon as a worker is free."""
    _change(context, run, Orchestrator.resume)


@cli.command()
def agents(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List agents, their versions and what these are called."""
    found = _run(context, lambda application: application.orchestrator.agents())
    if as_json:
        _print_json([asdict(one) for one in found])
    elif found:
        _print(tables.agents_table(found))
    else:
        _print("No agents yet: a run that ends well registers one.")


@cli.command()
def promote(
    context: typer.Context,
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Name of the agent.")],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A number, or `latest`.")],
    *,
    alias: Annotated[str, typer.Option(help="What callers ask for.")] = CHAMPION,
    reason: Annotated[str, typer.Option(help="Kept in the alias's history.")] = "",
) -> None:
    """Let callers of an agent meet another version; moved at once and remembered."""
    if version != "latest" and not version.isdecimal():
        raise ConfigError(f"version {version!r}: give a number, or `latest`")
    number: Any = version if version == "latest" else int(version)
    moved = _run(
        context,
        lambda a: a.orchestrator.promote(agent, number, alias=alias, reason=reason),
    )
    _print(f"{agent}: {alias} is version {moved.version} now.")


@cli.command()
def invoke(
    context: typer.Context,
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Name of the agent.")],
    request: Annotated[
        str | None, typer.Argument(metavar="REQUEST", help="A JSON file, - for standard input.")
    ] = None,
    *,
    example: Annotated[
        bool, typer.Option("--example", help="Ask the example on its card.")
    ] = False,
    alias: Annotated[str, typer.Option(help="Which version, by what it is for.")] = CHAMPION,
    version: Annotated[int | None, typer.Option(min=1, help="Which version, by number.")] = None,
) -> None:
    """Ask an agent for a decision and print it as JSON."""
    if example == (request is not None):
        raise ConfigError("name one: a file with the request, - for standard input, or --example")
    content = None if request is None else _read_request(request)

    async def ask(application: Application) -> Decision:
        orchestrator = application.orchestrator
        asked: bytes | dict[str, Any] | None = content
        if asked is None:
            asked = (await orchestrator.card(agent, alias=alias, version=version)).examples[0]
        return await orchestrator.invoke(agent, asked, alias=alias, version=version)

    typer.echo(_run(context, ask).model_dump_json(indent=2))


cli.command()(reports.report)
cli.command()(watching.watch)


def main() -> None:
    """Run the command that was typed."""
    cli(prog_name="python -m orchestration")


def _change(
    context: typer.Context, run: str, ask: Callable[[Orchestrator, str], Awaitable[Job]]
) -> None:
    async def change(application: Application) -> tuple[Job, Job]:
        orchestrator = application.orchestrator
        before = await orchestrator.job(await training.find_job(orchestrator, run))
        return before, await ask(orchestrator, before.id)

    before, job = _run(context, change)
    name = f"Job {tables.short(job.id)}"
    if job == before:
        _print(f"{name} is {job.state.value} already; nothing to do.")
    elif job.state.is_live:
        _print(f"{name} is {job.state.value} and has been told: {job.desired.value}.")
    else:
        _print(f"{name} is {job.state.value} now.")


def _read_request(place: str) -> bytes:
    if place == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(place).read_bytes()
    except OSError as error:
        raise ConfigError(f"{place}: {error.strerror}; name a JSON file, or - for stdin") from error


@contextlib.contextmanager
def _logs_to(path: Path) -> Iterator[None]:
    """Keep log lines out of a live display."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        configure_logs(stream=stream, json=False)
        yield
        configure_logs(level="warning")
