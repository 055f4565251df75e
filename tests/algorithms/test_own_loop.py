"""The promised names in somebody's own loop: they learn, wait for enough, and are resumed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from rl.algorithms.apg_agent import APGAgent
from rl.algorithms.apg_config import APGConfig
from rl.algorithms.dqn_agent import DQNAgent
from rl.algorithms.dqn_config import DQNConfig
from rl.algorithms.multiplier_config import MultiplierConfig
from rl.algorithms.policy_state import load_tensors, save_tensors
from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.algorithms.sac_agent import SACAgent
from rl.algorithms.sac_config import SACConfig
from rl.algorithms.td3_agent import TD3Agent
from rl.algorithms.td3_config import TD3Config
from utils.errors import ConfigError


def promised_agent(seed=0):
    """Return an agent made word for word as the README promises, but smaller."""
    return PPOAgent(
        agent_id="a",
        state_dim=2,
        action_dim=1,
        config=PPOConfig(
            hidden_dims=[256, 256],
            learning_rate=3e-4,
            batch_size=256,
            ppo_epochs=4,
            epsilon_clip=0.2,
            entropy_coeff=0.01,
            value_loss_coeff=0.5,
            use_curriculum=True,
        ),
        seed=seed,
    )


def play(agent, *, updates, seed=0):
    """Play one-step episodes that pay -(action - target)^2, and return the mean rewards."""
    chance = np.random.default_rng(seed)
    rewards, means, metrics = [], [], {}
    while len(means) < updates:
        target = chance.uniform(-1.0, 1.0)
        state = np.array([target, 1.0])
        action, info = agent.select_action_with_info(state)
        reward = -float((action[0] - target) ** 2)
        agent.store_experience(state, action, reward, True, info)
        rewards.append(reward)
        if agent.should_update():
            metrics = agent.update()
            means.append(np.mean(rewards))
            rewards = []
    return means, metrics


def test_ones_own_loop_learns():
    agent = promised_agent()
    means, metrics = play(agent, updates=25)
    assert means[-1] > means[0] + 0.5
    wanted = {"policy_loss", "value_loss", "entropy_loss", "kl_divergence", "clipfrac"}
    assert wanted <= metrics.keys()
    errors = [agent.select_action(np.array([t, 1.0]), evaluation=True)[0] - t for t in (-0.5, 0.5)]
    assert max(map(abs, errors)) < 0.35


def test_it_goes_on_bit_for_bit_with_steps_waiting():
    agent, late = promised_agent(), promised_agent(seed=9)
    play(agent, updates=1)
    for _ in range(10):
        action, info = agent.select_action_with_info(np.ones(2))
        agent.store_experience(np.ones(2), action, 1.0, False, info)
    late.load_state_dict(load_tensors(save_tensors(agent.state_dict())))
    for one in (agent, late):
        play(one, updates=1, seed=3)
    expected, found = agent.state_dict(), late.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("ending", ["terminated", "truncated", "open"])
def test_what_follows_a_step_depends_on_how_it_ended(ending):
    agent = PPOAgent("a", 1, 2, PPOConfig(hidden_dims=(8,), batch_size=2), discrete=True)
    last = {"truncated": ending == "truncated", "final_observation": np.array([5.0])}
    agent.store_experience(np.array([1.0]), 0, 1.0, False, {})
    agent.store_experience(np.array([2.0]), 1, 1.0, ending == "terminated", last)
    assert not agent.should_update()
    agent.store_experience(np.array([3.0]), 1, 1.0, False, {})
    assert agent.should_update()
    block = agent._own_rollout()
    value = [float(agent.value(torch.tensor([float(at)]))) for at in (1, 2, 3, 5)]
    assert block.value.flatten().tolist() == pytest.approx(value[:2])
    following = {"terminated": 0.0, "truncated": value[3], "open": value[2]}[ending]
    worth = (block.discount * block.next_value).flatten().tolist()
    assert worth == pytest.approx([0.99 * value[1], 0.99 * following], abs=1e-6)
    assert block.ended.flatten().tolist() == [False, ending != "open"]
    assert block.log_prob[0].item() == pytest.approx(math.log(0.5), abs=0.05)
    assert not agent.should_update()  # the open step is kept for the next block


def test_several_choices_and_their_type():
    agent = PPOAgent("a", 3, (2, 4), PPOConfig(hidden_dims=(8,)))
    action = agent.select_action(np.zeros(3))
    assert action.shape == (2,)
    assert action.dtype == np.int64
    assert isinstance(
        PPOAgent("a", 3, 2, PPOConfig(), discrete=True).select_action(np.zeros(3)), int
    )


def test_an_update_without_experience_is_refused():
    agent = promised_agent()
    with pytest.raises(ConfigError, match="no experience is stored"):
        agent.update()
    agent.store_experience(np.ones(2), np.zeros(1), 1.0, False, {})
    with pytest.raises(ConfigError, match="one step that led nowhere yet"):
        agent.update()
    with pytest.raises(ConfigError, match="needs info"):
        agent.store_experience(np.ones(2), np.zeros(1), 1.0, False, {"truncated": True})


def small_agent(action_dim=2, *, discrete=False, **settings):
    config = PPOConfig(hidden_dims=(8,), **settings)
    return PPOAgent("a", 2, action_dim, config, discrete=discrete)


def test_limits_on_costs_are_refused_before_anything_changes():
    agent = small_agent(cost=MultiplierConfig(cost_limits=(0.1,)))
    agent.store_experience(np.zeros(2), np.zeros(2), 1.0, True, {})
    before = agent.objective.state_dict()
    with pytest.raises(ConfigError, match="cost_limits has 1 entries"):
        agent.update()
    after = agent.objective.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(
    "settings",
    [
        {"parameter_sharing": "independent"},
        {"parameter_sharing": "grouped", "agent_groups": ((0,),)},
    ],
)
def test_one_agent_with_weights_of_its_own_learns(settings):
    agent = small_agent(**settings)
    action = agent.select_action(np.zeros(2))
    assert action.shape == (2,)
    for end in (False, True):
        agent.store_experience(np.zeros(2), action, 1.0, end, {})
    assert torch.isfinite(agent.update()["policy_loss"])


@pytest.mark.parametrize(
    ("action_dim", "discrete", "action"),
    [
        (2, False, np.zeros(1)),
        (4, True, 4),
        (4, True, -1),
        ((2, 3), True, [1, 3]),
        ((2, 3), True, 1),
    ],
)
def test_an_action_that_it_cannot_take_is_refused(action_dim, discrete, action):
    agent = small_agent(action_dim, discrete=discrete)
    with pytest.raises(ConfigError, match="action="):
        agent.store_experience(np.zeros(2), action, 1.0, False, {})


def test_an_array_of_one_number_is_a_choice():
    agent = small_agent(4, discrete=True)
    for end in (False, True):
        agent.store_experience(np.zeros(2), np.array([3]), 1.0, end, {})
    assert torch.isfinite(agent.update()["policy_loss"])


@pytest.mark.parametrize(
    "sizes",
    [
        {"state_dim": 0},
        {"action_dim": -1},
        {"action_dim": ()},
        {"action_dim": (3, 0)},
        {"num_agents": 0},
    ],
)
def test_an_agent_that_would_see_or_do_nothing_is_refused(sizes):
    (name,) = sizes
    with pytest.raises(ConfigError, match=f"{name}=.*from 1 on"):
        PPOAgent(
            **{"agent_id": "a", "state_dim": 2, "action_dim": 1, "config": PPOConfig()} | sizes
        )


def test_half_a_number_is_refused():
    refused = (ConfigError, TypeCheckError)  # `make shapes` looks at types first
    with pytest.raises(refused, match="state_dim"):
        PPOAgent("a", 1.5, 1, PPOConfig())


@pytest.mark.parametrize("make", [DQNAgent, SACAgent, TD3Agent, APGAgent])
def test_the_others_refuse_it_too(make):
    config = {DQNAgent: DQNConfig, SACAgent: SACConfig, TD3Agent: TD3Config, APGAgent: APGConfig}
    with pytest.raises(ConfigError, match="state_dim=0"):
        make("a", 0, 1, config[make](), seed=0)
