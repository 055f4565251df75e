"""Commands that run until Ctrl-C: serve the API, and carry jobs."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import Annotated, Literal

import anyio
import typer
from rich.console import Console

from orchestration.app import Settings, open_application, run_with
from orchestration.care.pruning import KEPT_DAYS
from orchestration.cli.parts import DATABASE
from orchestration.cli.prune import RecordDays
from orchestration.executors.ray_executor import RayConfig
from orchestration.jobs import Resources

ParallelJobs = Annotated[
    int, typer.Option(min=1, help="How many jobs to carry at once in processes of their own.")
]
Artifacts = Annotated[
    str | None,
    typer.Option(
        envvar="QUARTERMASTER_ARTIFACTS",
        help="Where machines that share a database find artifacts and checkpoints: the URL of a "
        "server, or a folder that all of them reach.",
    ),
]


def register(cli: typer.Typer) -> None:
    """Add the commands.

    Args:
        cli: To it.
    """
    cli.command()(serve)
    cli.command()(worker)
    cli.command("mcp")(serve_mcp)


def serve(
    context: typer.Context,
    *,
    host: Annotated[
        str, typer.Option(help="Others than loopback want a token first: see `tokens`.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any free one.")] = 8321,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A name that callers use for this server.")
    ] = None,
    calls_per_second: Annotated[
        float | None, typer.Option(help="Decisions that each caller may ask for; any if absent.")
    ] = None,
    parallel_jobs: ParallelJobs = 1,
    artifacts: Artifacts = None,
    record_days: RecordDays = KEPT_DAYS,
) -> None:
    """Serve the API and /metrics, and carry jobs, until Ctrl-C."""
    console = Console()

    def announce(url: str) -> None:
        console.print(f"Serving on {url}  (API: /openapi.json, metrics: /metrics)", soft_wrap=True)

    settings = Settings(
        var=context.obj,
        database=context.meta[DATABASE],
        host=host,
        port=port,
        allowed_hosts=tuple(allow_host or ()),
        calls_per_second=calls_per_second,
        parallel_jobs=parallel_jobs,
        artifacts=artifacts,
    )
    server = importlib.import_module("orchestration.serving")  # no other command needs FastAPI
    work = functools.partial(server.serve, settings, announce=announce, record_days=record_days)
    anyio.run(work, backend_options={"use_uvloop": True})  # an answer in one write, not in two
    console.print("Stopped; running jobs are saved and go on with the next worker.")


def serve_mcp(context: typer.Context) -> None:
    """Offer agents as MCP tools to the program that starts this one, on its pipes."""
    settings = Settings(var=context.obj, database=context.meta[DATABASE])
    server = importlib.import_module("orchestration.serving")
    anyio.run(server.serve_stdio, settings)


def worker(
    context: typer.Context,
    *,
    parallel_jobs: ParallelJobs = 1,
    cpus: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1000,
            help="Cores for jobs that say what they need; not counted if absent.",
        ),
    ] = None,
    gpus: Annotated[float, typer.Option(min=0, max=1000, help="Accelerators, with --cpus.")] = 0.0,
    memory_mb: Annotated[int, typer.Option(min=0, max=10**8, help="Memory, with --cpus.")] = 0,
    artifacts: Artifacts = None,
    executor: Annotated[
        Literal["process", "ray"], typer.Option(help="Where jobs run.")
    ] = "process",
    ray_address: Annotated[
        str | None,
        typer.Option(help="HOST:PORT of a Ray cluster, or auto; one is started here if absent."),
    ] = None,
) -> None:
    """Carry submitted jobs, without the API, until Ctrl-C."""
    capacity = None
    if cpus is not None:
        milli = {"cpu_milli": round(cpus * 1000), "gpu_milli": round(gpus * 1000)}
        capacity = Resources(**milli, memory_mb=memory_mb)
    elif gpus or memory_mb:
        raise typer.BadParameter("say how many --cpus there are, too")
    settings = Settings(
        var=Path(context.obj),
        database=context.meta[DATABASE],
        parallel_jobs=parallel_jobs,
        capacity=capacity,
        artifacts=artifacts,
        executor=executor,
        ray=RayConfig(address=ray_address),
    )
    anyio.run(_work, settings)


async def _work(settings: Settings) -> None:
    async with open_application(settings, with_worker=True) as application:
        Console().print("Working; Ctrl-C saves running jobs and stops.")
        await run_with(application, anyio.sleep_forever)
