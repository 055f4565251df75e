"""What watching costs: scrapes of a server with 50 live runs, callers meanwhile, and training.

`OMP_NUM_THREADS=1 python -m benchmarks.monitoring` writes benchmarks/results/monitoring.json and
the table of docs/metrics.md, and exits with 1 if a bar is missed.
`--blocks 2 --pairs 4 --seconds 3 --dry` is a quick look that writes nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_process
import numpy as np

from benchmarks.measuring import RESULTS, describe_machine, put_table, write_report
from orchestration.app import Application, Settings, open_application
from orchestration.cli.adoption import SHIPPED
from orchestration.endpoints.rest import ApiServer, make_api
from orchestration.serving import make_api_parts
from rl.monitoring.training_metrics import EVALUATION_SCORES, REPORTED_VALUES
from rl.training.training_config import TrainingConfig
from rl.training.training_events import CheckpointWritten, Evaluated, MetricsReported, RunInfo
from utils.logs import configure_logs

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
RUNS, FIGURES = 50, 16
"""Live runs, and figures of the world of each."""
REPORT_SECONDS = 1.0
CALLS_PER_SECOND = 100
OFTEN_SECONDS, USUAL_SECONDS = 0.1, 1.0
"""Between scrapes: while callers are timed, and while a run is."""
BARS = {"scrape_p99_ms": 50.0, "training_overhead": 0.02}
TRAINING = TrainingConfig(
    num_agents=2, num_envs=32, total_episodes=5_000_000, eval_frequency=1_000_000, seed=7
)
"""Goes on for longer than anybody measures, without evaluations between."""


def call(url: str, path: str, body: bytes, seconds: float) -> list[float]:
    """Ask an agent at a steady rate over one connection; runs in a process of its own.

    Args:
        url: Of the server.
        path: Of the agent.
        body: The request.
        seconds: How long.

    Returns:
        How long each answer took, in seconds, from when it was due.
    """
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    taken, begun = [], time.perf_counter()
    for number in range(round(seconds * CALLS_PER_SECOND)):
        due = begun + number / CALLS_PER_SECOND
        time.sleep(max(0.0, due - time.perf_counter()))
        connection.request("POST", path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status}")
        taken.append(time.perf_counter() - due)
    connection.close()
    return taken


def scrape(url: str, seconds: float, pause: float) -> list[tuple[float, int]]:
    """Read /metrics again and again; runs in a process of its own.

    Args:
        url: Of the server.
        seconds: How long.
        pause: From one to the next.

    Returns:
        How long each took, in seconds, and how many series it brought.
    """
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    taken, end = [], time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read()
        took = time.perf_counter() - begun
        taken.append((took, sum(not line.startswith(b"#") for line in text.splitlines())))
        time.sleep(max(0.0, pause - took))
    connection.close()
    return taken


async def report_for_ever(application: Application) -> None:
    """Let 50 runs report every second, one after another.

    Args:
        application: Hears of them.
    """
    runs = [
        RunInfo(
            run_id=f"01a22655-093a-7000-8000-{number:012}",
            environment="resource_allocation",
            algorithm="ppo",
            total_env_steps=10**9,
        )
        for number in range(RUNS)
    ]
    names = [*REPORTED_VALUES, *(f"environment/figure_{number}" for number in range(FIGURES))]
    generator = np.random.default_rng(0)
    scores = dict.fromkeys(EVALUATION_SCORES, 1.0)
    for run in runs:
        application.training_events.publish(Evaluated(run=run, env_steps=1, scores=scores))
        application.training_events.publish(
            CheckpointWritten(run=run, env_steps=1, size_bytes=1_000_000)
        )
    for step in range(1, 10**9):
        for run in runs:
            values = dict(zip(names, generator.normal(size=len(names)).tolist(), strict=True))
            application.training_events.publish(
                MetricsReported(run=run, env_steps=step * 1000, values=values)
            )
            await anyio.sleep(REPORT_SECONDS / RUNS)


@contextlib.asynccontextmanager
async def serving(folder: str, *, with_worker: bool) -> AsyncIterator[tuple[Application, str]]:
    """Serve an application of a folder of its own.

    Args:
        folder: Of its state.
        with_worker: Whether it carries jobs.
    """
    async with open_application(Settings(var=Path(folder)), with_worker=with_worker) as application:
        server = ApiServer(make_api(make_api_parts(application)), host="127.0.0.1", port=0)
        async with anyio.create_task_group() as group:
            group.start_soon(server.run)
            yield application, server.url
            group.cancel_scope.cancel()


async def time_scrapes(blocks: int, seconds: float) -> dict[str, Any]:
    """Time callers with and without scrapes, in turns, and the scrapes.

    Args:
        blocks: Of each.
        seconds: Of a block.
    """
    calm: list[float] = []
    scraped: list[float] = []
    scrapes: list[tuple[float, int]] = []
    with TemporaryDirectory() as folder:
        async with (
            serving(folder, with_worker=False) as (application, url),
            anyio.create_task_group() as group,
        ):
            orchestrator = application.orchestrator
            content = (SHIPPED / "resource_allocator.safetensors").read_bytes()
            agent = (await orchestrator.registry.register(content)).agent
            await orchestrator.promote(agent, 1)
            body = json.dumps((await orchestrator.card(agent)).examples[0]).encode()
            ask = partial(call, url, f"/v1/agents/{agent}:invoke", body)
            group.start_soon(application.run)
            group.start_soon(report_for_ever, application)
            await anyio.to_process.run_sync(ask, 1.0)
            await anyio.to_process.run_sync(scrape, url, 1.0, OFTEN_SECONDS)
            for block in range(2 * blocks):
                if block % 4 in {0, 3}:  # calm, scraped, scraped, calm
                    calm += await anyio.to_process.run_sync(ask, seconds)
                    continue
                async with anyio.create_task_group() as both:

                    async def look() -> None:
                        found = await anyio.to_process.run_sync(scrape, url, seconds, OFTEN_SECONDS)
                        scrapes.extend(found)

                    both.start_soon(look)
                    scraped += await anyio.to_process.run_sync(ask, seconds)
            group.cancel_scope.cancel()
    took = [one for one, _ in scrapes]
    return {
        "series": max(number for _, number in scrapes),
        "scrapes": len(scrapes),
        "scrape_p50_ms": _percentile(took, 50),
        "scrape_p99_ms": _percentile(took, 99),
        "calls": {"calm": len(calm), "scraped": len(scraped)},
        "call_p50_ms": {"calm": _percentile(calm, 50), "scraped": _percentile(scraped, 50)},
        "call_p99_ms": {"calm": _percentile(calm, 99), "scraped": _percentile(scraped, 99)},
    }


async def time_training(pairs: int, seconds: float) -> dict[str, Any]:
    """Time one run in turns with and without being watched.

    Watched: its figures become series, the figures of jobs are read from the database, and a
    process scrapes once a second. What is kept of a run in the database is kept in both.

    Args:
        pairs: Of windows, one of each kind.
        seconds: Of a window.
    """
    speeds: dict[bool, list[float]] = {True: [], False: []}
    with TemporaryDirectory() as folder:
        async with (
            serving(folder, with_worker=True) as (application, url),
            anyio.create_task_group() as group,
        ):
            events, worker = application.training_events, application.worker
            if worker is None:
                raise RuntimeError("an application that was opened with a worker has one")
            watching = list(events._listeners)  # noqa: SLF001  what the application itself set up
            steps = 0

            def count(event: object) -> None:
                nonlocal steps
                steps = event.env_steps if isinstance(event, MetricsReported) else steps

            events.subscribe(count)
            group.start_soon(worker.run)
            await application.orchestrator.submit_training(TRAINING)
            while steps == 0:  # noqa: ASYNC110  there is no event to wait for
                await anyio.sleep(0.1)
            await anyio.to_process.run_sync(scrape, url, 1.0, USUAL_SECONDS)
            for window in range(2 * pairs):
                is_watched = window % 4 in {1, 2}  # off, on, on, off
                events._listeners[:] = [*(watching if is_watched else []), count]  # noqa: SLF001
                async with anyio.create_task_group() as window_group:
                    begun, first = time.perf_counter(), steps
                    if is_watched:
                        window_group.start_soon(application.job_metrics.run)
                        await anyio.to_process.run_sync(scrape, url, seconds, USUAL_SECONDS)
                    else:
                        await anyio.sleep(seconds)
                    speeds[is_watched].append((steps - first) / (time.perf_counter() - begun))
                    window_group.cancel_scope.cancel()
            group.cancel_scope.cancel()
    lost = 1.0 - np.array(speeds[True]) / np.array(speeds[False])
    error = float(lost.std(ddof=1) / np.sqrt(pairs))
    return {
        "pairs": pairs,
        "steps_per_second": {
            "off": float(np.median(speeds[False])),
            "on": float(np.median(speeds[True])),
        },
        "training_overhead": float(np.median(lost)),
        "training_overhead_interval": [lost.mean() - 2 * error, lost.mean() + 2 * error],
    }


def table(report: Mapping[str, Any]) -> str:
    """Return the table of the page.

    Args:
        report: As it is written.
    """
    scrapes, training = report["scrapes"], report["training"]
    low, high = training["training_overhead_interval"]
    p50, p99 = scrapes["call_p50_ms"], scrapes["call_p99_ms"]
    speed = training["steps_per_second"]
    rows = [
        ("a scrape, median", f"{scrapes['scrape_p50_ms']:.1f} ms"),
        ("a scrape, p99 (bar: below 50 ms)", f"{scrapes['scrape_p99_ms']:.1f} ms"),
        ("a request to an agent, median", f"{p50['calm']:.1f} ms; scraped {p50['scraped']:.1f} ms"),
        ("a request to an agent, p99", f"{p99['calm']:.1f} ms; scraped {p99['scraped']:.1f} ms"),
        ("training, steps per second", f"{speed['off']:,.0f}; watched {speed['on']:,.0f}"),
        (
            "training, lost to being watched (bar: below 2 %)",
            f"{training['training_overhead']:.1%} [{low:.1%}, {high:.1%}]",
        ),
        ("load of the machine before", f"{report['load_before']:.1f}"),
    ]
    return "\n".join(["| what | measured |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)])


def write_page(report: Mapping[str, Any], page: Path = PAGE) -> None:
    """Put the table into the page.

    Args:
        report: As it is written.
        page: Where.
    """
    put_table(page, "cost", table(report))


def judge(report: Mapping[str, Any]) -> dict[str, bool]:
    """Say which bars are met.

    Args:
        report: As it is written.
    """
    found = {**report["scrapes"], **report["training"]}
    return {name: found[name] < bar for name, bar in BARS.items()}


def _percentile(values: list[float], percent: float) -> float:
    return round(1e3 * float(np.percentile(values, percent)), 3)


def main() -> int:
    """Measure, write, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=10, help="of calls, with and without scrapes")
    parser.add_argument("--pairs", type=int, default=20, help="of windows of training")
    parser.add_argument("--seconds", type=float, default=6.0, help="of a block or window")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    told = parser.parse_args()
    configure_logs(level="error")
    report: dict[str, Any] = {
        "command": "OMP_NUM_THREADS=1 python -m benchmarks.monitoring",
        "settings": {name: value for name, value in vars(told).items() if name != "dry"},
        "load_before": round(os.getloadavg()[0], 2),
        "scrapes": anyio.run(time_scrapes, told.blocks, told.seconds),
        "training": anyio.run(time_training, told.pairs, told.seconds),
    }
    report["bars"] = judge(report)
    print(table(report))
    print(report["bars"], describe_machine()["load"])
    if not told.dry:
        write_report(RESULTS / "monitoring.json", report)
        write_page(report)
    return 0 if all(report["bars"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
