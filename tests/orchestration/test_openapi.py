"""The OpenAPI document against the server that it describes: schemathesis, all checks."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from orchestration.endpoints.rest import ApiServer, make_api
from orchestration.endpoints.streams import StreamConfig, Streams
from orchestration.environment_sessions import EnvironmentSessions, SessionConfig
from orchestration.executors.process import ProcessExecutor
from orchestration.serving import make_api_parts
from rl.training.training_config import TrainingConfig
from tests.orchestration.doors import Doors
from tests.orchestration.house import Hand, open_house
from utils.clock import SystemClock

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("schemathesis") is None,
        reason="schemathesis is not installed (requirements-dev.txt)",
    ),
]
CONFIG = Path(__file__).with_name("schemathesis.toml")


async def fill(application):
    """A running job with an attempt and figures, beside the agents of the house; its id."""
    job = await application.orchestrator.submit_training(TrainingConfig(seed=1))
    hand = Hand(application)
    await hand.report(await hand.claim(), 9216)
    return {"KNOWN_JOB": job.id, "KNOWN_RUN": job.spec["run_id"]}


async def test_no_check_fails(tmp_path):
    async with open_house(tmp_path, versions=1) as application, anyio.create_task_group() as group:
        known = await fill(application)
        clock = SystemClock()
        streams = Streams(clock, StreamConfig(longest_seconds=0.05, poll_seconds=0.02))
        bounds = SessionConfig(most=1)  # most worlds that it asks for are then refused at once
        sessions = EnvironmentSessions(
            ProcessExecutor(preload=["torch", "numpy"]),
            clock,
            work_root=tmp_path / "sessions",
            config=bounds,
        )
        group.start_soon(sessions.run)
        parts = replace(make_api_parts(application, streams), sessions=sessions)
        token = await Doors(application, parts).make_token("tester", "admin")
        server = ApiServer(make_api(parts), host="127.0.0.1", port=0)
        group.start_soon(server.run)
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", CONFIG, "run"),
            *(f"{server.url}/openapi.json", "--checks", "all", "--max-examples", "10"),
            *("--header", f"Authorization: Bearer {token}", "--generation-deterministic"),
            *("--no-color", "--continue-on-failure", "--request-timeout", "300"),
            *("--max-response-time", "300"),  # a busy machine builds large worlds slowly
        ]
        env = {**os.environ, **known}
        done = await anyio.run_process(command, check=False, cwd=tmp_path, env=env)
        group.cancel_scope.cancel()
    said = done.stdout.decode() + done.stderr.decode()
    await anyio.Path(tmp_path / "schemathesis.txt").write_text(said)
    assert done.returncode == 0, said
    generated, passed = re.search(r"(\d+) generated, (\d+) passed", said).groups()
    assert generated == passed, said
    assert int(generated) > 1000, said
    selected, there = re.search(r"Selected: (\d+)/(\d+)", said).groups()
    assert selected == there == re.search(r"Tested: (\d+)", said)[1], said
