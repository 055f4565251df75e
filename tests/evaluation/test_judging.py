"""Figures of a set, from scores made by hand, and what is watched while a set is played."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.demand import PoissonDemand
from data.scenario import BankConfig, FixedSource, ScenarioBank
from data.task_demand import TaskDemand, TaskLaws
from rl.domains.constrained_allocation import ConstrainedConfig
from rl.environments.constrained_allocation_environment import BatchedConstrainedAllocation
from rl.environments.lockstep import LockstepOptions
from rl.evaluation.contest import Contest, ScenarioSet, Scores
from rl.evaluation.entrants import Entrant, play_runs
from rl.evaluation.judging import JudgingConfig, judge_set, watch
from rl.evaluation.players import random_player
from rl.evaluation.resampling import Resampling
from rl.evaluation.statistics import StatisticsError
from utils.errors import ConfigError

CONFIG = JudgingConfig(resampling=Resampling(num_resamples=200))
SOMEBODY = Entrant(name="a", kind="expert", players=(lambda: random_player(0),))


def set_of(scenarios):
    count = scenarios.num_episodes
    return ScenarioSet(name="s", about="a set", scenarios=scenarios, blocks=np.arange(count))


FOUR = set_of(PoissonDemand(mean=3, max_steps=5).draw(4, np.random.default_rng(0)))


def scores(kpi=(1.0, 2.0, 3.0, 4.0), **figures):
    named = {name.replace("__", "/"): np.asarray(value, float) for name, value in figures.items()}
    return Scores(kpi=np.asarray(kpi, float), figures=named)


def judge(*runs, config=CONFIG):
    return judge_set(FOUR, (SOMEBODY,), {"a": runs}, config).rows[0]


def test_constraints_count_episodes_in_which_all_are_kept():
    run = scores(watched__cost__0=[0, 0, 2, 1], watched__cost__1=[5, 0, 0, 0])
    row = judge(run)
    assert [one.kept.value for one in row.constraints] == [0.5, 0.75]
    assert row.all_constraints.share.value == 0.25
    assert row.constraints[1].mean_cost.value == 1.25
    loose = judge(run, config=replace(CONFIG, cost_limits=(1.0, 9.0)))
    assert loose.all_constraints.share.value == 0.75
    assert row.figures == ()
    with pytest.raises(ConfigError, match="cost_limits holds 1"):
        judge(run, config=replace(CONFIG, cost_limits=(1.0,)))


def test_fairness_is_of_the_agents_that_were_there():
    run = scores(
        watched__reward__0=[2, 3, 1, 0],
        watched__reward__1=[2, 0, 1, 0],
        watched__reward__2=[0, 0, 1, 0],
        watched__alive__0=[1, 1, 1, 1],
        watched__alive__1=[1, 0, 1, 1],
        watched__alive__2=[0, 0, 1, 1],
    )
    fairness = judge(run).fairness
    assert (fairness.mean.value, fairness.worst.value) == (1.0, 1.0)
    all_there = scores(**{f"watched__reward__{i}": [3.0 * (i == 0)] * 4 for i in range(3)})
    alive = {f"watched/alive/{i}": np.ones(4) for i in range(3)}
    unfair = judge(replace(all_there, figures={**all_there.figures, **alive})).fairness
    assert unfair.mean.value == pytest.approx(1 / 3)


def test_fairness_that_means_nothing_says_so():
    ones = {"watched__alive__0": [1] * 4, "watched__alive__1": [1] * 4}
    losses = scores(watched__reward__0=[1, 1, 1, -1], watched__reward__1=[1] * 4, **ones)
    assert "negative" in judge(losses).fairness.mean.reason
    alone = scores(watched__reward__0=[1] * 4, watched__alive__0=[1] * 4)
    assert "one agent alone" in judge(alone).fairness.mean.reason
    named = scores(jain_index=[0.5, 1, 1, 1])
    found = judge(named, config=replace(CONFIG, fairness_figure="jain_index")).fairness
    assert (found.mean.value, found.worst.value) == (0.875, 0.5)
    with pytest.raises(ConfigError, match="fairness_figure 'other' is none of"):
        judge(named, config=replace(CONFIG, fairness_figure="other"))


def test_profiles_span_all_scores_and_equal_scores_have_one_threshold():
    thresholds = judge(scores()).profile.thresholds
    assert (thresholds[0], thresholds[-1], len(thresholds)) == (1.0, 4.0, 21)
    assert judge(scores([2.0] * 4)).profile.thresholds == (2.0,)


def test_a_figure_that_is_undefined_somewhere_says_so():
    row = judge(scores(sold=[1, 2, 3, 6], per_order=[1, np.nan, 1, 1]))
    sold, per_order = row.figures
    assert sold.mean.value == 3.0
    assert per_order.mean.value is None
    assert per_order.mean.reason == "undefined in 1 of 4 episodes"


def test_limits_that_are_no_numbers_are_refused():
    with pytest.raises(ConfigError, match="success_kpi"):
        JudgingConfig(success_kpi=np.nan)
    with pytest.raises(ConfigError, match="cost_limits"):
        JudgingConfig(cost_limits=(1.0, np.nan))


def test_a_score_that_is_none_is_refused():
    with pytest.raises(StatisticsError, match="not finite"):
        judge(scores([1.0, 2.0, np.nan, 4.0]))


def test_without_experts_the_first_entrant_is_the_reference():
    agents = [
        Entrant(name=name, kind="agent", players=(lambda: random_player(0),)) for name in "xy"
    ]
    played = {"x": (scores(),), "y": (scores([2.0, 3.0, 4.0, 5.0]),)}
    result = judge_set(FOUR, agents, played, CONFIG)
    assert result.reference == "x"
    lead = result.row("y").lead
    assert (lead.difference.low, lead.difference.high) == (1.0, 1.0)
    assert lead.probability_of_improvement.value == 1.0
    with pytest.raises(KeyError, match="did not play"):
        result.row("z")


def test_costs_of_a_real_world_are_watched():
    config = ConstrainedConfig()
    source = TaskDemand(TaskLaws(), 0)
    episodes = set_of(source.draw(6, np.random.default_rng(1)))

    def make_environment(scenarios):
        bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=6), 0)
        options = LockstepOptions(num_envs=6, shuffle=False)
        return BatchedConstrainedAllocation(config, bank, options, 0)

    steps = make_environment(episodes.scenarios).shape.num_steps
    contest = Contest(make_environment=make_environment, num_steps=steps)
    plain = play_runs(contest, SOMEBODY, episodes)
    runs = play_runs(watch(contest), SOMEBODY, episodes)
    np.testing.assert_array_equal(runs[0].kpi, plain[0].kpi)
    np.testing.assert_allclose(runs[0].figures["watched/cost/0"], plain[0].figures["cost"])
    row = judge_set(episodes, (SOMEBODY,), {"a": runs}, CONFIG).rows[0]
    assert row.constraints[0].mean_cost.value == pytest.approx(plain[0].figures["cost"].mean())
    assert row.constraints[0].mean_cost.value > 0
    assert [figure.name for figure in row.figures] == ["cost"]
