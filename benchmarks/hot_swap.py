"""Promotions under load: how many requests failed, and whether each answer names its version.

Two versions whose decisions can be told apart take turns as champion while 1,000 requests a second
come in this process, and then as many as there can be over HTTP. `python -m benchmarks.hot_swap`
prints the table of docs/agents/versions.md; `--seconds` and `--rate` change the load.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import anyio
import httpx
import numpy as np

from orchestration.app import Application, Settings, open_application
from orchestration.cli.adoption import SHIPPED
from orchestration.endpoints.rest import ApiServer, make_api
from orchestration.serving import make_api_parts
from rl.artifacts import Layer, PolicyArtifact
from utils.logs import configure_logs

SWAP_SECONDS = 0.25
CALLERS = 8
TICK_SECONDS = 0.005
MOST_AT_ONCE = 10


@dataclass(kw_only=True)
class Tally:
    """What came of a load."""

    answers: int = 0
    failures: int = 0
    misnamed: int = 0
    swaps: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    def row(self, name: str) -> str:
        """Return a line of the table.

        Args:
            name: Of the load.
        """
        p99 = 1e3 * float(np.percentile(self.latencies, 99))
        rate = self.answers / self.seconds
        counts = (
            f"{self.answers:,} | {rate:,.0f} | {self.swaps} | {self.failures} | {self.misnamed}"
        )
        return f"| {name} | {counts} | {p99:.1f} |"


Ask = Callable[[], Awaitable[dict[str, Any]]]


def recognisable(artifact: PolicyArtifact, wish: float) -> PolicyArtifact:
    """Return a policy that always wishes for the same, so that its answers are known.

    Args:
        artifact: Any.
        wish: Of every service, for every resource.
    """
    *hidden, (weight, bias) = artifact.layers
    constant = Layer(np.zeros_like(weight), np.full_like(bias, wish))
    return replace(artifact, layers=(*hidden, constant))


class Load:
    """Requests from many sides."""

    def __init__(self, ask: Ask, *, seconds: float) -> None:
        """Begin now.

        Args:
            ask: Puts one request.
            seconds: How long.
        """
        self.tally = Tally()
        self._ask = ask
        self._known: dict[str, Any] = {}
        self._started = perf_counter()
        self._end = self._started + seconds

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return perf_counter() >= self._end

    async def put(self) -> None:
        """Put one request and count what comes of it."""
        tally, begun = self.tally, perf_counter()
        try:
            decision = await self._ask()
        except Exception:  # noqa: BLE001  each one counts
            tally.failures += 1
            return
        tally.answers += 1
        tally.latencies.append(perf_counter() - begun)
        known = self._known.setdefault(decision["version"], decision["leftover"])
        tally.misnamed += decision["leftover"] != known

    async def hammer(self) -> None:
        """Put one after another."""
        while not self.is_over:
            await self.put()
            await anyio.lowlevel.checkpoint()

    async def pace(self, per_second: float) -> None:
        """Put so many a second; where they take longer, as many as there can be.

        Args:
            per_second: How many.
        """
        sent = 0
        async with anyio.create_task_group() as requests:
            while not self.is_over:
                due = int((perf_counter() - self._started) * per_second) - sent
                for _ in range(min(due, MOST_AT_ONCE)):
                    requests.start_soon(self.put)
                sent += min(due, MOST_AT_ONCE)
                await anyio.sleep(TICK_SECONDS if due < MOST_AT_ONCE else 0)

    async def swap(self, application: Application, agent: str) -> None:
        """Promote one version after another.

        Args:
            application: Whose champion.
            agent: Its name.
        """
        while not self.is_over:
            version = 1 + self.tally.swaps % 2
            await application.orchestrator.promote(agent, version, reason="swap")
            self.tally.swaps += 1
            await anyio.sleep(SWAP_SECONDS)
        self.tally.seconds = perf_counter() - self._started


async def main(seconds: float, rate: float) -> None:
    """Print the table.

    Args:
        seconds: How long each load lasts.
        rate: Requests a second in process.
    """
    configure_logs(level="error")
    content = (SHIPPED / "resource_allocator.safetensors").read_bytes()
    with TemporaryDirectory() as folder:
        settings = Settings(var=Path(folder))
        async with (
            open_application(settings, with_worker=False) as application,
            anyio.create_task_group() as background,
        ):
            orchestrator = application.orchestrator
            for wish in (0.05, 0.1):
                artifact = recognisable(PolicyArtifact.from_bytes(content), wish)
                agent = (await orchestrator.registry.register(artifact.to_bytes())).agent
            await orchestrator.promote(agent, 1)
            request = (await orchestrator.card(agent)).examples[0]
            body = json.dumps(request).encode()
            server = ApiServer(make_api(make_api_parts(application)), host="127.0.0.1", port=0)
            background.start_soon(application.run)

            async def in_process() -> dict[str, Any]:
                return (await orchestrator.invoke(agent, body)).model_dump()

            await in_process()  # what is read once has been read
            print("| load | answers | a second | promotions | failed | misnamed | p99 ms |")
            print("|---|---|---|---|---|---|---|")
            load = Load(in_process, seconds=seconds)
            async with anyio.create_task_group() as group:
                group.start_soon(load.pace, rate)
                group.start_soon(load.swap, application, agent)
            print(load.tally.row(f"in process, {rate:,.0f} a second wanted"))
            async with (
                anyio.create_task_group() as group,
                httpx.AsyncClient(base_url=server.url) as client,
            ):
                group.start_soon(server.run)

                async def over_http() -> dict[str, Any]:
                    headers = {"content-type": "application/json"}
                    place = f"/v1/agents/{agent}:invoke"
                    answer = await client.post(place, content=body, headers=headers, timeout=60)
                    answer.raise_for_status()
                    decision: dict[str, Any] = answer.json()
                    return decision

                load = Load(over_http, seconds=seconds)
                async with anyio.create_task_group() as callers:
                    for _ in range(CALLERS):
                        callers.start_soon(load.hammer)
                    callers.start_soon(load.swap, application, agent)
                print(load.tally.row(f"HTTP, {CALLERS} connections"))
                group.cancel_scope.cancel()
            background.cancel_scope.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=1000.0)
    told = parser.parse_args()
    anyio.run(main, told.seconds, told.rate)
