"""A real server with the agents that come along, for pages that ask it over HTTP."""

from __future__ import annotations

import contextlib

import anyio.from_thread

from console.server import TOKEN_VARIABLE, URL_VARIABLE
from tests.orchestration.served import serve


@contextlib.contextmanager
def served(var, versions="all"):
    """Serve from a thread with a loop of its own; yields the doors and a way to await there."""
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serve(var, versions=versions)) as doors,
    ):
        yield doors, portal.call


def point_at(monkeypatch, url, token=None):
    monkeypatch.setenv(URL_VARIABLE, url)
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    if token is not None:
        monkeypatch.setenv(TOKEN_VARIABLE, token)
