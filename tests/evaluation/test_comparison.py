"""The table names the best expert and measures everybody against it, window by window."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rl.domains.allocation_experts import EXPERTS, ExpertParameters
from rl.evaluation.comparison import (
    BootstrapConfig,
    Contender,
    EvaluationTable,
    evaluate,
)
from rl.evaluation.evaluator import expert_decider, play, random_decider
from utils.config import from_json, to_json
from utils.errors import ConfigError

DAYS = np.asarray([0, 0, 0, 1, 1, 2, 2, 2])
QUICK = BootstrapConfig(num_resamples=500)


def expert(config, name, headroom=1.0):
    decide = expert_decider(EXPERTS[name], config, ExpertParameters(headroom=headroom))
    return Contender(name=name, kind="expert", deciders=(decide,))


@pytest.fixture(scope="module")
def table(preset):
    config, scenarios = preset
    urgent = [
        expert_decider(EXPERTS["urgent_value"], config, ExpertParameters(headroom=h))
        for h in (0.95, 1.0)
    ]
    contenders = (
        Contender(name="random", kind="random", deciders=(random_decider(config, 0),)),
        expert(config, "equal"),
        expert(config, "greedy_value"),
        Contender(name="pupil", kind="agent", deciders=tuple(urgent)),
    )
    return evaluate(config, scenarios, DAYS, contenders, data="synthetic", bootstrap=QUICK)


def test_rows_rise_to_the_bound(table):
    assert table.rows[-1].name == "bound"
    means = [row.kpi.mean for row in table.rows]
    assert means == sorted(means)
    assert (table.num_windows, table.num_days, table.num_seeds) == (8, 3, 2)


def test_best_expert_is_the_best_on_these_windows(table):
    assert table.best_expert == "greedy_value"
    assert table.row("greedy_value").difference is None


def test_figures_are_those_of_play(table, preset):
    config, scenarios = preset
    scores = play(config, scenarios, expert(config, "equal").deciders[0])
    row = table.row("equal")
    assert row.kpi.mean == pytest.approx(scores.kpi.mean())
    assert row.outcome.lost_share == pytest.approx(scores.lost_share.mean())
    assert row.outcome.holding_cost == pytest.approx(scores.holding_cost.mean())


def test_differences_are_paired(table):
    row = table.row("pupil")
    best, bound = table.row("greedy_value").kpi, table.row("bound").kpi
    assert row.difference.mean == pytest.approx(row.kpi.mean - best.mean)
    assert row.difference.num_seeds == 2
    width, unpaired = row.difference.high - row.difference.low, row.kpi.high - row.kpi.low
    assert width < 0.6 * unpaired
    assert row.gap_closed.mean == pytest.approx(
        row.difference.mean / (bound.mean - best.mean), rel=1e-6
    )
    assert row.difference_cautious.high - row.difference_cautious.low > width


def test_days_better_counts_days(table):
    assert table.row("bound").days_better == 3
    assert table.row("random").days_better == 0


def test_table_survives_json(table):
    assert from_json(EvaluationTable, json.loads(json.dumps(to_json(table)))) == table


def test_who_plays_like_the_best_expert_closes_nothing(preset):
    config, scenarios = preset
    best = expert(config, "greedy_value")
    twin = Contender(name="twin", kind="agent", deciders=best.deciders)
    table = evaluate(config, scenarios, DAYS, (best, twin), data="synthetic", bootstrap=QUICK)
    row = table.row("twin")
    assert (row.difference.low, row.difference.high, row.gap_closed.mean) == (0, 0, 0)
    assert row.days_better == 0


def test_no_gap_no_share_of_it(preset):
    config, scenarios = preset
    best = expert(config, "greedy_value")
    twin = Contender(name="twin", kind="agent", deciders=best.deciders)
    reached = play(config, scenarios, best.deciders[0]).kpi
    table = evaluate(
        config, scenarios, DAYS, (best, twin), data="synthetic", bound=reached, bootstrap=QUICK
    )
    assert table.row("twin").gap_closed is None


def test_one_day_has_no_cautious_interval(preset):
    config, scenarios = preset
    contenders = (expert(config, "equal"), expert(config, "max_min"))
    table = evaluate(
        config, scenarios, np.zeros(8, int), contenders, data="one day", bootstrap=QUICK
    )
    assert table.row("equal").difference_cautious is None


def test_a_table_without_an_expert_or_with_namesakes_is_refused(preset):
    config, scenarios = preset
    lonely = Contender(name="random", kind="random", deciders=(random_decider(config, 0),))
    equal = expert(config, "equal")
    for contenders in ((lonely,), (equal, equal)):
        with pytest.raises(ConfigError, match="at least one expert and different names"):
            evaluate(config, scenarios, DAYS, contenders, data="synthetic")


def test_unknown_rows_are_named(table):
    with pytest.raises(KeyError, match="nobody"):
        table.row("nobody")


def test_levels_are_probabilities():
    with pytest.raises(ConfigError):
        BootstrapConfig(level=1.0)
