"""What the curriculum benchmark concludes from its runs, and the page that describes it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.curriculum import summarise


def rows(*finals):
    return [
        {"curve": [(100, 0.2), (200, 0.9 * final), (300, final)], "cpu_seconds": 2.0}
        for final in finals
    ]


def test_arms_are_compared_by_seed():
    found = summarise({"none": rows(0.5, 0.9), "staged": rows(0.7, 0.95)}, threshold=0.8)
    assert found["none"]["env_steps_to_threshold"] == [None, 200]
    assert found["none"]["runs_at_threshold"] == 1
    assert found["none"]["median_env_steps_to_threshold"] == 200
    mean, low, high = found["staged"]["difference_to_none"]
    assert mean == pytest.approx(0.125)
    # t of 0.975 with one degree of freedom, 12.706, times 0.15 / sqrt(2) / sqrt(2).
    assert high - mean == pytest.approx(12.706 * 0.075, rel=1e-3)
    assert low < 0 < high


def test_a_threshold_that_nobody_reached_has_no_steps():
    found = summarise({"none": rows(0.5), "staged": rows(0.6)}, threshold=0.8)
    assert found["staged"]["median_env_steps_to_threshold"] is None
    assert "difference_to_none" not in found["staged"]


def test_the_first_example_of_the_page_runs(tmp_path, monkeypatch, capsys):
    page = Path("docs/training/curriculum.md").read_text()
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "curriculum.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "medium_complexity"
    assert "0 of 200 episodes are played" in printed[1]
    assert (tmp_path / "curriculum.json").exists()
