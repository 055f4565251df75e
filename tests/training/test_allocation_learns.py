"""The allocation agent passes an expert's rule within a minute of training, on synthetic demand."""

from __future__ import annotations

import numpy as np
import pytest

from rl.domains.allocation_experts import EXPERTS, ExpertParameters
from rl.evaluation.evaluator import expert_decider, play
from rl.evaluation.statistics import block_bootstrap_interval
from rl.training import allocation_world
from rl.training.allocation_training import agent_decider, make_agent, make_environment
from rl.training.allocation_world import build_world
from rl.training.learners import make_learner
from rl.training.training_config import TrainingConfig


@pytest.mark.learning
@pytest.mark.slow
def test_apg_beats_the_strongest_rule(monkeypatch):
    monkeypatch.setattr(allocation_world, "locate_traces", lambda: None)
    config = TrainingConfig(total_episodes=60 * 64, num_envs=64)
    world = build_world(config)
    agent = make_agent(config, world)
    environment = make_environment(config, world, num_envs=config.num_envs)
    learner = make_learner(environment, agent, rollout_steps=72, seed=0)
    allocation, windows = world.preset.allocation, world.held_out.scenarios
    untrained = play(allocation, windows, agent_decider(agent, allocation)).kpi
    while learner.env_steps < config.total_env_steps:
        learner.learn(config.total_env_steps)
    trained = play(allocation, windows, agent_decider(agent, allocation)).kpi
    rule = expert_decider(EXPERTS["urgent_value"], allocation, ExpertParameters(urgency=0.5))
    expert = play(allocation, windows, rule).kpi
    gain = block_bootstrap_interval(trained - expert, np.arange(len(expert)))
    assert gain.low > 0
    assert trained.mean() > untrained.mean() + 20
