"""From the scores of everybody who played one set of episodes to every figure about them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from torch import Tensor

from rl.environments.base_environment import StepRecord
from rl.evaluation.contest import Contest, Numbers, ScenarioSet, Scores
from rl.evaluation.entrants import Entrant
from rl.evaluation.episode_statistics import (
    Guarded,
    GuardedShare,
    estimate_mean,
    jain_index,
    locate_episodes,
    mean_of_worst,
    profile_episodes,
    share_of,
    share_of_wins,
)
from rl.evaluation.resampling import USUAL, Resampling
from rl.evaluation.set_results import (
    ConstraintResult,
    EntrantRow,
    FairnessResult,
    FigureMean,
    Lead,
    SetResult,
)
from utils.errors import ConfigError

REWARD: Final = "watched/reward/"
COST: Final = "watched/cost/"
ALIVE: Final = "watched/alive/"
NUM_THRESHOLDS: Final = 21
"""Points of a performance profile."""


@dataclass(frozen=True, kw_only=True)
class JudgingConfig:
    """What counts as what."""

    resampling: Resampling = USUAL
    success_kpi: float | None = None
    """An episode with this KPI or more is a success; None if nothing is."""
    cost_limits: tuple[float, ...] = ()
    """Most that each cost may sum to over an episode and all agents; empty for zero each."""
    fairness_figure: str | None = None
    """A figure of the contest that is Jain's index; None for that of the agents' rewards."""

    def __post_init__(self) -> None:
        """Refuse limits that nothing can be compared with.

        Raises:
            ConfigError: One is not a number.
        """
        for name, values in (
            ("success_kpi", () if self.success_kpi is None else (self.success_kpi,)),
            ("cost_limits", self.cost_limits),
        ):
            if any(math.isnan(value) for value in values):
                raise ConfigError(f"{name} holds a value that is not a number; give numbers")


Played = Mapping[str, Sequence[Scores]]
"""The scores of every run of every entrant, by name."""


def watch(contest: Contest) -> Contest:
    """Return the contest with every agent's reward and every cost counted too.

    Args:
        contest: The world.
    """

    def measure(record: StepRecord) -> Mapping[str, Tensor]:
        # After the last step of an episode the record shows who takes part in the next one.
        going_on = ~(record.terminated | record.truncated)
        seen = {
            f"{ALIVE}{agent}": record.agent_alive[:, agent] & going_on
            for agent in range(record.reward.shape[1])
        }
        seen |= {f"{REWARD}{i}": record.reward[:, i] for i in range(record.reward.shape[1])}
        seen |= {f"{COST}{k}": record.cost[..., k].sum(-1) for k in range(record.cost.shape[-1])}
        return {**contest.measure(record), **seen}

    def figures(sums: Mapping[str, Numbers]) -> Mapping[str, Numbers]:
        watched = {name: value for name, value in sums.items() if name.startswith("watched/")}
        own = {name: value for name, value in sums.items() if name not in watched}
        return {**contest.figures(own), **watched}

    return replace(contest, measure=measure, figures=figures)


def kpis_of(runs: Sequence[Scores]) -> Numbers:
    """Return the KPI of every run, `[run, episode]`.

    Args:
        runs: Of one entrant.
    """
    return np.stack([run.kpi for run in runs])


def judge_set(
    episodes: ScenarioSet, entrants: Sequence[Entrant], played: Played, config: JudgingConfig
) -> SetResult:
    """Compare everybody who played a set.

    Args:
        episodes: What was played.
        entrants: Who played, at least one.
        played: Their scores, by a contest that was watched.
        config: What counts as what.

    Raises:
        ConfigError: A figure that is named does not exist, or limits do not fit the costs.
        StatisticsError: A score is not finite.
    """
    kpis = {entrant.name: kpis_of(played[entrant.name]) for entrant in entrants}
    means = {name: float(kpi.mean()) for name, kpi in kpis.items()}
    experts = [entrant.name for entrant in entrants if entrant.kind == "expert"]
    reference = max(experts, key=means.__getitem__) if experts else entrants[0].name
    everything = np.concatenate([kpi.ravel() for kpi in kpis.values()])
    judge = _Judge(
        blocks=episodes.blocks,
        config=config,
        reference=kpis[reference],
        thresholds=np.unique(np.linspace(everything.min(), everything.max(), NUM_THRESHOLDS)),
    )
    in_order = sorted(entrants, key=lambda entrant: means[entrant.name])
    return SetResult(
        name=episodes.name,
        about=episodes.about,
        sha256=episodes.sha256,
        num_episodes=episodes.scenarios.num_episodes,
        num_blocks=len(np.unique(episodes.blocks)),
        reference=reference,
        rows=tuple(
            judge.row(entrant, played[entrant.name], is_reference=entrant.name == reference)
            for entrant in in_order
        ),
    )


@dataclass(frozen=True, kw_only=True)
class _Judge:
    """What all rows of a set are made by."""

    blocks: np.ndarray
    config: JudgingConfig
    reference: Numbers
    thresholds: Numbers

    def row(self, entrant: Entrant, runs: Sequence[Scores], *, is_reference: bool) -> EntrantRow:
        kpi, resampling = kpis_of(runs), self.config.resampling
        constraints = self._constraints(runs)
        return EntrantRow(
            name=entrant.name,
            kind=entrant.kind,
            num_runs=len(runs),
            kpi=locate_episodes(kpi, self.blocks, resampling),
            cvar_95=mean_of_worst(kpi, 0.05),
            cvar_99=mean_of_worst(kpi, 0.01),
            success=self._success(kpi),
            all_constraints=self._all_constraints(runs),
            constraints=constraints,
            fairness=_fairness(runs, self.config.fairness_figure),
            lead=None if is_reference else self._lead(kpi),
            profile=profile_episodes(kpi, self.blocks, self.thresholds, resampling),
            figures=tuple(
                _figure_mean(name, np.stack([run.figures[name] for run in runs]))
                for name in runs[0].figures
                if not name.startswith("watched/")
            ),
        )

    def _lead(self, kpi: Numbers) -> Lead:
        resampling = self.config.resampling
        return Lead(
            difference=estimate_mean(kpi - self.reference.mean(0), self.blocks, resampling),
            probability_of_improvement=share_of_wins(kpi, self.reference, self.blocks, resampling),
        )

    def _success(self, kpi: Numbers) -> GuardedShare:
        if self.config.success_kpi is None:
            return GuardedShare(share=None, reason="no success_kpi says what a success is")
        is_success = kpi >= self.config.success_kpi
        return GuardedShare(share=share_of(is_success, self.config.resampling.level))

    def _constraints(self, runs: Sequence[Scores]) -> tuple[ConstraintResult, ...]:
        costs = _stack(runs, COST)
        return tuple(
            ConstraintResult(
                limit=limit,
                mean_cost=estimate_mean(cost, self.blocks, self.config.resampling),
                kept=share_of(cost <= limit, self.config.resampling.level),
            )
            for cost, limit in zip(costs, self._limits(len(costs)), strict=True)
        )

    def _all_constraints(self, runs: Sequence[Scores]) -> GuardedShare:
        costs = _stack(runs, COST)
        if not len(costs):
            return GuardedShare(share=None, reason="the world has no constraints")
        limits = np.asarray(self._limits(len(costs)))[:, None, None]
        kept = (costs <= limits).all(0)
        return GuardedShare(share=share_of(kept, self.config.resampling.level))

    def _limits(self, num_costs: int) -> tuple[float, ...]:
        limits = self.config.cost_limits or (0.0,) * num_costs
        if len(limits) != num_costs:
            raise ConfigError(
                f"cost_limits holds {len(limits)}, the world has {num_costs} costs; give one each"
            )
        return limits


def _figure_mean(name: str, values: Numbers) -> FigureMean:
    undefined = int((~np.isfinite(values)).any(0).sum())
    if undefined:
        reason = f"undefined in {undefined} of {values.shape[1]} episodes"
        return FigureMean(name=name, mean=Guarded(value=None, reason=reason))
    return FigureMean(name=name, mean=Guarded(value=float(values.mean())))


def _fairness(runs: Sequence[Scores], figure: str | None) -> FairnessResult:
    if figure is not None:
        if figure not in runs[0].figures:
            known = [name for name in runs[0].figures if not name.startswith("watched/")]
            raise ConfigError(f"fairness_figure {figure!r} is none of {known}")
        return _known_fairness(figure, np.stack([run.figures[figure] for run in runs]))
    of = "agents' rewards per episode"
    rewards, alive = _stack(runs, REWARD), _stack(runs, ALIVE) > 0
    alive |= ~alive.any(0)  # episodes of one step: all agents took part
    if len(rewards) < 2:
        return _unknown_fairness(of, "one agent alone; name a fairness_figure if it shares out")
    if (rewards < 0).any():
        return _unknown_fairness(of, "some rewards are negative, of which there are no fair shares")
    index = np.empty(rewards.shape[1:])
    for present in np.unique(alive.reshape(len(alive), -1), axis=1).T:
        here = (alive == present[:, None, None]).all(0)
        index[here] = jain_index(rewards[present][:, here].T)
    return _known_fairness(of, index)


def _known_fairness(of: str, index: Numbers) -> FairnessResult:
    mean, worst = Guarded(value=float(index.mean())), Guarded(value=float(index.min()))
    return FairnessResult(of=of, mean=mean, worst=worst)


def _unknown_fairness(of: str, reason: str) -> FairnessResult:
    unknown = Guarded(value=None, reason=reason)
    return FairnessResult(of=of, mean=unknown, worst=unknown)


def _stack(runs: Sequence[Scores], prefix: str) -> Numbers:
    """Return what was watched, `[agent or cost, run, episode]`."""
    names = [name for name in runs[0].figures if name.startswith(prefix)]
    if not names:
        return np.zeros((0, len(runs), len(runs[0].kpi)))
    return np.stack([[run.figures[name] for run in runs] for name in names])
