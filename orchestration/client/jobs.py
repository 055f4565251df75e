"""Jobs of a server, as calls."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import anyio

from orchestration.client.connection import Answer, Connection
from orchestration.endpoints.event_routes import EventView
from orchestration.endpoints.job_views import JobDetails, JobPage, JobRequest, JobView
from orchestration.endpoints.log_routes import LogPage
from orchestration.jobs import JobState
from utils.persistence.engine_queries import AttemptRecord

PAGE = 100


class JobCalls:
    """Jobs of a server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def submit(self, request: JobRequest, *, idempotency_key: str | None = None) -> JobView:
        """Queue a job; a try that got no answer is repeated without queueing it twice.

        Args:
            request: What is wanted.
            idempotency_key: Names the submission; a fresh one if absent.

        Raises:
            ApiError: It is refused; its class says why.
            UnreachableError: No answer came.
        """
        body = request.model_dump(mode="json", exclude_defaults=True)
        return await self._change("/v1/jobs", JobView, body=body, key=idempotency_key)

    async def get(self, job_id: str) -> JobDetails:
        """Load a job.

        Args:
            job_id: Its id.

        Raises:
            NotFoundError: There is none.
        """
        return await self._connection.call("GET", f"/v1/jobs/{job_id}", JobDetails)

    async def list(
        self,
        *,
        states: Collection[JobState] = (),
        kind: str | None = None,
        pipeline: str | None = None,
    ) -> AsyncIterator[JobView]:
        """Yield jobs, newest first, page after page.

        Args:
            states: Only these; all if empty.
            kind: Only this kind.
            pipeline: Only of this pipeline.
        """
        query: dict[str, Any] = {"kind": kind, "pipeline": pipeline, "limit": PAGE}
        query["state"] = [state.value for state in states]
        while True:
            page = await self._connection.call("GET", "/v1/jobs", JobPage, query=query)
            for job in page.items:
                yield job
            if page.next is None:
                return
            query["before"] = page.next

    async def attempts(self, job_id: str) -> Sequence[AttemptRecord]:
        """List the tries of a job, newest first.

        Args:
            job_id: Which job.
        """
        path = f"/v1/jobs/{job_id}/attempts"
        return await self._connection.call("GET", path, tuple[AttemptRecord, ...])

    async def cancel(self, job_id: str) -> JobView:
        """Stop a job for good; its checkpoints stay.

        Args:
            job_id: Which job.
        """
        return await self._change(f"/v1/jobs/{job_id}/cancel", JobView)

    async def pause(self, job_id: str) -> JobView:
        """Have a job save its work and wait.

        Args:
            job_id: Which job.
        """
        return await self._change(f"/v1/jobs/{job_id}/pause", JobView)

    async def resume(self, job_id: str) -> JobView:
        """Let a paused job go on.

        Args:
            job_id: Which job.
        """
        return await self._change(f"/v1/jobs/{job_id}/resume", JobView)

    async def retry(self, job_id: str, *, idempotency_key: str | None = None) -> JobDetails:
        """Queue a new job that does what a finished one should have done.

        Args:
            job_id: The finished one.
            idempotency_key: Names the submission; a fresh one if absent.

        Raises:
            ConflictError: It is not finished.
        """
        return await self._change(f"/v1/jobs/{job_id}/retry", JobDetails, key=idempotency_key)

    async def wait(self, job_id: str, *, timeout_seconds: float | None = None) -> JobDetails:
        """Wait until nothing can happen to a job any more.

        Args:
            job_id: Which job.
            timeout_seconds: How long at most; for ever if None.

        Raises:
            TimeoutError: It is not finished by then.
        """
        with anyio.fail_after(timeout_seconds):
            async for _ in self._connection.follow(f"/v1/jobs/{job_id}/events/stream"):
                pass
            return await self.get(job_id)

    async def events(self, job_id: str, *, since: int = 0) -> AsyncIterator[EventView]:
        """Yield what happens to a job until nothing more can; connects again by itself.

        Args:
            job_id: Which job.
            since: The last `seq` already seen.
        """
        path = f"/v1/jobs/{job_id}/events/stream"
        async for event in self._connection.follow(path, after=since):
            yield EventView.model_validate(event.data)

    async def logs(
        self,
        job_id: str,
        *,
        attempt: int | None = None,
        offset: int | None = None,
        tail: int | None = None,
    ) -> LogPage:
        """Read some of what an attempt wrote: from an offset on, or its end.

        Args:
            job_id: Which job.
            attempt: Its fence; the newest if absent.
            offset: In bytes.
            tail: Without an offset, how many of the last lines; 100 if absent.
        """
        query = {"attempt": attempt, "offset": offset, "tail": tail}
        return await self._connection.call("GET", f"/v1/jobs/{job_id}/logs", LogPage, query=query)

    async def follow_logs(
        self, job_id: str, *, attempt: int | None = None, offset: int = 0
    ) -> AsyncIterator[str]:
        """Yield what an attempt writes until it has ended.

        Args:
            job_id: Which job.
            attempt: Its fence; the newest if absent.
            offset: Where to begin, in bytes.
        """
        path, query = f"/v1/jobs/{job_id}/logs/stream", {"attempt": attempt}
        async for event in self._connection.follow(path, after=offset, query=query):
            yield event.data["text"]

    async def _change(
        self, path: str, answer: type[Answer], *, body: Any = None, key: str | None = None
    ) -> Answer:
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        return await self._connection.call("POST", path, answer, body=body, headers=headers)
