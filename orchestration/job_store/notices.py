"""Hints from a PostgreSQL server that a job may be due; workers look now and then anyway."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestration.job_store.ledger import WAKE_CHANNEL
from utils.logs import get_logger
from utils.persistence.engine import SERVER_CONNECTION

if TYPE_CHECKING:
    from utils.clock import Clock
    from utils.persistence.engine import Database

AGAIN_SECONDS = 2.0
logger = get_logger(__name__)


async def listen(database: Database, wake: Callable[[], None], clock: Clock) -> None:
    """Call `wake` whenever a job may be due, until cancelled; a lost connection is made again.

    Args:
        database: On a server.
        wake: Called in this task.
        clock: Paces new connections.
    """
    psycopg = importlib.import_module("psycopg")  # a file's users do without
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(
                url, autocommit=True, **SERVER_CONNECTION
            )
            async with connection:
                await connection.execute(f"LISTEN {WAKE_CHANNEL}")
                wake()  # something may have happened before we listened
                async for _ in connection.notifies():
                    wake()
        except psycopg.Error as error:
            logger.warning("notices_out_of_reach", reason=str(error).strip())
        await clock.sleep(AGAIN_SECONDS)
