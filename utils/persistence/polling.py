"""Looking at a database again and again, whether it is there or not, in vain but seldom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING

from utils.persistence.errors import DatabaseError

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

    from utils.clock import Clock
    from utils.persistence.engine import Database

LONGEST_QUIET_SECONDS = 30.0
"""A look follows then at the latest, as clocks are set back and files are copied."""


async def look_for_ever(
    look: Callable[[], Awaitable[object]], clock: Clock, seconds: float, logger: BoundLogger
) -> None:
    """Look until cancelled; while the database is away, say so and try again.

    Args:
        look: Looks once.
        clock: Paces the looks.
        seconds: How long to wait between two of them.
        logger: Of who looks.
    """
    while True:
        try:
            await look()
        except DatabaseError as error:
            logger.warning("database_out_of_reach", reason=str(error))
        await clock.sleep(seconds)


class Quiet:
    """Tells that a look would find what the last one found: nobody wrote, and nothing came due.

    Only a file tells whether it was written; on a server every look is needed.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        """Begin with no look behind.

        Args:
            database: What is looked at.
            clock: Tells what is due.
        """
        self._database = database
        self._clock = clock
        self._written: tuple[int, ...] | None = None
        self._quiet_as: tuple[int, ...] | None = None
        self._next_due: datetime | None = None
        self._until = 0.0

    @property
    def lasts(self) -> bool:
        """Whether there is no need to look."""
        if self._quiet_as is None or self._clock.monotonic() >= self._until:
            return False
        if self._next_due is not None and self._clock.now() >= self._next_due:
            return False
        return self._database.fingerprint() == self._quiet_as

    def begin(self) -> None:
        """Say that a look begins: what is written from now on, it may not see."""
        self._written, self._quiet_as = self._database.fingerprint(), None

    def settle(self, next_due: datetime | None) -> None:
        """Say that the look found nothing to do.

        Args:
            next_due: When there is, though nobody writes; None for never.
        """
        self._quiet_as, self._next_due = self._written, next_due
        self._until = self._clock.monotonic() + LONGEST_QUIET_SECONDS
