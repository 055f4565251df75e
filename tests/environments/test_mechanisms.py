"""Tables of requests and what is granted, and what holds for any of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rl.environments.mechanisms import (
    MECHANISMS,
    allocate_by_priority,
    allocate_proportionally,
)

PRIORITY = [1.0, 3.0, 3.0]


def grant(mechanism, requests, usable, capacity, priority=PRIORITY):
    one_resource = [torch.tensor(values)[None, :, None] for values in (requests, usable)]
    granted = mechanism(*one_resource, torch.tensor([[capacity]]), torch.tensor([priority]))
    return granted[0, :, 0].tolist()


@pytest.mark.parametrize(
    ("requests", "usable", "capacity", "granted"),
    [
        ([2.0, 3.0, 4.0], [9.0, 9.0, 9.0], 10.0, [2.0, 3.0, 4.0]),
        ([4.0, 6.0, 10.0], [9.0, 9.0, 10.0], 10.0, [2.0, 3.0, 5.0]),
        ([10.0, 6.0, 10.0], [4.0, 6.0, 10.0], 10.0, [2.0, 3.0, 5.0]),
        ([6.0, 1.0, 8.0], [2.0, 1.0, 4.0], 10.0, [3.5, 1.0, 5.5]),
        ([1.0, 0.0, 0.0], [1.0, 0.0, 0.0], 0.0, [0.0, 0.0, 0.0]),
    ],
    ids=["room", "scaled", "claims only", "rest is lent", "all failed"],
)
def test_proportional_scales_claims_and_lends_the_rest(requests, usable, capacity, granted):
    assert grant(allocate_proportionally, requests, usable, capacity) == pytest.approx(granted)


@pytest.mark.parametrize(
    ("requests", "usable", "capacity", "granted"),
    [
        ([2.0, 3.0, 4.0], [9.0, 9.0, 9.0], 10.0, [2.0, 3.0, 4.0]),
        ([4.0, 6.0, 10.0], [9.0, 9.0, 10.0], 10.0, [0.0, 6.0, 4.0]),
        ([4.0, 6.0, 1.0], [9.0, 9.0, 10.0], 10.0, [3.0, 6.0, 1.0]),
        ([4.0, 9.0, 1.0], [2.0, 3.0, 1.0], 10.0, [3.0, 6.0, 1.0]),
    ],
    ids=["room", "equal ones by position", "lowest last", "rest is lent"],
)
def test_priority_fills_in_order_and_lends_the_rest(requests, usable, capacity, granted):
    assert grant(allocate_by_priority, requests, usable, capacity) == pytest.approx(granted)


amounts = st.lists(st.floats(0, 100, width=32), min_size=3, max_size=3)


@given(
    mechanism=st.sampled_from(sorted(MECHANISMS)),
    requests=amounts,
    usable=amounts,
    priority=amounts,
    capacity=st.floats(0, 150, width=32),
)
def test_no_grant_exceeds_capacity_or_request(mechanism, requests, usable, priority, capacity):
    granted = grant(MECHANISMS[mechanism], requests, usable, capacity, priority)
    assert sum(granted) <= capacity * (1 + 1e-5) + 1e-5
    assert min(granted) >= 0
    for one, asked in zip(granted, requests, strict=True):
        assert one <= asked * (1 + 1e-5) + 1e-5


@given(
    mechanism=st.sampled_from(sorted(MECHANISMS)),
    usable=amounts,
    others=amounts,
    excess=st.floats(0, 100, width=32),
    priority=amounts,
    capacity=st.floats(0, 150, width=32),
)
def test_a_claim_is_not_enlarged_by_asking_for_more(
    mechanism, usable, others, excess, priority, capacity
):
    modest = [usable[0], *others[1:]]
    greedy = [usable[0] + excess, *others[1:]]
    first = grant(MECHANISMS[mechanism], modest, usable, capacity, priority)
    second = grant(MECHANISMS[mechanism], greedy, usable, capacity, priority)
    for one, other, limit in zip(first, second, usable, strict=True):
        assert min(other, limit) == pytest.approx(min(one, limit), rel=1e-5, abs=1e-4)


def fill_one_by_one(requests, usable, capacity, priority):
    """Serve claims in order of priority, equal ones by position; lend the rest in proportion."""
    claims = [min(pair) for pair in zip(requests, usable, strict=True)]
    granted, room = [0.0] * len(claims), capacity
    for index in sorted(range(len(claims)), key=lambda index: -priority[index]):
        granted[index] = min(claims[index], room)
        room -= granted[index]
    more = [one - claim for one, claim in zip(requests, claims, strict=True)]
    part = min(1.0, room / max(sum(more), 1e-12))
    return [one + part * other for one, other in zip(granted, more, strict=True)]


@given(data=st.data(), services=st.integers(1, 9), capacity=st.floats(0, 300, width=32))
def test_priority_is_what_serving_one_by_one_is(data, services, capacity):
    size = {"min_size": services, "max_size": services}
    requests, usable = (data.draw(st.lists(st.floats(0, 100, width=32), **size)) for _ in range(2))
    priority = data.draw(st.lists(st.sampled_from([0.0, 1.0, 3.0]), **size))
    got = grant(allocate_by_priority, requests, usable, capacity, priority)
    wanted = fill_one_by_one(requests, usable, capacity, priority)
    assert got == pytest.approx(wanted, rel=1e-4, abs=1e-3)
