"""Order flow: its law, its seed, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from data.order_flow import OrderFlowConfig, OrderFlowScenarios, PoissonOrderFlow
from data.scenario import ScenarioError, hash_scenarios
from utils.errors import ConfigError


def draw(num_episodes=3, seed=0, **config):
    source = PoissonOrderFlow(OrderFlowConfig(**config))
    return source.draw(num_episodes, np.random.default_rng(seed))


def test_moves_are_standard_normal_and_fills_uniform():
    drawn = draw(1000, num_steps=200)
    assert drawn.shocks.mean() == pytest.approx(0, abs=0.01)
    assert drawn.shocks.std() == pytest.approx(1, abs=0.01)
    deciles = np.histogram(drawn.fill_uniform, bins=10, range=(0, 1))[0] / drawn.fill_uniform.size
    np.testing.assert_allclose(deciles, 0.1, atol=0.003)
    between = np.corrcoef(drawn.shocks.ravel(), drawn.fill_uniform[..., 0].ravel())[0, 1]
    assert abs(between) < 0.01


def test_same_seed_same_flow():
    assert hash_scenarios(draw(seed=4)) == hash_scenarios(draw(seed=4))
    assert hash_scenarios(draw(seed=4)) != hash_scenarios(draw(seed=5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shocks": np.zeros((3, 0), np.float32)}, "neither empty"),
        ({"shocks": np.zeros(3, np.float32)}, r"\[episode, time\]"),
        ({"fill_uniform": np.zeros((3, 4, 1), np.float32)}, "fill_uniform has shape"),
        ({"volatility": np.zeros(2, np.float32)}, "volatility has shape"),
        ({"shocks": np.full((3, 4), np.nan, np.float32)}, "shocks holds values"),
        ({"fill_uniform": np.ones((3, 4, 2), np.float32)}, "fill_uniform must lie"),
        ({"arrival_rate": np.full(3, -1, np.float32)}, "arrival_rate must not be negative"),
    ],
)
def test_broken_flow_is_refused(changes, message):
    good = vars(draw(3, num_steps=4))
    with pytest.raises(ScenarioError, match=message):
        OrderFlowScenarios(**(good | changes))


@pytest.mark.parametrize(
    "changes", [{"num_steps": 0}, {"volatility": -1.0}, {"arrival_rate": float("nan")}]
)
def test_impossible_laws_are_refused(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        OrderFlowConfig(**changes)
