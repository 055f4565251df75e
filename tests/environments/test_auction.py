"""The uniform-price auction: tables by hand, money is conserved, and when the truth is best."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.environments.auction import clear_auction

COPIES, SERVICES, RESOURCES = 256, 4, 2
PLENTY = 1e9
seeds = st.integers(0, 2**32 - 1)
markets = settings(max_examples=25, deadline=None)


def sell(claims, bids, capacity, budget=None):
    """One resource in one copy: grants, price, payments."""
    amounts, offers = (torch.tensor(values)[None, :, None] for values in (claims, bids))
    purse = torch.tensor(budget or [PLENTY] * len(claims))[None]
    result = clear_auction(amounts, offers, purse, torch.tensor([[capacity]]))
    return result.granted[0, :, 0].tolist(), result.price.item(), result.payment[0].tolist()


@pytest.mark.parametrize(
    ("claims", "bids", "granted", "price"),
    [
        ([4.0, 3.0, 3.0], [1.0, 2.0, 3.0], [4.0, 3.0, 3.0], 0.0),
        ([4.0, 4.0, 4.0], [1.0, 2.0, 3.0], [2.0, 4.0, 4.0], 1.0),
        ([5.0, 5.0, 5.0], [1.0, 2.0, 3.0], [0.0, 5.0, 5.0], 1.0),
        ([12.0, 6.0, 2.0], [2.0, 2.0, 3.0], [16 / 3, 8 / 3, 2.0], 2.0),
        ([0.0, 6.0, 2.0], [9.0, 0.0, 0.0], [0.0, 6.0, 2.0], 0.0),
    ],
    ids=["supply exceeds demand", "the last in part", "one loses", "equal bids", "no bids"],
)
def test_one_sale_by_hand(claims, bids, granted, price):
    got, paid, payment = sell(claims, bids, 10.0)
    assert got == pytest.approx(granted)
    assert paid == pytest.approx(price)
    assert payment == pytest.approx([price * units for units in granted])


def test_a_budget_limits_what_can_be_bid_for():
    granted, price, payment = sell([10.0, 10.0], [2.0, 1.0], 10.0, [6.0, 100.0])
    assert granted == pytest.approx([3.0, 7.0])
    assert price == 1.0
    assert payment == pytest.approx([3.0, 7.0])


def draw(seed):
    generator = torch.Generator().manual_seed(seed)
    claims = torch.rand((COPIES, SERVICES, RESOURCES), generator=generator) * 20
    bids = torch.randint(0, 9, claims.shape, generator=generator) / 2
    budget = torch.rand((COPIES, SERVICES), generator=generator) * 60
    capacity = torch.rand((COPIES, RESOURCES), generator=generator) * 60
    return claims, bids, budget, capacity, generator


@markets
@given(seed=seeds)
def test_feasible_affordable_and_paid_is_collected(seed):
    claims, bids, budget, capacity, _ = draw(seed)
    result = clear_auction(claims, bids, budget, capacity)
    sold = result.granted.sum(1)
    assert (result.granted >= 0).all()
    assert (result.granted <= claims * (1 + 1e-5)).all()
    assert (sold <= capacity * (1 + 1e-5) + 1e-5).all()
    assert (result.payment <= budget).all()
    collected = (sold * result.price).sum(-1)
    torch.testing.assert_close(result.payment.sum(1), collected, rtol=1e-5, atol=1e-4)
    served = result.granted > 1e-5
    assert (~served | (result.price[:, None] <= bids)).all()
    assert (result.price[claims.sum(1) <= capacity] == 0).all()


@markets
@given(seed=seeds, bidder=st.integers(0, SERVICES - 1))
def test_higher_bids_go_first(seed, bidder):
    claims, bids, _, capacity, _ = draw(seed)
    rich = torch.full((COPIES, SERVICES), PLENTY)
    granted = clear_auction(claims, bids, rich, capacity).granted
    denied = granted[:, bidder, None] < claims[:, bidder, None] * (1 - 1e-5)
    lower = bids < bids[:, bidder, None]
    assert (granted[denied & lower] <= 1e-4).all()


def gain(claims, bids, capacity, value, bidder):
    """What the goods of a bidder are worth to it, less what it pays."""
    rich = torch.full(claims.shape[:2], PLENTY)
    result = clear_auction(claims, bids, rich, capacity)
    worth = (result.granted * value).sum(-1) - result.payment
    return worth[:, bidder]


@markets
@given(seed=seeds, bidder=st.integers(0, SERVICES - 1))
def test_honest_bidders_do_not_lose_and_overbidding_never_pays(seed, bidder):
    claims, value, _, capacity, generator = draw(seed)
    honest = gain(claims, value, capacity, value, bidder)
    assert (honest >= -1e-3).all()
    above = value.clone()
    above[:, bidder] += torch.rand((COPIES, RESOURCES), generator=generator) * 4
    assert (gain(claims, above, capacity, value, bidder) <= honest + 1e-3).all()


@markets
@given(seed=seeds, bidder=st.integers(0, SERVICES - 1))
def test_who_wants_one_unit_does_best_with_the_truth(seed, bidder):
    _, value, _, _, generator = draw(seed)
    value = value + torch.rand(value.shape, generator=generator) / 4
    units = torch.ones_like(value)
    capacity = torch.randint(0, SERVICES + 1, (COPIES, RESOURCES), generator=generator).float()
    honest = gain(units, value, capacity, value, bidder)
    lie = value.clone()
    lie[:, bidder] = torch.rand((COPIES, RESOURCES), generator=generator) * 5
    assert (gain(units, lie, capacity, value, bidder) <= honest + 1e-4).all()


def test_who_wants_several_units_can_gain_by_bidding_less():
    """For 6 units each of 8 at bids 4 and 3 the price is 3, the second one's own; at 1 it is 1."""
    claims = torch.tensor([[[6.0], [6.0]]])
    capacity, value = torch.tensor([[8.0]]), torch.tensor([[[4.0], [3.0]]])
    honest = gain(claims, value, capacity, value, 1).item()
    shaded = gain(claims, torch.tensor([[[4.0], [1.0]]]), capacity, value, 1).item()
    assert honest == pytest.approx(0.0)
    assert shaded == pytest.approx(2 * (3.0 - 1.0))


def clear_by_pairs(claims, bids, budget, capacity):
    """The rules read off as they are written: every service looks at all others."""
    cost = (claims * bids).sum(-1)
    wanted = claims * torch.where(cost > budget, budget / cost.clamp(min=1e-12), 1.0)[..., None]
    higher = ((bids[:, None] > bids[:, :, None]) * wanted[:, None]).sum(2)
    equal = ((bids[:, None] == bids[:, :, None]) * wanted[:, None]).sum(2)
    part = ((capacity[:, None] - higher) / equal.clamp(min=1e-12)).clamp(0.0, 1.0)
    granted = wanted * part
    price = torch.where((part < 1.0) & (wanted > 0), bids, 0.0).amax(1)
    return granted, price, torch.minimum((granted * price[:, None]).sum(-1), budget)


@markets
@given(seed=seeds, levels=st.integers(1, 6), services=st.integers(1, 9), empty=st.booleans())
def test_sorting_sells_what_comparing_all_pairs_sells(seed, levels, services, empty):
    """Whole numbers, so that sums are exact: few levels make ties, and claims that just fit."""
    generator = torch.Generator().manual_seed(seed)
    size = (COPIES, services, RESOURCES)
    claims = torch.randint(0, 9, size, generator=generator).double()
    bids = torch.randint(0, levels, size, generator=generator).double()
    half = (claims * bids).sum(-1) / 2
    budget = torch.where(torch.rand(size[:2], generator=generator) < 0.5, PLENTY, half)
    capacity = torch.randint(0, 4 * services, (COPIES, RESOURCES), generator=generator).double()
    capacity = capacity * (not empty)
    result = clear_auction(claims, bids, budget, capacity)
    granted, price, payment = clear_by_pairs(claims, bids, budget, capacity)
    torch.testing.assert_close(result.granted, granted)
    torch.testing.assert_close(result.price, price)
    torch.testing.assert_close(result.payment, payment)
