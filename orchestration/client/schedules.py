"""Schedules and pipelines of a server, as calls."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orchestration.client.connection import Connection
from orchestration.endpoints.schedule_shapes import PipelineView, ScheduleView
from orchestration.scheduler.schedules import Fire


class ScheduleCalls:
    """Schedules of a server, and the pipelines that they and others started."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(self) -> Sequence[ScheduleView]:
        """List all schedules, by name."""
        return await self._connection.call("GET", "/v1/schedules", tuple[ScheduleView, ...])

    async def preview(self, name: str, *, count: int = 5) -> Sequence[datetime]:
        """Return the next fires by the clock; none after events.

        Args:
            name: Of the schedule.
            count: How many.
        """
        path, query = f"/v1/schedules/{name}/next", {"count": count}
        return await self._connection.call("GET", path, tuple[datetime, ...], query=query)

    async def pause(self, name: str) -> ScheduleView:
        """Let a schedule fire no more until it is resumed.

        Args:
            name: Of the schedule.
        """
        return await self._connection.call("POST", f"/v1/schedules/{name}/pause", ScheduleView)

    async def resume(self, name: str) -> ScheduleView:
        """Let a paused schedule fire again.

        Args:
            name: Of the schedule.
        """
        return await self._connection.call("POST", f"/v1/schedules/{name}/resume", ScheduleView)

    async def run(self, name: str) -> Fire:
        """Fire a schedule now, paused or not; never repeated by itself.

        Args:
            name: Of the schedule.
        """
        path = f"/v1/schedules/{name}/run"
        return await self._connection.call("POST", path, Fire, may_repeat=False)

    async def pipelines(self, *, count: int = 20) -> Sequence[PipelineView]:
        """Return the newest pipelines with their steps, newest first.

        Args:
            count: At most so many.
        """
        query = {"count": count}
        return await self._connection.call(
            "GET", "/v1/pipelines", tuple[PipelineView, ...], query=query
        )
