"""Options of PPO: penalty, entropy schedule, and who shares weights."""

from __future__ import annotations

import pytest
import torch

from rl.algorithms.losses import adapted_penalty
from rl.algorithms.policy_state import load_tensors, save_tensors
from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.algorithms.ppo_gradient import loss_settings
from rl.training.rollout import Collector
from tests.training.worlds import PointWorld
from utils.errors import ConfigError


@pytest.mark.parametrize(("divergence", "factor"), [(0.016, 2.0), (0.006, 0.5), (0.01, 1.0)])
def test_the_penalty_doubles_and_halves_around_the_target(divergence, factor):
    found = adapted_penalty(torch.tensor(0.2), torch.tensor(divergence), 0.01)
    assert found.item() == pytest.approx(0.2 * factor)


def test_a_penalty_needs_a_target_and_a_start():
    with pytest.raises(ConfigError, match="adaptive_kl_penalty=True steers to target_kl"):
        PPOConfig(adaptive_kl_penalty=True)
    with pytest.raises(ConfigError, match="kl_coeff=0"):
        PPOConfig(adaptive_kl_penalty=True, target_kl=0.01, kl_coeff=0.0)


def test_entropy_moves_linearly():
    config = PPOConfig(entropy_coeff=0.1, final_entropy_coeff=0.02)
    half = loss_settings(config, 0.5, torch.tensor(1.0))
    assert half.entropy_coeff == pytest.approx(0.06)


@pytest.mark.parametrize(
    "settings",
    [
        {"parameter_sharing": "independent"},
        {"parameter_sharing": "grouped", "agent_groups": ((1,), (0,)), "critic": "central"},
        {"critic": "central", "append_agent_id": True},
        {"adaptive_kl_penalty": True, "target_kl": 1e-7},
    ],
)
def test_many_agents_learn_and_are_resumed_bit_for_bit(settings):
    def make(seed):
        config = PPOConfig(hidden_dims=(8,), **settings)
        return PPOAgent("learner", 3, 2, config, seed=seed, num_agents=2)

    agent, late = make(0), make(9)
    collector = Collector(PointWorld(), agent, rollout_steps=12, seed=1)
    rollout, _ = collector.collect()
    metrics = agent.update(rollout)
    late.load_state_dict(load_tensors(save_tensors(agent.state_dict())))
    for one in (agent, late):
        one.update(rollout)
    expected, found = agent.state_dict(), late.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    if "target_kl" in settings:
        assert metrics["kl_penalty"].item() == pytest.approx(0.2)
        assert agent.kl_coeff > 0.2
