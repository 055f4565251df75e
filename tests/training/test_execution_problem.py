"""The problem of Almgren and Chriss: experts, bound and contest agree with the closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from data.scenario import ScenarioBank
from rl.training import execution_problem as module
from rl.training.agents import make_agent
from rl.training.execution_problem import execution_problem
from rl.training.learners import make_learner


@pytest.mark.parametrize(("risk_aversion", "twap"), [(1e-6, 1_745_500), (2e-6, 2_828_500)])
def test_experts_cost_what_is_published(risk_aversion, twap):
    problem = execution_problem(risk_aversion)
    kpi = {
        name: problem.contest.play(rule.player(rule.tune()), problem.held_out).kpi
        for name, rule in problem.experts.items()
    }
    best = problem.bound(problem.held_out.scenarios)
    assert kpi["twap"].mean() == pytest.approx(-twap, rel=1e-4)
    np.testing.assert_allclose(kpi["almgren_chriss"], best, rtol=1e-5)
    published = {1e-6: 1_275_356, 2e-6: 1_544_578}[risk_aversion]
    assert best[0] == pytest.approx(-published, rel=1e-6)


def test_sets_differ_and_come_in_mirrored_pairs():
    problem = execution_problem()
    assert problem.validation.sha256 != problem.held_out.sha256
    shocks = problem.held_out.scenarios.shocks
    assert np.array_equal(shocks[::2], -shocks[1::2])


@pytest.mark.learning
@pytest.mark.parametrize(("algorithm", "updates"), [("apg", 200), ("ppo", 200)])
def test_learners_come_within_two_percent(monkeypatch, algorithm, updates):
    monkeypatch.setattr(module, "NUM_EPISODES", 512)
    problem = execution_problem(1e-6)
    settings = problem.settings_of(algorithm)
    bank = ScenarioBank(problem.training, problem.bank, 7)
    environment = problem.learn_in(bank, settings.num_envs, 7)
    agent = make_agent(settings.config, environment, seed=7)
    best = problem.bound(problem.held_out.scenarios)[0]
    first = problem.contest.play_policy(agent, problem.held_out).kpi.mean()
    assert first < 1.05 * best
    learner = make_learner(environment, agent, rollout_steps=settings.rollout_steps, seed=7)
    total = updates * settings.num_envs * 5
    while learner.env_steps < total:
        learner.learn(total)
    reached = problem.contest.play_policy(agent, problem.held_out).kpi.mean()
    assert 1.02 * best <= reached <= best * (1 - 1e-6)
