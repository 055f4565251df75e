"""Finds the policy that a new run begins with: that of a run, or of an agent's version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from utils.errors import ConfigError
from utils.persistence.registry import model_alias, model_version
from utils.persistence.run_queries import StoredCheckpoint, get_run, list_checkpoints

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


async def find_start(connection: AsyncConnection, name: str) -> StoredCheckpoint:
    """Return the newest checkpoint of a run, which holds its best policy.

    Args:
        connection: An open read or write transaction.
        name: Id of a run, or `agent@alias` for the run that the agent's version came from.

    Raises:
        RunNotFoundError: There is no such run.
        ConfigError: There is no such agent or alias, or the run has no checkpoint.
    """
    agent, at, alias = name.partition("@")
    run_id = await _run_of_version(connection, agent, alias) if at else name
    await get_run(connection, run_id)
    checkpoints = await list_checkpoints(connection, run_id)
    if not checkpoints:
        raise ConfigError(f"init_from={name}: run {run_id} has no checkpoint, name another one")
    return checkpoints[0]


async def _run_of_version(connection: AsyncConnection, agent: str, alias: str) -> str:
    same_version = (model_alias.c.agent == model_version.c.agent) & (
        model_alias.c.version == model_version.c.version
    )
    query = (
        select(model_version.c.run_id)
        .join(model_alias, same_version)
        .where(model_alias.c.agent == agent, model_alias.c.alias == alias)
    )
    run_id = await connection.scalar(query)
    if run_id is None:
        raise ConfigError(
            f"init_from={agent}@{alias}: no agent has this alias, or its version came from "
            "elsewhere; `python -m orchestration agents` lists them"
        )
    return str(run_id)
