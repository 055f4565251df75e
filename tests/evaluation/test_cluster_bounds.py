"""The bound on clusters worked out by hand, and above every rule."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rl.domains.cluster_experts import EXPERTS
from rl.domains.cluster_simulator import simulate
from rl.evaluation.bounds import BoundError
from rl.evaluation.cluster_bounds import compute_cluster_bound
from tests.clusters import draw_small, make_scenarios


@pytest.mark.parametrize(
    ("nodes", "types", "arrivals", "expected"),
    [
        # The residue of 190 fits nothing.
        ([(99, 99, 2, 0)], [(1, 1, 1, 810, None)], [0] * 9, 0.81),
        # 470 + 470 leave 60; 810 + 190 leave nothing, but one small task comes only.
        ([(99, 99, 2, 0)], [(1, 1, 1, 470, None), (1, 1, 1, 810, None)], [0] * 9, 0.94),
        ([(99, 99, 2, 0)], [(1, 1, 1, 190, None), (1, 1, 1, 810, None)], [0, 1, 1, 1], 0.905),
        # CPU for three halves.
        ([(3, 99, 2, 0)], [(1, 1, 1, 500, None)], [0] * 9, 0.75),
        # Memory for one.
        ([(9, 5, 2, 0)], [(1, 5, 1, 1000, None)], [0] * 9, 0.5),
        # A pair fits on no node of one GPU.
        ([(9, 9, 1, 0), (9, 9, 1, 0)], [(1, 1, 2, 1000, None)], [0] * 9, 0.0),
        # The model will not do on the first node.
        ([(9, 9, 1, 0), (9, 9, 3, 1)], [(1, 1, 1, 1000, (1,))], [0] * 9, 0.75),
        # Only one comes.
        ([(9, 9, 4, 0)], [(1, 1, 1, 1000, None)], [0, -1], 0.25),
    ],
)
def test_bounds_by_hand(nodes, types, arrivals, expected):
    scenarios = make_scenarios(nodes, types, arrivals)
    assert compute_cluster_bound(scenarios).allocation == pytest.approx(expected, abs=1e-9)


def test_tasks_that_must_be_taken_lower_the_bound():
    """Two GPUs; 700 milli comes first and leaves 300 that nothing fills; whole ones come later."""
    scenarios = make_scenarios(
        [(99, 99, 2, 0)], [(1, 1, 1, 700, None), (1, 1, 1, 1000, None)], [0, 0, 1, 1]
    )
    free, one, both = (
        compute_cluster_bound(scenarios, taken_share=share).allocation for share in (0.0, 0.35, 0.7)
    )
    assert (free, one, both) == (pytest.approx(1.0), pytest.approx(0.85), pytest.approx(0.7))


def test_tasks_that_must_be_taken_but_do_not_fit_are_an_error():
    scenarios = make_scenarios([(1, 99, 2, 0)], [(1, 1, 0, 0, None), (1, 1, 1, 900, None)], [0, 1])
    assert compute_cluster_bound(scenarios).allocation == pytest.approx(0.45)
    with pytest.raises(BoundError, match="do not fit; lower taken_share"):
        compute_cluster_bound(scenarios, taken_share=1.0)


def test_tasks_of_which_none_fits_anywhere_are_an_error():
    scenarios = make_scenarios([(9, 9, 1, 0)], [(1, 1, 2, 1000, None)], [0])
    with pytest.raises(BoundError, match="none of the tasks to be taken fits"):
        compute_cluster_bound(scenarios, taken_share=2.0)


def test_no_rule_is_above_the_bound():
    for seed in range(4):
        scenarios = draw_small(1, seed)
        bound = compute_cluster_bound(scenarios).allocation
        placed = [simulate(scenarios, one, np.random.default_rng(0)) for one in EXPERTS.values()]
        reached = [one.allocated[-1] / one.capacity for one in placed]
        assert max(reached) <= bound + 1e-9
        assert bound <= 1.0 + 1e-9


def fill(devices, tasks):
    """The most that any choice of tasks and devices places, by trying all."""
    best = 0
    for places in itertools.product(range(-1, devices), repeat=len(tasks)):
        load = [
            sum(t for t, p in zip(tasks, places, strict=True) if p == d) for d in range(devices)
        ]
        if max(load) <= 1000:
            best = max(best, sum(load))
    return best


def test_bound_is_above_the_best_of_all_placements():
    draw = np.random.default_rng(0)
    gaps = []
    for _ in range(12):
        tasks = (10 * draw.integers(20, 100, 6)).tolist()
        types = [(1, 1, 1, milli, None) for milli in tasks]
        scenarios = make_scenarios([(99, 99, 2, 0)], types, list(range(6)))
        gaps.append(2000 * compute_cluster_bound(scenarios).allocation - fill(2, tasks))
    assert min(gaps) >= -1e-6
    assert min(gaps) < 100
