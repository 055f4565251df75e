"""The search without gradients finds minima of functions whose minima are known."""

from __future__ import annotations

import numpy as np
import pytest

from rl.training.evolution import Evolution, EvolutionConfig
from utils.errors import ConfigError


def search(cost, start, generations):
    found = Evolution(np.asarray(start, float), EvolutionConfig(), seed=0)
    for _ in range(generations):
        found.tell(np.asarray([cost(one) for one in found.ask()]))
    return found


def test_a_stretched_bowl_is_searched_along_its_axes():
    stretch = np.asarray([1.0, 30.0, 1000.0, 3.0])
    found = search(lambda x: float((stretch * (x - 2.0) ** 2).sum()), np.zeros(4), 120)
    assert np.allclose(found.mean, 2.0, atol=1e-3)
    assert found.deviation < 0.01


def test_a_bent_valley_is_followed_to_its_end():
    found = search(lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2, [-1.0, 1.0], 200)
    assert np.allclose(found.mean, 1.0, atol=1e-3)


def test_the_same_seed_draws_the_same_candidates_and_order_alone_counts():
    first, second = (Evolution(np.zeros(3), EvolutionConfig(), seed=4) for _ in range(2))
    for _ in range(5):
        one, two = first.ask(), second.ask()
        assert np.array_equal(one, two)
        costs = np.square(one).sum(1)
        first.tell(costs)
        second.tell(np.exp(costs))
    assert np.array_equal(first.mean, second.mean)


@pytest.mark.parametrize("costs", [np.zeros(3), np.full(16, np.nan)], ids=["few", "nan"])
def test_costs_that_rank_nothing_are_refused_and_the_search_goes_on(costs):
    search_ = Evolution(np.zeros(2), EvolutionConfig(), seed=0)
    candidates = search_.ask()
    with pytest.raises(ConfigError, match="16 candidates"):
        search_.tell(costs)
    search_.tell(np.square(candidates).sum(1))
    with pytest.raises(ConfigError, match="0 candidates"):
        search_.tell(np.square(candidates).sum(1))


@pytest.mark.parametrize("wrong", [{"population": 3}, {"deviation": 0.0}, {"deviation": np.inf}])
def test_searches_that_cannot_move_are_refused(wrong):
    with pytest.raises(ConfigError):
        EvolutionConfig(**wrong)
