"""How fast agents answer over HTTP, and public serving peers beside them in the same run.

Run `OMP_NUM_THREADS=1 python -m benchmarks.serving` on a quiet machine: JSON and a table in
benchmarks/results/serving.{json,md} and docs/agents/speed.md; the exit code is 1 if a bar is
missed. Needs wrk (apt-get install wrk). Peers are those that `scripts/install-peers fastapi
litserve ray_serve` has installed (or that the folder of QUARTERMASTER_PEERS holds); one that is
absent is left out and said so.

Everybody serves one untrained policy (3 services, 2 resources: 58 observed numbers -> 256 -> 256 ->
12, tanh) and gets the same request, in the business's words, checks it, computes, projects onto the
capacities and keeps a record of each decision. Rounds go over all servers in turn. A run that was
broken off goes on where it was: finished cells lie in var/benchmarks/serving_rounds.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ai_agents.allocation_domain import AllocationDecisions
from benchmarks.measuring import RESULTS, describe_machine, put_table, write_report
from benchmarks.peer_python import PeerMissingError
from benchmarks.serving_servers import (
    OURS,
    RAY,
    ROOT,
    SERVERS,
    TORCH,
    Server,
    running,
    weigh,
)
from rl.artifacts import Layer, Normalizer, PolicyArtifact
from rl.domains.shared_services import shared_services
from tests.serving import make_artifact

COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.serving"
PAGE = ROOT / "docs" / "agents" / "speed.md"
ROUNDS_FILE = ROOT / "var" / "benchmarks" / "serving_rounds.json"
SCRIPT = Path(__file__).with_name("serving.lua")
HIDDEN, SERVICES, BATCH, MANY = 256, 3, 64, 16
BATCH_CONNECTIONS = 4
WARM_SECONDS = 1.0
BARS: dict[str, tuple[str, float]] = {
    "p50_seconds": ("<=", 0.0004),
    "times_fastapi": (">=", 1.5),
    "times_ray_serve": (">=", 8),
    "batch_times_single": (">=", 15),
    "rss_bytes": ("<=", 180 * 2**20),
}
WORDS = {
    "p50_seconds": "p50 at one connection",
    "times_fastapi": "requests/s at 16 connections, times FastAPI + torch",
    "times_ray_serve": "the same, times Ray Serve",
    "batch_times_single": "decisions/s by `:batch` of 64, times those one by one",
    "rss_bytes": "resident memory of the server",
}


def make_policy() -> PolicyArtifact:
    """Return a policy with random weights; they do not change the time."""
    config = shared_services(SERVICES).allocation
    small = make_artifact(config=config, action="coverage")
    sizes = (small.observation_size, HIDDEN, HIDDEN, small.action.size)
    generator = np.random.default_rng(0)
    layers = tuple(
        Layer(
            (generator.standard_normal((i, o)) / np.sqrt(i)).astype(np.float32),
            np.zeros(o, np.float32),
        )
        for i, o in itertools.pairwise(sizes)
    )
    identity = Normalizer(np.zeros(sizes[0], np.float32), np.ones(sizes[0], np.float32), 10.0)
    return replace(small, layers=layers, normalizer=identity)


def make_bodies(artifact: PolicyArtifact, folder: Path) -> dict[str, Path]:
    """Write the bodies that are sent: one request, and a batch of it.

    Args:
        artifact: The policy.
        folder: For the files.
    """
    request = AllocationDecisions(artifact).example_request()
    text = request.model_dump_json(exclude_defaults=True)
    bodies = {"one": text, "batch": "[" + ",".join([text] * BATCH) + "]"}
    for name, content in bodies.items():
        (folder / f"{name}.json").write_text(content)
    return {name: folder / f"{name}.json" for name in bodies}


def wrk(url: str, body: Path, *, connections: int, seconds: float) -> dict[str, float]:
    """Send a body for a while.

    Args:
        url: Where to.
        body: Which.
        connections: How many at once.
        seconds: For how long.

    Raises:
        RuntimeError: An answer was no 2xx, or none came.
    """
    load = ["-t1", f"-c{connections}", f"-d{seconds:g}s"]
    done = subprocess.run(  # noqa: S603
        ["wrk", *load, "-s", str(SCRIPT), url],  # noqa: S607
        env={**os.environ, "SERVING_BODY": str(body)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if found["bad"] or not found["requests"]:
        raise RuntimeError(f"{url}: {found['bad']} of {found['requests']} answers were errors")
    found["per_second"] = found["requests"] / found["seconds"]
    return found


def measure(
    server: Server, artifact: Path, bodies: Mapping[str, Path], seconds: float
) -> dict[str, Any]:
    """Measure one server once.

    Args:
        server: Which.
        artifact: The policy.
        bodies: What is sent.
        seconds: Per cell.
    """
    began = time.monotonic()
    load = round(os.getloadavg()[0], 2)
    with running(server, artifact, bodies["one"].read_text()) as (url, pid):
        ready = time.monotonic() - began
        one, target = bodies["one"], url + server.path
        wrk(target, one, connections=4, seconds=WARM_SECONDS)

        def take(path: str, body: Path, connections: int) -> dict[str, float]:
            before = weigh(pid).cpu_seconds
            cell = wrk(url + path, body, connections=connections, seconds=seconds)
            used = weigh(pid).cpu_seconds - before
            return {**cell, "cpu_seconds_per_request": used / cell["requests"]}

        found: dict[str, Any] = {
            "load": load,
            "ready_seconds": ready,
            "single": take(server.path, one, 1),
            "many": take(server.path, one, MANY),
        }
        if server.batch_path is not None:
            cell = take(server.batch_path, bodies["batch"], BATCH_CONNECTIONS)
            found["batch"] = {**cell, "decisions_per_second": BATCH * cell["per_second"]}
        found["rss_bytes"] = weigh(pid).rss_bytes
    return found


def summarise(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return best and median of each figure of one server.

    Args:
        rounds: Its measurements.
    """
    figures: dict[str, list[float]] = {
        "p50_seconds": [one["single"]["p50_seconds"] for one in rounds],
        "p99_seconds": [one["single"]["p99_seconds"] for one in rounds],
        "single_per_second": [one["single"]["per_second"] for one in rounds],
        "many_per_second": [one["many"]["per_second"] for one in rounds],
        "many_p50_seconds": [one["many"]["p50_seconds"] for one in rounds],
        "cpu_seconds": [one["many"]["cpu_seconds_per_request"] for one in rounds],
        "rss_bytes": [one["rss_bytes"] for one in rounds],
        "ready_seconds": [one["ready_seconds"] for one in rounds],
    }
    if all("batch" in one for one in rounds):
        figures["batch_decisions_per_second"] = [
            one["batch"]["decisions_per_second"] for one in rounds
        ]
    return {
        name: {
            "best": max(values) if name.endswith("per_second") else min(values),
            "median": statistics.median(values),
        }
        for name, values in figures.items()
    }


def judge(servers: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """Return the figure of each bar, from medians; None where a peer was not measured.

    Args:
        servers: As `summarise` returned them.
    """
    ours = servers[OURS]

    def times(name: str) -> float | None:
        rate = servers.get(name, {}).get("many_per_second")
        return None if rate is None else ours["many_per_second"]["median"] / rate["median"]

    batch, single = ours["batch_decisions_per_second"], ours["many_per_second"]
    return {
        "p50_seconds": ours["p50_seconds"]["median"],
        "times_fastapi": times(TORCH),
        "times_ray_serve": times(RAY),
        "batch_times_single": batch["median"] / single["median"],
        "rss_bytes": ours["rss_bytes"]["median"],
    }


def is_met(name: str, value: float | None) -> bool:
    """Say whether a figure meets its bar.

    Args:
        name: Of the bar.
        value: None never does.
    """
    sign, bar = BARS[name]
    return value is not None and (value <= bar if sign == "<=" else value >= bar)


def tables(report: Mapping[str, Any]) -> str:
    """Return the bars and the servers as Markdown.

    Args:
        report: As in the JSON.
    """
    lines = ["| what | bar | measured | met |", "|---|---|---|---|"]
    for name, (sign, bar) in BARS.items():
        value = report["bars"][name]
        met = "yes" if is_met(name, value) else "NO"
        row = (WORDS[name], f"{sign} {_figure(name, bar)}", _figure(name, value), met)
        lines.append(f"| {' | '.join(row)} |")
    columns = {
        "p50_seconds": "p50, c=1",
        "p99_seconds": "p99, c=1",
        "single_per_second": "requests/s, c=1",
        "many_per_second": f"requests/s, c={MANY}",
        "cpu_seconds": "CPU a request",
        "batch_decisions_per_second": f"decisions/s, {BATCH} at once",
        "rss_bytes": "RSS",
        "ready_seconds": "ready",
    }
    lines += ["", f"| best / median of {report['rounds']} | {' | '.join(columns.values())} |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    titles = {server.name: server.title for server in SERVERS}
    for name, found in report["servers"].items():
        cells = [_pair(column, found.get(column)) for column in columns]
        lines.append(f"| {titles[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _pair(name: str, value: Mapping[str, float] | None) -> str:
    return "" if value is None else " / ".join(_figure(name, value[k]) for k in ("best", "median"))


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "not measured"
    if name.endswith("per_second"):
        return f"{value:,.0f}"
    if name.endswith("_seconds"):
        return f"{1000 * value:.2f} ms" if value < 1 else f"{value:.1f} s"
    return f"{value / 2**20:.0f} MiB" if name.endswith("_bytes") else f"{value:.1f}"


def read_rounds(commit: object) -> dict[str, list[dict[str, Any]]]:
    """Return what an earlier run of this commit has measured, by server.

    Args:
        commit: Figures of another one do not count.
    """
    if not ROUNDS_FILE.exists():
        return {}
    stored = json.loads(ROUNDS_FILE.read_text())
    found: dict[str, list[dict[str, Any]]] = stored["servers"]
    return found if stored["commit"] == commit else {}


def run_rounds(rounds: int, seconds: float, names: Sequence[str]) -> dict[str, Any]:
    """Measure all servers in turn, as often as was asked for; keeps each cell at once.

    Args:
        rounds: How many.
        seconds: Per cell.
        names: Of the servers.
    """
    commit = describe_machine()["commit"]
    found, missing = read_rounds(commit), {}
    folder = Path(tempfile.mkdtemp(prefix="serving-"))
    try:
        policy, artifact = make_policy(), folder / "policy.safetensors"
        artifact.write_bytes(policy.to_bytes())
        bodies = make_bodies(policy, folder)
        for number, server in itertools.product(range(rounds), SERVERS):
            if server.name not in names or len(found.get(server.name, [])) > number:
                continue
            try:
                cell = measure(server, artifact, bodies, seconds)
            except PeerMissingError as error:
                missing[server.name] = str(error)
                continue
            found.setdefault(server.name, []).append(cell)
            print(f"round {number + 1}, {server.name}: {json.dumps(cell)}", flush=True)
            ROUNDS_FILE.parent.mkdir(parents=True, exist_ok=True)
            ROUNDS_FILE.write_text(json.dumps({"commit": commit, "servers": found}, indent=1))
        sizes = {name: path.stat().st_size for name, path in bodies.items()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "command": COMMAND,
        "rounds": rounds,
        "seconds_per_cell": seconds,
        "policy": [policy.observation_size, HIDDEN, HIDDEN, policy.action.size],
        "body_bytes": sizes,
        "missing": missing,
        "cells": found,
    }


def main() -> None:
    """Measure, print tables, write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="Per cell.")
    parser.add_argument("--servers", nargs="*", default=[server.name for server in SERVERS])
    parser.add_argument("--fresh", action="store_true", help="Forget what was measured before.")
    parser.add_argument("--output", type=Path, default=RESULTS / "serving.json")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed: apt-get install wrk")
    if options.fresh:
        ROUNDS_FILE.unlink(missing_ok=True)
    report = run_rounds(options.rounds, options.seconds, options.servers)
    report["servers"] = {name: summarise(cells) for name, cells in report["cells"].items()}
    report["bars"] = judge(report["servers"])
    write_report(options.output, report)
    text = tables(report)
    options.output.with_suffix(".md").write_text(f"`{COMMAND}`\n\n{text}\n")
    if options.output == RESULTS / "serving.json":
        put_table(PAGE, "servers", text)
    print(text)
    missed = [name for name, value in report["bars"].items() if not is_met(name, value)]
    if missed:
        sys.exit(f"missed: {json.dumps(missed)}")


if __name__ == "__main__":
    main()
