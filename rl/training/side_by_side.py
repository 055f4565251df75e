"""Runs side by side: what differs in how they were made, and what they came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from utils.errors import ConfigError
from utils.persistence.run_log import flatten

if TYPE_CHECKING:
    from utils.persistence.run_queries import RunDetails

Side = tuple[str | None, ...]
"""A text for each run, None where it has none."""


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """Runs in the order asked for; every row has one entry a run."""

    runs: tuple[str, ...]
    differing: Mapping[str, Side]
    """Settings, code and packages that are not the same in all."""
    num_same: int
    """How many settings are."""
    best_scores: tuple[float | None, ...]
    """Highest mean KPI on validation episodes."""
    last_metrics: Mapping[str, tuple[float | None, ...]]
    env_steps: tuple[int, ...]
    other_data: tuple[str, ...]
    """Sets of scenarios that are not the same in all: scores on them cannot be compared."""


def compare_runs(runs: Sequence[RunDetails]) -> RunComparison:
    """Put runs side by side.

    Args:
        runs: At least two.

    Raises:
        ConfigError: There are fewer.
    """
    if len(runs) < 2:
        raise ConfigError("comparing takes at least two runs")
    settings = _table([dict(flatten(run.config)) for run in runs])
    facts = _table([_facts(run) for run in runs])
    data = _table([{one.role: one.sha256 for one in run.facts.data if one.sha256} for run in runs])
    names = sorted({name for run in runs for name in run.latest})
    differing = {name: side for name, side in (settings | facts).items() if _differs(side)}
    return RunComparison(
        runs=tuple(run.summary.id for run in runs),
        differing=differing,
        num_same=sum(not _differs(side) for side in settings.values()),
        best_scores=tuple(run.summary.best_score for run in runs),
        last_metrics={
            name: tuple(run.latest[name].value if name in run.latest else None for run in runs)
            for name in names
        },
        env_steps=tuple(run.summary.env_steps for run in runs),
        other_data=tuple(role for role, side in data.items() if _differs(side)),
    )


def _facts(run: RunDetails) -> dict[str, str]:
    versions = {f"version of {name}": version for name, version in run.versions.items()}
    dirty = {None: "", False: "", True: " with changes"}[run.code_dirty]
    return {"code": run.code_commit[:12] + dirty, **versions}


def _table(columns: Sequence[Mapping[str, str]]) -> dict[str, Side]:
    names = dict.fromkeys(name for column in columns for name in column)
    return {name: tuple(column.get(name) for column in columns) for name in names}


def _differs(side: Side) -> bool:
    return len(set(side)) > 1
