"""Attempts as actors of a real Ray cluster on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import anyio
import pytest

from orchestration.app import Settings
from orchestration.executors.child import ChildOrder
from orchestration.executors.ray_executor import RayConfig, RayExecutor
from tests.ray_clusters import ROOT, needs_ray, run_cluster
from utils.errors import ConfigError

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def cluster():
    with run_cluster(num_cpus=2) as cluster:
        yield cluster.address


@pytest.fixture
async def executor(cluster):
    return RayExecutor(RayConfig(address=cluster, orphan_seconds=20))


@pytest.fixture
def order(tmp_path):
    """Orders of a job of its own."""

    def make(target, *, spec=None, fence=1, grace=5.0, **more):
        return ChildOrder(
            job_id=tmp_path.name,
            fence=fence,
            attempt=1,
            target=f"tests.orchestration.targets:{target}",
            spec=spec or {},
            work_folder=str(tmp_path / "work"),
            resume=None,
            orphan_grace_seconds=grace,
            **more,
        )

    return make


async def hear(child, type_, **fields):
    """Listen, confirming checkpoints, until a frame of this kind comes."""
    while True:
        frame = await child.receive()
        assert frame is not None, f"hung up before {type_}"
        if frame["type"] == "checkpoint":
            await child.send("ack", {"of": frame["seq"]})
        told = {**frame, **frame.get("payload", {})}
        if frame["type"] == type_ and fields.items() <= told.items():
            return frame


@needs_ray
async def test_an_actor_says_hello_and_its_result_and_is_gone(executor, order):
    child = await executor.start(order("add_up", spec={"steps": 3}))
    hello = await child.receive()
    assert (hello["type"], hello["seq"]) == ("hello", 1)
    assert (await hear(child, "result"))["result"] == {"total": 6}
    assert await child.receive() is None
    assert await child.wait() == 0
    await child.aclose()
    assert await executor.reattach(child.handle, fence=2) is None


@needs_ray
async def test_stops_and_kills_arrive(executor, order, tmp_path):
    never = str(tmp_path / "never")
    child = await executor.start(order("add_up", spec={"steps": 9, "hold": {"1": never}}))
    await hear(child, "event", event="step_done")
    await child.send("stop", {"reason": "pause"})
    assert (await hear(child, "result"))["stopped"] == "pause"
    await child.aclose()
    child = await executor.start(order("ignore_stops", fence=2))
    await hear(child, "event")
    child.kill()
    error = await hear(child, "error")
    assert error["class"] == "crashed"
    assert await child.receive() is None
    assert await child.wait() != 0
    await child.aclose()


@needs_ray
async def test_errors_and_crashes_are_told(executor, order, tmp_path):
    child = await executor.start(order("raise_config_error"))
    assert (await hear(child, "error"))["class"] == "config"
    await child.aclose()
    child = await executor.start(order("exit_badly", fence=2))
    assert (await hear(child, "error"))["class"] == "crashed"
    await child.aclose()
    assert "about to leave" in (tmp_path / "work" / "attempt-2.log").read_text()


@needs_ray
async def test_a_new_supervisor_takes_the_running_actor_over(executor, order, tmp_path):
    spec = {"steps": 5, "hold": {"3": str(tmp_path / "go")}}
    old = await executor.start(order("add_up", spec=spec))
    await hear(old, "event", event="step_done", step=3)
    new = await executor.start(order("add_up", spec=spec, fence=2))
    assert json.loads(new.handle)["actor"] == f"job-{tmp_path.name}-1"
    first = await new.receive()
    assert (first["type"], first["seq"]) == ("hello", 1)
    assert await old.receive() is None  # the former one hears nothing any more
    old.kill()  # and can end nothing
    await old.send("stop", {"reason": "cancel"})
    await old.aclose()
    assert await executor.reattach(old.handle, fence=1) is None
    (tmp_path / "go").touch()
    await hear(new, "event", event="step_done", step=5)
    assert (await hear(new, "result"))["result"] == {"total": 15}
    await new.aclose()


@needs_ray
async def test_an_actor_that_nobody_asks_saves_and_ends(cluster, order, tmp_path):
    executor = RayExecutor(RayConfig(address=cluster, orphan_seconds=2))
    child = await executor.start(order("be_orphaned"))
    await hear(child, "event")
    with anyio.fail_after(120):
        while not (tmp_path / "work" / "stopped_by").exists():  # noqa: ASYNC110  # another process
            await anyio.sleep(0.02)
    assert (tmp_path / "work" / "stopped_by").read_text() == "orphaned"
    with anyio.fail_after(120):
        while await executor.reattach(child.handle, fence=2) is not None:  # noqa: ASYNC110  # another process
            await anyio.sleep(0.02)
    await child.aclose()


@needs_ray
async def test_an_actor_asks_for_what_the_job_asks(executor, order):
    import ray

    child = await executor.start(order("ignore_stops", resources={"cpu_milli": 2000}))
    await hear(child, "event")
    with anyio.fail_after(120):  # the cluster tells it now and then
        while ray.available_resources().get("CPU", 0) > 0:  # noqa: ASYNC110
            await anyio.sleep(0.05)
    await child.aclose()


@needs_ray
def test_a_wrong_token_is_named(cluster):
    program = (
        "import anyio; from orchestration.executors.ray_executor import *; "
        f"anyio.run(RayExecutor(RayConfig(address={cluster!r})).start, None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "wrong",
            "RAY_NUM_REDIS_GET_RETRIES": "1",
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 1
    assert "ConfigError: the Ray cluster at" in done.stderr
    assert "ray get-auth-token" in done.stderr


@needs_ray
async def test_a_cluster_that_is_away_is_named(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ConfigError, match=r"Ray cluster at 127\.0\.0\.1:1 cannot be joined"):
        await RayExecutor(RayConfig(address="127.0.0.1:1")).start(None)


async def test_without_ray_it_says_what_to_install(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(ConfigError, match=r"pip install -r requirements-ray\.txt"):
        await RayExecutor().start(None)


def test_nodes_of_a_cluster_must_find_artifacts():
    ray = RayConfig(address="head:6379")
    with pytest.raises(ConfigError, match="artifacts: nodes of a Ray cluster must find them"):
        Settings(executor="ray", ray=ray)
    assert Settings(executor="ray", ray=ray, artifacts="/mnt/all").ray == ray


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="orphan_seconds=0"):
        RayConfig(orphan_seconds=0)
    with pytest.raises(ConfigError, match="namespace"):
        RayConfig(namespace="")
    for address in ("ray://head:10001", "head", "head:many"):
        with pytest.raises(ConfigError, match="write HOST:PORT"):
            RayConfig(address=address)
