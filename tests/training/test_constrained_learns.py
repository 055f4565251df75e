"""PPO under a limit on costs, and for the tail, where the best policy is known."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from benchmarks.constrained import make_world
from benchmarks.rule_budgets import RuleBudgets
from rl.algorithms.multiplier_config import MultiplierConfig
from rl.algorithms.ppo_agent import PPOAgent
from rl.algorithms.ppo_config import PPOConfig
from rl.domains.constrained_experts import fill_cheapest_first
from rl.environments.base_environment import ActionSpec
from rl.environments.torch_tools import view_to_numpy
from rl.training.learners import RolloutLearner
from tests.training.worlds import World
from utils.errors import ConfigError

COPIES, STEPS = 128, 4
BANDIT = {"hidden_dims": (16,), "gamma": 0.0, "gae_lambda": 0.0, "normalize_observations": False}


class Greed(World):
    """One-step episodes: reward is the action, its first cost the square, its second nothing."""

    def __init__(self, num_costs=2):
        action = ActionSpec(kind="continuous", size=1)
        super().__init__(num_envs=COPIES, num_agents=1, observation_size=1, action=action)
        self.num_costs = num_costs

    def reset(self, seed=None):
        return self.pay(torch.zeros(COPIES, 1))

    def step(self, action):
        return self.pay(action[..., 0].clamp(0.0, 1.0))

    def pay(self, taken):
        ended = torch.ones(COPIES, dtype=torch.bool)
        record = self.record(torch.ones(COPIES, 1, 1), taken, terminated=ended)
        cost = torch.stack((taken.square(), torch.zeros_like(taken)), -1)
        return dataclasses.replace(record, cost=cost[..., : self.num_costs])


class Gamble(World):
    """One-step episodes: choice 0 pays 1 +- 0.1; choice 1 pays 2, but +- 5."""

    def __init__(self):
        action = ActionSpec(kind="discrete", size=2)
        super().__init__(num_envs=COPIES, num_agents=1, observation_size=1, action=action)
        self.generator = torch.Generator().manual_seed(0)

    def reset(self, seed=None):
        return self.record(torch.ones(COPIES, 1, 1))

    def step(self, action):
        chance = torch.randn(COPIES, 1, generator=self.generator)
        reward = torch.where(action == 0, 1.0 + 0.1 * chance, 2.0 + 5.0 * chance)
        ended = torch.ones(COPIES, dtype=torch.bool)
        return self.record(torch.ones(COPIES, 1, 1), reward, terminated=ended)


def make_learner(world, config, *, discrete=False):
    agent = PPOAgent("p", 1, world.action_size, config, discrete=discrete, seed=0)
    return agent, RolloutLearner(world, agent, rollout_steps=STEPS, seed=0)


METHODS = {
    "projected": {"learning_rate": 1.0},
    "softplus": {"learning_rate": 1.0, "initial_multiplier": 0.5},
    "pid": {"learning_rate": 0.5, "proportional_gain": 2.0, "derivative_gain": 1.0},
}


@pytest.mark.learning
@pytest.mark.parametrize("method", METHODS)
def test_a_limit_is_met_and_used_up(method):
    """The best action under a^2 <= 0.09 is 0.3, where the multiplier is 1 / 0.6."""
    limits = MultiplierConfig(cost_limits=(0.09, 1.0), method=method, **METHODS[method])
    config = PPOConfig(**BANDIT, learning_rate=3e-3, initial_log_std=-2.5, cost=limits)
    agent, learner = make_learner(Greed(), config)
    history = [learner.learn(10**9)[1] for _ in range(150)]
    cost = torch.stack([metrics["cost_0"] for metrics in history[50:]]).mean().item()
    multiplier = torch.stack([metrics["multiplier_0"] for metrics in history[50:]]).mean().item()
    assert cost == pytest.approx(0.09, rel=0.2)
    assert multiplier == pytest.approx(1 / 0.6, rel=0.3)
    assert history[-1]["multiplier_1"] < 0.05
    if method == "pid":  # plain gradients swing about the limit
        action = agent.act(torch.ones(1, 1, 1), None, deterministic=True).action.item()
        assert action == pytest.approx(0.3, abs=0.02)


@pytest.mark.learning
def test_without_a_limit_greed_takes_all():
    agent, learner = make_learner(
        Greed(), PPOConfig(**BANDIT, learning_rate=3e-3, initial_log_std=-2.5)
    )
    for _ in range(100):
        learner.learn(10**9)
    assert agent.act(torch.ones(1, 1, 1), None, deterministic=True).action.item() > 0.8


@pytest.mark.learning
def test_the_tail_avoids_what_the_mean_prefers():
    config = PPOConfig(**BANDIT, learning_rate=1e-2)
    chosen = {}
    for tail_share in (None, 0.1):
        settings = dataclasses.replace(config, tail_share=tail_share)
        agent, learner = make_learner(Gamble(), settings, discrete=True)
        for _ in range(100):
            learner.learn(128 * 4 * 100)
        chosen[tail_share] = agent.act(torch.ones(1, 1, 1), None, deterministic=True).action.item()
    assert chosen == {None: 1, 0.1: 0}


def test_limits_need_the_environments_costs():
    config = PPOConfig(**BANDIT, cost=MultiplierConfig(cost_limits=(1.0,)))
    with pytest.raises(ConfigError, match=r"cost_limits has 1 entries.* 2 costs"):
        make_learner(Greed(), config)


def test_costs_are_written_down_beside_what_their_critic_said():
    limits = MultiplierConfig(cost_limits=(0.09, 1.0))
    agent, learner = make_learner(Greed(), PPOConfig(**BANDIT, cost=limits))
    rollout, _ = learner._collector.collect()
    torch.testing.assert_close(rollout.cost[..., 0], rollout.reward.square())
    torch.testing.assert_close(rollout.cost_value, agent.cost_value(rollout.observation))
    torch.testing.assert_close(rollout.next_cost_value[:-1], rollout.cost_value[1:])


def test_a_budget_of_all_there_is_is_the_rule_and_a_wider_one_overuses():
    core = make_world(32, 0, training=True)
    face = RuleBudgets(core)
    record = face.reset(0)
    rule = fill_cheapest_first(view_to_numpy(core.view), core.config)
    played = face.step(torch.zeros(32, 1, 1))
    torch.testing.assert_close(core.state.allocation, torch.as_tensor(rule).view(32, 5, 3))
    assert played.cost.max() < 1e-9
    assert record.action_mask.shape == (32, 1, 1)
    assert face.step(torch.ones(32, 1, 1)).cost.max() > 1e-4
