"""Random, tuned experts, agents and the bound on the same windows, with paired intervals."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from data.scenario import WorkloadScenarios
from rl.domains.resource_allocation import AllocationConfig
from rl.evaluation.bounds import hindsight_bound
from rl.evaluation.evaluator import Decider, EpisodeScores, play
from rl.evaluation.statistics import (
    Estimate,
    block_bootstrap_interval,
    block_bootstrap_ratio,
    clustered_t_interval,
    interquartile_mean,
)
from utils.errors import ConfigError

Scores = NDArray[np.float64]
Kind = Literal["random", "expert", "agent", "bound"]
BOUND: Final = "bound"


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Somebody who decides, trained once or with several seeds."""

    name: str
    kind: Literal["random", "expert", "agent"]
    deciders: tuple[Decider, ...]
    """One per training seed; all play the same windows."""


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
    """One line of the table; figures are means over seeds and windows."""

    name: str
    kind: Kind
    kpi: Estimate
    kpi_iqm: float
    """Mean of the middle half of the windows, seeds averaged."""
    difference: Estimate | None
    """Paired difference to the best expert, bootstrap over days and seeds; None for itself."""
    difference_cautious: Estimate | None
    """The same by Student's t, honest with few days and seeds; None for itself or one day."""
    days_better: int | None
    """Days on which the mean difference is positive; None for the best expert."""
    gap_closed: Estimate | None
    """Of agents: share of the way from the best expert to the bound."""
    outcome: Outcome | None
    """None for the bound, which nobody plays."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What lies behind a KPI."""

    served_value: float
    holding_cost: float
    lost_share: float
    utilisation: float
    fairness: float


@dataclass(frozen=True, kw_only=True)
class EvaluationTable:
    """The answer to: is it better than what an expert would do, and by how much?"""

    data: str
    """What was played, for people."""
    best_expert: str
    """The expert with the highest KPI on these very windows: hindsight in the expert's favour."""
    num_windows: int
    num_days: int
    num_seeds: int
    """The fewest training seeds behind an agent; 0 without agents."""
    level: float
    rows: tuple[ScoreRow, ...]
    """From the lowest KPI to the highest, the bound last."""

    def row(self, name: str) -> ScoreRow:
        """Return the line of a contender.

        Args:
            name: As given to `evaluate`, or `bound`.

        Raises:
            KeyError: There is no such line.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"{name!r} is not in the table; known: {[row.name for row in self.rows]}")


def evaluate(
    config: AllocationConfig,
    scenarios: WorkloadScenarios,
    days: NDArray[np.intp],
    contenders: tuple[Contender, ...],
    *,
    data: str,
    bound: Scores | None = None,
    bootstrap: BootstrapConfig = BootstrapConfig(),
) -> EvaluationTable:
    """Let everybody play the same windows and compare with the best expert and the bound.

    Args:
        config: The world.
        scenarios: The windows.
        days: `[episode]`: day of each window, the unit that is resampled.
        contenders: Who plays; at least one expert.
        data: What is played, for people.
        bound: `[episode]`: hindsight bound, computed if absent.
        bootstrap: How intervals are made.

    Raises:
        ConfigError: There is no expert, or two contenders share a name.
        BoundError: The bound of a window cannot be computed.
    """
    names = [contender.name for contender in contenders] + [BOUND]
    if len(set(names)) != len(names) or all(c.kind != "expert" for c in contenders):
        raise ConfigError(f"at least one expert and different names are needed, not {names}")
    limit = hindsight_bound(scenarios, config) if bound is None else bound
    played = {
        contender.name: [play(config, scenarios, decide) for decide in contender.deciders]
        for contender in contenders
    }
    kpis = {name: np.stack([seed.kpi for seed in scores]) for name, scores in played.items()}
    kinds: dict[str, Kind] = {contender.name: contender.kind for contender in contenders}
    experts = [name for name, kind in kinds.items() if kind == "expert"]
    best = max(experts, key=lambda name: float(kpis[name].mean()))
    order = [*sorted(played, key=lambda name: float(kpis[name].mean())), BOUND]
    compare = _Comparison(days=days, baseline=kpis[best], bound=limit[None], bootstrap=bootstrap)
    kpis[BOUND], kinds[BOUND] = limit[None], BOUND
    return EvaluationTable(
        data=data,
        best_expert=best,
        num_windows=scenarios.num_episodes,
        num_days=len(np.unique(days)),
        num_seeds=min((len(c.deciders) for c in contenders if c.kind == "agent"), default=0),
        level=bootstrap.level,
        rows=tuple(
            compare.row(name, kinds[name], kpis[name], _outcome(played.get(name)))
            if name != best
            else compare.baseline_row(name, _outcome(played[name]))
            for name in order
        ),
    )


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    """What all lines are measured against."""

    days: NDArray[np.intp]
    baseline: Scores
    bound: Scores
    bootstrap: BootstrapConfig

    def baseline_row(self, name: str, outcome: Outcome | None) -> ScoreRow:
        return ScoreRow(
            name=name,
            kind="expert",
            kpi=self._interval(self.baseline),
            kpi_iqm=interquartile_mean(self.baseline.mean(0)),
            difference=None,
            difference_cautious=None,
            days_better=None,
            gap_closed=None,
            outcome=outcome,
        )

    def row(self, name: str, kind: Kind, kpi: Scores, outcome: Outcome | None) -> ScoreRow:
        difference = kpi - self.baseline.mean(0)
        several_days = len(np.unique(self.days)) > 1
        daily = [difference[:, self.days == day].mean() for day in np.unique(self.days)]
        return ScoreRow(
            name=name,
            kind=kind,
            kpi=self._interval(kpi),
            kpi_iqm=interquartile_mean(kpi.mean(0)),
            difference=self._interval(difference),
            difference_cautious=clustered_t_interval(
                difference, self.days, level=self.bootstrap.level
            )
            if several_days
            else None,
            days_better=int((np.asarray(daily) > 0).sum()),
            gap_closed=self._gap_closed(difference) if kind == "agent" else None,
            outcome=outcome,
        )

    def _interval(self, values: Scores) -> Estimate:
        b = self.bootstrap
        return block_bootstrap_interval(
            values, self.days, level=b.level, num_resamples=b.num_resamples, seed=b.seed
        )

    def _gap_closed(self, difference: Scores) -> Estimate | None:
        gap = self.bound - self.baseline.mean(0)
        daily = np.asarray([gap[:, self.days == day].sum() for day in np.unique(self.days)])
        if daily.min() <= 0:
            return None
        b = self.bootstrap
        return block_bootstrap_ratio(
            difference,
            np.broadcast_to(gap, difference.shape),
            self.days,
            level=b.level,
            num_resamples=b.num_resamples,
            seed=b.seed,
        )


def _outcome(scores: list[EpisodeScores] | None) -> Outcome | None:
    if scores is None:
        return None
    means = {
        field.name: float(np.mean([getattr(seed, field.name) for seed in scores]))
        for field in fields(Outcome)
    }
    return Outcome(**means)
