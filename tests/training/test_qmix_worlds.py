"""QMIX learns in the particle worlds: agents alike and unlike, with memory and without."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from mpe2 import simple_speaker_listener_v4, simple_spread_v3

from benchmarks.presets_qmix import CONFIGS
from rl.algorithms.qmix_agent import QMIXAgent
from rl.environments.pettingzoo_adapter import PettingZooAdapter
from rl.training.replay_learner import ReplayLearner

WORLDS = {"spread": simple_spread_v3, "speaker_listener": simple_speaker_listener_v4}
COPIES, EPISODE_STEPS = 2, 5


def make_world(name):
    module = WORLDS[name]
    return PettingZooAdapter(lambda: module.parallel_env(max_cycles=EPISODE_STEPS), COPIES, seed=0)


def make_agent(environment, config):
    return QMIXAgent(
        "team",
        environment.observation_size,
        max(group.action.size for group in environment.groups),
        config,
        num_agents=environment.num_agents,
        state_size=environment.state_size,
        seed=0,
    )


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("name", list(WORLDS))
def test_a_team_learns_in_a_particle_world(name, recurrent):
    environment = make_world(name)
    config = dataclasses.replace(
        CONFIGS[name], recurrent=recurrent, learning_starts=20, batch_size=8, epsilon_end=1.0
    )
    agent = make_agent(environment, config)
    before = agent.policy_state()
    learner = ReplayLearner(environment, agent, seed=0)
    figures = [learner.learn(1_000) for _ in range(12)]
    assert [bool(metrics) for _, metrics in figures] == [False] * 9 + [True] * 3
    assert all(torch.isfinite(value) for value in figures[-1][1].values())
    after = agent.policy_state()
    assert any(not torch.equal(value, after[name]) for name, value in before.items())
    assert agent.env_steps == learner.env_steps == 24

    record = make_world(name).reset(0)
    many = [agent.act(record.observation, record.action_mask).action for _ in range(40)]
    choices = torch.stack(many).flatten(0, 1)
    for group in environment.groups:
        chosen = choices[:, list(group.members)]
        assert chosen.unique().tolist() == list(range(group.action.size))
