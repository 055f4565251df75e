"""What a block was worth: charged advantages, plain targets, and their state."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from rl.algorithms import objective as objective_module
from rl.algorithms.losses import DivergenceError
from rl.algorithms.multiplier_config import MultiplierConfig
from rl.algorithms.policy_state import StateMismatchError, load_tensors, save_tensors
from rl.algorithms.ppo_agent import PPOAgent
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.rollout_buffer import Rollout
from utils.errors import ConfigError

TIME, ENV, AGENT, OBS, ACT = 6, 5, 2, 4, 2
LIMITS = MultiplierConfig(cost_limits=(0.1, 0.2), proportional_gain=0.5, initial_multiplier=0.3)


def make_agent(*, seed=0, **settings):
    settings = {"hidden_dims": (8,), "learning_rate": 1e-2, "cost": LIMITS} | settings
    return PPOAgent("learner", OBS, ACT, PPOConfig(**settings), discrete=True, seed=seed)


def make_rollout(agent, seed=0):
    chance = torch.Generator().manual_seed(seed)
    observation = torch.randn(TIME, ENV, AGENT, OBS, generator=chance)
    mask = torch.ones(TIME, ENV, AGENT, ACT, dtype=torch.bool)
    costs = agent.objective.num_costs
    rollout = Rollout.allocate(TIME, observation[0], mask[0], discrete=True, num_costs=costs)
    sample = agent.act(observation, mask)
    value, cost_value = agent.value(observation), agent.cost_value(observation)
    return dataclasses.replace(
        rollout,
        observation=observation,
        action_mask=mask,
        alive=torch.ones(TIME, ENV, AGENT, dtype=torch.bool),
        action=sample.action,
        log_prob=sample.log_prob,
        reward=torch.randn(TIME, ENV, AGENT, generator=chance),
        cost=torch.rand(cost_value.shape, generator=chance),
        discount=torch.full((TIME, ENV, AGENT), 0.9),
        ended=torch.rand(TIME, ENV, AGENT, generator=chance) < 0.2,
        value=value,
        next_value=value.roll(-1, 0),
        cost_value=cost_value,
        next_cost_value=cost_value.roll(-1, 0),
    )


def test_the_critic_of_rewards_does_not_hear_of_costs():
    limited, free = make_agent(), make_agent(cost=None)
    rollout = make_rollout(limited)
    charged = limited.objective.assess(rollout, progress=0.0)
    plain = free.objective.assess(rollout, progress=0.0)
    torch.testing.assert_close(charged.target, plain.target)
    assert not torch.allclose(charged.advantage, plain.advantage)
    assert plain.cost_target.shape == rollout.cost.shape


def test_costs_move_the_policy_away_from_what_is_dear():
    limits = MultiplierConfig(cost_limits=(0.0,), initial_multiplier=50.0)
    agent = make_agent(cost=limits, ppo_epochs=1, num_minibatches=1, gamma=0.0)
    rollout = make_rollout(agent)
    nothing = torch.zeros_like(rollout.reward)
    dear = rollout.action == 1
    rollout = dataclasses.replace(
        rollout, reward=nothing, cost=dear.float().unsqueeze(-1), discount=nothing
    )
    before = agent.network.policy(rollout.observation, None).log_prob(rollout.action)
    shift = agent.network.normalizer.state_dict()
    shift = {name: value.clone() for name, value in shift.items()}
    agent.update(rollout)
    agent.network.normalizer.load_state_dict(shift)
    change = agent.network.policy(rollout.observation, None).log_prob(rollout.action) - before
    assert change[dear].mean() < -0.001
    assert change[~dear].mean() > 0.001


def test_charging_the_targets_too_would_be_noticed(monkeypatch):
    """Planted fault, kept: a critic of rewards that is taught the charged returns."""
    plain = make_agent(cost=None).objective.assess(make_rollout(make_agent()), progress=0.0)
    honest = objective_module.Worth

    def faulty(advantage, target, cost_target, metrics):
        return honest(advantage, target + advantage, cost_target, metrics)

    monkeypatch.setattr(objective_module, "Worth", faulty)
    agent = make_agent()
    charged = agent.objective.assess(make_rollout(agent), progress=0.0)
    assert not torch.allclose(charged.target, plain.target)


def same_state(one, other):
    state, expected = one.state_dict(), other.state_dict()
    return state.keys() == expected.keys() and all(
        torch.equal(state[name], expected[name]) for name in state
    )


@pytest.mark.parametrize("settings", [{}, {"tail_share": 0.3, "scale_rewards": True}])
def test_a_saved_agent_goes_on_as_if_nothing_had_happened(settings):
    agent, late = make_agent(**settings), make_agent(**settings, seed=9)
    agent.update(make_rollout(agent))
    late.load_state_dict(load_tensors(save_tensors(agent.state_dict())))
    assert same_state(agent, late)
    for learner in (agent, late):
        learner.update(make_rollout(learner, seed=1), progress=0.5)
    assert same_state(agent, late)


def test_a_state_without_limits_is_refused():
    with pytest.raises(StateMismatchError, match="vector is not in the saved state"):
        make_agent().load_state_dict(make_agent(cost=None).state_dict())


def test_metrics_name_multipliers_costs_and_the_critics_error():
    agent = make_agent()
    metrics = agent.update(make_rollout(agent))
    assert {"multiplier_0", "multiplier_1", "cost_0", "cost_1", "cost_value_loss"} <= set(metrics)
    tail = make_agent(cost=None, tail_share=0.5)
    assert {"value_at_risk", "tail_mean"} <= set(tail.update(make_rollout(tail)))


def test_an_infinite_cost_stops_learning():
    agent = make_agent()
    rollout = make_rollout(agent)
    rollout.cost[2, 1, 0, 1] = float("inf")
    with pytest.raises(DivergenceError, match="cost"):
        agent.update(rollout)


@pytest.mark.parametrize("share", [0.0, 1.5, -1.0])
def test_a_tail_is_a_share(share):
    with pytest.raises(ConfigError, match=f"tail_share={share}"):
        PPOConfig(tail_share=share)
