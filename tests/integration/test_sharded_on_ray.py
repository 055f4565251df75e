"""Shards on a real Ray cluster of two nodes: the same run as in one process."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from orchestration.executors.ray_executor import RayConfig
from orchestration.executors.ray_lines import open_ray_lines
from orchestration.training_attempt import SHARD
from rl.training.training_run import train_problem
from tests.ray_clusters import needs_ray, run_cluster
from tests.training.shard_runs import CONFIG, Watch, assert_same, go_on, tensors_of
from tests.training.small_problems import places_in
from utils.errors import ConfigError, ProcessLostError

pytestmark = [pytest.mark.slow, needs_ray]
UPDATES = 6
ON_RAY = replace(CONFIG, collection_place="ray", checkpoint_frequency=1)


@pytest.fixture
def cluster():
    """Two nodes of a core each, and nothing on the head."""
    with run_cluster(num_cpus=0) as cluster:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        yield cluster


def lines_to(cluster, started):
    def open_lines(devices):
        config = RayConfig(address=cluster.address)
        lines = open_ray_lines(devices, target=SHARD, config=config)
        started.extend(lines)
        return lines

    return open_lines


def node_of(cluster, line):
    import ray
    from ray._private.state import actors

    found = actors()[line._actor._actor_id.hex()]
    node_id = found["Address"]["NodeID"]
    assert node_id in {one["NodeID"] for one in ray.nodes()}
    return next(one for one in cluster.list_all_nodes() if one.node_id == node_id)


def wait_until_dead(line):
    from ray._private.state import actors

    deadline = time.monotonic() + 120
    while actors()[line._actor._actor_id.hex()]["State"] != "DEAD":
        assert time.monotonic() < deadline, "the actor outlives its node"
        time.sleep(0.1)


def test_a_run_loses_a_node_goes_on_elsewhere_and_ends_as_if_nothing_had_been(cluster, tmp_path):
    whole = tensors_of(go_on(tmp_path / "whole", UPDATES))
    started = []
    lines = lines_to(cluster, started)
    nodes = []

    def lose_a_node():
        nodes.extend(node_of(cluster, line) for line in started)
        cluster.remove_node(nodes[1], allow_graceful=False)
        wait_until_dead(started[1])  # an actor may answer for a while after its node

    watch = Watch(UPDATES, before={4: lose_a_node})
    places = replace(places_in(tmp_path / "lost"), ray_lines=lines)
    with pytest.raises(ProcessLostError, match=r"shard 1 of 2 is gone: actor .* has died"):
        train_problem(ON_RAY, watch, places, run_id="r")
    assert len({one.node_id for one in nodes}) == 2, "the shards were on two nodes"
    done = watch.last.env_steps // watch.figures[0][0]
    assert 1 < done < UPDATES
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    second = go_on(
        tmp_path / "lost", UPDATES - done, resume=watch.last, config=ON_RAY, ray_lines=lines
    )
    assert_same(tensors_of(second), whole)


def test_a_cluster_without_room_or_without_the_program_says_so(cluster, monkeypatch):
    config = RayConfig(address=cluster.address)
    monkeypatch.setattr("orchestration.executors.ray_lines.START_SECONDS", 5.0)
    with pytest.raises(ProcessLostError, match=r"no free cores or accelerators for \d of 3 parts"):
        open_ray_lines(["cpu"] * 3, target=SHARD, config=config)
    with pytest.raises(ConfigError, match="absent:one cannot be started on a node"):
        open_ray_lines(["cpu"], target="absent:one", config=config)
