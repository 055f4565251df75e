"""The squashed normal distribution against torch's own, at the ends of the range, and masks."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import AffineTransform, TanhTransform

from rl.algorithms.heads import TanhNormal


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(5)


def numbers(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def reference(mean, log_std, low, high):
    stretch = AffineTransform(0.5 * (high + low), 0.5 * (high - low))
    return TransformedDistribution(Normal(mean, log_std.exp()), [TanhTransform(), stretch])


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0), (-2.0, 6.0)])
def test_equals_torch(generator, low, high):
    mean, log_std, noise = (numbers(generator, 6, 3) for _ in range(3))
    policy = TanhNormal(mean, 0.3 * log_std, low=low, high=high)
    action, log_prob = policy.rsample(noise)
    torch.testing.assert_close(
        log_prob, reference(mean, 0.3 * log_std, low, high).log_prob(action).sum(-1)
    )
    before_tanh = mean + (0.3 * log_std).exp() * noise
    torch.testing.assert_close(policy.log_prob(before_tanh), log_prob)
    assert ((low < action) & (action < high)).all()
    half = 0.5 * (high - low)
    torch.testing.assert_close(policy.mode(), 0.5 * (high + low) + half * mean.tanh())


def test_by_hand():
    """At u = 0 the tanh has slope 1, at u = 1 it has slope 1 - tanh(1)^2."""
    policy = TanhNormal(torch.tensor([[0.0]]), torch.tensor([[0.0]]))
    constant = -0.5 * math.log(2.0 * math.pi)
    assert float(policy.rsample(torch.tensor([[0.0]])).log_prob) == pytest.approx(constant)
    expected = constant - 0.5 - math.log(1.0 - math.tanh(1.0) ** 2)
    assert float(policy.rsample(torch.tensor([[1.0]])).log_prob) == pytest.approx(expected)


@pytest.mark.parametrize("before_tanh", [9.0, 20.0, -20.0, 80.0])
def test_stays_exact_where_the_tanh_is_flat(before_tanh):
    """In single precision 1 - tanh(9)^2 is zero already; log(1 - tanh(u)^2) is log 4 - 2 |u|."""
    policy = TanhNormal(torch.tensor([[before_tanh]]), torch.tensor([[0.0]]))
    log_prob = policy.rsample(torch.tensor([[0.0]])).log_prob
    flat = math.log(4.0) - 2.0 * abs(before_tanh)
    assert float(log_prob) == pytest.approx(-0.5 * math.log(2.0 * math.pi) - flat, rel=1e-6)


def probability_mass():
    """Integrate the density of an action over its range."""
    before_tanh = torch.linspace(-9.0, 9.0, 20_001, dtype=torch.float64).unsqueeze(-1)
    mean, log_std = torch.full_like(before_tanh, 0.4), torch.full_like(before_tanh, -0.2)
    policy = TanhNormal(mean, log_std, low=0.0, high=2.0)
    action = 1.0 + before_tanh.tanh().squeeze(-1)
    return float(torch.trapezoid(policy.log_prob(before_tanh).exp(), action))


def test_density_integrates_to_one():
    assert probability_mass() == pytest.approx(1.0, abs=1e-4)


def test_planted_fault_a_density_without_the_tanh_correction(monkeypatch):
    def uncorrected(self, before_tanh, noise):
        del before_tanh
        return (-0.5 * noise.square() - self.log_std - 0.5 * math.log(2.0 * math.pi)).sum(-1)

    monkeypatch.setattr(TanhNormal, "_log_prob", uncorrected)
    assert probability_mass() < 0.7


def test_gradient_equals_autograd_through_torch(generator):
    mean, log_std, noise = (numbers(generator, 4, 2) for _ in range(3))
    gradients = []
    for ours in (True, False):
        m, s = mean.clone().requires_grad_(), log_std.clone().requires_grad_()
        if ours:
            action, log_prob = TanhNormal(m, s, low=0.0, high=1.0).rsample(noise)
        else:
            action = 0.5 + 0.5 * (m + s.exp() * noise).tanh()
            log_prob = reference(m, s, 0.0, 1.0).log_prob(action).sum(-1)
        (log_prob.sum() + action.square().sum()).backward()
        gradients.append((m.grad, s.grad))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_masked_dimensions_leave_no_trace(generator):
    mean, log_std = (numbers(generator, 4, 3).requires_grad_() for _ in range(2))
    noise = numbers(generator, 4, 3)
    mask = torch.tensor([True, False, True]).expand(4, 3)
    policy = TanhNormal(mean, log_std, mask, low=0.5, high=2.0)
    action, log_prob = policy.rsample(noise)
    assert (action[:, 1] == 0).all()
    assert (policy.mode()[:, 1] == 0).all()
    in_use = TanhNormal(mean[:, [0, 2]], log_std[:, [0, 2]], low=0.5, high=2.0)
    torch.testing.assert_close(log_prob, in_use.rsample(noise[:, [0, 2]]).log_prob)
    (log_prob.sum() + action.sum()).backward()
    assert (mean.grad[:, 1] == 0).all()
    assert (log_std.grad[:, 1] == 0).all()
    assert (mean.grad[:, 0] != 0).all()
