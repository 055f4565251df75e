"""How busy a database is: what transactions of this process waited and took, as plain counts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Literal, Self

import anyio

if TYPE_CHECKING:
    from types import TracebackType

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
Access = Literal["read", "write"]
Writer = Literal["jobs", "decisions"]
"""Who puts many changes into one transaction: changes of jobs, and records of decisions."""


class Spread:
    """How often values fell between bounds. One thread writes; any may read."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """Begin with none.

        Args:
            bounds: Rising; a value counts for the first bound that is not below it.
        """
        self.bounds = tuple(bounds)
        self.total = 0.0
        """Of all values."""
        self._counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count a value.

        Args:
            value: Zero or more.
        """
        self._counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def rising(self) -> list[int]:
        """Return how many values were not above each bound, and last how many there were."""
        return list(accumulate(self._counts))


class Traffic:
    """What the transactions of one database came to, since the process began."""

    def __init__(self) -> None:
        self.writes = Spread(SECONDS)
        """Seconds from asking for a transaction to its commit; those that failed too."""
        self.waits: dict[Access, Spread] = {"read": Spread(SECONDS), "write": Spread(SECONDS)}
        """Seconds until a transaction had its turn and a connection."""
        self.batches: dict[Writer, Spread] = {"jobs": Spread(ROWS), "decisions": Spread(ROWS)}
        """Changes that shared a transaction."""
        self.waiting: dict[Access, int] = {"read": 0, "write": 0}
        """Transactions that have not begun yet."""

    def ask(self, access: Access) -> _Asked:
        """Return what times a transaction, from here to its end.

        Args:
            access: What for.
        """
        return _Asked(self, access)


class _Asked:
    """A transaction, begun or not."""

    def __init__(self, traffic: Traffic, access: Access) -> None:
        self._traffic = traffic
        self._access: Access = access
        self._has_begun = False

    def __enter__(self) -> Self:
        self._asked_at = anyio.current_time()
        self._traffic.waiting[self._access] += 1
        return self

    def begun(self) -> None:
        """Take note that it had its turn and a connection."""
        self._has_begun = True
        self._traffic.waiting[self._access] -= 1
        self._traffic.waits[self._access].add(anyio.current_time() - self._asked_at)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._has_begun:
            self._traffic.waiting[self._access] -= 1
        if self._access == "write":
            self._traffic.writes.add(anyio.current_time() - self._asked_at)


@dataclass(frozen=True, kw_only=True)
class PoolUse:
    """Connections of one pool at one moment."""

    in_use: int
    size: int
    """How many are kept open; a few more may come and go."""
