"""Shocks are standard normal, mirrored in pairs on demand, and checked where they enter."""

from __future__ import annotations

import numpy as np
import pytest

from data.price_shocks import ExecutionScenarios, NormalShocks, ShockConfig
from data.scenario import BankConfig, ScenarioBank, ScenarioError
from utils.errors import ConfigError


def draw(num_episodes, seed=0, **settings):
    source = NormalShocks(ShockConfig(**settings))
    return source.draw(num_episodes, np.random.default_rng(seed)).shocks


def test_shocks_are_standard_normal_and_independent():
    shocks = draw(40_000, num_steps=4).astype(np.float64)
    assert shocks.shape == (40_000, 4)
    covariance = np.cov(shocks.T)
    np.testing.assert_allclose(shocks.mean(0), 0.0, atol=0.02)
    np.testing.assert_allclose(covariance, np.eye(4), atol=0.03)
    assert abs((shocks**4).mean() - 3.0) < 0.15


@pytest.mark.parametrize("num_episodes", [1, 6, 7])
def test_pairs_mirror_one_another(num_episodes):
    shocks = draw(num_episodes, antithetic=True)
    assert len(shocks) == num_episodes
    pairs = num_episodes // 2
    np.testing.assert_array_equal(shocks[0 : 2 * pairs : 2], -shocks[1 : 2 * pairs : 2])
    assert len(np.unique(shocks[::2])) == shocks[::2].size


def test_bank_is_a_function_of_the_seed():
    def make(seed):
        return ScenarioBank(NormalShocks(ShockConfig()), BankConfig(num_episodes=8), seed)

    assert make(1).hash == make(1).hash
    assert make(1).hash != make(2).hash


@pytest.mark.parametrize(
    ("shocks", "message"),
    [(np.zeros(3), "not .episode, time."), (np.full((2, 3), np.nan), "non-finite")],
)
def test_bad_shocks_are_refused(shocks, message):
    with pytest.raises(ScenarioError, match=message):
        ExecutionScenarios(shocks=shocks.astype(np.float32))


def test_empty_episodes_are_refused():
    with pytest.raises(ConfigError, match="num_steps"):
        ShockConfig(num_steps=0)
