"""Temporal-difference equations against numbers worked by hand, and against autograd."""

from __future__ import annotations

import math

import pytest
import torch

from rl.algorithms.td_losses import (
    double_q_value,
    dueling_gradient,
    dueling_q,
    greedy_choice,
    greedy_value,
    huber,
    quantiles,
    td_loss,
    td_target,
    value_of_choice,
)

Q = torch.tensor([[1.0, 5.0, 3.0], [4.0, 2.0, 6.0]])
TARGET_Q = torch.tensor([[10.0, 20.0, 30.0], [40.0, 60.0, 50.0]])
MASK = torch.tensor([[True, False, True], [True, True, True]])
NOBODY = torch.zeros(2, 3, dtype=torch.bool)


@pytest.mark.parametrize(("mask", "expected"), [(None, [1, 2]), (MASK, [2, 2]), (NOBODY, [0, 0])])
def test_greedy_choice_is_the_best_allowed_one(mask, expected):
    assert greedy_choice(Q, mask).tolist() == expected


def test_greedy_choice_may_have_to_be_negative():
    q = torch.tensor([[0.0, -7.0, -9.0]])
    assert greedy_choice(q, torch.tensor([[False, True, True]])).tolist() == [1]


def test_the_value_of_no_choice_is_finite():
    assert greedy_value(Q, NOBODY).isfinite().all()


@pytest.mark.parametrize(("mask", "expected"), [(None, [30.0, 60.0]), (MASK, [30.0, 60.0])])
def test_the_maximum_is_over_the_target_networks_values(mask, expected):
    assert greedy_value(TARGET_Q, mask).tolist() == expected


@pytest.mark.parametrize(("mask", "expected"), [(None, [20.0, 50.0]), (MASK, [30.0, 50.0])])
def test_double_q_lets_the_online_network_choose_and_the_target_judge(mask, expected):
    assert double_q_value(Q, TARGET_Q, mask).tolist() == expected


def test_double_q_that_chooses_by_the_target_is_told_apart():
    """The planted fault: its argmax is the target's, so it is the plain maximum again."""
    faulty = double_q_value(TARGET_Q, TARGET_Q, None)
    assert torch.equal(faulty, greedy_value(TARGET_Q, None))
    assert not torch.equal(faulty, double_q_value(Q, TARGET_Q, None))


@pytest.mark.parametrize(
    ("reward", "discount", "next_value", "expected"),
    [
        (1.0, 0.9, 10.0, 10.0),
        (1.0, 0.0, 10.0, 1.0),  # terminated
        (-2.0, 0.81, 10.0, 6.1),  # two steps of gamma 0.9
    ],
)
def test_td_target(reward, discount, next_value, expected):
    one = [torch.tensor([number]) for number in (reward, discount, next_value)]
    assert td_target(*one).item() == pytest.approx(expected)


def test_dueling_adds_the_centred_advantage():
    q = dueling_q(torch.tensor([[10.0]]), torch.tensor([[1.0, 2.0, 6.0]]))
    assert q.tolist() == [[8.0, 9.0, 13.0]]
    shifted = dueling_q(torch.tensor([[10.0]]), torch.tensor([[101.0, 102.0, 106.0]]))
    assert shifted.tolist() == [[8.0, 9.0, 13.0]]


def test_dueling_gradient_is_that_of_autograd():
    generator = torch.Generator().manual_seed(1)
    value = torch.randn(5, 1, generator=generator, requires_grad=True)
    advantage = torch.randn(5, 4, generator=generator, requires_grad=True)
    slope = torch.randn(5, 4, generator=generator)
    expected = torch.autograd.grad((dueling_q(value, advantage) * slope).sum(), (value, advantage))
    torch.testing.assert_close(dueling_gradient(slope), torch.cat(expected, -1))


@pytest.mark.parametrize(
    ("error", "delta", "expected"),
    [(0.5, 1.0, 0.125), (-0.5, 1.0, 0.125), (3.0, 1.0, 2.5), (-3.0, 2.0, 4.0), (0.0, 1.0, 0.0)],
)
def test_huber(error, delta, expected):
    assert huber(torch.tensor(error), delta).item() == pytest.approx(expected)


def test_huber_is_torchs():
    error = torch.linspace(-4, 4, 33)
    expected = torch.nn.functional.huber_loss(error, torch.zeros(33), reduction="none", delta=1.5)
    torch.testing.assert_close(huber(error, 1.5), expected)


def test_td_loss_by_hand():
    q = torch.tensor([[1.0, 5.0], [2.0, 2.0], [0.0, 9.0]])
    result = td_loss(
        q,
        torch.tensor([0, 1, 1]),
        torch.tensor([1.5, -2.0, 100.0]),
        torch.tensor([0.5, 0.25, 0.0]),
    )
    assert result.error.tolist() == [0.5, -4.0, 91.0]
    # Half of 0.5^2 / 2, a quarter of 4 - 1 / 2, nothing of the rest.
    assert result.loss.item() == pytest.approx(0.9375)
    assert result.gradient.tolist() == [[-0.25, 0.0], [0.0, 0.25], [0.0, 0.0]]


def test_td_loss_gradient_is_that_of_autograd():
    generator = torch.Generator().manual_seed(2)
    q = torch.randn(64, 5, generator=generator, requires_grad=True)
    action = torch.randint(5, (64,), generator=generator)
    target = 2 * torch.randn(64, generator=generator)
    weight = torch.rand(64, generator=generator)
    loss = (weight * huber(target - value_of_choice(q, action))).sum()
    expected = torch.autograd.grad(loss, q)[0]
    result = td_loss(q.detach(), action, target, weight)
    torch.testing.assert_close(result.gradient, expected)
    torch.testing.assert_close(result.loss, loss.detach())


def test_quantiles_are_of_the_rows_that_count():
    quantity = torch.tensor([5.0, 99.0, 1.0, 3.0, 2.0, 4.0, -99.0])
    counts = torch.tensor([True, False, True, True, True, True, False])
    levels = torch.tensor([0.0, 0.25, 0.5, 1.0])
    assert quantiles(quantity, counts, levels).tolist() == [1.0, 2.0, 3.0, 5.0]
    nobody = quantiles(quantity, torch.zeros(7, dtype=torch.bool), levels)
    assert nobody.tolist() == [math.inf] * 4
