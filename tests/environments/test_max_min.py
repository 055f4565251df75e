"""Dominant resource fairness: tables by hand, and its four properties on batches."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.environments.max_min import fill_max_min

COPIES, SERVICES, RESOURCES = 256, 4, 3
seeds = st.integers(0, 2**32 - 1)
worlds = settings(max_examples=25, deadline=None)


def table(claims, capacity, weight):
    numbers = (torch.tensor(values)[None] for values in (claims, capacity, weight))
    return fill_max_min(*numbers)[0].tolist()


def test_example_of_ghodsi():
    """9 CPUs and 18 GB: three tasks of (1, 4) and two of (3, 1)."""
    granted = table([[100.0, 400.0], [300.0, 100.0]], [9.0, 18.0], [1.0, 1.0])
    assert granted[0] == pytest.approx([3.0, 12.0])
    assert granted[1] == pytest.approx([6.0, 2.0])


@pytest.mark.parametrize(
    ("claims", "weight", "granted"),
    [
        ([2.0, 3.0, 4.0], [1.0, 1.0, 1.0], [2.0, 3.0, 4.0]),
        ([2.0, 9.0, 9.0], [1.0, 1.0, 1.0], [2.0, 4.0, 4.0]),
        ([9.0, 9.0, 9.0], [1.0, 3.0, 1.0], [2.0, 6.0, 2.0]),
        ([9.0, 3.0, 0.0], [1.0, 3.0, 1.0], [7.0, 3.0, 0.0]),
    ],
    ids=["room", "the small one is served", "weights", "the rest goes on"],
)
def test_one_resource_by_hand(claims, weight, granted):
    result = table([[claim] for claim in claims], [10.0], weight)
    assert [row[0] for row in result] == pytest.approx(granted, rel=1e-5)


def test_who_does_not_use_the_full_resource_goes_on():
    granted = table([[8.0, 0.0], [8.0, 2.0], [0.0, 9.0]], [8.0, 10.0], [1.0, 1.0, 1.0])
    assert granted[0] == pytest.approx([4.0, 0.0])
    assert granted[1] == pytest.approx([4.0, 1.0])
    assert granted[2] == pytest.approx([0.0, 9.0])


def test_nothing_of_a_failed_resource():
    granted = table([[5.0, 1.0], [0.0, 9.0]], [0.0, 6.0], [1.0, 1.0])
    assert granted[0] == pytest.approx([0.0, 0.0], abs=1e-6)
    assert granted[1] == pytest.approx([0.0, 6.0])


def draw(seed):
    """Needs in any mix, some nil, and capacities from scarce to plenty."""
    generator = torch.Generator().manual_seed(seed)
    need = torch.rand((COPIES, SERVICES, RESOURCES), generator=generator) * 20 + 0.01
    need = need * (torch.rand(need.shape, generator=generator) < 0.8)
    capacity = torch.rand((COPIES, RESOURCES), generator=generator) * 60 + 1
    weight = torch.randint(1, 5, (COPIES, SERVICES), generator=generator).float()
    return need, capacity, weight, generator


def worth(bundle, need):
    """Part of its need that a service can run with a bundle, at most one."""
    part = torch.where(need > 0, bundle / need.clamp(min=1e-9), torch.inf)
    return part.amin(-1).clamp(max=1.0)


@worlds
@given(seed=seeds)
def test_feasible_and_pareto_efficient(seed):
    """Whoever wants more uses a resource of which nothing is left."""
    need, capacity, weight, _ = draw(seed)
    granted = fill_max_min(need, capacity, weight)
    used = granted.sum(1)
    assert (granted >= 0).all()
    assert (used <= capacity * (1 + 1e-5)).all()
    full = used >= capacity * (1 - 1e-4)
    stuck = ((need > 0) & full[:, None]).any(-1)
    assert (stuck | (worth(granted, need) > 1 - 1e-4)).all()


@worlds
@given(seed=seeds)
def test_nobody_envies_anybody(seed):
    """Nobody would rather have another's bundle, scaled by the weights."""
    need, capacity, weight, _ = draw(seed)
    granted = fill_max_min(need, capacity, weight)
    own = worth(granted, need)
    for other in range(SERVICES):
        scale = weight / weight[:, other, None]
        bundle = granted[:, other, None] * scale[..., None]
        assert (worth(bundle, need) <= own + 1e-4).all()


@worlds
@given(seed=seeds)
def test_sharing_is_no_worse_than_splitting(seed):
    need, capacity, weight, _ = draw(seed)
    split = capacity[:, None] * (weight / weight.sum(1, keepdim=True))[..., None]
    granted = fill_max_min(need, capacity, weight)
    assert (worth(granted, need) >= worth(split, need) - 1e-4).all()


@worlds
@given(seed=seeds, liar=st.integers(0, SERVICES - 1), size=st.floats(0.1, 5))
def test_a_lie_never_pays(seed, liar, size):
    need, capacity, weight, generator = draw(seed)
    truth = worth(fill_max_min(need, capacity, weight), need)[:, liar]
    told = need.clone()
    told[:, liar] *= torch.rand((COPIES, RESOURCES), generator=generator) * 2 * size
    told[:, liar] += torch.rand((COPIES, RESOURCES), generator=generator) * (size > 1)
    lied = worth(fill_max_min(told, capacity, weight), need)[:, liar]
    assert (lied <= truth + 1e-4).all()
