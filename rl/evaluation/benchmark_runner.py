"""Many policies on many contests with many seeds, as one table on one scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rl.evaluation.contest import Contest, Numbers, ScenarioSet
from rl.evaluation.entrants import Entrant, play_runs
from rl.evaluation.judging import NUM_THRESHOLDS
from rl.evaluation.resampling import USUAL, Interval, Locations, Profile, Resampling
from rl.evaluation.run_statistics import aggregate_runs, probability_of_improvement, profile_runs
from rl.evaluation.statistics import StatisticsError
from rl.evaluation.suite_markdown import format_interval, markdown_table
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class BenchmarkTask:
    """One contest, and what makes its scores comparable with those of others."""

    name: str
    contest: Contest
    episodes: ScenarioSet
    low: float
    """Mean KPI that counts as 0, such as that of chance."""
    high: float
    """Mean KPI that counts as 1, such as that of the best expert."""

    def __post_init__(self) -> None:
        """Refuse a scale without length.

        Raises:
            ConfigError: `high` is not above `low`, or one is not finite.
        """
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(
                f"{self.name}: scores of {self.low} to {self.high} make no scale; give a finite "
                "low below a finite high"
            )


@dataclass(frozen=True, kw_only=True)
class BenchmarkStep:
    """One run has been played."""

    num_done: int
    num_all: int
    task: str
    entrant: str
    seed: int
    kpi: float
    """Mean of its episodes."""


@dataclass(frozen=True, kw_only=True)
class TaskScores:
    """What the runs of one entrant scored on one task."""

    task: str
    kpi: tuple[float, ...]
    """Mean of the episodes, of each seed."""
    normalised: tuple[float, ...]
    """0 at the task's `low`, 1 at its `high`."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkRow:
    """One entrant over all tasks and seeds, on the tasks' common scale."""

    name: str
    score: Locations
    """Intervals by runs drawn anew within tasks."""
    improvement: Interval | None
    """Probability that a run beats one of the reference on the same task; None for itself."""
    profile: Profile
    tasks: tuple[TaskScores, ...]


@dataclass(frozen=True, kw_only=True)
class BenchmarkTable:
    """The whole benchmark."""

    reference: str
    level: float
    seeds: tuple[int, ...]
    tasks: tuple[str, ...]
    rows: tuple[BenchmarkRow, ...]
    """From the lowest interquartile mean to the highest."""


MakeEntrant = Callable[[BenchmarkTask, int], Entrant]
"""From a task and a seed to who plays it, with one run: trained, loaded, or an expert's rule."""
Progress = Callable[[BenchmarkStep], None]


class BenchmarkRunner:
    """Plays every entrant on every task with every seed."""

    def __init__(
        self,
        tasks: Sequence[BenchmarkTask],
        seeds: Sequence[int],
        *,
        resampling: Resampling = USUAL,
        progress: Progress | None = None,
    ) -> None:
        """Keep what is played.

        Args:
            tasks: At least one, names different.
            seeds: Of the entrants, at least one, all different.
            resampling: How intervals are made.
            progress: Told after every run.

        Raises:
            ConfigError: There is no task or no seed, or one is there twice.
        """
        names = [task.name for task in tasks]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"give at least one task, and every one another name: {names}")
        if not seeds or len(set(seeds)) != len(seeds):
            raise ConfigError(f"give at least one seed, each once: {list(seeds)}")
        self.tasks = tuple(tasks)
        self.seeds = tuple(seeds)
        self.resampling = resampling
        self._progress = progress

    def run(self, entrants: Mapping[str, MakeEntrant], *, reference: str) -> BenchmarkTable:
        """Play everything; nothing is kept of what was trained.

        Args:
            entrants: By name.
            reference: Name of the one that the others are compared with.

        Raises:
            ConfigError: The reference does not play, or an entrant has more than one run.
            StatisticsError: A score is not finite.
        """
        if reference not in entrants:
            raise ConfigError(f"reference {reference!r} does not play; there are {list(entrants)}")
        kpis = self._play(entrants)
        low = np.asarray([task.low for task in self.tasks])
        span = np.asarray([task.high for task in self.tasks]) - low
        scores = {name: (kpi - low) / span for name, kpi in kpis.items()}
        everything = np.stack(list(scores.values()))
        thresholds = np.unique(np.linspace(everything.min(), everything.max(), NUM_THRESHOLDS))
        rows = [
            BenchmarkRow(
                name=name,
                score=aggregate_runs(matrix, self.resampling),
                improvement=None
                if name == reference
                else probability_of_improvement(matrix, scores[reference], self.resampling),
                profile=profile_runs(matrix, thresholds, self.resampling),
                tasks=tuple(
                    TaskScores(
                        task=task.name,
                        kpi=tuple(kpis[name][:, column].tolist()),
                        normalised=tuple(matrix[:, column].tolist()),
                    )
                    for column, task in enumerate(self.tasks)
                ),
            )
            for name, matrix in scores.items()
        ]
        return BenchmarkTable(
            reference=reference,
            level=self.resampling.level,
            seeds=self.seeds,
            tasks=tuple(task.name for task in self.tasks),
            rows=tuple(sorted(rows, key=lambda row: row.score.iqm.value)),
        )

    def _play(self, entrants: Mapping[str, MakeEntrant]) -> dict[str, Numbers]:
        """Return the mean KPI of every run, `[seed, task]` each."""
        num_all = len(entrants) * len(self.seeds) * len(self.tasks)
        kpis = {name: np.zeros((len(self.seeds), len(self.tasks))) for name in entrants}
        num_done = 0
        for column, task in enumerate(self.tasks):
            for row, seed in enumerate(self.seeds):
                for name, make in entrants.items():
                    kpi = _play_once(task, name, make(task, seed))
                    kpis[name][row, column] = kpi
                    num_done += 1
                    if self._progress is not None:
                        step = BenchmarkStep(
                            num_done=num_done,
                            num_all=num_all,
                            task=task.name,
                            entrant=name,
                            seed=seed,
                            kpi=kpi,
                        )
                        self._progress(step)
        return kpis


def format_benchmark(table: BenchmarkTable) -> str:
    """Return the table as Markdown.

    Args:
        table: What was found.
    """
    header = ("who", "IQM", "median", "mean", f"better than {table.reference}", *table.tasks)
    rows = [
        (
            row.name,
            *(format_interval(one) for one in (row.score.iqm, row.score.median, row.score.mean)),
            "" if row.improvement is None else format_interval(row.improvement),
            *(f"{np.mean(task.normalised):.3g}" for task in row.tasks),
        )
        for row in table.rows
    ]
    return markdown_table(header, rows)


def _play_once(task: BenchmarkTask, name: str, entrant: Entrant) -> float:
    if entrant.num_runs != 1:
        raise ConfigError(f"{name} has {entrant.num_runs} runs of one seed; make one")
    (scores,) = play_runs(task.contest, entrant, task.episodes)
    kpi = float(scores.kpi.mean())
    if not math.isfinite(kpi):
        raise StatisticsError(f"{name} scores {kpi} on {task.name}; its KPI must be finite")
    return kpi
