"""Pareto fronts and hypervolumes by hand, and a sweep that is played."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.evaluation.entrants import Entrant
from rl.evaluation.objectives import (
    Objective,
    Weighted,
    find_dominated,
    measure_hypervolume,
    sweep_objectives,
    weigh_two,
)
from rl.evaluation.resampling import Resampling
from rl.evaluation.statistics import StatisticsError
from tests.evaluation.portfolio_suite import CONTEST, make_set
from utils.config import to_json
from utils.errors import ConfigError

SMALL = Resampling(num_resamples=200)
points_of_two = st.lists(st.tuples(st.integers(-3, 6), st.integers(-3, 6)), min_size=1, max_size=8)


def test_dominated_points_by_hand():
    points = [[1, 5], [3, 3], [5, 1], [3, 2], [1, 5], [0, 0]]
    assert find_dominated(points).tolist() == [False, False, False, True, False, True]
    assert find_dominated([[1, 1, 1], [1, 1, 2], [2, 0, 0]]).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([[2, 3]], 6),
        ([[1, 3], [3, 1]], 5),
        ([[1, 3], [2, 2], [3, 1]], 6),
        ([[2, 2], [1, 1]], 4),
        ([[2, 2], [2, 2]], 4),
        ([[2, 3], [2, 1]], 6),
        ([[-1, 9], [9, 0]], 0),
    ],
)
def test_hypervolume_by_hand(points, area):
    assert measure_hypervolume(points, [0, 0]) == area
    assert measure_hypervolume(np.asarray(points) + 7, [7, 7]) == area


@settings(max_examples=60)
@given(points_of_two)
def test_hypervolume_counts_the_cells_under_the_points(points):
    """Whole numbers dominate whole unit squares, which can be counted one by one."""
    cells = {(x, y) for a, b in points for x in range(a) for y in range(b) if a > 0 and b > 0}
    assert measure_hypervolume(points, [0, 0]) == len(cells)
    kept = [p for p, gone in zip(points, find_dominated(points), strict=True) if not gone]
    assert measure_hypervolume(kept, [0, 0]) == len(cells)
    assert kept


def hold_share(share):
    def act(environment, record):
        del environment
        return torch.full((*record.reward.shape, 3), share)

    return lambda: act


def weighted(*shares):
    return [
        Weighted(
            weights=(share, 1 - share),
            entrant=Entrant(name=f"{share:g}", kind="expert", players=(hold_share(share / 3),)),
        )
        for share in shares
    ]


def contest_of_growth_and_turnover():
    def measure(record):
        return {"kpi": record.reward.mean(-1), "turnover": record.metrics["turnover"]}

    return replace(CONTEST, measure=measure)


OBJECTIVES = (
    Objective(name="kpi", worst=-1.0),
    Objective(name="turnover", worst=2.0, is_cost=True),
)


def test_a_sweep_plays_every_weighing_and_keeps_what_is_worth_having():
    contest, episodes = contest_of_growth_and_turnover(), make_set()
    sweep = sweep_objectives(
        contest, episodes, OBJECTIVES, weighted(0.0, 0.5, 1.0), resampling=SMALL
    )
    idle, half, full = sweep.points
    assert idle.values[1].value == pytest.approx(0.0)
    assert 0 < half.values[1].value < full.values[1].value
    assert not idle.is_dominated, "nobody trades less"
    signed = [(p.values[0].value, -p.values[1].value) for p in sweep.points]
    assert [p.is_dominated for p in sweep.points] == find_dominated(signed).tolist()
    assert sweep.hypervolume == pytest.approx(measure_hypervolume(signed, [-1.0, -2.0]))
    firsts = [point.values[0].value for point in sweep.front]
    assert firsts == sorted(firsts)
    json.dumps(to_json(sweep), allow_nan=False)


def test_weights_of_two():
    assert weigh_two(3) == ((0.0, 1.0), (0.5, 0.5), (1.0, 0.0))
    with pytest.raises(ConfigError, match="at least 2"):
        weigh_two(1)


def test_what_does_not_fit_is_refused():
    contest, episodes = contest_of_growth_and_turnover(), make_set(4)
    good = weighted(0.5)

    def sweep(objectives=OBJECTIVES, entrants=good):
        return sweep_objectives(contest, episodes, objectives, entrants, resampling=SMALL)

    with pytest.raises(ConfigError, match="two objectives or more"):
        sweep(OBJECTIVES[:1])
    with pytest.raises(ConfigError, match="differently named"):
        sweep(entrants=good * 2)
    with pytest.raises(ConfigError, match="no objective 'speed'"):
        sweep((OBJECTIVES[0], Objective(name="speed", worst=0.0)))
    for weights in ((0.5,), (0.7, 0.7), (1.5, -0.5)):
        with pytest.raises(ConfigError, match="sum to 1"):
            sweep(entrants=[Weighted(weights=weights, entrant=good[0].entrant)])
    with pytest.raises(ConfigError, match="finite"):
        Objective(name="kpi", worst=float("nan"))
    with pytest.raises(StatisticsError, match="two objectives"):
        measure_hypervolume([[1, 2, 3]], [0, 0, 0])
    with pytest.raises(StatisticsError, match="finite"):
        find_dominated([[1.0, np.nan]])
