"""Random play, tuned experts, agents and the bound on the same episodes, with paired intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from rl.evaluation.contest import Column, Contest, Numbers, ScenarioSet, Scores
from rl.evaluation.entrants import Entrant, play_runs
from rl.evaluation.statistics import (
    Estimate,
    block_bootstrap_interval,
    block_bootstrap_ratio,
    clustered_t_interval,
    interquartile_mean,
)
from utils.errors import ConfigError

Kind = Literal["random", "expert", "agent", "bound"]
BOUND: Final = "bound"


@dataclass(frozen=True, kw_only=True)
class BootstrapConfig:
    """How intervals are made."""

    level: float = 0.95
    num_resamples: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse levels that are no probability."""
        if not 0 < self.level < 1 or self.num_resamples < 1:
            raise ConfigError(f"level in (0, 1) and num_resamples >= 1 are needed: {self}")


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One line of the table; figures are means over seeds and episodes."""

    name: str
    kind: Kind
    kpi: Estimate
    kpi_iqm: float
    """Mean of the middle half of the episodes, seeds averaged."""
    difference: Estimate | None
    """Paired difference to the baseline, bootstrap over blocks and seeds; None for itself."""
    difference_cautious: Estimate | None
    """The same by Student's t, honest with few blocks and seeds; None for itself or one block."""
    blocks_better: int | None
    """Blocks in which the mean difference is positive; None for the baseline."""
    to_rival: Estimate | None
    """Of agents: paired difference to the table's rival, if it has one."""
    gap_closed: Estimate | None
    """Of agents: share of the way from the baseline to the bound."""
    figures: tuple[float | None, ...]
    """What lies behind the KPI, one per column of the table; None where nobody played."""


@dataclass(frozen=True, kw_only=True)
class EvaluationTable:
    """The answer to: is it better than what an expert would do, and by how much?"""

    data: str
    """What was played, for people."""
    kpi: str
    """What is maximised, with its unit."""
    kpi_format: str
    columns: tuple[Column, ...]
    baseline: str
    """The expert with the highest KPI on these very episodes: hindsight in the expert's favour.
    Random play in a world without experts."""
    rival: str | None
    """The simple rule that an agent must beat at the very least; None if nobody named one."""
    num_episodes: int
    num_blocks: int
    block_name: str
    num_seeds: int
    """The fewest training seeds behind an agent; 0 without agents."""
    level: float
    rows: tuple[ScoreRow, ...]
    """From the lowest KPI to the highest, the bound last."""

    def row(self, name: str) -> ScoreRow:
        """Return the line of an entrant.

        Args:
            name: As given to `evaluate`, or `bound`.

        Raises:
            KeyError: There is no such line.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"{name!r} is not in the table; known: {[row.name for row in self.rows]}")

    @property
    def has_expert(self) -> bool:
        """Whether the baseline is an expert's rule, not random play."""
        return self.row(self.baseline).kind == "expert"


def evaluate(
    contest: Contest,
    episodes: ScenarioSet,
    entrants: Sequence[Entrant],
    *,
    bound: Numbers | None = None,
    rival: str | None = None,
    bootstrap: BootstrapConfig = BootstrapConfig(),
) -> EvaluationTable:
    """Let everybody play the same episodes and compare with the best expert and the bound.

    Args:
        contest: The world.
        episodes: What is played.
        entrants: Who plays; at least one expert, or random play.
        bound: `[episode]`: what nobody can exceed, if it is known.
        rival: The entrant that agents must beat at the very least.
        bootstrap: How intervals are made.

    Raises:
        ConfigError: There is neither expert nor random play, two entrants share a name, or the
            rival does not play.
    """
    names = [one.name for one in entrants] + [BOUND]
    kinds: dict[str, Kind] = {one.name: one.kind for one in entrants}
    baselines = [name for name, kind in kinds.items() if kind == "expert"]
    baselines = baselines or [name for name, kind in kinds.items() if kind == "random"]
    if len(set(names)) != len(names) or not baselines:
        raise ConfigError(
            f"at least one expert (or random play) and different names are needed, not {names}"
        )
    if rival is not None and rival not in names:
        raise ConfigError(f"the rival {rival} does not play; there are {', '.join(names)}")
    played = {one.name: play_runs(contest, one, episodes) for one in entrants}
    kpis = {name: np.stack([seed.kpi for seed in scores]) for name, scores in played.items()}
    best = max(baselines, key=lambda name: float(kpis[name].mean()))
    limit = None if bound is None else bound[None]
    order = sorted(played, key=lambda name: float(kpis[name].mean()))
    if limit is not None:
        kpis[BOUND], kinds[BOUND], played[BOUND] = limit, BOUND, ()
        order.append(BOUND)
    judge = _Judge(
        blocks=episodes.blocks,
        baseline=kpis[best],
        rival=None if rival is None else kpis[rival],
        bound=limit,
        bootstrap=bootstrap,
    )
    figures = {name: _figures(contest.columns, scores) for name, scores in played.items()}
    return EvaluationTable(
        data=episodes.about,
        kpi=contest.kpi,
        kpi_format=contest.kpi_format,
        columns=contest.columns,
        baseline=best,
        rival=rival,
        num_episodes=len(episodes.blocks),
        num_blocks=len(np.unique(episodes.blocks)),
        block_name=episodes.block_name,
        num_seeds=min((one.num_runs for one in entrants if one.kind == "agent"), default=0),
        level=bootstrap.level,
        rows=tuple(
            judge.row(name, kinds[name], kpis[name], figures[name])
            if name != best
            else judge.baseline_row(name, kinds[name], figures[name])
            for name in order
        ),
    )


@dataclass(frozen=True, kw_only=True)
class _Judge:
    """What all lines are measured against."""

    blocks: NDArray[np.intp]
    baseline: Numbers
    rival: Numbers | None
    bound: Numbers | None
    bootstrap: BootstrapConfig

    def baseline_row(self, name: str, kind: Kind, figures: tuple[float | None, ...]) -> ScoreRow:
        return ScoreRow(
            name=name,
            kind=kind,
            kpi=self._interval(self.baseline),
            kpi_iqm=interquartile_mean(self.baseline.mean(0)),
            difference=None,
            difference_cautious=None,
            blocks_better=None,
            to_rival=None,
            gap_closed=None,
            figures=figures,
        )

    def row(
        self, name: str, kind: Kind, kpi: Numbers, figures: tuple[float | None, ...]
    ) -> ScoreRow:
        difference = kpi - self.baseline.mean(0)
        several = len(np.unique(self.blocks)) > 1
        means = [difference[:, self.blocks == one].mean() for one in np.unique(self.blocks)]
        return ScoreRow(
            name=name,
            kind=kind,
            kpi=self._interval(kpi),
            kpi_iqm=interquartile_mean(kpi.mean(0)),
            difference=self._interval(difference),
            difference_cautious=clustered_t_interval(
                difference, self.blocks, level=self.bootstrap.level
            )
            if several
            else None,
            blocks_better=int((np.asarray(means) > 0).sum()),
            to_rival=self._interval(kpi - self.rival.mean(0))
            if kind == "agent" and self.rival is not None
            else None,
            gap_closed=self._gap_closed(difference) if kind == "agent" else None,
            figures=figures,
        )

    def _interval(self, values: Numbers) -> Estimate:
        b = self.bootstrap
        return block_bootstrap_interval(
            values, self.blocks, level=b.level, num_resamples=b.num_resamples, seed=b.seed
        )

    def _gap_closed(self, difference: Numbers) -> Estimate | None:
        if self.bound is None:
            return None
        gap = self.bound - self.baseline.mean(0)
        sums = [gap[:, self.blocks == one].sum() for one in np.unique(self.blocks)]
        if min(sums) <= 0:
            return None
        b = self.bootstrap
        return block_bootstrap_ratio(
            difference,
            np.broadcast_to(gap, difference.shape),
            self.blocks,
            level=b.level,
            num_resamples=b.num_resamples,
            seed=b.seed,
        )


def _figures(columns: Sequence[Column], scores: Sequence[Scores]) -> tuple[float | None, ...]:
    if not scores:
        return tuple(None for _ in columns)
    return tuple(float(np.mean([one.figures[column.name] for one in scores])) for column in columns)
