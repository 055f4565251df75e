"""A report is whole, readable and honest in its words."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from rl.artifacts import Figure
from rl.domains.allocation_experts import EXPERTS, ExpertParameters
from rl.evaluation.allocation_contest import make_allocation_contest
from rl.evaluation.allocation_pictures import draw_busiest_window
from rl.evaluation.bounds import hindsight_bound
from rl.evaluation.comparison import BootstrapConfig, EvaluationTable, evaluate
from rl.evaluation.contest import ScenarioSet
from rl.evaluation.entrants import Entrant
from rl.evaluation.evaluator import expert_decider
from rl.evaluation.players import rule_player
from rl.evaluation.plots import CurvePoint, LearningCurve
from rl.evaluation.report import conclude, format_table, write_report
from utils.config import from_json

DAYS = np.repeat(np.arange(4), 2)


def player(config, name, headroom=1.0):
    decide = expert_decider(EXPERTS[name], config, ExpertParameters(headroom=headroom))
    return rule_player(decide)


def table_of(preset, agent, best="greedy_value"):
    config, scenarios = preset
    entrants = (
        Entrant(name=best, kind="expert", players=(lambda: player(config, best),)),
        Entrant(name="ppo", kind="agent", players=(lambda: player(config, *agent),)),
        Entrant(name="equal", kind="expert", players=(lambda: player(config, "equal"),)),
    )
    quick = BootstrapConfig(num_resamples=300)
    episodes = ScenarioSet(
        name="held_out",
        about="synthetic demand",
        scenarios=scenarios,
        blocks=DAYS,
        block_name="day",
    )
    contest = make_allocation_contest(config, action="shares")
    bound = hindsight_bound(scenarios, config)
    return evaluate(contest, episodes, entrants, bound=bound, bootstrap=quick)


def curve(*points):
    return LearningCurve(
        data="validation windows",
        kpi="value",
        kpi_format=",.0f",
        points=points,
        expert=10_500.0,
        bound=12_000.0,
    )


@pytest.mark.parametrize(
    ("agent", "best", "words"),
    [
        (("urgent_value",), "greedy_value", "ppo beats the best tuned expert (greedy_value)"),
        (("equal",), "greedy_value", "ppo is worse than the best tuned expert"),
        (("greedy_value",), "greedy_value", "ppo does not clearly beat the best tuned expert"),
    ],
)
def test_the_verdict_follows_the_interval(preset, agent, best, words):
    verdict = conclude(table_of(preset, agent, best))
    assert words in verdict
    assert ("of the gap to the bound" in verdict) == ("ppo beats" in verdict)


def test_a_negative_kpi_can_be_drawn_and_said(preset, tmp_path):
    table = table_of(preset, ("urgent_value",))
    shift = table.row("ppo").kpi.mean + 1

    def lower(estimate):
        return replace(
            estimate,
            mean=estimate.mean - shift,
            low=estimate.low - shift,
            high=estimate.high - shift,
        )

    rows = tuple(replace(row, kpi=lower(row.kpi)) for row in table.rows)
    report = write_report(tmp_path, [replace(table, rows=rows)], title="t", experts={})
    assert "| -1 [" in report.summary.read_text()


def test_table_has_one_aligned_line_per_row(preset):
    table = table_of(preset, ("urgent_value",))
    lines = format_table(table).splitlines()
    assert len(lines) == len(table.rows) + 2
    assert len({len(line) for line in lines}) == 1
    assert "(best expert)" in lines[3]
    assert f"{table.row('ppo').kpi.mean:,.0f} [" in lines[4]


def test_a_full_report(preset, tmp_path):
    config, scenarios = preset
    table = table_of(preset, ("urgent_value",))
    folder = tmp_path / "var" / "report"
    folder.mkdir(parents=True)
    players = {name: player(config, name) for name in ("urgent_value", "greedy_value")}
    draw_busiest_window(config, scenarios, players, folder / "window.png")
    report = write_report(
        folder,
        [table, table],
        title="Shared services",
        experts={"equal": [Figure(name="headroom", value=0.9)], "greedy_value": []},
        curve=curve(
            CurvePoint(env_steps=0, kpi=10_000.0), CurvePoint(env_steps=50_000, kpi=11_000.0)
        ),
        pictures=[folder / "window.png"],
    )
    content = json.loads(report.data.read_text())
    assert from_json(EvaluationTable, content["table"]) == table
    assert content["curve"]["points"][1] == {"env_steps": 50_000, "kpi": 11_000.0}
    assert content["experts"]["equal"] == [{"name": "headroom", "value": 0.9}]
    assert from_json(EvaluationTable, content["other_tables"][0]) == table
    summary = report.summary.read_text()
    assert summary.startswith("# Shared services\n\nppo beats")
    assert "8 episodes from 4 days" in summary
    assert "- equal: headroom 0.9\n- greedy_value: nothing to tune" in summary
    assert "## Also played: synthetic demand" in summary
    assert [path.name for path in report.plots] == ["scores.png", "learning.png", "window.png"]
    for path in report.plots:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert f"({path.name})" in summary


def test_a_report_shows_only_what_there_is(preset, tmp_path):
    table = table_of(preset, ("urgent_value",))
    report = write_report(
        tmp_path,
        [table],
        title="t",
        experts={},
        curve=curve(),
    )
    assert [path.name for path in report.plots] == ["scores.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.json", "report.md", "scores.png"]


def test_writing_twice_replaces(preset, tmp_path):
    table = table_of(preset, ("urgent_value",))
    first = write_report(tmp_path, [table], title="first", experts={})
    again = write_report(tmp_path, [table], title="second", experts={})
    assert first == again
    assert "first" not in again.summary.read_text()


def test_one_block_decides_nothing(preset):
    table = table_of(preset, ("urgent_value",))
    verdict = conclude(replace(table, num_blocks=1))
    assert "ppo cannot be judged on one day against the best tuned expert" in verdict
    assert "beats" not in verdict


def test_a_name_cannot_break_the_table(preset):
    table = table_of(preset, ("urgent_value",))
    rows = tuple(replace(row, name="a|b\nc") if row.name == "ppo" else row for row in table.rows)
    lines = format_table(replace(table, rows=rows)).splitlines()
    assert len(lines) == len(table.rows) + 2
    assert any(line.startswith(r"| a\|b c ") for line in lines)
