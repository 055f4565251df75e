"""The peers of the speed benchmark still play the worlds that the cores play."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks import plain_allocation, plain_nodes
from benchmarks.distributed_nodes import make_environment
from benchmarks.environment_speed import measure_core
from benchmarks.speed_worlds import WORLDS


def test_the_plain_loop_earns_and_sees_the_same():
    assert plain_allocation.check_plain(0) < 1e-3


def test_a_peer_that_sees_less_is_noticed(monkeypatch):
    monkeypatch.setattr(plain_allocation.PlainAllocation, "load", lambda self, last: [])
    with pytest.raises(ValueError, match="shapes"):
        plain_allocation.check_plain(0)


def test_the_dict_per_agent_loop_earns_the_same():
    plain_nodes.check_plain_nodes(make_environment(20.0, 1, episodes=4))


def test_a_loop_that_places_elsewhere_is_noticed(monkeypatch):
    place = plain_nodes.PlainNodes._place
    monkeypatch.setattr(
        plain_nodes.PlainNodes,
        "_place",
        lambda self, need, *rest: place(self, 1.1 * need, *rest),
    )
    with pytest.raises(AssertionError):
        plain_nodes.check_plain_nodes(make_environment(20.0, 1, episodes=4))


@pytest.mark.parametrize("name", WORLDS)
def test_every_world_can_be_measured(name, monkeypatch):
    monkeypatch.setattr("benchmarks.measuring.SECONDS", 0.01)
    assert measure_core(name, WORLDS[name].make(4)).steps_per_cpu_second > 0


def test_peers_that_are_installed_are_left_alone_wherever_the_script_is_called(tmp_path):
    (tmp_path / "scripts").mkdir()
    shutil.copy(Path("scripts/install-peers"), tmp_path / "scripts")
    for name in ("or_gym", "gym_invmgmt", "mpe2"):
        (tmp_path / "var/peers" / name).mkdir(parents=True)
        (tmp_path / "var/peers" / name / "installed").touch()
    for names in ([], ["or_gym"]):
        told = subprocess.check_output(
            ["./install-peers", *names], cwd=tmp_path / "scripts", stderr=subprocess.STDOUT
        )
        assert told == b""


@pytest.mark.parametrize("name", [name for name, world in WORLDS.items() if world.scale])
@pytest.mark.parametrize("agents", [1, 16])
def test_worlds_of_any_number_of_agents_can_be_built(name, agents):
    assert WORLDS[name].scale(2, agents).num_agents == agents
