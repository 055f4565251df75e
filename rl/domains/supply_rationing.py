"""Who gets how much when requests exceed what is there: served in order, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rl.domains.array_tools import ArrayTools, SparseSum, Weights, pad_rows


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Requests that draw on the same things in the same proportions."""

    requests: tuple[int, ...]
    """Columns, in the order in which they are served."""
    needs: Weights
    """Resources, and units of each per unit served; none means that all is served."""


@dataclass(frozen=True)
class _Rank:
    """Pools that share no resource, so that all of them can be served at once."""

    own: Any
    earlier: Any
    """None where every pool has one request."""
    resource: Any
    units: Any
    gather: Any


class Rationing:
    """Serves requests one after another until a resource is used up.

    Within a pool: with c_i the sum of the requests before the i-th, and A the most that the
    resources allow, the i-th gets min(request_i, max(A - c_i, 0)). Pools that share a resource are
    served one after another, in their order; pools that share none at once.
    Kinks: where A or a request cuts; gradients are those of the side that binds.
    """

    def __init__(
        self, pools: Sequence[Pool], num_requests: int, num_resources: int, tools: ArrayTools
    ) -> None:
        """Prepare the indices.

        Args:
            pools: Every request is in exactly one.
            num_requests: Columns of requests.
            num_resources: Columns of resources.
            tools: Of the arrays.
        """
        self._tools = tools
        uses: list[list[tuple[int, float]]] = [[] for _ in range(num_resources)]
        for pool in pools:
            for used, each in pool.needs:
                uses[used] += [(request, each) for request in pool.requests]
        self._uses = SparseSum([sorted(one) for one in uses], num_requests, tools)
        self._ranks: list[_Rank] = []
        place: dict[int, int] = {}
        filled = 0
        for ranked in _rank_pools(pools):
            rows = [pool.requests for pool in ranked]
            own = pad_rows(rows, num_requests)
            earlier = pad_rows([(num_requests, *row[:-1]) for row in rows], num_requests)
            resource = pad_rows([[r for r, _ in pool.needs] for pool in ranked], num_resources)
            units = [[u for _, u in pool.needs] for pool in ranked]
            width = resource.shape[1]
            for row, pool in enumerate(ranked):
                for column, request in enumerate(pool.requests):
                    place[request] = filled + row * own.shape[1] + column
            filled += own.size
            gather = [place.get(request, filled) for request in range(num_requests)]
            self._ranks.append(
                _Rank(
                    tools.as_index(own),
                    tools.as_index(earlier) if earlier.shape[1] > 1 else None,
                    tools.as_index(resource),
                    tools.as_array([[*row, *[1.0] * (width - len(row))] for row in units]),
                    tools.as_index(gather),
                )
            )

    def serve(self, requests: Any, resources: Any, unlimited: float) -> Any:
        """Serve all requests.

        Args:
            requests: `[..., request]`: units, not negative.
            resources: `[..., resource]`: units there are.
            unlimited: What pools without needs may get.

        Returns:
            `[..., request]`: units served.
        """
        tools, xp = self._tools, self._tools.xp
        padded = tools.pad(requests)
        served: list[Any] = []
        left = resources
        without_end = xp.zeros_like(resources[..., :1]) + unlimited
        for number, rank in enumerate(self._ranks):
            if number:
                left = resources - self.used(self._collect(served, number - 1))
            limited = xp.concatenate([left, without_end], -1)
            shares = tools.take(limited, rank.resource) / rank.units
            room = shares if shares.shape[-1] == 1 else xp.amin(shares, -1)[..., None]
            if rank.earlier is not None:
                room = room - tools.take(padded, rank.earlier).cumsum(-1)
            got = xp.minimum(tools.take(padded, rank.own), xp.clip(room, 0.0, None))
            served.append(got.reshape((*got.shape[:-2], -1)))
        return self._collect(served, len(self._ranks) - 1)

    def used(self, served: Any) -> Any:
        """Return the units of each resource that served requests take.

        Args:
            served: `[..., request]`.

        Returns:
            `[..., resource]`.
        """
        return self._uses(served)

    def _collect(self, served: list[Any], rank: int) -> Any:
        flat = served[0] if len(served) == 1 else self._tools.xp.concatenate(served, -1)
        last = rank == len(self._ranks) - 1
        return self._tools.take(flat if last else self._tools.pad(flat), self._ranks[rank].gather)


def _rank_pools(pools: Sequence[Pool]) -> list[list[Pool]]:
    """Put each pool after all earlier ones that share a resource with it."""
    free_at: dict[int, int] = {}
    ranks: list[list[Pool]] = []
    for pool in pools:
        rank = max((free_at.get(resource, 0) for resource, _ in pool.needs), default=0)
        free_at.update({resource: rank + 1 for resource, _ in pool.needs})
        while len(ranks) <= rank:
            ranks.append([])
        ranks[rank].append(pool)
    return ranks
