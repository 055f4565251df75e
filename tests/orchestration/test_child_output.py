"""What real children print: nothing lost at a crash, bounded, and every log line names its job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration import job_logs
from orchestration.executors.child import ChildOrder
from orchestration.executors.process import ProcessExecutor
from orchestration.job_logs import LogPlace

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path):
    """Runs a target to its end and returns its log."""

    async def run_target(target, spec, *, fence=7, logs=None):
        order = ChildOrder(
            job_id="the-job",
            fence=fence,
            attempt=2,
            target=f"tests.orchestration.talkers:{target}",
            spec={"run_id": "the-run", **spec},
            work_folder=str(tmp_path),
            resume=None,
            logs=logs or {},
        )
        child = await ProcessExecutor().start(order)
        frames = []
        while (frame := await child.receive()) is not None:
            frames.append(frame["type"])
        await child.wait()
        await child.aclose()
        return job_logs.read(tmp_path, LogPlace(attempt=fence), limit=1 << 24).text

    return run_target


@pytest.mark.parametrize("crash", ["kill", "exit", "segfault"])
async def test_no_word_of_a_crashed_child_is_lost(run, crash):
    log = await run("print_and_crash", {"crash": crash})
    assert log.startswith("first words\nto stderr\nfrom a grandchild\nlast words")
    assert ("Segmentation fault" in log) == (crash == "segfault")
    assert ("print_and_crash" in log) == (crash == "segfault")


def test_words_do_not_wait_in_a_buffer(tmp_path):
    """By itself, because whoever starts the tests may have switched buffers off."""
    program = f"""
import os
from pathlib import Path
from orchestration.executors.child_output import capture_output
from orchestration.job_logs import LogLimits
folder = Path({str(tmp_path)!r})
capture_output(folder, 1, job="j", attempt=1, run=None, limits=LogLimits())
print("last words", end="")
os.kill(os.getpid(), 9)
"""
    environment = {name: os.environ[name] for name in os.environ if name != "PYTHONUNBUFFERED"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=False)
    assert done.returncode == -9
    assert job_logs.read(tmp_path, LogPlace(attempt=1)).text == "last words"


async def test_every_log_line_names_its_job(run):
    log = await run("log_from_everywhere", {})
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [line["event"] for line in lines] == ["in_main", "in_thread", "in_context"]
    assert {(line["job"], line["attempt"], line["run"]) for line in lines[:2]} == {
        ("the-job", 2, "the-run")
    }
    assert (lines[2]["job"], lines[2]["attempt"]) == ("another", 2)
    assert "careful" in log
    assert "secret" not in log


async def test_a_flood_stays_within_its_limit(run, tmp_path):
    limit = 1 << 20
    log = await run("flood", {"lines": 200_000}, logs={"max_bytes": limit, "attempts": 1})
    path = job_logs.log_path(tmp_path, 7)
    assert path.stat().st_size > 20 * limit
    assert path.stat().st_blocks * 512 < path.stat().st_size / 2
    assert log.endswith("the end\n")
    assert log.splitlines()[-2].startswith("00199999 ")


async def test_only_so_many_attempts_are_kept(run, tmp_path):
    for fence in (1, 2, 3):
        await run("log_from_everywhere", {}, fence=fence, logs={"attempts": 2})
    assert job_logs.list_attempts(tmp_path) == [2, 3]
