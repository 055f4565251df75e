"""Offers, waste and rules of nodes, on numbers worked by hand; NumPy and torch agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rl.domains.node_experts import EXPERTS
from rl.domains.nodes import (
    NodeConfig,
    NodeDomain,
    NodeView,
    distributed_nodes,
    distributed_nodes_deadlines,
)
from utils.errors import ConfigError


def draw_view(seed=0, shape=(5, 10, 4)):
    return NodeView(usage=np.random.default_rng(seed).random(shape, np.float32))


def test_offers_are_shares_of_what_is_free():
    domain = NodeDomain(NodeConfig())
    view = NodeView(usage=np.asarray([[0.2, 0.0, 1.0, 0.5]]))
    offer = domain.project(np.asarray([[0.5, 1.0, 1.0, 7.0]]), view)
    np.testing.assert_allclose(offer, [[0.4, 1.0, 0.0, 0.5]])
    np.testing.assert_allclose(domain.encode(view), [[0.2, 0, 1, 0.5, 0.8, 1, 0, 0.5]])


def test_a_team_also_sees_ranks_and_means():
    domain = NodeDomain(NodeConfig(num_nodes=3, observe="team"))
    usage = np.asarray([[0.4, 0.0, 0.2, 0.1], [0.1, 0.3, 0.2, 0.1], [0.4, 0.0, 0.2, 0.1]])
    seen = domain.encode(NodeView(usage=usage))
    assert seen.shape == (3, domain.observation_size)
    np.testing.assert_allclose(seen[:, 8], [0.5, 0.0, 1.0])  # of equals the first ranks lower
    np.testing.assert_allclose(seen[:, 9:], np.tile([0.3, 0.1, 0.2, 0.1], (3, 1)))
    np.testing.assert_allclose(seen[:, :8], NodeDomain(NodeConfig()).encode(NodeView(usage=usage)))


def test_waste_is_the_mean_spare_share_where_all_needs_are_covered():
    offer = np.asarray([[0.5, 0.5, 0.5, 0.5], [0.4, 0.2, 0.3, 0.1], [1.0, 1.0, 1.0, 0.09]])
    need = np.full((3, 4), 0.1)
    waste = NodeDomain(NodeConfig()).waste(offer, need)
    np.testing.assert_allclose(waste, [0.4, 0.15, np.inf])


@pytest.mark.parametrize("observe", ["own", "team"])
def test_numpy_and_torch_agree(observe):
    config = NodeConfig(observe=observe)
    plain, batched = NodeDomain(config), NodeDomain(config, torch)
    view = draw_view()
    twin = NodeView(usage=torch.from_numpy(view.usage))
    action = draw_view(1).usage * 3 - 1
    offer = plain.project(action, view)
    offer_twin = batched.project(torch.from_numpy(action), twin)
    np.testing.assert_allclose(batched.encode(twin), plain.encode(view), atol=1e-6)
    np.testing.assert_allclose(offer_twin, offer, atol=1e-6)
    need = np.full(offer.shape, 0.05, np.float32)
    waste = batched.waste(offer_twin, torch.from_numpy(need))
    np.testing.assert_allclose(waste, plain.waste(offer, need), atol=1e-6)


def test_only_the_least_used_nodes_offer():
    usage = np.zeros((1, 6, 4), np.float32)
    usage[0, :, 0] = [0.5, 0.1, 0.3, 0.1, 0.9, 0.0]
    usage[0, 5, 1:] = 1.0
    generator = np.random.default_rng(0)
    offering = {
        name: np.flatnonzero(EXPERTS[name](NodeView(usage=usage), generator)[0].all(-1)).tolist()
        for name in ("least_used_1", "least_used_2", "least_used_5", "greedy")
    }
    assert offering == {
        "least_used_1": [5],
        "least_used_2": [1, 5],
        "least_used_5": [0, 1, 2, 3, 5],
        "greedy": [0, 1, 2, 3, 4, 5],
    }


@pytest.mark.parametrize("name", sorted(EXPERTS))
def test_rules_return_shares_for_any_batch(name):
    for shape in ((10, 4), (3, 10, 4), (2, 3, 10, 4)):
        action = EXPERTS[name](draw_view(shape=shape), np.random.default_rng(0))
        assert action.shape == shape
        assert action.dtype == np.float32
        assert (action >= 0).all()
        assert (action <= 1).all()


def test_preset_and_refusals():
    preset = distributed_nodes(workload_arrival_rate=20.0)
    assert preset.world.workloads_per_step == pytest.approx(0.2)
    assert preset.world.num_nodes == preset.nodes.num_nodes == 10
    tried_again = distributed_nodes_deadlines(workload_arrival_rate=20.0)
    assert tried_again.world == preset.world
    assert tried_again.nodes.step_seconds == 0.1
    for seconds in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="step_seconds"):
            NodeConfig(step_seconds=seconds)
    with pytest.raises(ConfigError, match="known: own, team"):
        NodeConfig(observe="all")
    for settings in ({"num_nodes": 0}, {"drain": 2.0}, {"resources": ()}, {"max_steps": 0}):
        with pytest.raises(ConfigError):
            NodeConfig(**settings)
    for name in ("placement_reward", "fit_reward", "failure_penalty", "imbalance_penalty"):
        for value in (-1.0, float("nan"), float("inf")):
            with pytest.raises(ConfigError, match=f"{name} must be finite"):
                NodeConfig(**{name: value})
