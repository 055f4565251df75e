"""The way to the server: each question of a page opens a client, asks and closes it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from orchestration.client.client import Client
from orchestration.client.connection import ClientConfig, Connection

Answer = TypeVar("Answer")
URL_VARIABLE, TOKEN_VARIABLE = "QUARTERMASTER_URL", "QUARTERMASTER_TOKEN"
USUAL_SECONDS = 15.0


def server_url() -> str:
    """Return the server that this console speaks with."""
    return os.environ.get(URL_VARIABLE, "http://127.0.0.1:8321")


def ask(
    question: Callable[[Client], Awaitable[Answer]], *, seconds: float = USUAL_SECONDS
) -> Answer:
    """Ask the server something.

    Args:
        question: What to do with a client, such as `lambda client: client.runs.get(run_id)`.
        seconds: How long an answer may take.

    Raises:
        ApiError: The server refuses; its class says why.
        UnreachableError: No answer came.
    """
    config = ClientConfig(timeout_seconds=seconds, max_tries=2)

    async def answer() -> Answer:
        async with Connection(
            server_url(), token=os.environ.get(TOKEN_VARIABLE), config=config
        ) as connection:
            return await question(Client(connection))

    return anyio.run(answer)
