"""Real child processes: they talk, obey, die, and never run our main module again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from orchestration.executors.child import ORPHANED_EXIT_CODE, ChildOrder
from orchestration.executors.process import ProcessExecutor

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]


def order(tmp_path, target, *, spec=None, grace=20.0):
    return ChildOrder(
        job_id="j",
        fence=1,
        attempt=1,
        target=f"tests.orchestration.targets:{target}",
        spec=spec or {},
        work_folder=str(tmp_path / "work"),
        resume=None,
        orphan_grace_seconds=grace,
    )


async def start(tmp_path, target, **more):
    return await ProcessExecutor().start(order(tmp_path, target, **more))


async def hear(child, type_):
    while True:
        frame = await child.receive()
        assert frame is not None, f"hung up before {type_}"
        if frame["type"] == type_:
            return frame


async def test_child_says_hello_and_its_result(tmp_path):
    child = await start(tmp_path, "report_session")
    hello = await child.receive()
    assert (hello["type"], hello["seq"]) == ("hello", 1)
    assert (await hear(child, "result"))["result"] == {"own_session": True}
    assert await child.receive() is None
    assert await child.wait() == 0
    await child.aclose()


async def test_error_of_the_target_arrives_with_its_traceback(tmp_path):
    child = await start(tmp_path, "raise_value_error")
    error = await hear(child, "error")
    assert error["class"] == "user"
    assert error["message"].startswith("ValueError: the answer is 41")
    assert "targets.py" in error["message"]
    await child.aclose()


@pytest.mark.parametrize(
    ("target", "error_class", "text"),
    [
        ("raise_config_error", "config", "gamma=2"),
        ("fill_disk", "storage", "No space left on device"),
        ("no_such_function", "config", "cannot be imported"),
        ("send_too_much", "user", "put it in a file"),
    ],
)
async def test_errors_have_classes(tmp_path, target, error_class, text):
    child = await start(tmp_path, target)
    error = await hear(child, "error")
    assert error["class"] == error_class
    assert text in error["message"]
    await child.aclose()


async def test_exit_codes_and_signals_are_seen(tmp_path):
    child = await start(tmp_path, "exit_badly")
    assert await child.wait() == 3
    await child.aclose()
    child = await start(tmp_path, "ignore_stops")
    await hear(child, "event")
    child.kill()
    assert await child.wait() == -signal.SIGKILL
    await child.aclose()


async def test_child_without_supervisor_saves_and_stops(tmp_path):
    child = await start(tmp_path, "be_orphaned")
    await hear(child, "event")
    await child._stream.aclose()
    assert await child.wait() == 0
    assert (tmp_path / "work" / "stopped_by").read_text() == "orphaned"
    await child.aclose()


async def test_orphan_that_does_not_stop_leaves_after_its_grace(tmp_path):
    child = await start(tmp_path, "ignore_stops", grace=0.1)
    await hear(child, "event")
    await child._stream.aclose()
    assert await child.wait() == ORPHANED_EXIT_CODE
    await child.aclose()


async def test_broken_talk_orphans_the_child(tmp_path):
    child = await start(tmp_path, "be_orphaned")
    await hear(child, "event")
    await child._stream.send(b"\xff\xff\xff\xff")
    assert await child.wait() == 0
    await child.aclose()


async def test_cancelled_start_leaves_no_child_behind(tmp_path):
    with anyio.CancelScope() as scope:
        scope.cancel()
        await start(tmp_path, "be_orphaned")
    assert scope.cancelled_caught


MAIN = """
import pathlib, sys, anyio
print("main runs", flush=True)
from orchestration.executors.child import ChildOrder
from orchestration.executors.process import ProcessExecutor

async def main():
    order = ChildOrder(job_id="j", fence=1, attempt=1, spec={}, resume=None,
                       target="tests.orchestration.targets:report_session", work_folder=sys.argv[1])
    child = await ProcessExecutor().start(order)
    while (frame := await child.receive()) is not None:
        last = frame
    print(last["type"], flush=True)
    await child.aclose()

anyio.run(main)  # on purpose without a guard: the child must not come here
"""


def test_child_does_not_run_the_users_script_again(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(MAIN)
    run = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "work")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=240,
    )
    assert run.stdout.splitlines() == ["main runs", "result"], run.stderr
