"""A server that is told to leave while it trains: the work is saved and goes on elsewhere."""

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

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 240


def ask(var: Path, query: str) -> list[tuple]:
    path = f"file:{var / 'quartermaster.sqlite'}?mode=ro"
    with contextlib.closing(sqlite3.connect(path, uri=True)) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.slow
def test_sigterm_saves_the_training_and_the_job_waits_for_the_next_worker(tmp_path):
    command = [sys.executable, "-m", "orchestration", "--var", str(tmp_path), "serve", "--port=0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        url = re.search(r"http://\S+", server.stdout.readline())[0]
        config = {"num_agents": 2, "num_envs": 32, "total_episodes": 320_000,
                  "checkpoint_frequency": 64}  # fmt: skip
        job = httpx.post(f"{url}/v1/jobs", json={"config": config}, timeout=60).json()
        deadline = time.monotonic() + PATIENCE_SECONDS
        committed = "SELECT count(*) FROM event WHERE type = 'checkpoint_committed'"
        while ask(tmp_path, committed) == [(0,)]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert httpx.get(f"{url}/v1/jobs/{job['id']}", timeout=60).json()["state"] == "running"
        shown = httpx.get(f"{url}/metrics", timeout=60).text
        assert f'run="{job["run_id"]}"' in shown
        saved = ask(tmp_path, "SELECT max(step) FROM checkpoint")[0][0]
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=PATIENCE_SECONDS)
        assert server.returncode == 0
    finally:
        server.kill()
        server.wait()
    assert ask(tmp_path, "SELECT state, attempt, lost FROM job") == [("queued", 0, 0)]
    assert ask(tmp_path, "SELECT outcome FROM attempt") == [("preempted",)]
    assert ask(tmp_path, "SELECT max(step) FROM checkpoint")[0][0] > saved
    assert ask(tmp_path, "SELECT state FROM run") == [("queued",)]
