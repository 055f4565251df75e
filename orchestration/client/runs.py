"""Runs of a server and the files that they left, as calls."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from orchestration.client.connection import Connection
from orchestration.endpoints.run_routes import RunPage
from utils.persistence.errors import ArtifactCorruptError
from utils.persistence.run_queries import MetricPoint, RunDetails, RunSummary

PAGE = 100


class RunCalls:
    """Runs of a server and the files that they left."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(self, *, experiment: str | None = None) -> AsyncIterator[RunSummary]:
        """Yield runs, newest first, page after page.

        Args:
            experiment: Only of this experiment.
        """
        query: dict[str, Any] = {"experiment": experiment, "limit": PAGE}
        while True:
            page = await self._connection.call("GET", "/v1/runs", RunPage, query=query)
            for run in page.items:
                yield run
            if page.next is None:
                return
            query["before"] = page.next

    async def get(self, run_id: str) -> RunDetails:
        """Load a run.

        Args:
            run_id: Its id.
        """
        return await self._connection.call("GET", f"/v1/runs/{run_id}", RunDetails)

    async def curve(
        self, run_id: str, metric: str, *, max_points: int = 1000
    ) -> Sequence[MetricPoint]:
        """Return a metric over steps.

        Args:
            run_id: Which run.
            metric: Its name.
            max_points: At most so many.
        """
        path, query = f"/v1/runs/{run_id}/curve", {"metric": metric, "max_points": max_points}
        return await self._connection.call("GET", path, tuple[MetricPoint, ...], query=query)

    async def artifact(self, sha256: str) -> bytes:
        """Download a file and prove that it is whole.

        Args:
            sha256: Its hash.

        Raises:
            ArtifactCorruptError: What came has another hash.
        """
        content = await self._connection.fetch(f"/v1/artifacts/{sha256}")
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ArtifactCorruptError(f"what came for artifact {sha256} has another hash")
        return content
