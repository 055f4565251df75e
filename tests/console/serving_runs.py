"""A real server in a thread of its own, runs made by hand, and pages asked of it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from dataclasses import dataclass
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from streamlit.testing.v1 import AppTest

from orchestration.client.client import Client
from orchestration.client.connection import Connection
from orchestration.endpoints.job_views import JobRequest
from tests.console.running import shown
from tests.orchestration.house import Hand
from tests.orchestration.served import Served, serve
from utils.clock import SystemClock
from utils.persistence.run_facts import RunArtifact, add_artifacts

FIGURES = {"policy_loss": 0.5, "value_loss": 2.0, "entropy_loss": -1.0, "kl_divergence": 0.01}


@dataclass
class House:
    """A server, and hands that work where no worker does."""

    portal: BlockingPortal
    doors: Served
    hand: Hand

    def call(self, work: Any, *arguments: Any) -> Any:
        return self.portal.call(functools.partial(work, *arguments))

    def ask(self, question: Any) -> Any:
        async def answer() -> Any:
            async with Connection(self.doors.url) as connection:
                return await question(Client(connection))

        return self.call(answer)

    def submit(self, **config: Any) -> Any:
        return self.ask(lambda client: client.jobs.submit(JobRequest(config=config)))

    def start(self, **config: Any) -> tuple[Any, Any]:
        """A run under way, as far as its first attempt; there must be no other that waits."""
        job = self.submit(**config)
        claimed = self.call(self.hand.claim)
        assert claimed.id == job.id
        return job, claimed

    def train(self, steps: tuple[int, ...] = (9216, 18432), **config: Any) -> tuple[Any, Any]:
        """A run under way that has reported figures, scores and stages."""
        job, claimed = self.start(**config)

        async def report() -> None:
            for place, step in enumerate(steps):
                await self.hand.report(claimed, step, value=1.5 + place, kpi=90.0 + place)
                leases = self.hand.leases
                async with leases.fenced(claimed.id, claimed.fence) as connection:
                    await self.hand.sink.metrics(connection, claimed, [(step, FIGURES)])
                    stage = {"env_steps": step, "stage": f"stage {place}"}
                    await self.hand.ledger.announce(connection, job.id, "stage_changed", stage)

        self.call(report)
        return job, claimed

    def finish(self, claimed: Any) -> None:
        self.call(self.hand.finish, claimed)

    def leave_file(self, run_id: str, content: bytes, name: str = "plan.txt") -> str:
        """A file of a run in the artifact store; its hash."""
        sha256 = hashlib.sha256(content).hexdigest()
        upload = self.doors.parts.artifacts.receive(sha256)
        upload.write(content)
        upload.keep()
        upload.discard()
        one = RunArtifact(name=name, kind="text", sha256=sha256, size_bytes=len(content))

        async def write() -> None:
            async with self.doors.application.database.write() as connection:
                await add_artifacts(connection, run_id, [one], clock=SystemClock())

        self.call(write)
        return sha256


@contextlib.contextmanager
def open_served_runs(var: Any) -> Any:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serve(var, versions=0)) as doors,
    ):
        yield House(portal, doors, portal.call(Hand, doors.application))


def ask_page(page: Any, seconds: float = 30, **query: str) -> AppTest:
    """A page as the browser gets it for an address."""
    app = AppTest.from_function(page, default_timeout=seconds)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def words_of(app: AppTest) -> str:
    """All that the page says."""
    kinds = (app.title, app.subheader, app.markdown, app.caption, app.info, app.error, app.success)
    return shown("\n".join(str(one.value) for kind in kinds for one in kind))
