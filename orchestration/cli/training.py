"""Training from the command line: settings as `key=value`, one job per settings, watched or not."""

from __future__ import annotations

import hashlib
import json
import typing
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestration.app import Application, run_with
from orchestration.cli import tables
from orchestration.cli.progress import make_display, watch
from orchestration.jobs import Desired, Job, JobState
from orchestration.orchestrator import Standing
from rl.training.training_config import TrainingConfig
from utils.clock import SystemClock
from utils.config import from_json, to_json
from utils.errors import ConfigError
from utils.persistence.run_queries import RunNotFoundError

if TYPE_CHECKING:
    from rich.console import Console

    from orchestration.orchestrator import Orchestrator
    from utils.persistence.run_queries import RunSummary

WATCHED = Standing(priority=10)
"""Of jobs that somebody sits and watches: they go before what was queued for later."""
SHORTEST_END = 4
FAILED, INTERRUPTED = 1, 130
"""What a command exits with if the training failed, or Ctrl-C came first."""


def read_settings(words: Sequence[str]) -> TrainingConfig:
    """Read settings as typed by a person.

    Args:
        words: Each `field=value` of TrainingConfig; `env` stands for `environment`.

    Raises:
        ConfigError: A word is no setting, or a value does not fit; it is named.
    """
    values: dict[str, Any] = {}
    hints = typing.get_type_hints(TrainingConfig)
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r}: write settings as name=value, such as seed=1")
        field = "environment" if name == "env" else name
        values[field] = text if hints.get(field) is str else _read_value(text)
    return from_json(TrainingConfig, values)


def settings_key(config: TrainingConfig) -> str:
    """Return what tells the job of these settings from others.

    Args:
        config: All settings.
    """
    content = json.dumps(to_json(config), sort_keys=True).encode()
    return f"train:{hashlib.sha256(content).hexdigest()[:24]}"


async def submit_or_continue(
    orchestrator: Orchestrator, config: TrainingConfig, *, fresh: bool, place: Standing = WATCHED
) -> tuple[Job, bool]:
    """Queue a training run, or find the unfinished job of the same settings and let it go on.

    Args:
        orchestrator: Takes the job.
        config: What to train.
        fresh: Cancel an unfinished one and start anew; it needs a worker if the job runs.
        place: Of a new job.

    Returns:
        The job, and whether it was found.
    """
    key = settings_key(config)
    found = await orchestrator.find_unfinished(key)
    if found is not None and fresh:
        await orchestrator.cancel(found.id)
        await orchestrator.wait(found.id)
        found = None
    if found is None:
        job = await orchestrator.submit_training(config, dedupe_key=key, place=place)
        return job, False
    if found.desired is Desired.PAUSE:
        found = await orchestrator.resume(found.id)
    return found, True


async def train_watched(
    application: Application,
    config: TrainingConfig,
    *,
    fresh: bool,
    console: Console,
    place: Standing = WATCHED,
) -> Job | None:
    """Train with a live display, carrying jobs in this process.

    Args:
        application: With a worker.
        config: What to train.
        fresh: Whether to start anew.
        console: Where to show it.
        place: Of a new job.

    Returns:
        The job as it ended, or None if a signal came first; its work is then saved.
    """
    return await run_with(
        application,
        partial(_train, application, config, fresh=fresh, console=console, place=place),
    )


async def find_run(orchestrator: Orchestrator, reference: str) -> RunSummary:
    """Find a run by what people type.

    Args:
        orchestrator: Knows the runs.
        reference: Id of the run or its job, the end of one, or `latest`.

    Raises:
        RunNotFoundError: None fits, or several.
    """
    if reference == "latest":
        found = await orchestrator.runs(limit=1)
    else:
        found = await orchestrator.runs_ending(reference, shortest=SHORTEST_END)
    if len(found) == 1:
        return found[0]
    if found:
        raise RunNotFoundError(f"several runs end in {reference!r}: give more of the id")
    raise RunNotFoundError(f"no run {reference!r}: `python -m orchestration runs` lists them")


async def find_job(orchestrator: Orchestrator, reference: str) -> str:
    """Find the job of a run.

    Args:
        orchestrator: Knows the runs.
        reference: As for `find_run`.

    Raises:
        RunNotFoundError: No run fits, or several, or the run was not made by a job.
    """
    run = await find_run(orchestrator, reference)
    if run.job_id is None:
        raise RunNotFoundError(f"run {run.id} belongs to a program of its own, not to a job")
    return run.job_id


def tell_end(console: Console, job: Job) -> None:
    """Say what a training came to.

    Args:
        console: Where to say it.
        job: As it ended.
    """
    if job.state is JobState.SUCCEEDED and job.result is not None and "table" in job.result:
        console.print(tables.scores_table(job.result["table"], width=console.width))
        console.print(tables.verdict(job.result["table"]), soft_wrap=True)
        console.print(f"Report: {job.result['report']}", soft_wrap=True)
        agent = job.result["agent"]
        console.print(f"Next: python -m orchestration promote {agent} latest", soft_wrap=True)
        return
    reason = f": {job.error}" if job.error else "."
    console.print(f"The job is {job.state.value}{reason}", markup=False, soft_wrap=True)


def exit_code(job: Job) -> int:
    """Return what a command exits with that saw a job end.

    Args:
        job: As it ended.
    """
    return FAILED if job.state in {JobState.FAILED, JobState.DEAD, JobState.TIMED_OUT} else 0


async def _train(
    application: Application,
    config: TrainingConfig,
    *,
    fresh: bool,
    console: Console,
    place: Standing,
) -> Job:
    orchestrator, clock = application.orchestrator, SystemClock()
    job, found = await submit_or_continue(orchestrator, config, fresh=fresh, place=place)
    if found and job.progress_done:
        console.print(
            f"Found this training unfinished, {job.progress_done:,} steps in: going on.",
            highlight=False,
        )
    with make_display(console, clock) as display:
        return await watch(orchestrator, job.id, display, clock)


def _read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None if text.lower() == "none" else text
