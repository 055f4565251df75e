"""Products of a request as arrays, and what a chain has to say about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rl.deployment.policy_runtime import PolicyRuntime

Array64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ChainState:
    """Products that are replenished along one chain, in double precision and the caller's units.

    Places run from the customers upstream; a first axis `product` everywhere.
    """

    stock: Array64
    """`[product, place]`"""
    arrivals: Array64
    """`[product, place, day]`: day 0 is received today; zero beyond a place's longest way."""
    waiting: Array64
    """`[product]`: units that customers wait for."""
    waiting_orders: Array64
    """`[product, place]`: units ordered and not shipped."""
    demand: Array64
    """`[product, lookback]`: newest last, zero on days before the first."""
    average: Array64
    """`[product]`: exponentially smoothed demand; 0 if none is known."""
    days_taken: Array64
    """`[product]`: days of the plan that are over."""
    scale: Array64
    """`[product]`: units of the trained world per unit of the caller."""
    trouble: Array64
    """`[product, kind, node]`: as in `KINDS`; delays are those of shipments to the node."""

    def take(self, rows: Any) -> ChainState:
        """Return some products.

        Args:
            rows: An index of the first axis.
        """
        return ChainState(**{name: values[rows] for name, values in vars(self).items()})

    @property
    def position(self) -> Array64:
        """`[product, place]`: what the place and all below hold or await for the customers."""
        local = self.stock + self.arrivals.sum(-1)
        below = np.cumsum(local, axis=-1) - self.waiting[:, None]
        return np.asarray(below + self.waiting_orders)


KINDS = ("shortage", "capacity_loss", "quality_loss", "delay")


def join_states(states: list[ChainState]) -> ChainState:
    """Put the products of several requests behind one another.

    Args:
        states: At least one.
    """
    if len(states) == 1:
        return states[0]
    names = vars(states[0])
    return ChainState(
        **{name: np.concatenate([getattr(one, name) for one in states]) for name in names}
    )


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A hard constraint on orders."""

    name: str
    """Its kind, such as `stock`; with a place it names the constraint."""
    of_supplier: bool
    """Whether it is the supplier's, or else the place's own."""
    units: Array64
    """`[product, place]`: the largest order; infinite where there is none."""
    words: str
    """What it says of itself, after "cut to"; `{who}` is whose it is."""


@dataclass(frozen=True, kw_only=True)
class ChainTerms:
    """What requests to an agent are checked against."""

    places: tuple[str, ...]
    """From the customers upstream."""
    suppliers: tuple[str, ...]
    """Of each place; the last is the source, which never runs dry."""
    lead_days: tuple[int, ...]
    ways: tuple[int, ...]
    """Longest way to each place in days: entries that `on_the_way` may have."""
    nodes: tuple[str, ...]
    """Columns of trouble; none where the world knows no disruptions."""
    max_delay: int
    lookback: int
    horizon: int
    """Days of a whole plan."""
    usual_sales: float | None
    """Units of a usual day; None where units are as they are."""
    smoothing: float
    customers_wait: bool
    orders_wait: bool
    range_fields: tuple[str, ...]
    """Names on the card of: demand; stock and goods on the way of each place; waiting customers
    and the waiting orders of each place; each kind of trouble."""


class ReplenishmentChain(Protocol):
    """A trained world behind the agent; all in the caller's units."""

    @property
    def terms(self) -> ChainTerms:
        """What requests are checked against."""
        ...

    @property
    def expert_name(self) -> str:
        """Who stands in for the policy."""
        ...

    def wish(self, runtime: PolicyRuntime, state: ChainState) -> tuple[Array64, NDArray[np.bool_]]:
        """Ask the policy.

        Args:
            runtime: The policy.
            state: Products.

        Returns:
            Units each place would order, `[product, place]`, and whether they are numbers,
            `[product]`.
        """
        ...

    def ask_expert(self, state: ChainState) -> Array64:
        """Return what the expert would order, `[product, place]`.

        Args:
            state: Products.
        """
        ...

    def limits(self, state: ChainState) -> list[Limit]:
        """Return the hard constraints on orders.

        Args:
            state: Products.
        """
        ...

    def in_lots(self, orders: Array64) -> Array64:
        """Round down to the lots that the chain deals in.

        Args:
            orders: `[product, place]`: units.
        """
        ...

    def shipped(self, orders: Array64, state: ChainState) -> Array64:
        """Return what suppliers ship today in answer to orders.

        Args:
            orders: `[product, place]`: within the limits.
            state: Products.

        Returns:
            `[product, place]`: units.
        """
        ...
