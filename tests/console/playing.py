"""A running server that also opens worlds."""

from __future__ import annotations

import contextlib

import anyio

from tests.console.running import running_server


@contextlib.contextmanager
def playing_server(var, **settings):
    """A running server whose sessions are kept."""
    with running_server(var, **settings) as (doors, portal):
        keeping = portal.start_task_soon(doors.application.sessions.run)
        portal.call(anyio.wait_all_tasks_blocked)
        yield doors, portal
        keeping.cancel()
