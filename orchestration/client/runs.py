"""Runs of a server and the files that they left, as calls."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from orchestration.client.connection import Connection
from orchestration.endpoints.run_routes import RunPage
from rl.training.run_diary import StageEntry
from rl.training.side_by_side import RunComparison
from utils.persistence.errors import ArtifactCorruptError
from utils.persistence.run_filter import EVERYTHING, RunFilter
from utils.persistence.run_lines import RunLine
from utils.persistence.run_queries import MetricPoint, RunDetails

__all__ = ["RunCalls", "RunComparison", "StageEntry"]

PAGE = 100


class RunCalls:
    """Runs of a server and the files that they left."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(self, *, experiment: str | None = None) -> AsyncIterator[RunLine]:
        """Yield runs, newest first, page after page.

        Args:
            experiment: Only of this experiment.
        """
        wanted, before = RunFilter(experiment=experiment), None
        while True:
            page = await self.page(wanted, before=before)
            for run in page.items:
                yield run
            if page.next is None:
                return
            before = page.next

    async def page(
        self, wanted: RunFilter = EVERYTHING, *, before: str | None = None, limit: int = PAGE
    ) -> RunPage:
        """Return some runs, newest first.

        Args:
            wanted: Which.
            before: `next` of the page before.
            limit: At most so many.
        """
        query: dict[str, Any] = {
            "experiment": wanted.experiment,
            "environment": wanted.environment,
            "algorithm": wanted.algorithm,
            "text": wanted.text or None,
            "state": [state.value for state in wanted.states],
            "tag": list(wanted.tags),
            "where": [str(one) for one in wanted.thresholds],
            "before": before,
            "limit": limit,
        }
        return await self._connection.call("GET", "/v1/runs", RunPage, query=query)

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

    async def compare(self, run_ids: Sequence[str]) -> RunComparison:
        """Put runs side by side: what differs in their making, and what they came to.

        Args:
            run_ids: At least two.
        """
        query = {"run": list(run_ids)}
        return await self._connection.call("GET", "/v1/runs:compare", RunComparison, query=query)

    async def stages(self, run_id: str) -> Sequence[StageEntry]:
        """List the stages that a run went through.

        Args:
            run_id: Which run.
        """
        path = f"/v1/runs/{run_id}/stages"
        return await self._connection.call("GET", path, tuple[StageEntry, ...])

    async def report(self, run_id: str) -> bytes:
        """Return a run's report, an HTML page that is complete in itself.

        Args:
            run_id: Which run.

        Raises:
            NotFoundError: Nobody has had it written.
        """
        return await self._connection.fetch(f"/v1/runs/{run_id}/report")

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
