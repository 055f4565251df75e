"""Scores a learning agent on fixed episodes, beside the best expert and the bound there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rl.algorithms.base_algorithm import Policy
from rl.evaluation.contest import Contest, Numbers, ScenarioSet
from rl.evaluation.players import Player
from rl.evaluation.statistics import block_bootstrap_interval


class Validation:
    """What a trainer calls to see how far an agent is."""

    def __init__(
        self,
        contest: Contest,
        episodes: ScenarioSet,
        experts: Sequence[Player],
        *,
        bound: Numbers | None,
    ) -> None:
        """Let the experts play.

        Args:
            contest: The world.
            episodes: Not held out.
            experts: Tuned; may be none.
            bound: `[episode]`: what nobody can exceed, if it is known.
        """
        self._contest, self._episodes = contest, episodes
        self.blocks = episodes.blocks
        """`[episode]`: what a bootstrap of `last_kpis` resamples."""
        means = [float(contest.play(player, episodes).kpi.mean()) for player in experts]
        self.expert = max(means, default=None)
        """Mean KPI of the best expert, if there are experts."""
        self.bound = None if bound is None else float(bound.mean())
        """Mean bound, if it is known."""
        self.last_kpis: Numbers = np.zeros(0)
        """`[episode]`, of the last evaluation."""

    def __call__(self, agent: Policy) -> dict[str, float]:
        """Score an agent, without changing it.

        Args:
            agent: Plays deterministically.
        """
        self.last_kpis = self._contest.play_policy(agent, self._episodes).kpi
        blocks = self._episodes.blocks
        interval = block_bootstrap_interval(self.last_kpis, blocks, num_resamples=1000)
        scores = {"kpi": interval.mean, "kpi_low": interval.low, "kpi_high": interval.high}
        if self.expert is not None:
            scores["expert"] = self.expert
        if self.bound is not None:
            scores["bound"] = self.bound
        if self.expert is not None and self.bound is not None:
            gap = self.bound - self.expert
            if gap > 0:
                scores["gap_closed"] = (interval.mean - self.expert) / gap
        return scores
