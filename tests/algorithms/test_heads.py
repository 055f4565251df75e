"""Distributions against torch's own, and masks."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, Normal

from rl.algorithms.heads import DiagonalGaussian, MaskedCategorical


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(11)


@pytest.fixture
def gaussian_numbers(generator):
    mean = torch.randn(4, 5, 3, generator=generator, dtype=torch.float64)
    log_std = torch.randn(3, generator=generator, dtype=torch.float64) * 0.3
    return mean, log_std


def test_gaussian_equals_torch(gaussian_numbers, generator):
    mean, log_std = gaussian_numbers
    policy, reference = DiagonalGaussian(mean, log_std), Normal(mean, log_std.exp())
    action = policy.sample(generator)
    torch.testing.assert_close(policy.log_prob(action), reference.log_prob(action).sum(-1))
    torch.testing.assert_close(policy.entropy(), reference.entropy().sum(-1))
    assert policy.mode() is mean


def test_gaussian_samples_have_the_stated_moments(generator):
    policy = DiagonalGaussian(
        torch.tensor([2.0, -1.0]).expand(100_000, 2), torch.tensor([0.5, 0.1]).log()
    )
    action = policy.sample(generator)
    assert action.mean(0).tolist() == pytest.approx([2.0, -1.0], abs=0.01)
    assert action.std(0).tolist() == pytest.approx([0.5, 0.1], rel=0.02)


def test_masked_dimensions_leave_no_trace(gaussian_numbers, generator):
    mean, log_std = gaussian_numbers
    mean.requires_grad_()
    log_std.requires_grad_()
    mask = torch.tensor([True, False, True]).expand(4, 5, 3)
    policy = DiagonalGaussian(mean, log_std, mask)
    action = policy.sample(generator).detach()
    assert (action[..., 1] == 0).all()
    assert (policy.mode()[..., 1] == 0).all()
    in_use = DiagonalGaussian(mean[..., [0, 2]], log_std[[0, 2]])
    torch.testing.assert_close(policy.log_prob(action), in_use.log_prob(action[..., [0, 2]]))
    torch.testing.assert_close(policy.entropy(), in_use.entropy())
    (policy.log_prob(action).sum() + policy.entropy().sum()).backward()
    assert (mean.grad[..., 1] == 0).all()
    assert log_std.grad[1] == 0
    assert (log_std.grad[[0, 2]] != 0).all()


def test_categorical_equals_torch(generator):
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    policy, reference = MaskedCategorical.from_logits(logits), Categorical(logits=logits)
    action = policy.sample(generator)
    torch.testing.assert_close(policy.log_prob(action), reference.log_prob(action))
    torch.testing.assert_close(policy.entropy(), reference.entropy())
    assert policy.mode().tolist() == logits.argmax(-1).tolist()


def test_categorical_samples_have_the_stated_frequencies(generator):
    probability = torch.tensor([0.6, 0.3, 0.1])
    policy = MaskedCategorical.from_logits(probability.log().expand(100_000, 3))
    frequency = policy.sample(generator).bincount(minlength=3) / 100_000
    assert frequency.tolist() == pytest.approx(probability.tolist(), abs=0.01)


def test_masked_choices_are_never_taken_and_the_rest_is_normalised(generator):
    logits = torch.randn(50_000, 4, generator=generator)
    mask = torch.tensor([True, False, True, False]).expand_as(logits)
    policy = MaskedCategorical.from_logits(logits, mask)
    assert set(policy.sample(generator).tolist()) == {0, 2}
    assert set(policy.mode().tolist()) == {0, 2}
    reference = Categorical(logits=logits[:, [0, 2]])
    torch.testing.assert_close(policy.entropy(), reference.entropy())
    torch.testing.assert_close(
        policy.log_prob_of_choice[:, 2], reference.log_prob(torch.tensor(1)), atol=1e-6, rtol=1e-5
    )


def test_a_row_without_choices_stays_finite(generator):
    policy = MaskedCategorical.from_logits(torch.randn(3, 4), torch.zeros(3, 4, dtype=torch.bool))
    assert torch.isfinite(policy.log_prob(policy.sample(generator))).all()
    assert torch.isfinite(policy.entropy()).all()
