"""The policies that come along are whole, small, and can be put to work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestration.cli import commands
from rl.artifacts import PolicyArtifact

FILES = sorted((Path(__file__).parents[1] / "shipped").glob("*.safetensors"))

NETWORKS = [
    f"network_{one}_{sight}" for one in ("base", "serial") for sight in ("blind", "informed")
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_policy_is_whole_small_and_says_where_it_comes_from(path):
    content = path.read_bytes()
    card = PolicyArtifact.from_bytes(content).card
    assert len(content) < 300_000
    assert len(card.commit) == 40
    assert card.evaluation.kpi_low <= card.evaluation.kpi <= card.evaluation.kpi_high
    assert card.limits


def test_there_is_one_for_each_demo_two_that_schedule_and_four_that_order_for_networks():
    names = ["cluster_placement", "job_scheduling", "resource_allocator", "supply_chain", "trading"]
    assert {path.stem for path in FILES} == {*names, *NETWORKS}


def test_adopting_makes_champions_and_a_second_time_changes_nothing(tmp_path):
    call = CliRunner().invoke
    for _ in range(2):
        done = call(commands.cli, ["--var", str(tmp_path), "adopt"])
        assert done.exit_code == 0, done.output
        assert done.output.count("version 1 is champion") == len(FILES)
    listed = call(commands.cli, ["--var", str(tmp_path), "agents", "--json"])
    assert '"champion": 1' in listed.output


def test_each_answers_its_own_example_by_its_policy(tmp_path):
    call = CliRunner().invoke
    call(commands.cli, ["--var", str(tmp_path), "adopt"])
    demos = ("resource_allocator", "supply_chain_planner", "trading")
    for name in (*demos, "job_scheduling", *NETWORKS):
        done = call(commands.cli, ["--var", str(tmp_path), "invoke", name, "--example"])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["decided_by"] == "policy"
    done = call(commands.cli, ["--var", str(tmp_path), "invoke", "trading", "-", "--example"])
    assert done.exit_code != 0


def test_a_file_that_is_no_policy_is_refused(tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(FILES[0].read_bytes()[:-1])
    done = CliRunner().invoke(commands.cli, ["--var", str(tmp_path), "adopt", str(broken)])
    assert done.exit_code != 0
