"""Finding runs: by experiment, state, tags, settings, metrics and text; newest first, in pages."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, exists, or_
from sqlalchemy.ext.asyncio import AsyncConnection

from utils.errors import ConfigError
from utils.persistence import experiments as tables
from utils.persistence.run_log import RunState
from utils.persistence.run_queries import RunSummary, check_limit, summaries, to_summary

MAX_RUNS = 1000
BEST_SCORE = "best_score"
"""Not a metric: the highest validation score of the run."""
COMPARISONS = (">=", "<=", ">", "<")
HOW_TO_WRITE = "write METRIC>=NUMBER; also <=, > and <"
THRESHOLD = re.compile(r"\s*([^<>=\s]+)\s*(>=|<=|>|<)\s*(\S+)\s*")


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Which side of a number the newest value of a metric must be on."""

    metric: str
    """Its name, or `best_score`."""
    comparison: str
    """One of `>= <= > <`."""
    value: float

    def __post_init__(self) -> None:
        """Refuse what cannot be compared.

        Raises:
            ConfigError: The comparison is unknown, or the value not finite.
        """
        if self.comparison not in COMPARISONS or not math.isfinite(self.value):
            raise ConfigError(f"{self.metric}{self.comparison}{self.value}: {HOW_TO_WRITE}")

    def __str__(self) -> str:
        """Write it as `parse` reads it."""
        return f"{self.metric}{self.comparison}{self.value!r}"

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """Read a threshold as people write it.

        Args:
            text: Such as `return>=12.5`.

        Raises:
            ConfigError: It is none.
        """
        match = THRESHOLD.fullmatch(text)
        if match is not None:
            metric, comparison, number = match.groups()
            with contextlib.suppress(ValueError):
                return cls(metric=metric, comparison=comparison, value=float(number))
        raise ConfigError(f"threshold {text!r}: {HOW_TO_WRITE}")


@dataclass(frozen=True, kw_only=True)
class RunFilter:
    """Which runs; all of the named conditions must hold."""

    experiment: str | None = None
    states: tuple[RunState, ...] = ()
    """Any of these; all if empty."""
    tags: tuple[str, ...] = ()
    """All of these."""
    environment: str | None = None
    algorithm: str | None = None
    thresholds: tuple[Threshold, ...] = ()
    text: str = ""
    """Found, whatever its case, in the id, experiment, error, a tag or a setting's value."""


EVERYTHING = RunFilter()


async def list_runs(
    connection: AsyncConnection,
    *,
    experiment: str | None = None,
    states: Collection[RunState] = (),
    limit: int = 100,
) -> list[RunSummary]:
    """List runs, newest first.

    Args:
        connection: An open transaction.
        experiment: Only of this experiment.
        states: Only in these; all if empty.
        limit: At most so many; 1 to `MAX_RUNS`.

    Raises:
        ConfigError: The limit is out of range.
    """
    wanted = RunFilter(experiment=experiment, states=tuple(states))
    return await find_runs(connection, wanted, limit=limit)


async def find_runs(
    connection: AsyncConnection,
    wanted: RunFilter = EVERYTHING,
    *,
    limit: int = 100,
    before: str | None = None,
) -> list[RunSummary]:
    """List the runs that fit, newest first.

    Args:
        connection: An open transaction.
        wanted: Which.
        limit: At most so many; 1 to `MAX_RUNS`.
        before: Only older ones than this run: the last id of the page before.

    Raises:
        ConfigError: The limit is out of range.
    """
    check_limit("limit", limit, MAX_RUNS)
    run = tables.run
    query = summaries().order_by(run.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(run.c.id < before)
    for condition in _conditions(wanted):
        query = query.where(condition)
    rows = (await connection.execute(query)).mappings()
    return [to_summary(row) for row in rows]


async def find_by_end(connection: AsyncConnection, end: str, *, shortest: int) -> list[RunSummary]:
    """Find up to two runs whose id, or whose job's, is or ends so, newest first.

    Args:
        connection: An open transaction.
        end: An id, or the end of one.
        shortest: Fewer characters are not taken for an end.
    """
    ids = (tables.run.c.id, tables.run.c.job_id)
    fits = [one == end for one in ids]
    if len(end) >= shortest:
        fits += [one.endswith(end, autoescape=True) for one in ids]
    query = summaries().where(or_(*fits)).order_by(tables.run.c.id.desc()).limit(2)
    return [to_summary(row) for row in (await connection.execute(query)).mappings()]


def _conditions(wanted: RunFilter) -> list[ColumnElement[bool]]:
    conditions = [_has_tag(name) for name in wanted.tags]
    conditions += [_passes(threshold) for threshold in wanted.thresholds]
    if wanted.experiment is not None:
        conditions.append(tables.experiment.c.name == wanted.experiment)
    if wanted.states:
        conditions.append(tables.run.c.state.in_([state.value for state in wanted.states]))
    for key in ("environment", "algorithm"):
        value = getattr(wanted, key)
        if value is not None:
            param = tables.param
            conditions.append(_exists(param, param.c.key == key, param.c.value == value))
    if wanted.text.strip():
        conditions.append(_mentions(wanted.text.strip()))
    return conditions


def _has_tag(name: str) -> ColumnElement[bool]:
    return _exists(tables.tag, tables.tag.c.name == name)


def _passes(threshold: Threshold) -> ColumnElement[bool]:
    newest = tables.metric_latest
    is_best = threshold.metric == BEST_SCORE
    column = tables.run.c.best_score if is_best else newest.c.value
    passes = column.op(threshold.comparison, is_comparison=True)(threshold.value)
    return passes if is_best else _exists(newest, newest.c.key == threshold.metric, passes)


def _mentions(text: str) -> ColumnElement[bool]:
    run = tables.run
    return or_(
        run.c.id.icontains(text, autoescape=True),
        run.c.error.icontains(text, autoescape=True),
        tables.experiment.c.name.icontains(text, autoescape=True),
        _exists(tables.tag, tables.tag.c.name.icontains(text, autoescape=True)),
        _exists(tables.param, tables.param.c.value.icontains(text, autoescape=True)),
    )


def _exists(table: Any, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(table.c.run_id == tables.run.c.id, *conditions)
