"""The page about evaluation names what exists, and its example runs as written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from rl.evaluation import (
    benchmark_runner,
    contest,
    evaluation_plots,
    evaluation_suite,
    generalisation,
    judging,
    objectives,
    steps_to_threshold,
    stress,
)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "training" / "evaluation.md").read_text()


def test_the_example_runs_and_answers():
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "Reference: base stock." in run.stdout
    assert "| demand shock | 1 |" in run.stdout
    assert "CVaR 99:" not in run.stdout, "100 episodes are enough"


def test_every_kind_of_trouble_is_explained():
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", PAGE, flags=re.MULTILINE)
    assert {kind for kind, _ in rows} == set(stress.STRESSES)
    for kind, records in rows:
        named = set(re.findall(r"`(\w+Scenarios)`", records)) - {"TradingScenarios"}
        changes = stress._CHANGES
        assert named == {one.__name__ for one, kinds in changes.items() if kind in kinds}


def test_what_is_named_exists():
    for path in re.findall(r"\(?((?:rl|tests)/[\w/]+\.(?:py|json))", PAGE):
        assert (ROOT / path).exists(), path
    assert benchmark_runner.BenchmarkRunner
    assert evaluation_suite.RLEvaluationSuite
    names = {
        "stress_set": generalisation,
        "success_kpi": judging.JudgingConfig(),
        "cost_limits": judging.JudgingConfig(),
        "fairness_figure": judging.JudgingConfig(),
        "steps_to_threshold": steps_to_threshold,
        "sweep_objectives": objectives,
        "plot_pareto": evaluation_plots,
        "plot_profiles": evaluation_plots,
        "plot_intervals": evaluation_plots,
        "ScenarioSet": contest,
    }
    for name, owner in names.items():
        assert name in PAGE
        assert hasattr(owner, name)
