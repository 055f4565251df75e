"""What is said of runs, in words and rows; nothing here draws or asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from orchestration.client.runs import RunComparison
from orchestration.jobs import Desired, JobState
from utils.persistence.run_lines import RunLine
from utils.persistence.run_log import RunState
from utils.persistence.run_queries import Evaluation, RunDetails, RunSummary

Color = Literal["green", "blue", "orange", "red", "gray"]
COLORS: dict[RunState, Color] = {
    RunState.QUEUED: "gray",
    RunState.RUNNING: "blue",
    RunState.PAUSED: "orange",
    RunState.SUCCEEDED: "green",
    RunState.FAILED: "red",
    RunState.CANCELLED: "gray",
}
LARGE = 1000.0
"""From here on a score needs no decimals."""
SHORT = 8
UNITS = (("d", 86_400), ("h", 3600), ("min", 60))
Button = Literal["pause", "resume", "cancel", "retry"]


def short(run_id: str) -> str:
    """Return the end of an id, by which the CLI finds it, too.

    Args:
        run_id: Whole.
    """
    return run_id[-SHORT:]


def title_of(config: Mapping[str, Any], seed: int) -> str:
    """Name a run by what it trains.

    Args:
        config: Its settings.
        seed: Its own.
    """
    algorithm, environment = config.get("algorithm", "?"), config.get("environment", "?")
    return f"{algorithm} in {str(environment).replace('_', ' ')}, seed {seed}"


def title_of_line(run: RunLine) -> str:
    """Name a run of a list.

    Args:
        run: Its line.
    """
    return title_of({"algorithm": run.algorithm, "environment": run.environment}, run.seed)


def number(value: float | None) -> str:
    """Write a score of any size so that its changes can be seen.

    Args:
        value: None if nobody knows.
    """
    if value is None:
        return "none yet"
    return f"{value:,.0f}" if abs(value) >= LARGE else f"{value:.4g}"


def against_expert(best: float | None, expert: float | None) -> str:
    """Write the best score beside the expert's.

    Args:
        best: Highest mean KPI on validation episodes.
        expert: The best expert's on the same.
    """
    if best is None or expert is None:
        return number(best)
    if not expert:
        return f"{number(best)}, expert {number(expert)}"
    lead = (best - expert) / abs(expert)
    return f"{number(best)}, expert {number(expert)} ({lead:+.1%})"


def fraction_done(run: RunSummary) -> float:
    """Return the share of the training that is done, from 0 to 1.

    Args:
        run: Which.
    """
    if not run.total_env_steps:
        return 1.0 if run.state is RunState.SUCCEEDED else 0.0
    return min(1.0, run.env_steps / run.total_env_steps)


def progress_words(run: RunSummary) -> str:
    """Say how far a run is.

    Args:
        run: Which.
    """
    done = f"{fraction_done(run):.0%}, {run.env_steps:,}"
    if not run.total_env_steps or run.env_steps > run.total_env_steps:  # a last update may pass it
        return f"{done} steps"
    return f"{done} of {run.total_env_steps:,} steps"


def age(since: datetime, now: datetime) -> str:
    """Say how long ago something was.

    Args:
        since: When it was.
        now: When it is looked at.
    """
    return f"{span(now - since)} ago" if (now - since).total_seconds() >= 1 else "just now"


def span(time: timedelta) -> str:
    """Say how long something takes, in its largest unit.

    Args:
        time: Not negative.
    """
    seconds = max(0, int(time.total_seconds()))
    for name, size in UNITS:
        if seconds >= size:
            return f"{seconds // size} {name}"
    return f"{seconds} s"


def buttons_of(state: JobState, desired: Desired) -> tuple[Button, ...]:
    """Return what can be done with the job of a run.

    Args:
        state: Of the job.
        desired: What its owner wants of it.
    """
    if state.is_terminal:
        return ("retry",)
    if desired is Desired.CANCEL:
        return ()
    if desired is Desired.PAUSE or state is JobState.PAUSED:
        return ("resume", "cancel")
    return ("pause", "cancel")


def newest_score(evaluations: Sequence[Evaluation]) -> str:
    """Say what the newest evaluation found.

    Args:
        evaluations: Of one run, oldest first.
    """
    if not evaluations:
        return "Not evaluated yet."
    newest = evaluations[-1]
    scores = newest.scores
    words = f"At {newest.env_steps:,} steps the policy scores {number(scores.get('kpi'))}"
    if scores.get("kpi") is None:
        words = f"At {newest.env_steps:,} steps the policy has no finite score"
    low, high = scores.get("kpi_low"), scores.get("kpi_high")
    if low is not None and high is not None:
        words += f" (interval {number(low)} to {number(high)})"
    beside = [
        f"{name} {number(scores[name])}"
        for name in ("expert", "bound")
        if scores.get(name) is not None
    ]
    if beside:
        words += f", the {', the '.join(beside)}"
    gap = scores.get("gap_closed")
    if gap is not None:
        words += (
            f"; {gap:.0%} of the gap between them is closed"
            if gap >= 0
            else (f"; it is behind the expert by {-gap:.0%} of the gap between them")
        )
    return f"{words}."


@dataclass(frozen=True, kw_only=True)
class FileRow:
    """A file of a run that can be downloaded."""

    name: str
    kind: str
    size_bytes: int
    sha256: str
    file_name: str


def file_rows(run: RunDetails) -> list[FileRow]:
    """Return the files of a run: what it left, and the policies that came of it.

    Args:
        run: Which.
    """
    files = [
        FileRow(
            name=one.name,
            kind=one.kind,
            size_bytes=one.size_bytes,
            sha256=one.sha256,
            file_name=one.name.replace("/", "-"),
        )
        for one in run.facts.artifacts
    ]
    seen = {one.sha256 for one in files}
    return files + [
        FileRow(
            name=f"{one.agent}, version {one.version}",
            kind="policy",
            size_bytes=one.size_bytes,
            sha256=one.sha256,
            file_name=f"{one.agent}-{one.version}.safetensors",
        )
        for one in run.models
        if one.sha256 not in seen
    ]


def comparison_rows(comparison: RunComparison, names: Sequence[str]) -> list[dict[str, str]]:
    """Return a row for each setting that is not the same in all runs.

    Args:
        comparison: Of them.
        names: Of the runs, in its order.
    """
    return [
        {"setting": setting, **{n: v or "" for n, v in zip(names, side, strict=True)}}
        for setting, side in comparison.differing.items()
    ]


def result_rows(comparison: RunComparison, names: Sequence[str]) -> list[dict[str, str]]:
    """Return a row for each figure that runs came to.

    Args:
        comparison: Of them.
        names: Of the runs, in its order.
    """
    figures: dict[str, Sequence[str]] = {
        "steps": [f"{steps:,}" for steps in comparison.env_steps],
        "best score": list(map(number, comparison.best_scores)),
    }
    figures |= {name: list(map(number, side)) for name, side in comparison.last_metrics.items()}
    return [
        {"figure": name, **dict(zip(names, side, strict=True))} for name, side in figures.items()
    ]


def setting_rows(config: Mapping[str, Any], prefix: str = "") -> list[dict[str, str]]:
    """Return a row for each setting, inner ones by dotted names; what was left open is left out.

    Args:
        config: Plain JSON.
        prefix: Before each name.
    """
    rows: list[dict[str, str]] = []
    for name, value in config.items():
        if isinstance(value, Mapping):
            rows += setting_rows(value, f"{prefix}{name}.")
        elif value is not None:
            rows.append({"setting": prefix + name, "value": str(value)})
    return rows
