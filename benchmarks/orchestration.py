"""How fast the job engine is, and durable peers beside it in the same run.

Run `OMP_NUM_THREADS=1 python -m benchmarks.orchestration` on a quiet machine: tables, JSON in
benchmarks/results/orchestration.json, and the tables of docs/orchestration/speed.md. Peers are
those that `scripts/install-peers dbos procrastinate ray` has installed (or that the folder of
QUARTERMASTER_PEERS holds); one that is absent is left out and said so. Databases are on the disk of
`--folder`. The exit code is 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from benchmarks import engine_speed as ours
from benchmarks.measuring import RESULTS, put_table, write_report
from benchmarks.peer_python import PeerMissingError, run_peer
from tests.postgres import missing, run_server

PAGE = Path(__file__).parents[1] / "docs" / "orchestration" / "speed.md"
COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.orchestration"
JOBS, PEER_JOBS, QUEUED = 5000, 300, 10_000
THREAD_STARTS, CHILD_STARTS, PEER_STARTS = 300, 100, 50
IDLE_SECONDS = 20.0
HELPS, SERVES = 5, 3
BARS: dict[str, tuple[str, float]] = {
    "thread_start_p95_seconds": ("<", 0.010),
    "process_start_p95_seconds": ("<", 0.100),
    "jobs_per_second": (">=", 1000),
    "times_best_durable_peer_on_sqlite": (">=", 10),
    "metric_points_per_second": (">=", 10_000),
    "idle_cpu_share": ("<", 0.01),
    "restart_seconds": ("<", 1.0),
    "help_seconds": ("<", 1.2),
    "serve_ready_seconds": ("<", 3.0),
}
WORDS = {
    "thread_start_p95_seconds": "submit to start in a thread, p95",
    "process_start_p95_seconds": "submit to start in a warm process, p95",
    "jobs_per_second": "durable no-op jobs per second, SQLite",
    "times_best_durable_peer_on_sqlite": "the same, times the best durable peer on SQLite",
    "metric_points_per_second": "metric points per second, child to rows",
    "idle_cpu_share": "CPU of an idle worker",
    "restart_seconds": "restart with 10,000 queued jobs to the first start",
    "help_seconds": "`python -m orchestration --help`",
    "serve_ready_seconds": "`serve` ready",
}


def measure_ours(folder: Path) -> dict[str, Any]:
    """Measure the engine on SQLite, and its commands.

    Args:
        folder: For databases; on a real disk.
    """
    found: dict[str, Any] = {}

    def take(name: str, measure: Callable[[], Any]) -> None:
        found[name] = measure()
        print(f"{name}: {found[name]}", flush=True)

    def run(measure: Callable[..., Any], name: str, *arguments: Any) -> Any:
        return anyio.run(partial(measure, folder / f"{name}.sqlite", *arguments))

    take("thread_start", lambda: run(ours.measure_starts, "thread", "start", THREAD_STARTS))
    take("process_start", lambda: run(ours.measure_starts, "process", "child", CHILD_STARTS))
    take("jobs_per_second", lambda: run(ours.measure_throughput, "jobs", JOBS))
    fsynced = partial(ours.measure_throughput, folder / "fsynced.sqlite", JOBS, fsync=True)
    take("fsynced_jobs_per_second", lambda: anyio.run(fsynced))
    take("metric_points_per_second", lambda: run(ours.measure_metrics, "metrics"))
    run(ours.fill, "restart", QUEUED)
    take("restart_seconds", lambda: run(ours.measure_restart, "restart"))
    take("help_seconds", lambda: statistics.median(ours.measure_help() for _ in range(HELPS)))
    serves = (ours.measure_serve(folder / f"serve-{number}") for number in range(SERVES))
    take("serve_ready_seconds", lambda: statistics.median(serves))
    take("idle_cpu_share", lambda: ours.measure_idle(folder / "idle", IDLE_SECONDS))
    return found


def measure_servers(peers: dict[str, Any]) -> dict[str, Any]:
    """Measure the engine and Procrastinate on a PostgreSQL that writes to the disk.

    Args:
        peers: Gets the peer's figures.
    """
    if missing():
        return {"missing": missing()}
    with run_server(fsync=True) as url:
        starts = anyio.run(ours.measure_starts, url, "start", THREAD_STARTS)
        rate = anyio.run(ours.measure_throughput, url, JOBS)
        plain = url.replace("postgresql+psycopg", "postgresql")
        words = [plain, str(PEER_JOBS), str(PEER_STARTS)]
        peers["procrastinate"] = try_peer("procrastinate", "procrastinate_jobs.py", words)
    found = {"thread_start": starts, "jobs_per_second": rate}
    print(f"postgresql: {found}", flush=True)
    return found


def try_peer(name: str, script: str, arguments: list[str]) -> dict[str, Any]:
    """Measure a peer, or say why not.

    Args:
        name: Of the peer.
        script: In benchmarks/peers.
        arguments: Of the script.
    """
    try:
        found = run_peer(name, script, arguments)
    except PeerMissingError as error:
        found = {"missing": str(error)}
    print(f"{name}: {found}", flush=True)
    return found


def judge(report: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the figure of each bar; None where it could not be measured.

    Args:
        report: As in the JSON.
    """
    found, dbos = report["sqlite"], report["peers"]["dbos"]
    rivals = [value for name, value in dbos.items() if name.endswith("jobs_per_second")]
    times = found["jobs_per_second"] / max(rivals) if rivals else None
    return {
        "thread_start_p95_seconds": found["thread_start"]["p95_seconds"],
        "process_start_p95_seconds": found["process_start"]["p95_seconds"],
        "times_best_durable_peer_on_sqlite": times,
        **{name: found[name] for name in BARS if name in found},
    }


def is_met(name: str, value: float | None) -> bool:
    """Say whether a figure meets its bar.

    Args:
        name: Of the bar.
        value: None never does.
    """
    sign, bar = BARS[name]
    return value is not None and (value < bar if sign == "<" else value >= bar)


def speed_table(report: Mapping[str, Any]) -> str:
    """Return the table of bars of docs/orchestration/speed.md.

    Args:
        report: As in the JSON.
    """
    lines = ["| what | bar | measured | met |", "|---|---|---|---|"]
    figures = judge(report)
    for name, (sign, bar) in BARS.items():
        value = figures[name]
        met = "yes" if is_met(name, value) else "NO"
        lines.append(
            f"| {WORDS[name]} | {sign} {_figure(name, bar)} | {_figure(name, value)} | {met} |"
        )
    return "\n".join(lines)


def peer_table(report: Mapping[str, Any]) -> str:
    """Return the table of peers of docs/orchestration/speed.md.

    Args:
        report: As in the JSON.
    """
    lines = [
        "| engine | start p50 | start p95 | no-op jobs per second |",
        "|---|---|---|---|",
    ]
    sqlite, server = report["sqlite"], report["postgresql"]
    dbos, peer, ray = (report["peers"][name] for name in ("dbos", "procrastinate", "ray"))
    rows = [
        ("ours, SQLite, threads", sqlite["thread_start"], sqlite["jobs_per_second"]),
        ("ours, SQLite, every commit fsynced", None, sqlite["fsynced_jobs_per_second"]),
        ("ours, SQLite, a process each", sqlite["process_start"], None),
        ("ours, PostgreSQL, threads", server.get("thread_start"), server.get("jobs_per_second")),
        ("DBOS, SQLite, direct", dbos.get("direct_start"), dbos.get("direct_jobs_per_second")),
        ("DBOS, SQLite, queue", dbos.get("queue_start"), dbos.get("queue_jobs_per_second")),
        ("Procrastinate, PostgreSQL", peer.get("start"), peer.get("jobs_per_second")),
        ("Ray tasks (not durable)", ray.get("start"), ray.get("tasks_per_second")),
    ]
    for name, start, rate in rows:
        times = [_seconds(start[key]) if start else "" for key in ("p50_seconds", "p95_seconds")]
        lines.append(
            f"| {name} | {times[0]} | {times[1]} | {'' if rate is None else f'{rate:,.0f}'} |"
        )
    return "\n".join(lines)


def write_page(report: Mapping[str, Any], page: Path = PAGE) -> None:
    """Put the tables into the page.

    Args:
        report: As in the JSON.
        page: Holds them between comments.
    """
    put_table(page, "bars", speed_table(report))
    put_table(page, "peers", peer_table(report))


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "not measured"
    if name.endswith("_seconds"):
        return _seconds(value)
    if name.endswith("_share"):
        return f"{value:.2%}"
    return f"{value:,.0f}"


def _seconds(value: float) -> str:
    return f"{1000 * value:,.1f} ms" if value < 1 else f"{value:.2f} s"


def main() -> None:
    """Measure all, print tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--folder", type=Path, help="Where databases go; a temporary one.")
    parser.add_argument("--output", type=Path, default=RESULTS / "orchestration.json")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="speed-", dir=options.folder))
    try:
        words = [str(folder), str(PEER_JOBS), str(PEER_STARTS)]
        peers = {"dbos": try_peer("dbos", "dbos_jobs.py", words)}
        report: dict[str, Any] = {"command": COMMAND, "jobs": JOBS, "peer_jobs": PEER_JOBS}
        report["sqlite"] = measure_ours(folder)
        report["postgresql"] = measure_servers(peers)
        peers["ray"] = try_peer("ray", "ray_jobs.py", [str(JOBS), str(PEER_STARTS)])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    peers.setdefault("procrastinate", {"missing": report["postgresql"].get("missing")})
    report["peers"] = peers
    report["bars"] = judge(report)
    write_report(options.output, report)
    write_page(report)
    print(speed_table(report), peer_table(report), sep="\n\n")
    missed = [name for name, value in report["bars"].items() if not is_met(name, value)]
    if missed:
        sys.exit(f"missed: {json.dumps(missed)}")


if __name__ == "__main__":
    main()
