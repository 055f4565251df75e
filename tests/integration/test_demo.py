"""The demo as a user meets it: other types, a bad setting, and kill -9 of child and demo."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from rich.console import Console

import rl_training_demo
from ai_agents.allocation_schema import EXAMPLE_REQUEST
from ai_agents.cards import describe
from ai_agents.resource_allocation_agent import ResourceAllocationAgent
from rl.domains.shared_services import shared_services
from tests.serving import make_artifact

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 240


class Demo:
    """One call of the demo, in a process of its own."""

    def __init__(self, var: Path, *words: str) -> None:
        self.var = var
        command = [sys.executable, "rl_training_demo.py", "--var", str(var), *words]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=environment,
        )  # fmt: skip

    def finish(self) -> str:
        output, _ = self.process.communicate(timeout=PATIENCE_SECONDS)
        return output

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def ask(var: Path, query: str) -> list[tuple]:
    path = var / "quartermaster.sqlite"
    if not path.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError:  # the tables are being made
            return []


def wait_for(var: Path, query: str, demo: Demo) -> tuple:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        rows = ask(var, query)
        if rows:
            return rows[0]
        assert demo.process.poll() is None, demo.finish()
        time.sleep(0.02)
    raise AssertionError(query)


@pytest.mark.slow
@pytest.mark.parametrize("demo_type", ["trading", "supply_chain"])
def test_other_demos_go_through_stages_stress_and_promotion(tmp_path, demo_type):
    words = ("--demo_type", demo_type, "--num_agents", "2", "--episodes", "32")
    demo = Demo(tmp_path / "var", *words)
    said = demo.finish()
    assert demo.process.returncode == 0, said
    for part in ("Stages: ", "Under stress", "version 1 is champion", "report/report.md"):
        assert part in said, said


@pytest.mark.slow
def test_what_one_sees_where_the_demo_says_to_look_is_its_run(tmp_path):
    var = tmp_path / "var"
    demo = Demo(var, "--num_agents", "2", "--episodes", "64")
    said = demo.finish()
    assert demo.process.returncode == 0, said
    assert ask(var, "SELECT COUNT(*) FROM run") == [(1,)]
    ((run_id,),) = ask(var, "SELECT id FROM run")
    where = said.partition("Where to look at this run:")[2]
    (watch,) = re.findall(r"^ +terminal +python (-m orchestration .*)$", where, re.MULTILINE)
    assert watch.endswith(f"watch {run_id}")
    seen = subprocess.run(
        [sys.executable, *watch.split()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert seen.returncode == 0, seen.stderr
    assert seen.stdout.startswith("succeeded after")
    assert "report/report.md" in seen.stdout or f"{run_id}/report" in seen.stdout
    assert f"http://localhost:8501/?run={run_id}" in where
    assert f"ARGS='--var {var}'" in where
    with serve(var) as server:
        for path in re.findall(r"localhost:8321(/\S+)", where):
            answer = httpx.get(f"{server}{path}", timeout=60)
            assert answer.status_code == 200, path
            if path == "/metrics":
                assert 'job_run_seconds_count{kind="train",outcome="succeeded"} 1.0' in answer.text
            else:
                found = answer.json()["summary"]
                assert (found["id"], found["state"]) == (run_id, "succeeded")
    started = re.search(r"prometheus (--config.file=\S+)", where)[1].partition("=")[2]
    assert (ROOT / started).is_file()


@contextlib.contextmanager
def serve(var: Path):
    command = [sys.executable, "-m", "orchestration", "--var", str(var), "serve", "--port=0"]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        server = re.search(r"http://\S+", child.stdout.readline())[0]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "job_run_seconds_count" not in httpx.get(f"{server}/metrics", timeout=60).text:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield server
    finally:
        child.terminate()
        child.communicate(timeout=PATIENCE_SECONDS)


def test_a_setting_that_cannot_work_is_named_in_one_line(tmp_path):
    demo = Demo(tmp_path, "--num_agents", "0")
    assert "num_agents=0: choose at least 1" in demo.finish()
    assert demo.process.returncode == 2


def test_a_place_where_nothing_can_be_kept_is_named_in_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", ["rl_training_demo.py", "--var", str(tmp_path / "file" / "x")])
    assert rl_training_demo.main() == 2
    assert capsys.readouterr().out.startswith("error: cannot make the folder")


@pytest.mark.slow
def test_killed_child_and_killed_demo_go_on_and_finish_once(tmp_path):
    words = ("--num_agents", "2", "--episodes", "3840")
    demo = Demo(tmp_path, *words)
    wait_for(tmp_path, "SELECT 1 FROM event WHERE type = 'checkpoint_committed'", demo)
    (pid,) = wait_for(tmp_path, "SELECT pid FROM attempt WHERE fence = 1", demo)
    os.kill(pid, signal.SIGKILL)
    wait_for(tmp_path, "SELECT 1 FROM attempt WHERE fence = 2 AND pid IS NOT NULL", demo)
    demo.kill()
    (state,) = ask(tmp_path, "SELECT state FROM job")
    assert state == ("running",)

    again = Demo(tmp_path, *words)
    output = again.finish()
    assert again.process.returncode == 0, output
    assert "Found this training unfinished" in output
    assert "is champion" in output
    assert ask(tmp_path, "SELECT state, lost, fence FROM job") == [("succeeded", 1, 3)]
    attempts = ask(tmp_path, "SELECT outcome, resume_checkpoint FROM attempt ORDER BY fence")
    assert [outcome for outcome, _ in attempts] == ["failed", "lost", "succeeded"]
    assert attempts[0][1] is None
    assert all(resumed for _, resumed in attempts[1:])
    assert ask(tmp_path, "SELECT state, env_steps FROM run") == [("succeeded", 3840 * 72)]
    assert ask(tmp_path, "SELECT version FROM model_version") == [(1,)]
    assert ask(tmp_path, "SELECT alias, version FROM model_alias") == [("champion", 1)]
    report = next((tmp_path / "runs").glob("*/report/report.md"))
    assert str(report) in output


def test_without_traces_it_says_what_is_used_and_where_to_get_them(monkeypatch):
    monkeypatch.setattr(rl_training_demo, "locate_traces", lambda: None)
    console = Console(record=True, width=300)
    rl_training_demo.tell_about_traces(console)
    said = console.export_text()
    assert "held-out ones for the comparison" in said
    assert "github.com/numenta/NAB" in said


def test_the_telling_request_is_asked_where_it_fits():
    ours = describe(ResourceAllocationAgent(make_artifact()))
    assert rl_training_demo.choose_request(ours) == {**EXAMPLE_REQUEST, "compare": True}
    other = shared_services(6).allocation
    theirs = describe(ResourceAllocationAgent(make_artifact(config=other)))
    assert rl_training_demo.choose_request(theirs) == {**theirs.examples[0], "compare": True}
