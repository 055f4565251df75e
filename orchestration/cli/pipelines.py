"""`pipelines`: submit steps that need one another, and see how far they are."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestration.app import Application
from orchestration.cli import tables
from orchestration.cli.parts import AsJson, print_json, print_parts, run_opened
from orchestration.cli.words import read_words
from orchestration.pipelines.declaration import PipelineError, load_declaration
from orchestration.pipelines.retraining import RETRAIN
from orchestration.pipelines.submission import Order, plan_from_json
from utils.clock import SystemClock

if TYPE_CHECKING:
    from orchestration.jobs import Job

What = Annotated[
    str, typer.Argument(metavar="WHAT", help="`retrain`, or a YAML or JSON file of steps.")
]
Words = Annotated[
    list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="Of `retrain` only.")
]
group = typer.Typer(no_args_is_help=True, help="Submit pipelines and follow their steps.")


@group.command()
def submit(
    context: typer.Context, what: What, words: Words = None, *, as_json: AsJson = False
) -> None:
    """Queue a pipeline: all of its jobs, or none.

    `retrain agent=NAME` trains on from the champion's policy, judges the result against champion
    and best expert, and promotes or keeps; other words are settings of the training that differ.
    """
    order = read_order(what, words or [])
    jobs = run_opened(context, lambda a: a.orchestrator.automation.pipelines.submit(order))
    if as_json:
        print_json(_plain(jobs))
    else:
        print_parts(f"Queued pipeline {jobs[0].pipeline_id}:", _steps(jobs))


@group.command(name="list")
def list_pipelines(
    context: typer.Context,
    *,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the newest pipelines and how far each is."""
    found = run_opened(context, lambda a: a.orchestrator.automation.pipelines.recent(limit=limit))
    if as_json:
        print_json([_plain(jobs) for jobs in found])
        return
    now, table = SystemClock().now(), tables.make_table("pipeline", "steps", "age")
    for jobs in found:
        steps = ", ".join(f"{job.step} {job.state.value}" for job in jobs)
        age = tables.age(jobs[0].created_at, now)
        table.add_row(tables.short(str(jobs[0].pipeline_id)), steps, age)
    print_parts(table if found else "No pipelines yet: `pipelines submit retrain agent=NAME`.")


@group.command()
def show(
    context: typer.Context,
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="Its id, or the end of it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show the steps of a pipeline, and why it promoted or kept."""
    jobs = run_opened(context, partial(_find, pipeline))
    if as_json:
        print_json(_plain(jobs))
        return
    print_parts(_steps(jobs))
    for job in jobs:
        verdict = job.result or {}
        if "because" in verdict:
            said = "promote" if verdict["promote"] else "keep: " + "; ".join(verdict["reasons"])
            print_parts(f"{job.step}: {said} ({verdict['because']})")


def read_order(what: str, words: list[str]) -> Order:
    """Read what is to be submitted.

    Args:
        what: `retrain`, or a file.
        words: `agent=NAME` and settings that differ.

    Raises:
        PipelineError: It is neither, or the file holds no pipeline.
        ConfigError: A word is none.
    """
    if what != RETRAIN:
        if words:
            raise PipelineError(f"{words[0]!r}: a file says everything itself; change it there")
        return plan_from_json(load_declaration(Path(what)))
    settings = read_words(words)
    agent = settings.pop("agent", "")
    return plan_from_json({RETRAIN: {"agent": agent, "settings": settings}})


async def _find(pipeline: str, application: Application) -> list[Job]:
    desk = application.orchestrator.automation.pipelines
    return await desk.jobs(await desk.find(pipeline))


def _steps(jobs: list[Job]) -> Any:
    table = tables.make_table("step", "kind", "state", "job", "note")
    for job in jobs:
        note = (job.error or "").partition("\n")[0]
        table.add_row(job.step or "", job.kind, job.state.value, tables.short(job.id), note)
    return table


def _plain(jobs: list[Job]) -> dict[str, Any]:
    steps = [
        {
            "step": job.step,
            "kind": job.kind,
            "job": job.id,
            "state": job.state.value,
            "error": job.error,
            "result": job.result,
        }
        for job in jobs
    ]
    return {"pipeline": jobs[0].pipeline_id, "steps": steps}


def register(cli: typer.Typer) -> None:
    """Add the commands.

    Args:
        cli: To these.
    """
    cli.add_typer(group, name="pipelines")
