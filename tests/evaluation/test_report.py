"""A report is whole, readable and honest in its words."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rl.domains.allocation_experts import EXPERTS, ExpertParameters
from rl.evaluation.comparison import BootstrapConfig, Contender, EvaluationTable, evaluate
from rl.evaluation.evaluator import expert_decider, record_play
from rl.evaluation.plots import CurvePoint, LearningCurve, PlayedWindow
from rl.evaluation.report import WindowExample, conclude, format_table, write_report
from rl.evaluation.tuning import TunedExpert
from utils.config import from_json

DAYS = np.repeat(np.arange(4), 2)


def decider(config, name, headroom=1.0):
    return expert_decider(EXPERTS[name], config, ExpertParameters(headroom=headroom))


def table_of(preset, agent, best="greedy_value"):
    config, scenarios = preset
    contenders = (
        Contender(name=best, kind="expert", deciders=(decider(config, best),)),
        Contender(name="ppo", kind="agent", deciders=(decider(config, *agent),)),
        Contender(name="equal", kind="expert", deciders=(decider(config, "equal"),)),
    )
    quick = BootstrapConfig(num_resamples=300)
    return evaluate(config, scenarios, DAYS, contenders, data="synthetic demand", bootstrap=quick)


@pytest.mark.parametrize(
    ("agent", "best", "words"),
    [
        (("urgent_value",), "greedy_value", "ppo beats the best tuned expert (greedy_value)"),
        (("equal",), "greedy_value", "ppo is worse than the best tuned expert"),
        (("greedy_value",), "greedy_value", "ppo is on a par with the best tuned expert"),
    ],
)
def test_the_verdict_follows_the_interval(preset, agent, best, words):
    verdict = conclude(table_of(preset, agent, best))
    assert words in verdict
    assert ("of the gap to the bound" in verdict) == ("beats" in verdict)


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
    played = tuple(
        PlayedWindow(name=name, trace=record_play(config, scenarios, decider(config, name)))
        for name in ("urgent_value", "greedy_value")
    )
    curve = LearningCurve(
        windows="validation windows",
        points=(CurvePoint(env_steps=0, kpi=10_000.0), CurvePoint(env_steps=50_000, kpi=11_000.0)),
        expert=10_500.0,
        bound=12_000.0,
    )
    tuned = TunedExpert(name="equal", parameters=ExpertParameters(headroom=0.9), score=1234.0)
    report = write_report(
        tmp_path / "var" / "report",
        table,
        title="Shared services",
        experts=[tuned],
        curve=curve,
        example=WindowExample(config=config, scenarios=scenarios, played=played),
    )
    content = json.loads(report.data.read_text())
    assert from_json(EvaluationTable, content["table"]) == table
    assert content["curve"]["points"][1] == {"env_steps": 50_000, "kpi": 11_000.0}
    assert content["experts"][0]["parameters"]["headroom"] == 0.9
    summary = report.summary.read_text()
    assert summary.startswith("# Shared services\n\nppo beats")
    assert "8 windows from 4 days" in summary
    assert "| equal | 0.9 | 3 | 1 | 1,234 |" in summary
    assert [path.name for path in report.plots] == ["scores.png", "learning.png", "window.png"]
    for path in report.plots:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert f"({path.name})" in summary


def test_a_report_shows_only_what_there_is(preset, tmp_path):
    table = table_of(preset, ("urgent_value",))
    report = write_report(
        tmp_path,
        table,
        title="t",
        curve=LearningCurve(windows="w", points=(), expert=1.0, bound=2.0),
    )
    assert [path.name for path in report.plots] == ["scores.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.json", "report.md", "scores.png"]


def test_writing_twice_replaces(preset, tmp_path):
    table = table_of(preset, ("urgent_value",))
    first = write_report(tmp_path, table, title="first")
    again = write_report(tmp_path, table, title="second")
    assert first == again
    assert "first" not in again.summary.read_text()
