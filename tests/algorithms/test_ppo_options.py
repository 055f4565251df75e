"""Options of PPO: penalty, entropy schedule, and who shares weights."""

from __future__ import annotations

import copy

import pytest
import torch

from rl.algorithms.losses import adapted_penalty
from rl.algorithms.multiplier_config import MultiplierConfig
from rl.algorithms.policy_state import load_tensors, save_tensors
from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.algorithms.ppo_gradient import LossRows, loss_settings
from rl.algorithms.ppo_metrics import UpdateHistory
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


@pytest.mark.parametrize(
    ("config", "name", "word"),
    [
        (PPOConfig(), "activation", "gelu"),
        (PPOConfig(), "critic", "centralised"),
        (PPOConfig(), "parameter_sharing", "separate"),
        (MultiplierConfig(cost_limits=(0.1,)), "method", "PID"),
    ],
)
def test_an_unknown_word_is_refused_not_taken_for_another(config, name, word):
    config = copy.copy(config)
    object.__setattr__(config, name, word)  # `make shapes` refuses the word to the constructor
    with pytest.raises(ConfigError, match=f"{name}='{word}': choose from"):
        config.__post_init__()


def test_an_empty_group_is_refused():
    config = PPOConfig(parameter_sharing="grouped", agent_groups=((0, 1), ()))
    with pytest.raises(ConfigError, match="no group is empty"):
        PPOAgent("learner", 3, 2, config, num_agents=2)


def test_weights_of_one_agent_do_not_learn_for_two():
    agent = PPOAgent("learner", 3, 2, PPOConfig(parameter_sharing="independent"))
    with pytest.raises(ConfigError, match="num_agents=1, but the environment has 2"):
        Collector(PointWorld(), agent, rollout_steps=4, seed=1)


def test_figures_are_means_over_what_was_alive():
    history = UpdateHistory()
    share = torch.tensor([[0.5, 0.5], [0.0, 0.0]])
    figures = torch.tensor([[1.0, 3.0], [7.0, 7.0]])
    history.add(LossRows(figures, figures, figures, torch.zeros(2, 2)), share, torch.tensor(1.0))
    metrics = history.means(0.2)
    assert metrics["value_loss"] == 2.0
    assert metrics["policy_loss"] == -2.0


def test_a_deep_copy_learns_as_the_original_and_apart_from_it():
    agent = PPOAgent("learner", 3, 2, PPOConfig(hidden_dims=(8,)))
    rollout, _ = Collector(PointWorld(), agent, rollout_steps=12, seed=1).collect()
    agent.update(rollout)
    twin, before = copy.deepcopy(agent), agent.policy_state()
    twin.update(rollout)
    assert all(torch.equal(agent.policy_state()[name], before[name]) for name in before)
    agent.update(rollout)
    expected, found = agent.state_dict(), twin.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not torch.equal(found["network.actor.vector"], before["actor.vector"])
