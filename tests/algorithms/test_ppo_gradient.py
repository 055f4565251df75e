"""The gradient written by hand against autograd of the plain loss functions."""

from __future__ import annotations

import pytest
import torch

from rl.algorithms import losses
from rl.algorithms.heads import DiagonalGaussian, MaskedCategorical
from rl.algorithms.multi_discrete import MultiCategorical
from rl.algorithms.ppo_batch import Batch
from rl.algorithms.ppo_gradient import LossSettings, loss_gradient

ROWS, OBS, ACT = 64, 5, 6
CHOICES = (4, 2)
KINDS = ("gaussian", "categorical", "multi")


def make_policy(kind, output, log_std, mask):
    if kind == "gaussian":
        return DiagonalGaussian(output, log_std, mask)
    if kind == "multi":
        return MultiCategorical.from_logits(output, mask, CHOICES)
    return MaskedCategorical.from_logits(output, mask)


def plain_loss(policy, value, part, settings):
    """Say the loss in the words of `losses`, one set of weights at a time, live rows only."""
    log_ratio = policy.log_prob(part.action) - part.log_prob
    entropy = policy.entropy()
    total = torch.zeros((), dtype=torch.float64)
    for one in range(len(value)):
        live = part.weight[one] > 0
        ratios = log_ratio[one][live]
        total = total + losses.clipped_surrogate(
            ratios, part.advantage[one][live], settings.epsilon
        )
        error = losses.value_error(
            value[one][live], part.value[one][live], part.target[one][live], settings.value_clip
        )
        total = total + settings.value_loss_coeff * error
        total = total - settings.entropy_coeff * entropy[one][live].mean()
        if settings.kl_coeff is not None:
            total = total + settings.kl_coeff * losses.approximate_kl(ratios)
    return total


def make_case(kind, *, stack=2, masked=True):
    chance = torch.Generator().manual_seed(7)

    def noise(*shape):
        return torch.randn(*shape, generator=chance, dtype=torch.float64)

    output, log_std = noise(stack, ROWS, ACT), 0.3 * noise(stack, 1, ACT)
    mask = torch.rand(stack, ROWS, ACT, generator=chance) < 0.7 if masked else None
    if mask is not None:
        mask[..., 0] = mask[..., CHOICES[0]] = True  # something is always allowed
    old = make_policy(kind, output + 0.3 * noise(stack, ROWS, ACT), log_std, mask)
    action = old.sample(chance)
    alive = torch.rand(stack, ROWS, generator=chance) < 0.8
    value = noise(stack, ROWS)
    part = Batch(
        observation=noise(stack, ROWS, OBS),
        joint=None,
        mask=mask,
        action=action,
        log_prob=old.log_prob(action),
        value=value + 0.5 * noise(stack, ROWS),
        advantage=noise(stack, ROWS),
        target=noise(stack, ROWS),
        weight=losses.shares(alive.double()),
    )
    return output, log_std, value, part


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("value_clip", "entropy_coeff", "kl_coeff"),
    [(None, 0.0, None), (0.3, 0.01, None), (None, 0.1, 0.7), (0.1, 0.0, 2.0)],
)
def test_equals_autograd_of_the_loss(kind, masked, value_clip, entropy_coeff, kl_coeff):
    output, log_std, value, part = make_case(kind, masked=masked)
    kl = None if kl_coeff is None else torch.tensor(kl_coeff)
    settings = LossSettings(0.2, value_clip, 0.5, entropy_coeff, kl)
    leaves = [tensor.clone().requires_grad_() for tensor in (output, log_std, value)]
    policy = make_policy(kind, leaves[0], leaves[1], part.mask)
    plain_loss(policy, leaves[2], part, settings).backward()

    gradient, rows = loss_gradient(
        make_policy(kind, output, log_std, part.mask), value, part, settings
    )
    exactly = {"rtol": 0.0, "atol": 1e-12}
    torch.testing.assert_close(gradient.output, leaves[0].grad, **exactly)
    torch.testing.assert_close(gradient.value, leaves[2].grad, **exactly)
    if kind == "gaussian":
        torch.testing.assert_close(gradient.log_std, leaves[1].grad, **exactly)
    else:
        assert gradient.log_std is None
    clipped = (rows.log_ratio.exp() - 1).abs() > 0.2
    assert 0.1 < clipped.double().mean() < 0.9  # both branches of the clip were taken
    if value_clip is not None:
        moved = (value - part.value).abs() > value_clip
        assert 0.1 < moved.double().mean() < 0.9


def test_a_masked_choice_leaks_into_nothing():
    """Planted fault: an entropy over all choices, as if the mask were forgotten there."""
    output, _, value, part = make_case("categorical", stack=1)
    settings = LossSettings(0.2, None, 0.5, 0.1, None)
    policy = MaskedCategorical.from_logits(output, part.mask)
    gradient, rows = loss_gradient(policy, value, part, settings)
    elsewhere = output.masked_fill(part.mask, 0.0) * 3.0
    other, other_rows = loss_gradient(
        MaskedCategorical.from_logits(output + elsewhere, part.mask), value, part, settings
    )
    assert torch.equal(gradient.output, other.output)
    assert torch.equal(rows.entropy, other_rows.entropy)
    assert (gradient.output[~part.mask] == 0).all()
    leaking = MaskedCategorical.from_logits(output).entropy()
    allowed = part.mask.sum(-1).double().log()
    assert (rows.entropy <= allowed + 1e-12).all()
    assert (leaking > allowed).any()  # the same bound notices the leak
