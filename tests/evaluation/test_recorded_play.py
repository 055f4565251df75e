"""Figures of an evaluation on numbers worked by hand, and a play that agrees with the contest."""

from __future__ import annotations

import numpy as np
import pytest

from rl.environments.rendering import EpisodeHistory
from rl.evaluation.players import random_player
from rl.evaluation.recorded_play import RecordedPlay, record_play, summarise_play
from rl.training.catalog_problem import catalog_problem
from utils.errors import ConfigError


def play_of(rewards, violations=None, costs=None):
    """Episodes of two steps and two agents whose rewards, per agent, sum to these."""
    total = np.asarray(rewards, float)
    reward = np.repeat((total / 2)[:, None, None], 2, 1).repeat(2, 2)
    zeros = np.zeros((len(total), 2))
    violation, cost = zeros.copy(), zeros.copy()
    violation[:, 1] = 0 if violations is None else violations
    cost[:, 0] = 0 if costs is None else costs
    return RecordedPlay(
        observation=reward[..., None],
        action=reward[..., None],
        reward=reward,
        cost=cost,
        violation=violation,
        history=EpisodeHistory(()),
    )


def test_figures_worked_by_hand():
    figures = summarise_play(play_of([1.0, 2.0, -3.0, 4.0], [0, 0, 2.0, 0], [1, 1, 1, 3]))
    assert figures["reward_mean"] == 1.0
    assert figures["reward_std"] == pytest.approx((26 / 3) ** 0.5)
    half = 3.182446 * (26 / 3) ** 0.5 / 2
    assert figures["reward_ci"] == pytest.approx([1 - half, 1 + half], rel=1e-6)
    assert (figures["cost_mean"], figures["violation_mean"]) == (1.5, 0.5)
    assert (figures["success_rate"], figures["constraint_satisfaction"]) == (0.75, 0.75)
    assert (figures["num_episodes"], figures["length"]) == (4, 2.0)


@pytest.mark.parametrize(
    ("count", "cvar_95", "cvar_99"),
    [(19, None, None), (20, 0.0, None), (99, 1.97, None), (100, 2.0, 0.0)],
)
def test_a_tail_needs_episodes(count, cvar_95, cvar_99):
    figures = summarise_play(play_of(np.arange(count)))
    missing = sum(one is None for one in (cvar_95, cvar_99))
    assert len(figures["notes"]) == missing
    for name, value in (("95", cvar_95), ("99", cvar_99)):
        found = figures[f"reward_cvar_{name}"]
        assert found == (None if value is None else pytest.approx(value, abs=0.02))


def test_one_episode_has_no_interval():
    figures = summarise_play(play_of([2.0]))
    assert (figures["reward_mean"], figures["reward_std"], figures["reward_ci"]) == (2, None, None)


def test_a_broken_reward_is_refused():
    with pytest.raises(ConfigError, match="not finite"):
        summarise_play(play_of([1.0, np.nan]))


def test_what_is_kept_step_by_step_sums_to_what_the_contest_counts():
    problem = catalog_problem("constrained_allocation", "ppo")
    episodes = problem.held_out.first(5)
    play = record_play(problem.contest, random_player(3), episodes)
    scores = problem.contest.play(random_player(3), episodes)
    assert play.reward.sum(1).mean(-1) == pytest.approx(scores.kpi)
    assert play.violation.sum(1) == pytest.approx(scores.figures["cost"])
    assert play.observation.shape == (5, 100, 1, 24)
    assert play.action.shape == (5, 100, 1, 15)
    assert play.history.num_steps == 100
