"""Equations of soft actor-critic and TD3 on numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from rl.algorithms import actor_critic_losses as equations

Q = torch.tensor([[1.0, 5.0, -2.0], [3.0, 4.0, -1.0]])
LOG_PROB = torch.tensor([-1.0, 0.5, 2.0])
ONES = torch.ones(3)


def test_soft_value_takes_the_lower_critic_and_adds_entropy():
    value = equations.soft_value(Q, LOG_PROB, torch.tensor(0.5))
    assert value.tolist() == [1.0 + 0.5, 4.0 - 0.25, -2.0 - 1.0]


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        ([1.0, 1.0, 1.0], (1.0 + 16.0 + 9.0 + 9.0 + 9.0 + 4.0) / 6.0),
        ([1.0, 0.0, 0.0], (1.0 + 9.0) / 2.0),
        ([1.0, 3.0, 0.0], (1.0 + 3.0 * 16.0 + 9.0 + 3.0 * 9.0) / 8.0),
        ([0.0, 0.0, 0.0], 0.0),
    ],
)
def test_squared_td_loss_sums_over_critics_and_averages_over_rows(weight, expected):
    target = torch.tensor([0.0, 1.0, 1.0])
    loss = equations.squared_td_loss(Q, target, torch.tensor(weight))
    assert float(loss) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("dimensions", "low", "high", "expected"),
    [(1, -1.0, 1.0, -1.0), (3, -1.0, 1.0, -3.0), (2, 0.0, 1.0, -2.0 - 2.0 * math.log(2.0))],
)
def test_target_entropy_does_not_mind_stretching(dimensions, low, high, expected):
    goal = equations.target_entropy(
        torch.tensor([float(dimensions)]), per_dimension=-1.0, low=low, high=high
    )
    assert goal.item() == pytest.approx(expected)


def test_temperature_rises_where_entropy_is_below_its_goal():
    log_temperature = torch.tensor(math.log(0.2), requires_grad=True)
    log_prob, goal = torch.tensor([3.0, 1.0, 100.0]), torch.tensor([-1.0, -1.0, -1.0])
    weight = torch.tensor([1.0, 1.0, 0.0])
    loss = equations.temperature_loss(log_temperature, log_prob, goal, weight)
    assert loss.item() == pytest.approx(-math.log(0.2) * (2.0 + 0.0) / 2.0)
    loss.backward()
    assert float(log_temperature.grad) == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("action", "noise", "expected"),
    [(0.0, 0.3, 0.3), (0.0, 2.0, 0.5), (0.0, -2.0, -0.5), (0.8, 0.4, 1.0), (-0.8, -0.4, -1.0)],
)
def test_smoothing_clips_the_noise_and_then_the_action(action, noise, expected):
    smoothed = equations.smoothed_action(
        torch.tensor([[action]]), torch.tensor([[noise]]), noise_clip=0.5, low=-1.0, high=1.0
    )
    assert smoothed.item() == pytest.approx(expected)


def test_deterministic_policy_gradient_is_the_chain_rule():
    """With Q = -(a - 3)^2 and a = theta s: dJ/dtheta = E[-2 (theta s - 3) s]."""
    state, theta = torch.tensor([1.0, 2.0]), torch.tensor(0.5, requires_grad=True)
    q_value = -(theta * state - 3.0).square()
    equations.deterministic_policy_loss(q_value, torch.ones(2)).backward()
    assert float(theta.grad) == pytest.approx(-0.5 * (2.0 * 2.5 * 1.0 + 2.0 * 2.0 * 2.0))


def test_entropy_policy_loss():
    loss = equations.entropy_policy_loss(Q, LOG_PROB, torch.tensor(0.5), ONES)
    assert float(loss) == pytest.approx(-(1.5 + 3.75 - 3.0) / 3.0)


def test_gradient_of_the_policy_flows_through_the_lower_critic_only():
    q_value = Q.clone().requires_grad_()
    equations.entropy_policy_loss(q_value, LOG_PROB, torch.tensor(0.5), ONES).backward()
    third = -1.0 / 3.0
    expected = torch.tensor([[third, 0.0, third], [0.0, third, 0.0]])
    torch.testing.assert_close(q_value.grad, expected)
