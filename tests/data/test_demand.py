"""Demand of the inventory worlds: checked where it enters, drawn from the generator alone."""

from __future__ import annotations

import numpy as np
import pytest

from data.demand import InventoryScenarios, PoissonDemand
from data.scenario import ScenarioError
from utils.errors import ConfigError


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_impossible_demand_is_refused(value):
    with pytest.raises(ScenarioError, match="demand holds negative or non-finite"):
        InventoryScenarios(demand=np.asarray([[1.0, value]], np.float32))


def test_demand_without_an_episode_axis_is_refused():
    with pytest.raises(ScenarioError, match="two, \\[episode, time\\]"):
        InventoryScenarios(demand=np.ones(3, np.float32))


def test_poisson_demand_has_equal_mean_and_variance_and_follows_the_seed():
    source = PoissonDemand(mean=20.0, max_steps=30)
    demand = source.draw(2_000, np.random.default_rng(3)).demand
    assert demand.shape == (2_000, 30)
    assert demand.mean() == pytest.approx(20.0, abs=0.1)
    assert demand.var() == pytest.approx(20.0, rel=0.03)
    assert (demand == source.draw(2_000, np.random.default_rng(3)).demand).all()
    assert (demand != source.draw(2_000, np.random.default_rng(4)).demand).any()


@pytest.mark.parametrize(("mean", "steps"), [(-1.0, 30), (np.nan, 30), (20.0, 0)])
def test_laws_that_cannot_be_drawn_from_are_refused(mean, steps):
    with pytest.raises(ConfigError, match="mean >= 0"):
        PoissonDemand(mean=mean, max_steps=steps)
