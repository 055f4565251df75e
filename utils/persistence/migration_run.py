"""Runs migrations by Alembic; loaded only where there are some to run."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from utils.persistence.revisions import MIGRATIONS


def migrate(connection: Connection, revision: str) -> None:
    """Run the missing migrations in a transaction that somebody has begun.

    Args:
        connection: To SQLite or PostgreSQL.
        revision: How far.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
