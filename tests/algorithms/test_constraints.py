"""Multipliers on numbers worked by hand, and the critic of costs."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from rl.algorithms.constraints import (
    MultiplierState,
    constrained_advantage,
    first_multipliers,
    mean_step_cost,
    next_multipliers,
)
from rl.algorithms.cost_critic import CostConstraint
from rl.algorithms.multiplier_config import MultiplierConfig
from rl.algorithms.policy_state import StateMismatchError, load_tensors, save_tensors
from rl.algorithms.rollout_buffer import Rollout
from utils.errors import ConfigError

TIME, ENV, AGENT, OBS = 3, 4, 2, 5


def follow(config, costs):
    """Return the multiplier after each of some mean costs."""
    state, seen = first_multipliers(config), []
    for cost in costs:
        state = next_multipliers(state, torch.tensor([cost]), config)
        seen.append(float(state.multiplier))
    return seen


def test_projected_gradient_climbs_and_stays_above_zero():
    config = MultiplierConfig(cost_limits=(1.0,), method="projected", learning_rate=0.5)
    assert follow(config, [3.0, 2.0, -1.0, -9.0, 2.0]) == pytest.approx([1.0, 1.5, 0.5, 0.0, 0.5])


def test_softplus_gradient_is_the_derivative_of_the_lagrangian():
    config = MultiplierConfig(
        cost_limits=(1.0,), method="softplus", learning_rate=0.5, initial_multiplier=math.log(2.0)
    )
    # z starts at 0, where softplus is log 2 and its slope one half.
    assert follow(config, [3.0]) == pytest.approx([math.log1p(math.exp(0.5))])
    z = torch.tensor([0.3], requires_grad=True)
    (torch.nn.functional.softplus(z) * (3.0 - 1.0)).sum().backward()
    start = MultiplierState(torch.zeros(1), z.detach(), torch.zeros(1))
    moved = next_multipliers(start, torch.tensor([3.0]), config).accumulated
    assert moved.item() == pytest.approx(0.3 + 0.5 * z.grad.item())


def test_pid_adds_excess_integral_and_rise():
    config = MultiplierConfig(
        cost_limits=(1.0,), learning_rate=0.5, proportional_gain=0.25, derivative_gain=2.0
    )
    excess, integral, rise = (2.0, -0.5, -5.0, 1.0), (2.0, 1.5, 0.0, 1.0), (2.0, 0.0, 0.0, 6.0)
    terms = zip(excess, integral, rise, strict=True)
    by_hand = [max(0.25 * e + 0.5 * i + 2.0 * r, 0.0) for e, i, r in terms]
    assert follow(config, [3.0, 0.5, -4.0, 2.0]) == pytest.approx(by_hand)


def test_the_integral_of_pid_begins_at_the_initial_multiplier():
    config = MultiplierConfig(cost_limits=(1.0,), learning_rate=0.5, initial_multiplier=3.0)
    assert follow(config, [1.0]) == pytest.approx([3.0])


@pytest.mark.parametrize("method", ["projected", "softplus", "pid"])
def test_constraints_do_not_touch_each_other(method):
    alone = MultiplierConfig(cost_limits=(1.0,), method=method, initial_multiplier=0.1)
    both = dataclasses.replace(alone, cost_limits=(1.0, 5.0))
    state = first_multipliers(both)
    for cost in (3.0, 2.0):
        state = next_multipliers(state, torch.tensor([cost, 0.0]), both)
    assert float(state.multiplier[0]) == pytest.approx(follow(alone, [3.0, 2.0])[-1])
    assert state.multiplier[1] < 0.1


def test_advantages_are_charged_and_rescaled():
    charged = constrained_advantage(
        torch.tensor([4.0, 1.0]),
        torch.tensor([[1.0, 2.0], [0.0, -1.0]]),
        torch.tensor([2.0, 1.0]),
    )
    assert charged.tolist() == [(4 - 2 - 2) / 4, (1 + 1) / 4]


def test_absent_agents_cost_nothing():
    cost = torch.full((TIME, ENV, AGENT, 1), 2.0)
    alive = torch.ones(TIME, ENV, AGENT, dtype=torch.bool)
    alive[:, :, 1] = False
    cost[:, :, 1] = 1e6
    assert mean_step_cost(cost, alive).tolist() == [2.0]


def make_constraint(seed=0, limits=(1.0, 2.0)):
    return CostConstraint(
        (OBS, 16),
        MultiplierConfig(cost_limits=limits, proportional_gain=0.1),
        activation="tanh",
        learning_rate=1e-2,
        device=torch.device("cpu"),
        generator=torch.Generator().manual_seed(seed),
    )


def make_rollout(constraint, seed=0):
    chance = torch.Generator().manual_seed(seed)
    observation = torch.randn(TIME, ENV, AGENT, OBS, generator=chance)
    mask = torch.ones(TIME, ENV, AGENT, 1, dtype=torch.bool)
    rollout = Rollout.allocate(
        TIME, observation[0], mask[0], discrete=True, num_costs=constraint.num_costs
    )
    value = constraint.value(observation)
    return dataclasses.replace(
        rollout,
        observation=observation,
        alive=mask[..., 0],
        cost=torch.rand(value.shape, generator=chance) * 4,
        cost_value=value,
        next_cost_value=value.roll(-1, 0),
        discount=torch.full(mask.shape[:-1], 0.9),
    )


def learn(constraint, seed):
    rollout = make_rollout(constraint, seed)
    charged, target = constraint.charge(torch.ones(TIME, ENV, AGENT), rollout, trace_decay=0.9)
    loss = constraint.learn(
        rollout.observation.flatten(0, -2), target.flatten(0, -2), learning_rate=1e-2
    )
    return charged, loss


def test_cost_advantages_are_those_of_each_cost_alone():
    constraint = make_constraint()
    rollout = make_rollout(constraint)
    ended = rollout.ended.clone()
    ended[1, 0] = True
    rollout = dataclasses.replace(rollout, ended=ended)
    _, target = constraint.charge(torch.ones(TIME, ENV, AGENT), rollout, trace_decay=0.5)
    error = rollout.cost + 0.9 * rollout.next_cost_value - rollout.cost_value
    by_hand = error.clone()
    for time in (1, 0):
        trace = 0.9 * 0.5 * (~ended[time]).unsqueeze(-1)
        by_hand[time] = error[time] + trace * by_hand[time + 1]
    torch.testing.assert_close(target, by_hand + rollout.cost_value)


def test_the_critic_learns_the_cost():
    constraint = make_constraint()
    observation = torch.randn(64, OBS, generator=torch.Generator().manual_seed(0))
    target = observation[:, :2] * 3
    first = constraint.learn(observation, target, learning_rate=1e-2)
    for _ in range(200):
        last = constraint.learn(observation, target, learning_rate=1e-2)
    assert last < 0.05 * first


def test_a_saved_constraint_goes_on_as_if_nothing_had_happened():
    one, late = make_constraint(), make_constraint(seed=9)
    learn(one, 0)
    late.load_state_dict(load_tensors(save_tensors(one.state_dict())))
    for constraint in (one, late):
        learn(constraint, 1)
    state, expected = one.state_dict(), late.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in state)


def test_another_number_of_constraints_is_refused():
    with pytest.raises(StateMismatchError, match="vector was saved as"):
        make_constraint().load_state_dict(make_constraint(limits=(1.0,)).state_dict())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cost_limits": ()}, "give one limit"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"proportional_gain": -1.0}, "proportional_gain=-1.0"),
        ({"method": "projected", "derivative_gain": 1.0}, "only pid has gains"),
        ({"method": "softplus"}, "gradient vanishes"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        MultiplierConfig(**({"cost_limits": (1.0,)} | settings))
