"""The page of supply chains shows what its benchmark stored."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.supply_learning import KNOWN_OPTIMA, TASKS, supply_table

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "training" / "supply_chain.md").read_text()
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "supply_learning.json").read_text())


def test_the_page_shows_the_stored_table():
    assert supply_table(RESULTS) in PAGE


def test_what_is_stored_is_of_tasks_that_exist():
    assert set(RESULTS["tasks"]) <= {*TASKS, *KNOWN_OPTIMA}
    assert len(RESULTS["tasks"]["supply_chain-apg"]["seeds"]) >= 3


def test_files_that_the_page_names_exist():
    named = {word for word in PAGE.split("`") if word.endswith((".py", ".json"))}
    assert named
    assert all((ROOT / name).exists() for name in named)
