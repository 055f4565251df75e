"""Losses and diagnostics on numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from rl.algorithms.losses import (
    DivergenceError,
    approximate_kl,
    clip_fraction,
    clipped_surrogate,
    explained_variance,
    require_finite,
    shares,
    standardize,
    value_error,
)


def log_of(*ratios):
    return torch.tensor(ratios, dtype=torch.float64).log()


@pytest.mark.parametrize(
    ("ratio", "advantage", "gain"),
    [
        (1.0, 2.0, 2.0),
        (1.5, 2.0, 1.2 * 2.0),  # no gain from moving further in the good direction
        (0.5, 2.0, 0.5 * 2.0),  # the full loss from having moved the wrong way
        (0.5, -2.0, 0.8 * -2.0),
        (1.5, -2.0, 1.5 * -2.0),
    ],
)
def test_surrogate_is_the_pessimistic_one(ratio, advantage, gain):
    loss = clipped_surrogate(log_of(ratio), torch.tensor([advantage]).double(), 0.2)
    assert loss.item() == pytest.approx(-gain)


def test_surrogate_gives_no_gradient_where_it_is_clipped():
    log_ratio = log_of(1.5, 1.1).requires_grad_()
    clipped_surrogate(log_ratio, torch.ones(2).double(), 0.2).backward()
    assert log_ratio.grad[0] == 0
    assert log_ratio.grad[1].item() == pytest.approx(-1.1 / 2)


@pytest.mark.parametrize(
    ("value", "epsilon", "error"),
    [
        (3.0, None, 4.0),
        (3.0, 0.5, (1.5 - 5.0) ** 2),  # the clipped estimate is worse: it counts
        (1.2, 0.5, (1.2 - 5.0) ** 2),
        (-1.0, 0.5, 36.0),  # the clipped one is better: it does not
    ],
)
def test_value_error(value, epsilon, error):
    found = value_error(torch.tensor([value]), torch.tensor([1.0]), torch.tensor([5.0]), epsilon)
    assert found.item() == pytest.approx(error)


def test_approximate_kl_is_near_the_exact_one():
    old, new = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.4, 0.4, 0.2]).double()
    action = torch.multinomial(
        old, 200_000, replacement=True, generator=torch.Generator().manual_seed(3)
    )
    estimate = approximate_kl((new.log() - old.log())[action])
    exact = (old * (old.log() - new.log())).sum()
    assert estimate.item() == pytest.approx(exact.item(), rel=0.02)
    assert approximate_kl(log_of(1.0, 1.0)).item() == 0
    assert approximate_kl(log_of(2.0)).item() == pytest.approx(1.0 - math.log(2.0))


def test_clip_fraction_counts_both_sides():
    assert clip_fraction(log_of(1.0, 1.3, 0.7, 1.1), 0.2).item() == pytest.approx(0.5)


def test_explained_variance():
    target = torch.tensor([1.0, 2.0, 3.0])
    assert explained_variance(target, target).item() == 1
    assert explained_variance(torch.full((3,), 2.0), target).item() == 0
    assert explained_variance(-target, target).item() == pytest.approx(-3)
    assert explained_variance(target, torch.ones(3)).item() == 0


def test_standardize():
    assert standardize(torch.tensor([1.0, 2.0, 3.0])).tolist() == pytest.approx([-1, 0, 1])
    assert standardize(torch.tensor([5.0])).tolist() == [5.0]
    assert standardize(torch.full((4,), 5.0)).tolist() == [0.0] * 4


def test_standardize_by_shares_is_standardize_without_the_absent():
    weight = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    advantage = torch.tensor([[1.0, 2.0, 6.0, 1e3], [7.0, 1.0, 2.0, 3.0]])
    found = standardize(advantage, shares(weight))
    torch.testing.assert_close(found[0, :3], standardize(advantage[0, :3]))
    assert found[1, 0] == 7.0  # alone, it stays


def test_shares_of_nobody_are_zero():
    found = shares(torch.tensor([[2.0, 6.0], [0.0, 0.0]]))
    assert found.tolist() == [[0.25, 0.75], [0.0, 0.0]]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_divergence_names_the_term(bad):
    good = torch.ones(2)
    require_finite({"reward": good})
    with pytest.raises(DivergenceError, match="value_loss is not finite"):
        require_finite({"reward": good, "value_loss": torch.tensor(bad)})
