"""The servers of benchmarks/serving.py: how each is started, asked once, weighed and ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.peer_python import SCRIPTS, peer_python

ROOT = Path(__file__).parents[1]
READY_SECONDS, LEAVE_SECONDS = 120.0, 20.0
OURS, TORCH, RAY = "ours", "fastapi", "ray_serve"
AGENT = "resource_allocator"


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a server is started with."""

    folder: Path
    port: int
    artifact: Path


@dataclass(frozen=True, kw_only=True)
class Server:
    """Somebody who answers."""

    name: str
    title: str
    start: Callable[[Place], list[str]]
    """The command; raises PeerMissingError."""
    path: str
    batch_path: str | None = None


def start_ours(place: Place) -> list[str]:
    """Take the policy in and return the command that serves it.

    Args:
        place: Where.
    """
    command = [sys.executable, "-m", "orchestration", "--var", str(place.folder)]
    adopt = [*command, "adopt", str(place.artifact)]
    subprocess.run(adopt, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    return [*command, "serve", "--port", str(place.port)]


def peer(name: str, script: str, *more: str) -> Callable[[Place], list[str]]:
    """Return what starts a peer.

    Args:
        name: As `scripts/install-peers` calls it.
        script: In benchmarks/peers.
        more: Arguments after the usual ones.
    """

    def start(place: Place) -> list[str]:
        words = [str(place.port), str(place.artifact), str(place.folder / "records.sqlite"), *more]
        return [str(peer_python(name)), str(SCRIPTS / script), *words]

    return start


SERVERS = (
    Server(
        name=OURS,
        title="ours",
        start=start_ours,
        path=f"/v1/agents/{AGENT}:invoke",
        batch_path=f"/v1/agents/{AGENT}:batch",
    ),
    Server(
        name=TORCH,
        title="FastAPI + torch, uvicorn[standard]",
        start=peer("fastapi", "serving_fastapi.py", "standard"),
        path="/decide",
        batch_path="/decide_all",
    ),
    Server(
        name="fastapi_plain",
        title="FastAPI + torch, plain uvicorn",
        start=peer("fastapi", "serving_fastapi.py", "plain"),
        path="/decide",
        batch_path="/decide_all",
    ),
    Server(
        name="litserve",
        title="LitServe + torch",
        start=peer("litserve", "serving_litserve.py"),
        path="/decide",
    ),
    Server(
        name=RAY,
        title="Ray Serve + torch",
        start=peer("ray_serve", "serving_ray.py"),
        path="/decide",
    ),
)


@contextlib.contextmanager
def running(server: Server, artifact: Path, body: str) -> Iterator[tuple[str, int]]:
    """Yield the address and process of a server that has answered by its policy.

    Args:
        server: Which.
        artifact: The policy.
        body: Of a request.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"serving-{server.name}-"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place = Place(folder=folder, port=port, artifact=artifact)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": _python_path(server)}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603
            server.start(place), cwd=ROOT, env=environment, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        _await_answer(process, url + server.path, body, folder / "log")
        yield url, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LEAVE_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _python_path(server: Server) -> str:
    ours = os.environ.get("PYTHONPATH", "")
    return ours if server.name == OURS else str(ROOT)


def _await_answer(process: subprocess.Popen[bytes], url: str, body: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    headers = {"Content-Type": "application/json"}
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.post(url, content=body, headers=headers, timeout=10)
            if answer.status_code == 200 and answer.json()["decided_by"] == "policy":
                return
        time.sleep(0.1)
    raise RuntimeError(f"{url} does not answer by its policy:\n{log.read_text()[-2000:]}")


@dataclass(frozen=True, kw_only=True)
class Weight:
    """What a process and all that it started take."""

    rss_bytes: int
    cpu_seconds: float


def weigh(pid: int) -> Weight:
    """Return the resident memory and the CPU time of a process and all that it started.

    Args:
        pid: Of the process.
    """
    children: dict[int, list[int]] = {}
    found: dict[int, tuple[int, float]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            pages = int((folder / "statm").read_text().split()[1])
            seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            children.setdefault(int(fields[1]), []).append(int(folder.name))
            found[int(folder.name)] = pages * os.sysconf("SC_PAGE_SIZE"), seconds
    todo, family = [pid], []
    while todo:
        one = todo.pop()
        family.append(found.get(one, (0, 0.0)))
        todo += children.get(one, [])
    return Weight(rss_bytes=sum(f[0] for f in family), cpu_seconds=sum(f[1] for f in family))
