"""The tables of docs/training/README.md are those of the stored results."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.curriculum import curriculum_table
from benchmarks.demos import demo_table
from benchmarks.killed_training import killed_table
from benchmarks.measuring import RESULTS

PAGE = (Path(__file__).parents[1] / "docs" / "training" / "README.md").read_text()


def stored(name: str, key: str):
    return json.loads((RESULTS / f"{name}.json").read_text())[key]


def test_the_demos_table_is_stored():
    assert demo_table(stored("demos", "demos")) in PAGE


def test_the_table_of_killed_runs_is_stored():
    assert killed_table(stored("killed_training", "pipelines")) in PAGE


def test_the_curriculum_table_is_stored():
    page = (Path(__file__).parents[1] / "docs" / "training" / "curriculum.md").read_text()
    assert curriculum_table(json.loads((RESULTS / "curriculum.json").read_text())) in page


def test_a_changed_result_would_be_noticed():
    demos = stored("demos", "demos")
    name = next(iter(demos))
    demos[name] = {**demos[name], "kpi": demos[name]["kpi"] + 1000}
    assert demo_table(demos) not in PAGE


def test_every_page_that_is_named_is_there():
    folder = Path(__file__).parents[1] / "docs" / "training"
    for word in PAGE.split("](")[1:]:
        target = word.partition(")")[0]
        assert (folder / target).exists(), target
