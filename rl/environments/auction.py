"""A uniform-price auction of every resource: one price for all, the highest bid that lost."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class AuctionResult:
    """Who got what at which price."""

    granted: Float[Tensor, "env service resource"]
    price: Float[Tensor, "env resource"]
    """Per unit; zero where nobody lost."""
    payment: Float[Tensor, "env service"]


def clear_auction(
    claims: Float[Tensor, "env service resource"],
    bids: Float[Tensor, "env service resource"],
    budget: Float[Tensor, "env service"],
    capacity: Float[Tensor, "env resource"],
) -> AuctionResult:
    """Sell every resource to the highest bids; all pay the highest bid that lost.

    Claims are first cut, all resources of a service alike, to what its budget pays for at its own
    bids. A service served in part has lost the rest, so the price can be its own bid. Equal bids
    share in proportion to their claims. Krishna, Auction Theory, 2010, chapter 12. In the order
    of the bids, the price is the bid at which the claims first exceed the capacity; the cost grows
    with n log n of n services.

    Holds: nobody pays more than the own bid, or more than the budget; bidding more than a unit is
    worth never pays; where everyone claims one indivisible unit the truth is the best bid. Does
    not hold: who claims several units may gain by bidding less than they are worth.

    Args:
        claims: Units asked for.
        bids: Most that is paid for a unit, not negative.
        budget: Most that is paid in all, not negative.
        capacity: Units there are.

    Returns:
        Units granted, the prices, and what each service pays.
    """
    cost = (claims * bids).sum(-1)
    affordable = torch.where(cost > budget, budget / cost.clamp(min=1e-12), 1.0)
    wanted = (claims * affordable[..., None]).transpose(1, 2).contiguous()
    offers = bids.transpose(1, 2).contiguous()
    ranked, order = offers.sort(dim=-1, descending=True)
    is_over = wanted.gather(-1, order).cumsum(-1) > capacity[..., None]
    price = torch.where(is_over, ranked, 0.0).amax(-1)
    wins, ties = offers > price[..., None], offers == price[..., None]
    room = capacity - (wanted * wins).sum(-1)
    part = room / (wanted * ties).sum(-1).clamp(min=1e-12)
    granted = wanted * (wins + ties * part.clamp(min=0.0, max=1.0)[..., None])
    granted = granted.transpose(1, 2).contiguous()
    payment = torch.minimum((granted * price[:, None]).sum(-1), budget)
    return AuctionResult(granted=granted, price=price, payment=payment)
