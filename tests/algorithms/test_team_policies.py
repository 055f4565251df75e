"""Policies of a team: masks, ids, ranges, and the gradient of a drawn choice."""

from __future__ import annotations

import pytest
import torch

from rl.algorithms.heads import one_hot_choice, straight_through_choice
from rl.algorithms.team_policies import TeamPolicies


def make(discrete=False, shared=False, action_range=(-1.0, 1.0), num_agents=3):
    return TeamPolicies(
        (4, 8, 5),
        num_agents=num_agents,
        shared=shared,
        discrete=discrete,
        action_range=action_range,
        generator=torch.Generator().manual_seed(0),
    )


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def test_drawn_choices_have_the_frequencies_of_the_softmax():
    probability = torch.tensor([0.6, 0.3, 0.1])
    logits = probability.log().expand(100_000, 3)
    drawn = straight_through_choice(
        logits, torch.ones(3, dtype=torch.bool).expand(logits.shape), chance()
    )
    assert drawn.unique().tolist() == [0.0, 1.0]
    assert (drawn.sum(-1) == 1.0).all()
    assert drawn.mean(0).tolist() == pytest.approx(probability.tolist(), abs=0.01)


def test_the_gradient_of_a_drawn_choice_is_that_of_the_relaxed_one():
    logits = torch.randn(6, 4, generator=chance(1), dtype=torch.float64).requires_grad_()
    mask = torch.tensor([True, True, True, False]).expand(6, 4)
    worth = torch.randn(6, 4, generator=chance(2), dtype=torch.float64)
    drawn = straight_through_choice(logits, mask, chance(3), temperature=0.7)
    (gradient,) = torch.autograd.grad((drawn * worth).sum(), logits)
    waiting = torch.empty_like(logits).exponential_(generator=chance(3))
    noisy = ((logits - waiting.log()) / 0.7)[:, :3]
    (expected,) = torch.autograd.grad((noisy.softmax(-1) * worth[:, :3]).sum(), logits)
    torch.testing.assert_close(gradient, expected)
    assert drawn.argmax(-1).tolist() == noisy.argmax(-1).tolist()


def test_masked_choices_are_never_drawn_and_have_no_gradient():
    logits = torch.randn(20_000, 4, generator=chance(1)).requires_grad_()
    mask = torch.tensor([True, False, True, False]).expand(logits.shape)
    drawn = straight_through_choice(logits, mask, chance())
    assert (drawn.sum(0) > 0).tolist() == [True, False, True, False]
    (gradient,) = torch.autograd.grad((drawn * torch.arange(4.0)).sum(), logits)
    assert (gradient.abs().sum(0) > 0).tolist() == [True, False, True, False]
    assert (one_hot_choice(logits, mask).sum(0) > 0).tolist() == [True, False, True, False]


def test_a_row_without_choices_is_zero_and_has_no_gradient():
    logits = torch.randn(5, 3, generator=chance()).requires_grad_()
    nothing = torch.zeros(5, 3, dtype=torch.bool)
    drawn = straight_through_choice(logits, nothing, chance())
    (gradient,) = torch.autograd.grad((drawn * torch.arange(3.0)).sum(), logits)
    assert not drawn.any()
    assert not gradient.any()
    assert not one_hot_choice(logits, nothing).any()


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("action_range", [(-1.0, 1.0), (0.0, 10.0)])
def test_actions_survive_the_way_to_the_environment_and_back(discrete, action_range):
    policies = make(discrete, action_range=action_range)
    mask = torch.ones(3, 7, 5, dtype=torch.bool)
    mask[1, :, 3:] = False
    output = torch.randn(3, 7, 5, generator=chance())
    action = policies.draw(output, mask, chance())
    outside = policies.to_environment(action, mask)
    torch.testing.assert_close(policies.from_environment(outside, mask), action)
    assert not action[1, :, 3:].any()
    if discrete:
        assert outside[1].max() < 3
    else:
        assert not outside[1, :, 3:].any()
        in_use = outside[mask]
        assert in_use.min() >= action_range[0]
        assert in_use.max() <= action_range[1]


@pytest.mark.parametrize("shared", [False, True])
def test_agents_who_see_the_same_can_act_differently(shared):
    policies = make(shared=shared)
    seen = torch.randn(7, 4, generator=chance()).expand(3, 7, 4)
    output = policies.outputs(policies.trace(seen))
    assert not torch.allclose(output[0], output[1], atol=1e-3)


def test_shared_weights_see_the_id_in_a_column_of_its_own():
    policies = make(shared=True)
    seen = torch.randn(3, 7, 4, generator=chance())
    output = policies.outputs(policies.trace(seen))
    for agent in range(3):
        ids = torch.eye(3)[agent].expand(7, 3)
        alone = policies.network(torch.cat((seen[agent], ids), -1).unsqueeze(0))[0]
        torch.testing.assert_close(output[agent], alone)


@pytest.mark.parametrize("shared", [False, True])
def test_gradients_of_the_weights_are_those_of_autograd(shared):
    policies = make(shared=shared).double().requires_grad_(False)
    seen = torch.randn(3, 7, 4, generator=chance(), dtype=torch.float64)
    grad = torch.randn(3, 7, 5, generator=chance(1), dtype=torch.float64)
    trace = policies.trace(seen)
    policies.backward(trace, grad)
    by_hand = policies.network.vector.grad.clone()
    policies.network.vector.requires_grad_()
    ids = torch.eye(3, dtype=torch.float64).unsqueeze(1).expand(-1, 7, -1)
    rows = torch.cat((seen, ids), -1).reshape(1, 21, 7) if shared else seen
    output = policies.network(rows).view(3, 7, 5)
    (expected,) = torch.autograd.grad((output * grad).sum(), policies.network.vector)
    torch.testing.assert_close(by_hand, expected)
