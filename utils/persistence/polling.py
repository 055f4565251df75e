"""Looking at a database again and again, whether it is there or not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from utils.persistence.errors import DatabaseError

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

    from utils.clock import Clock


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
