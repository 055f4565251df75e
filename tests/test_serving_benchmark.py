"""The benchmark of serving: its policy and bodies, its bars, and what it weighs."""

from __future__ import annotations

import json
import os

import pytest

from ai_agents.allocation_domain import AllocationDecisions
from benchmarks import serving
from benchmarks.measuring import put_table
from benchmarks.serving_servers import OURS, RAY, SERVERS, TORCH, Place, peer, weigh

POLICY = serving.make_policy()


def cell(rate, p50, *, batch=None):
    timed = {"per_second": rate, "p50_seconds": p50, "p99_seconds": 3 * p50}
    timed["cpu_seconds_per_request"] = 0.5 / rate
    more = {} if batch is None else {"batch": {"decisions_per_second": batch}}
    return {"single": timed, "many": timed, "rss_bytes": 2**27, "ready_seconds": 2.0, **more}


def make_report(**changes):
    cells = {
        OURS: [cell(3000, 0.0003, batch=50_000), cell(2400, 0.0005, batch=40_000)],
        TORCH: [cell(1600, 0.0006)],
        RAY: [cell(300, 0.006)],
    } | changes
    servers = {name: serving.summarise(found) for name, found in cells.items()}
    return {"rounds": 2, "servers": servers, "bars": serving.judge(servers)}


def test_the_policy_is_as_large_as_the_bars_say():
    assert POLICY.observation_size == 58
    assert [layer.weight.shape[1] for layer in POLICY.layers] == [256, 256, 12]


def test_bodies_are_requests_that_the_policy_answers(tmp_path):
    bodies = serving.make_bodies(POLICY, tmp_path)
    domain = AllocationDecisions(POLICY)
    request = domain.request_type.model_validate_json(bodies["one"].read_text())
    situation = domain.read(request)
    assert not situation.outside
    assert domain.plan([situation]).is_usable.all()
    batch = json.loads(bodies["batch"].read_text())
    assert len(batch) == 64
    assert batch[63] == json.loads(bodies["one"].read_text())


def test_the_page_shows_the_stored_results(tmp_path):
    stored = json.loads((serving.RESULTS / "serving.json").read_text())
    assert serving.tables(stored) in serving.PAGE.read_text()
    assert serving.tables(stored) in (serving.RESULTS / "serving.md").read_text()
    page = tmp_path / "speed.md"
    page.write_text(serving.PAGE.read_text())
    put_table(page, "servers", "| nothing |")
    assert serving.tables(stored) not in page.read_text()
    put_table(page, "servers", serving.tables(stored))
    assert page.read_text() == serving.PAGE.read_text()


def test_bars_are_judged_by_medians():
    report = make_report()
    assert report["servers"][OURS]["p50_seconds"] == {
        "best": 0.0003,
        "median": pytest.approx(0.0004),
    }
    assert report["bars"]["times_fastapi"] == pytest.approx(2700 / 1600)
    assert report["bars"]["times_ray_serve"] == pytest.approx(9)
    assert report["bars"]["batch_times_single"] == pytest.approx(45_000 / 2700)
    assert all(serving.is_met(*one) for one in report["bars"].items())
    slow = make_report(**{OURS: [cell(2000, 0.0006, batch=20_000)]})
    missed = {name for name, value in slow["bars"].items() if not serving.is_met(name, value)}
    assert missed == {"p50_seconds", "times_fastapi", "times_ray_serve", "batch_times_single"}


def test_a_peer_that_is_absent_meets_nothing_and_is_said_so():
    cells = make_report()["servers"]
    bars = serving.judge({OURS: cells[OURS]})
    assert bars["times_fastapi"] is None
    assert not serving.is_met("times_fastapi", None)
    text = serving.tables({"rounds": 2, "servers": {OURS: cells[OURS]}, "bars": bars})
    assert "times FastAPI + torch | >= 1.5 | not measured | NO |" in text
    assert "| ours | 0.30 ms / 0.40 ms |" in text


def test_every_peer_has_a_script_and_a_home(monkeypatch, tmp_path):
    python = tmp_path / "some" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.setenv("QUARTERMASTER_PEERS", str(tmp_path))
    place = Place(folder=tmp_path, port=1, artifact=tmp_path / "a")
    command = peer("some", "serving_ray.py")(place)
    assert command[:3] == [str(python), str(serving.SCRIPT.parent / "peers/serving_ray.py"), "1"]
    assert {server.name for server in SERVERS} >= {OURS, TORCH, RAY, "litserve"}


def test_a_process_is_weighed_with_its_children():
    import subprocess

    alone = weigh(os.getpid()).rss_bytes
    with subprocess.Popen(["sleep", "60"]) as child:
        both = weigh(os.getpid())
        single = weigh(child.pid)
        child.kill()
    assert alone > 10 * 2**20
    assert 0 < single.rss_bytes < alone
    assert both.rss_bytes >= single.rss_bytes
    assert both.cpu_seconds > single.cpu_seconds >= 0


def test_rounds_of_another_commit_do_not_count(monkeypatch, tmp_path):
    monkeypatch.setattr(serving, "ROUNDS_FILE", tmp_path / "rounds.json")
    assert serving.read_rounds("a") == {}
    serving.ROUNDS_FILE.write_text(json.dumps({"commit": "a", "servers": {OURS: [1]}}))
    assert serving.read_rounds("a") == {OURS: [1]}
    assert serving.read_rounds("b") == {}
