"""A real Prometheus watches a real server: rules and panels show something, alerts come and go."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml

from deploy.grafana.write import BOARDS

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = shutil.which("prometheus")
PATIENCE_SECONDS = 150
CONFIG = {
    "num_agents": 2,
    "num_envs": 32,
    "total_episodes": 500_000,
    "eval_frequency": 64,
    "checkpoint_frequency": 64,
    "use_curriculum": True,
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed"),
]


def wait_for(what, about: str):
    """Return what a call returns, as soon as that is something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            found = what()
        except httpx.TransportError:
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, about
        time.sleep(0.3)


@pytest.fixture
def server(tmp_path):
    command = [sys.executable, "-m", "orchestration", "--var", str(tmp_path / "var")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "adopt"], cwd=ROOT, check=True, capture_output=True, env=environment)
    child = subprocess.Popen(
        [*command, "serve", "--port=0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    yield re.search(r"http://\S+", child.stdout.readline())[0]
    child.terminate()
    child.communicate(timeout=PATIENCE_SECONDS)


@pytest.fixture
def query(tmp_path, server):
    """Ask a Prometheus that watches the server with our rules, at a quicker pace."""
    source = ROOT / "deploy" / "prometheus"
    shutil.copytree(source / "rules", tmp_path / "rules")
    alerts = tmp_path / "rules" / "alerts.yml"
    quick = alerts.read_text().replace("age:seconds > 120", "age:seconds > 6")
    alerts.write_text(re.sub(r"for: \S+", "for: 0s", quick))
    config = yaml.safe_load((source / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"] = [{"targets": [server.removeprefix("http://")]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    child = subprocess.Popen(
        [
            PROMETHEUS,
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
    )
    where = f"http://127.0.0.1:{port}/api/v1/query"

    def ask(expression: str) -> list[dict]:
        answer = httpx.post(where, data={"query": expression}, timeout=30).json()
        assert answer["status"] == "success", (expression, answer)
        return answer["data"]["result"]

    yield ask
    child.terminate()
    child.wait(PATIENCE_SECONDS)


def rules(kind: str) -> dict[str, str]:
    files = [
        yaml.safe_load(p.read_text()) for p in (ROOT / "deploy/prometheus/rules").glob("*.yml")
    ]
    every = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    return {rule[kind]: rule["expr"] for rule in every if kind in rule}


def ask_agents(server: str) -> None:
    """Ask every agent for its example, and one for nonsense."""
    for agent in httpx.get(f"{server}/v1/agents").json():
        place = f"{server}/v1/agents/{agent['name']}"
        example = httpx.get(place).json()["examples"][0]
        assert httpx.post(f"{place}:invoke", json=example, timeout=30).status_code == 200
        assert httpx.post(f"{place}:invoke", json={}, timeout=30).status_code == 422


def test_every_rule_and_panel_shows_something_and_a_stalled_run_is_noticed(server, query):
    short = {"num_agents": 2, "num_envs": 32, "total_episodes": 64, "seed": 7}
    httpx.post(f"{server}/v1/jobs", json={"config": short})
    job = httpx.post(f"{server}/v1/jobs", json={"config": CONFIG}).json()
    wait_for(lambda: query("job_run_seconds_count"), "the short run does not end")
    wait_for(lambda: query("rl_evaluation_score and rl_checkpoint_timestamp_seconds"), "no score")

    def asked_and_shown() -> bool:
        ask_agents(server)
        return bool(query("agent:decision_seconds:p99_rate5m > 0"))

    wait_for(asked_and_shown, "no decision was counted")
    for name in rules("record"):
        wait_for(lambda name=name: query(name), f"{name} records nothing")
    for name, expression in rules("alert").items():
        query(expression)  # can be evaluated against what is there
        assert name
    for board in BOARDS:
        for panels in board.rows.values():
            for panel in panels:
                for expression in panel.series.values():
                    asked = re.sub(r"\$\w+", ".*", expression)
                    shown = query(asked)
                    assert shown or panel.may_be_empty, (board.uid, panel.title, asked)
    assert query("rl_stage_number and rl_stages")

    # The training process is frozen, then thawed: the alert comes and goes.
    assert query('ALERTS{alertname="TrainingStalled"}') == []
    child = training_process(job["id"])
    os.kill(child, signal.SIGSTOP)
    try:
        wait_for(lambda: query('ALERTS{alertname="TrainingStalled",alertstate="firing"}'), "quiet")
    finally:
        os.kill(child, signal.SIGCONT)
    wait_for(lambda: not query('ALERTS{alertname="TrainingStalled"}'), "the alert stays")

    # Cancelled, the run takes its series along.
    httpx.post(f"{server}/v1/jobs/{job['id']}/cancel")
    wait_for(lambda: not query("rl_heartbeat_timestamp_seconds"), "its series stay")


def training_process(job_id: str) -> int:
    """Return the process that carries a job: the one that has its log open."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                links = [str(one.readlink()) for one in (folder / "fd").iterdir()]
                name = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if b"forkserver" in name and any(job_id in link for link in links):
                return int(folder.name)
    raise AssertionError(f"no process carries {job_id}")
