"""Nodes and workloads are drawn from their laws, compactly, and refused when they make no sense."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.node_workload import NodeScenarios, NodeWorkload, NodeWorldConfig
from data.scenario import ScenarioError
from utils.errors import ConfigError


def draw(seed=0, episodes=64, **settings):
    return NodeWorkload(NodeWorldConfig(**settings)).draw(episodes, np.random.default_rng(seed))


def small_scenarios(**changes):
    arrays = {
        "capacity": np.ones((2, 3, 4), np.float32),
        "arrivals": np.ones((2, 5), np.int16),
        "need": np.ones((2, 6, 4), np.float32),
        "priority": np.ones((2, 6), np.float32),
        "deadline": np.ones((2, 6), np.float32),
    }
    return NodeScenarios(**{**arrays, **changes})


def test_published_laws():
    episodes = 2000
    drawn = draw(episodes=episodes)
    size = drawn.capacity / np.asarray(NodeWorldConfig().capacity, np.float32)
    assert np.ptp(size, axis=-1).max() < 1e-6
    assert 0.5 <= size.min() < 0.51
    assert 1.49 < size.max() <= 1.5
    total = drawn.arrivals.sum(1, dtype=float)
    expected = 5.0 + 0.05 * 999
    assert abs(total.mean() - expected) < 4 * np.sqrt(expected / episodes)
    assert abs(total.var() / expected - 1.0) < 4 * np.sqrt(2 / episodes)
    assert abs(drawn.arrivals[:, 0].mean() - 5.0) < 4 * np.sqrt(5.0 / episodes)
    low, high = drawn.need.min((0, 1)), drawn.need.max((0, 1))
    np.testing.assert_allclose(low, [5, 2, 50, 10], rtol=1e-3)
    np.testing.assert_allclose(high, [30, 16, 200, 100], rtol=1e-3)
    assert 0.5 <= drawn.deadline.min() < 0.51 < 1.99 < drawn.deadline.max() <= 2.0
    assert np.bincount(drawn.priority.astype(int).ravel())[1:] / drawn.priority.size == (
        pytest.approx([1 / 3] * 3, abs=0.01)
    )


def test_equal_seeds_draw_equal_episodes():
    one, same, other = draw(3), draw(3), draw(4)
    np.testing.assert_array_equal(one.need, same.need)
    np.testing.assert_array_equal(one.arrivals, same.arrivals)
    assert (one.capacity != other.capacity).any()


def test_an_episode_of_a_thousand_steps_takes_kilobytes():
    assert draw(episodes=1).num_bytes < 6_000
    assert draw(episodes=1, initial_workloads=20.0, workloads_per_step=0.2).num_bytes < 12_000


def test_more_workloads_than_there_is_room_for_are_cut(monkeypatch):
    monkeypatch.setattr(NodeWorldConfig, "max_workloads", 7)
    drawn = draw(initial_workloads=5.0, workloads_per_step=0.5)
    assert (drawn.arrivals.sum(1) == 7).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"capacity": np.zeros((2, 3, 4), np.float32)}, "capacity holds zeros"),
        ({"capacity": np.ones((2, 3, 5), np.float32)}, "capacity has shape"),
        ({"arrivals": np.full((2, 5), 2, np.int16)}, "more workloads arrive"),
        ({"arrivals": np.ones((1, 5), np.int16)}, "arrivals has shape"),
        ({"priority": np.ones((2, 5), np.float32)}, "priority has shape"),
        ({"deadline": np.ones((2, 5), np.float32)}, "deadline has shape"),
        ({"deadline": np.full((2, 6), -1, np.float32)}, "deadline holds"),
        ({"need": np.full((2, 6, 4), np.nan, np.float32)}, "need holds"),
    ],
)
def test_senseless_episodes_are_refused(changes, message):
    with pytest.raises(ScenarioError, match=message):
        small_scenarios(**changes)


@pytest.mark.parametrize(
    "settings",
    [
        {"capacity": (100.0,)},
        {"capacity": (-1.0, 64.0, 1000.0, 500.0)},
        {"smallest_need": (40.0, 2.0, 50.0, 10.0)},
        {"num_nodes": 0},
        {"smallest_node": 0.0},
        {"largest_node": float("inf")},
        {"capacity": (100.0, 64.0, 1000.0, float("nan"))},
        {"workloads_per_step": float("nan")},
        {"initial_workloads": -1.0},
        {"deadline": (2.0, 0.5)},
    ],
)
def test_impossible_worlds_are_refused(settings):
    with pytest.raises(ConfigError):
        replace(NodeWorldConfig(), **settings)


def test_episodes_take_the_rates_in_turn():
    drawn = draw(episodes=600, rate_factors=(1.0, 2.0, 4.0), max_steps=200)
    arrived = drawn.arrivals.sum(1, dtype=float).reshape(-1, 3)
    expected = (5.0 + 0.05 * 199) * np.asarray([1.0, 2.0, 4.0])
    np.testing.assert_array_less(abs(arrived.mean(0) - expected), 4 * np.sqrt(expected / 200))
    assert (
        drawn.need.shape[1]
        == draw(
            initial_workloads=20.0, workloads_per_step=0.2, episodes=1, max_steps=200
        ).need.shape[1]
    )
    with pytest.raises(ConfigError, match="rate_factors is empty"):
        NodeWorldConfig(rate_factors=())
