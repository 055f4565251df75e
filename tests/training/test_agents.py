"""From a configuration and a world to an agent that fits, or a refusal."""

from __future__ import annotations

import pytest

from rl.algorithms.apg_config import APGConfig
from rl.algorithms.dqn_config import DQNConfig
from rl.algorithms.maddpg_config import MADDPGConfig
from rl.algorithms.multiplier_config import MultiplierConfig
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.qmix_config import QMIXConfig
from rl.algorithms.sac_config import SACConfig
from rl.environments.catalog import make_world, with_actions
from rl.training.agents import make_agent, task_of
from rl.training.learning_settings import algorithm_of
from tests.training.resume_runs import CONFIGS, make_environment
from utils.errors import ConfigError


@pytest.mark.parametrize("name", CONFIGS)
def test_every_algorithm_acts_in_its_world(name):
    world = make_environment(name)
    agent = make_agent(CONFIGS[name], world, seed=0)
    record = world.reset(0)
    action = agent.act(record.observation, record.action_mask, deterministic=False).action
    assert world.step(action).reward.isfinite().all()


@pytest.mark.parametrize(
    ("config", "world", "message"),
    [
        (DQNConfig(), "constrained_allocation", "choose sac, or play its discrete face"),
        (SACConfig(), "traffic_shares", "sac sets amounts, and this world wants choices"),
        (MADDPGConfig(variant="matd3"), "newsvendor", "matd3 trains a team"),
        (QMIXConfig(), "distributed_nodes", "qmix chooses, and this world wants amounts"),
        (APGConfig(), "market_making", "not differentiable: choose ppo"),
        (PPOConfig(critic="central"), "newsvendor", "choose ppo"),
        (PPOConfig(cost=MultiplierConfig(cost_limits=(0.1,))), "portfolio", "no costs to limit"),
    ],
)
def test_impossible_pairings_are_refused(config, world, message):
    with pytest.raises(ConfigError, match=message):
        make_agent(config, make_world(world, num_envs=1), seed=0)


def test_a_value_learner_plays_amounts_through_their_discrete_face():
    world = with_actions(make_world("constrained_allocation", num_envs=2), "units")
    assert task_of(world).kind == "discrete"
    agent = make_agent(DQNConfig(), world, seed=0)
    record = world.reset(0)
    world.step(agent.act(record.observation, record.action_mask).action)


def test_names():
    assert algorithm_of(PPOConfig()) == "ppo"
    assert algorithm_of(PPOConfig(critic="central")) == "mappo"
    assert algorithm_of(MADDPGConfig(variant="matd3")) == "matd3"
    assert algorithm_of(QMIXConfig(mixer="vdn")) == "vdn"
