"""The allocation agent passes an expert's rule within a minute of training, on synthetic demand."""

from __future__ import annotations

import numpy as np
import pytest

from data.scenario import ScenarioBank
from rl.artifacts import Figure
from rl.evaluation.statistics import block_bootstrap_interval
from rl.training import allocation_world
from rl.training.agents import make_agent
from rl.training.learners import make_learner
from rl.training.problems import make_problem
from rl.training.training_config import TrainingConfig


@pytest.mark.learning
@pytest.mark.slow
def test_apg_beats_the_strongest_rule(monkeypatch):
    monkeypatch.setattr(allocation_world, "locate_traces", lambda: None)
    config = TrainingConfig(total_episodes=60 * 64, num_envs=64)
    problem = make_problem(config)
    environment = problem.learn_in(ScenarioBank(problem.training, problem.bank, 0), 64, 0)
    agent = make_agent(problem.settings_of("apg").config, environment, seed=0)
    learner = make_learner(environment, agent, rollout_steps=72, seed=0)
    contest, windows = problem.contest, problem.held_out
    untrained = contest.play_policy(agent, windows).kpi
    while learner.env_steps < config.total_env_steps:
        learner.learn(config.total_env_steps)
    trained = contest.play_policy(agent, windows).kpi
    rule = problem.experts["urgent_value"].player((Figure(name="urgency", value=0.5),))
    expert = contest.play(rule, windows).kpi
    gain = block_bootstrap_interval(trained - expert, np.arange(len(expert)))
    assert gain.low > 0
    assert trained.mean() > untrained.mean() + 20
