"""A whole application in a folder of its own, and an agent that nobody had to train."""

from __future__ import annotations

import contextlib

from orchestration.app import Settings, open_application
from orchestration.job_store.leases import SqlLeases
from orchestration.job_store.ledger import JobLedger
from orchestration.tasks import RunStateObserver, TrainSink
from tests.serving import make_artifact
from utils.clock import SystemClock

AGENT = "resource_allocator"
REQUEST = {
    "services": [
        {"name": "storefront", "waiting": [3.0], "recent_demand": [18.0, 25.5, 21.0]},
        {"name": "search", "waiting": [0.0, 2.0], "recent_demand": [29.0, 30.5, 30.0]},
        {"name": "settlement", "waiting": [0.0, 0.0, 40.0], "recent_demand": [0.1, 62.0, 60.0]},
        {"name": "telemetry", "recent_demand": [20.5, 19.0, 20.0]},
    ],
    "capacity": {"compute": 80.0, "memory": 60.0},
    "time_of_day": 0.4,
}


@contextlib.asynccontextmanager
async def open_house(var, *, versions=0, **settings):
    """An application without a worker, with some versions of an agent, the first one champion."""
    async with open_application(Settings(var=var, **settings), with_worker=False) as application:
        registry = application.orchestrator._parts.registry
        for seed in range(versions):
            await registry.register(make_artifact(seed).to_bytes())
        if versions:
            await application.orchestrator.promote(AGENT, 1, reason="first")
        yield application


class Hand:
    """Does by hand what a worker and its child do."""

    def __init__(self, application):
        clock = SystemClock()
        ledger = JobLedger(application.database, clock, observer=RunStateObserver(clock))
        self.leases = SqlLeases(ledger)
        self.sink = TrainSink(clock, events=application.training_events)
        self.ledger = ledger

    async def claim(self):
        from orchestration.events import Started

        job = await self.leases.claim("w", ["train"], lease_seconds=60)
        async with self.leases.fenced(job.id, job.fence) as connection:
            job = await self.ledger.apply(connection, job.id, Started(fence=job.fence, pid=1))
            await self.sink.started(connection, job)
        return job

    async def report(self, job, step, *, value=1.5, kpi=90.0):
        async with self.leases.fenced(job.id, job.fence) as connection:
            await self.sink.metrics(connection, job, [(step, {"return": value})])
            scores = {"kpi": kpi, "kpi_low": kpi - 1, "kpi_high": kpi + 1, "expert": 80.0,
                      "bound": 120.0, "gap_closed": (kpi - 80) / 40}  # fmt: skip
            payload = {"env_steps": step, "scores": scores}
            await self.sink.event(connection, job, "evaluated", payload)

    async def finish(self, job, result=None):
        from orchestration.events import Completed

        result = result or {"artifact_sha256": None}
        async with self.leases.fenced(job.id, job.fence) as connection:
            await self.sink.finished(connection, job, result)
            done = Completed(fence=job.fence, result=result)
            return await self.ledger.apply(connection, job.id, done)
