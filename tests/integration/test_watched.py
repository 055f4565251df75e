"""A real Prometheus watches a real server: rules and panels show something, alerts come and go."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import yaml

from deploy.grafana.business import BUSINESS
from deploy.grafana.write import BOARDS

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = shutil.which("prometheus")
PATIENCE_SECONDS = 300
CONFIG = {
    "algorithm": "ppo",
    "num_agents": 2,
    "num_envs": 32,
    "total_episodes": 500_000,
    "eval_frequency": 64,
    "checkpoint_frequency": 64,
    "use_curriculum": True,
}
NEEDS_MORE = {
    "agent_rollbacks_total": "a canary that broke a limit",
    "agent_drift_score": "hundreds of requests, then others",
    "agent_regret_mean": "reports of what really came",
    "agent_fallback_total": "a request outside the validated ranges",
    "agent_canary": "a second version on trial",
    "agent_second_answer": "a second version on trial",
    "rl_q_value": "an algorithm that learns from a replay",
    "rl_td_": "an algorithm that learns from a replay",
    "rl_exploration_ratio": "an algorithm that learns from a replay",
    "rl_entropy_temperature": "soft actor-critic",
    "rl_replay_fill_ratio": "an algorithm that learns from a replay",
    "energy_kwh": "a world of one's own that counts energy",
    "carbon_kg": "a world of one's own that counts carbon",
}
"""What shows nothing of a healthy run and an agent that is asked its example, and what it takes.

Alerts on these are played both ways by tests/monitoring/test_alerts.py.
"""
WORLDS = {
    "supply_chain": ("Fill rate", "Bullwhip"),
    "portfolio": ("Drawdown", "Turnover", "Costs"),
    "workforce": ("Fairness", "SLA violations"),
    "constrained_allocation": ("Constraint violations", "Utilisation", "Costs"),
}
"""Worlds, and the panels of business figures that they fill."""
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
        [*command, "serve", "--port=0", "--parallel-jobs=2"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    yield re.search(r"http://\S+", child.stdout.readline())[0]
    child.terminate()
    child.communicate(timeout=PATIENCE_SECONDS)


@pytest.fixture
def prometheus(tmp_path, server):
    """Return the API of a Prometheus that watches the server with our rules, at a quicker pace."""
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
    yield f"http://127.0.0.1:{port}/api/v1"
    child.terminate()
    child.wait(PATIENCE_SECONDS)


@pytest.fixture
def query(prometheus):
    """Ask that Prometheus for the newest values of an expression."""

    with httpx.Client(timeout=60) as client:  # one: each would read all certificates

        def ask(expression: str) -> list[dict]:
            answer = client.post(f"{prometheus}/query", data={"query": expression}).json()
            assert answer["status"] == "success", (expression, answer)
            return answer["data"]["result"]

        yield ask


def firing(prometheus: str) -> set[str]:
    """Return the alerts that fire, as the API lists them."""
    found = httpx.get(f"{prometheus}/alerts", timeout=30).json()["data"]["alerts"]
    return {one["labels"]["alertname"] for one in found if one["state"] == "firing"}


def rules(kind: str) -> dict[str, str]:
    files = [
        yaml.safe_load(p.read_text()) for p in (ROOT / "deploy/prometheus/rules").glob("*.yml")
    ]
    every = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    return {rule[kind]: rule["expr"] for rule in every if kind in rule}


@pytest.fixture
def load(server):
    """Ask every agent for its example, and for nonsense, as long as a test lasts."""
    over, answers = threading.Event(), set()

    def ask() -> None:
        with httpx.Client(base_url=server, timeout=60) as client:
            names = [agent["name"] for agent in client.get("/v1/agents").json()]
            examples = {n: client.get(f"/v1/agents/{n}").json()["examples"][0] for n in names}
            while not over.wait(0.2):
                for name, example in examples.items():
                    for body, code in ((example, 200), ({}, 422)):
                        answer = client.post(f"/v1/agents/{name}:invoke", json=body)
                        answers.add((code, answer.status_code))

    asker = threading.Thread(target=ask)
    asker.start()
    yield
    over.set()
    asker.join(PATIENCE_SECONDS)
    assert answers == {(200, 200), (422, 422)}


def operands(expression: str) -> list[str]:
    """Return what an alert looks at: the sides of its comparisons, without numbers."""
    depth, words, found = 0, [], []
    for word in [*re.split(r"(\s+|[()])", expression), "and"]:
        depth += {"(": 1, ")": -1}.get(word, 0)
        if depth == 0 and word in {"and", "or", "unless", "<", ">", "==", "<=", ">="}:
            found.append("".join(words).strip())
            words = []
        else:
            words.append(word)
    return [one for one in found if re.search(r"[a-z_]", re.sub(r"\d[\d.e+]*", "", one))]


def test_alerts_are_taken_apart():
    assert operands("a:b > 0.1 and rate(c[5m]) < -10 or d == 1e6") == ["a:b", "rate(c[5m])", "d"]
    assert operands("a < 0.5 * max(b[6h]) and (c > 1) > 0") == ["a", "0.5 * max(b[6h])", "(c > 1)"]
    assert operands("a unless a offset 15m") == ["a", "a offset 15m"]


def excuses(expression: str) -> set[str]:
    return {name for name in NEEDS_MORE if name in expression}


@pytest.mark.usefixtures("load")
def test_every_rule_and_panel_shows_something_and_a_stalled_run_is_noticed(
    server, prometheus, query
):
    short = {"num_agents": 2, "num_envs": 32, "total_episodes": 64, "seed": 7}
    httpx.post(f"{server}/v1/jobs", json={"config": short}, timeout=60)
    job = httpx.post(f"{server}/v1/jobs", json={"config": CONFIG}, timeout=60).json()
    wait_for(lambda: query("job_run_seconds_count"), "the short run does not end")
    wait_for(lambda: query("rl_evaluation_score and rl_checkpoint_timestamp_seconds"), "no score")

    for name in rules("record"):
        wait_for(lambda name=name: query(name), f"{name} records nothing")
    empty = set()
    for name, expression in rules("alert").items():
        for part in operands(expression):
            shown = query(part)
            assert shown or excuses(part), (name, part)
            empty |= set() if shown else excuses(part)
    for board in BOARDS:
        for panel in (one for panels in board.rows.values() for one in panels):
            for expression in panel.series.values():
                asked = re.sub(r"\$\w+", ".*", expression)
                shown = query(asked)
                elsewhere = panel in BUSINESS  # other worlds have them
                assert shown or elsewhere or excuses(asked), (panel.title, asked)
                empty |= set() if shown else excuses(asked)
    late = {"agent_fallback_total"}  # an answer that was late on a busy machine is one
    assert set(NEEDS_MORE) - empty <= late, "no excuse without need"
    check_metrics(server)

    # The training process is frozen, then thawed: the alert comes and goes.
    wait_for(lambda: "TrainingStalled" not in firing(prometheus), "the alert without cause")
    child = training_process(job["id"])
    os.kill(child, signal.SIGSTOP)
    try:
        wait_for(lambda: "TrainingStalled" in firing(prometheus), "quiet")
    finally:
        os.kill(child, signal.SIGCONT)
    wait_for(lambda: "TrainingStalled" not in firing(prometheus), "the alert stays")

    # Cancelled, the run takes its series along.
    httpx.post(f"{server}/v1/jobs/{job['id']}/cancel", timeout=60)
    wait_for(lambda: not query("rl_heartbeat_timestamp_seconds"), "its series stay")
    assert 'run="' not in httpx.get(f"{server}/metrics", timeout=60).text


@pytest.mark.parametrize("world", WORLDS)
def test_business_figures_of_a_world_are_shown(server, query, world):
    config = {"environment": world, "num_envs": 8, "total_episodes": 100_000}
    if world == "workforce":  # whole people: no gradient leads through it
        config["algorithm"] = "ppo"
    job = httpx.post(f"{server}/v1/jobs", json={"config": config}, timeout=60)
    assert job.status_code < 300, job.text
    wait_for(lambda: query(f'rl_environment_figure{{environment="{world}"}}'), "no figure")
    shown = {
        panel.title
        for panel in BUSINESS
        for expression in panel.series.values()
        if query(re.sub(r"\$\w+", ".*", expression))
    }
    assert set(WORLDS[world]) <= shown


def test_each_business_figure_is_shown_of_some_world():
    of_the_other_test = {"SLA violations", "Utilisation", "Costs"}
    shown = set().union(*WORLDS.values()) | of_the_other_test
    missing = [one for one in BUSINESS if one.title not in shown]
    assert all(excuses(query) for one in missing for query in one.series.values())


def check_metrics(server: str) -> None:
    """Have promtool read what the server exposes."""
    text = httpx.get(f"{server}/metrics", timeout=60).content
    command = ["promtool", "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


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
