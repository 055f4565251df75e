"""The table names the best expert and measures everybody against it, window by window."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rl.domains.allocation_experts import EXPERTS, ExpertParameters
from rl.evaluation.allocation_contest import make_allocation_contest
from rl.evaluation.bounds import hindsight_bound
from rl.evaluation.comparison import (
    BootstrapConfig,
    EvaluationTable,
    evaluate,
)
from rl.evaluation.contest import ScenarioSet
from rl.evaluation.entrants import Entrant
from rl.evaluation.evaluator import expert_decider, play
from rl.evaluation.players import random_player, rule_player
from utils.config import from_json, to_json
from utils.errors import ConfigError

DAYS = np.asarray([0, 0, 0, 1, 1, 2, 2, 2])
QUICK = BootstrapConfig(num_resamples=500)


def decider(config, name, headroom=1.0):
    return expert_decider(EXPERTS[name], config, ExpertParameters(headroom=headroom))


def expert(config, name):
    return Entrant(name=name, kind="expert", players=(lambda: rule_player(decider(config, name)),))


def judge(preset, entrants, *, bound=None, days=DAYS):
    config, scenarios = preset
    episodes = ScenarioSet(
        name="held_out", about="synthetic", scenarios=scenarios, blocks=days, block_name="day"
    )
    contest = make_allocation_contest(config, action="shares")
    limit = hindsight_bound(scenarios, config) if bound is None else bound
    return evaluate(contest, episodes, entrants, bound=limit, bootstrap=QUICK)


@pytest.fixture(scope="module")
def table(preset):
    config, _ = preset
    urgent = [
        lambda h=h: rule_player(decider(config, "urgent_value", headroom=h)) for h in (0.95, 1.0)
    ]
    entrants = (
        Entrant(name="random", kind="random", players=(lambda: random_player(0),)),
        expert(config, "equal"),
        expert(config, "greedy_value"),
        Entrant(name="pupil", kind="agent", players=tuple(urgent)),
    )
    return judge(preset, entrants)


def test_rows_rise_to_the_bound(table):
    assert table.rows[-1].name == "bound"
    means = [row.kpi.mean for row in table.rows]
    assert means == sorted(means)
    assert (table.num_episodes, table.num_blocks, table.num_seeds) == (8, 3, 2)


def test_best_expert_is_the_best_on_these_windows(table):
    assert table.baseline == "greedy_value"
    assert table.row("greedy_value").difference is None


def test_figures_are_those_of_play(table, preset):
    config, scenarios = preset
    scores = play(config, scenarios, decider(config, "equal"))
    row = table.row("equal")
    assert row.kpi.mean == pytest.approx(scores.kpi.mean())
    shown = {column.name: value for column, value in zip(table.columns, row.figures, strict=True)}
    assert shown["lost_share"] == pytest.approx(scores.lost_share.mean())
    assert shown["holding_cost"] == pytest.approx(scores.holding_cost.mean())
    assert table.row("bound").figures == (None,) * len(table.columns)


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


def test_blocks_better_counts_blocks(table):
    assert table.row("bound").blocks_better == 3
    assert table.row("random").blocks_better == 0


def test_table_survives_json(table):
    assert from_json(EvaluationTable, json.loads(json.dumps(to_json(table)))) == table


def test_who_plays_like_the_best_expert_closes_nothing(preset):
    config, _ = preset
    best = expert(config, "greedy_value")
    twin = Entrant(name="twin", kind="agent", players=best.players)
    table = judge(preset, (best, twin))
    row = table.row("twin")
    assert (row.difference.low, row.difference.high, row.gap_closed.mean) == (0, 0, 0)
    assert row.blocks_better == 0


def test_no_gap_no_share_of_it(preset):
    config, scenarios = preset
    best = expert(config, "greedy_value")
    twin = Entrant(name="twin", kind="agent", players=best.players)
    reached = play(config, scenarios, decider(config, "greedy_value")).kpi
    table = judge(preset, (best, twin), bound=reached)
    assert table.row("twin").gap_closed is None


def test_one_day_has_no_cautious_interval(preset):
    config, _ = preset
    entrants = (expert(config, "equal"), expert(config, "max_min"))
    table = judge(preset, entrants, days=np.zeros(8, int))
    assert table.row("equal").difference_cautious is None


def test_a_table_without_a_baseline_or_with_namesakes_is_refused(preset):
    config, _ = preset
    equal = expert(config, "equal")
    lonely = Entrant(name="pupil", kind="agent", players=equal.players)
    for entrants in ((lonely,), (equal, equal)):
        with pytest.raises(ConfigError, match="different names are needed"):
            judge(preset, entrants)


def test_without_experts_chance_is_the_baseline_and_without_bound_no_gap(preset):
    config, scenarios = preset
    entrants = (
        Entrant(name="random", kind="random", players=(lambda: random_player(0),)),
        Entrant(name="pupil", kind="agent", players=expert(config, "equal").players),
    )
    episodes = ScenarioSet(name="s", about="synthetic", scenarios=scenarios, blocks=DAYS)
    contest = make_allocation_contest(config, action="shares")
    table = evaluate(contest, episodes, entrants, bootstrap=QUICK)
    assert (table.baseline, table.has_expert) == ("random", False)
    assert [row.name for row in table.rows] == ["random", "pupil"]
    assert table.row("pupil").gap_closed is None


def test_whatever_was_played_before_a_set_scores_the_same(preset):
    config, scenarios = preset
    chance = Entrant(name="random", kind="random", players=(lambda: random_player(0),))
    contest = make_allocation_contest(config, action="shares")
    sets = [
        ScenarioSet(name="s", about="", scenarios=scenarios.take(rows), blocks=np.arange(len(rows)))
        for rows in ([0, 1, 2], [5, 6], [0, 1, 2])
    ]
    first, _, again = (evaluate(contest, one, [chance], bootstrap=QUICK) for one in sets)
    assert first.row("random").kpi == again.row("random").kpi


def test_unknown_rows_are_named(table):
    with pytest.raises(KeyError, match="nobody"):
        table.row("nobody")


def test_levels_are_probabilities():
    with pytest.raises(ConfigError):
        BootstrapConfig(level=1.0)
