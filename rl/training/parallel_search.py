"""Trials of a search as jobs, several at once; whoever carries the jobs is behind a protocol."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import anyio

from rl.training.hyperparameter_search import HyperparameterSearch, SearchFailedError, Trial
from rl.training.training_config import TrainingConfig
from utils.config import to_json
from utils.errors import ConfigError

POLL_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """How a training job does."""

    scores: tuple[float, ...]
    """Of its evaluations after the first step, oldest first."""
    has_ended: bool
    best_score: float | None = None
    """If it ended well."""
    error: str = ""
    """Why it ended otherwise."""


class TrainingJobs(Protocol):
    """What carries training jobs; the orchestrator, seen from a search."""

    async def submit(self, config: TrainingConfig, *, key: str) -> str:
        """Queue a run, or find the unfinished one of this key; returns the job's id."""
        ...

    async def status(self, job_id: str) -> JobStatus:
        """Return how it does."""
        ...

    async def cancel(self, job_id: str) -> None:
        """Stop it for good."""
        ...


async def run_parallel(
    search: HyperparameterSearch,
    make: Callable[[Mapping[str, Any]], TrainingConfig],
    jobs: TrainingJobs,
    *,
    num_parallel: int,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> None:
    """Keep so many trials under way until the study has enough.

    A job's key is made of its settings: a trial that was killed and is tried again finds its job
    and goes on from where that is.

    Args:
        search: The study.
        make: From a trial's values to the whole configuration.
        jobs: Carries the trainings.
        num_parallel: How many at once.
        sleep: Waits between two looks at a job.

    Raises:
        ConfigError: There is nothing to run in parallel.
        SearchFailedError: One trial after the other fails.
    """
    if num_parallel < 1:
        raise ConfigError(f"num_parallel={num_parallel}: choose at least 1")
    failures: list[SearchFailedError] = []

    async def work() -> None:
        try:
            while not failures and search.has_more():
                await _carry(search, search.ask(), make, jobs, sleep=sleep)
        except SearchFailedError as error:
            failures.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(num_parallel):
            group.start_soon(work)
    if failures:
        raise failures[0]


async def _carry(
    search: HyperparameterSearch,
    trial: Trial,
    make: Callable[[Mapping[str, Any]], TrainingConfig],
    jobs: TrainingJobs,
    *,
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    try:
        config = make(trial.values)
    except ConfigError as error:
        search.fail(trial, str(error))
        return
    job_id = await jobs.submit(config, key=job_key(search.config.study, config))
    heard = 0
    while True:
        status = await jobs.status(job_id)
        for score in status.scores[heard:]:
            if search.report(trial, heard, score) and not status.has_ended:
                await jobs.cancel(job_id)
                search.prune(trial)
                return
            heard += 1
        if status.has_ended:
            break
        await sleep(POLL_SECONDS)
    if status.best_score is None:
        search.fail(trial, status.error or "training ended without an evaluation")
    else:
        search.complete(trial, status.best_score)


def job_key(study: str, config: TrainingConfig) -> str:
    """Name the job of a trial.

    Args:
        study: Of the search.
        config: All settings.
    """
    content = json.dumps([study, to_json(config)], sort_keys=True).encode()
    return f"search:{hashlib.sha256(content).hexdigest()[:24]}"
