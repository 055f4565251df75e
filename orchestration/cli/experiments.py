"""Commands on runs that are there: find, compare, tag, repeat, move, delete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestration.app import Application
from orchestration.care.old_logs import KEPT_DAYS, KEPT_MIB, remove_old_logs
from orchestration.cli import experiment_tables, tables
from orchestration.cli.parts import AsJson, Run, print_json, print_parts, run_opened
from orchestration.cli.training import find_run
from orchestration.job_logs import MIB, RemovedLogs
from orchestration.jobs import Job
from rl.training.provenance import read_provenance, tell_code_difference
from rl.training.run_removal import DEFAULT_GRACE
from rl.training.run_shelf import RunShelf
from rl.training.training_config import TrainingConfig
from utils.clock import SystemClock
from utils.config import from_json
from utils.errors import ConfigError
from utils.persistence.run_filter import RunFilter, Threshold
from utils.persistence.run_log import RunState

DEFAULT_LIMIT = 20


def register(cli: typer.Typer) -> None:
    """Add the commands.

    Args:
        cli: To these.
    """
    commands: tuple[tuple[str, Callable[..., None]], ...] = (
        ("runs", runs),
        ("compare", compare),
        ("rerun", rerun),
        ("export", export),
        ("import", take_in),
        ("delete", delete),
        ("gc", collect),
    )
    for name, command in commands:
        cli.command(name)(command)
    cli.command("tag", context_settings={"ignore_unknown_options": True})(change_tags)


def runs(  # noqa: PLR0913  # one option for each way to find runs
    context: typer.Context,
    *,
    experiment: Annotated[str | None, typer.Option(help="Only of this experiment.")] = None,
    state: Annotated[
        list[RunState] | None, typer.Option(help="Only in this state; repeat for several.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="Only with this tag; repeat for more.")
    ] = None,
    environment: Annotated[str | None, typer.Option("--env", help="Only of this world.")] = None,
    algorithm: Annotated[str | None, typer.Option(help="Only of this algorithm.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC>=NUMBER",
            help="Only if the newest value of a metric, or best_score, is so; also <=, > and <. "
            "Quote it.",
        ),
    ] = None,
    text: Annotated[
        str, typer.Option(help="Only with this in id, experiment, error, tags or settings.")
    ] = "",
    before: Annotated[
        str | None, typer.Option(metavar="RUN", help="Only older ones: the page after this run.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = DEFAULT_LIMIT,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first.

    All conditions must hold. Example: runs --env resource_allocation --where 'best_score>=80'
    """
    wanted = RunFilter(
        experiment=experiment,
        states=tuple(state or ()),
        tags=tuple(tag or ()),
        environment=environment,
        algorithm=algorithm,
        thresholds=tuple(Threshold.parse(words) for words in where or ()),
        text=text,
    )

    async def find(application: Application) -> list[Any]:
        page_end = before and (await find_run(application.orchestrator, before)).id
        return await _shelf(application).find(wanted, limit=limit, before=page_end)

    found = run_opened(context, find)
    if as_json:
        print_json([asdict(one) for one in found])
    elif not found and (wanted != RunFilter() or before):
        print_parts("No such runs.")
    elif not found:
        print_parts("No runs yet. Start one: python -m orchestration submit train --watch")
    else:
        print_parts(tables.runs_table(found, SystemClock().now()))
        if len(found) == limit:
            print_parts(f"Older ones: --before {tables.short(found[-1].id)}")


def compare(
    context: typer.Context,
    run: Annotated[
        list[str], typer.Argument(metavar="RUN RUN...", help="Ids, their ends, or `latest`.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Put runs side by side: only what differs in their making, and what they came to."""

    async def load(application: Application) -> Any:
        found = [await find_run(application.orchestrator, one) for one in run]
        return await _shelf(application).compare(*(one.id for one in found))

    found = run_opened(context, load)
    if as_json:
        print_json(asdict(found))
    else:
        print_parts(*experiment_tables.comparison(found))


def change_tags(
    context: typer.Context,
    run: Run,
    changes: Annotated[
        list[str], typer.Argument(metavar="+TAG|-TAG...", help="+TAG gives one, -TAG takes it.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Give a run tags and take some away: tag latest +baseline -draft."""
    for word in changes:
        if word[:1] not in {"+", "-"}:
            raise ConfigError(f"{word!r}: write +TAG to give a tag, -TAG to take it away")
    add = [word[1:] for word in changes if word.startswith("+")]
    remove = [word[1:] for word in changes if word.startswith("-")]

    async def change(application: Application) -> tuple[str, tuple[str, ...]]:
        run_id = (await find_run(application.orchestrator, run)).id
        return run_id, await _shelf(application).tag(run_id, add=add, remove=remove)

    run_id, tags = run_opened(context, change)
    if as_json:
        print_json({"run": run_id, "tags": tags})
    else:
        print_parts(f"Run {tables.short(run_id)}: {' '.join(tags) or 'no tags'}.")


def rerun(context: typer.Context, run: Run, *, as_json: AsJson = False) -> None:
    """Queue a new run of the same settings and seed; says when the code is not the same.

    On the same code the numbers come out the same. The new run remembers whose repetition it is.
    """

    async def queue(application: Application) -> tuple[Job, str]:
        orchestrator = application.orchestrator
        details = await orchestrator.run((await find_run(orchestrator, run)).id)
        config = from_json(TrainingConfig, details.config)
        job = await orchestrator.submit_training(config, rerun_of=details.summary.id)
        difference = tell_code_difference(
            details.code_commit, code_dirty=details.code_dirty, now=read_provenance()
        )
        return job, difference

    job, difference = run_opened(context, queue)
    if as_json:
        run_id = job.spec["run_id"]
        print_json({"run": run_id, "job": job.id, "code_difference": difference})
        return
    print_parts(
        *([difference] if difference else []),
        f"Queued: run {tables.short(job.spec['run_id'])}. It waits for a worker: start one with "
        "`python -m orchestration worker`.",
    )


def export(
    context: typer.Context,
    run: Run,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; such as run.tar.gz.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Write a run to one file: rows, metrics, checkpoints, artifacts and report, all hashed."""

    async def write(application: Application) -> Any:
        run_id = (await find_run(application.orchestrator, run)).id
        return await _shelf(application).export(run_id, file)

    done = run_opened(context, write)
    if as_json:
        print_json(asdict(done))
    else:
        print_parts(
            f"{done.path}: run {tables.short(done.run_id)}, {done.num_files} files, "
            f"{done.size_bytes:,} bytes. Elsewhere: python -m orchestration import {done.path.name}"
        )


def take_in(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As `export` wrote it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Take in a run that was exported elsewhere; a damaged file changes nothing here.

    The run keeps its id, its models become next versions of their agents. Only import what comes
    from people you trust: the hashes prove that nothing was damaged, not who wrote it.
    """
    done = run_opened(context, lambda application: _shelf(application).take_in(file))
    if as_json:
        print_json(asdict(done))
    else:
        words = "is here now" if done.is_new else "was here already, the same"
        print_parts(f"Run {tables.short(done.run_id)} {words}.")


def delete(
    context: typer.Context,
    run: Run,
    *,
    confirm: Annotated[
        str, typer.Option(metavar="ID", help="The whole id of the run; asked for if left out.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Delete a run; its files stay until `gc` a week later.

    A run whose model has an alias, such as champion, is refused. Type the whole id to confirm.
    """

    async def resolve(application: Application) -> str:
        return (await find_run(application.orchestrator, run)).id

    run_id = run_opened(context, resolve)
    typed = confirm or typer.prompt(f"To delete run {run_id}, type its whole id", err=True)

    async def remove(application: Application) -> None:
        await _shelf(application).delete(run_id, confirm=typed)

    run_opened(context, remove)
    if as_json:
        print_json({"run": run_id})
    else:
        print_parts(
            f"Run {tables.short(run_id)} is deleted. `gc` removes its files in "
            f"{DEFAULT_GRACE.days} days."
        )


def collect(
    context: typer.Context,
    *,
    grace_days: Annotated[
        float, typer.Option(min=0, max=100_000, help="How long unwanted things stay, in days.")
    ] = DEFAULT_GRACE.days,
    log_days: Annotated[
        float,
        typer.Option(min=0, max=100_000, help="How long the logs of a job stay after its end."),
    ] = KEPT_DAYS,
    log_mib: Annotated[
        float, typer.Option(min=0, help="How much those of ended jobs may take together.")
    ] = KEPT_MIB,
    as_json: AsJson = False,
) -> None:
    """Remove the files of deleted runs, files that no run or model refers to, and old logs.

    In two phases: what is unwanted is marked now, and removed by a later `gc` once its mark is
    older than the grace. What a promoted model or another run needs is never removed.
    """
    work = partial(_collect, timedelta(days=grace_days), log_days, log_mib)
    done, logs = run_opened(context, work)
    if as_json:
        print_json({**asdict(done), "logs": asdict(logs)})
        return
    print_parts(
        f"Removed {len(done.runs)} runs, {len(done.artifacts)} artifacts, {len(done.folders)} "
        f"folders; marked {done.marked} more for later."
    )
    print_parts(f"Removed the logs of {logs.jobs} jobs, {logs.size_bytes / MIB:,.1f} MiB.")
    for run_id in done.kept:
        print_parts(
            f"Of run {tables.short(run_id)} checkpoints stay: a model or another run needs them."
        )


async def _collect(
    grace: timedelta, log_days: float, log_mib: float, application: Application
) -> tuple[Any, RemovedLogs]:
    done = await _shelf(application).collect(grace=grace)
    database, work = application.database, application.settings.var / "work"
    clock = SystemClock()
    return done, await remove_old_logs(database, work, clock=clock, days=log_days, mib=log_mib)


def _shelf(application: Application) -> RunShelf:
    return RunShelf(application.database, output_dir=application.settings.var)
