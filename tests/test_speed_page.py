"""The tables of docs/orchestration/speed.md are those of the stored results."""

from __future__ import annotations

import copy
import json

from benchmarks.measuring import RESULTS
from benchmarks.orchestration import (
    BARS,
    PAGE,
    WORDS,
    is_met,
    judge,
    peer_table,
    speed_table,
    write_page,
)

STORED = json.loads((RESULTS / "orchestration.json").read_text())


def test_the_tables_are_stored():
    page = PAGE.read_text()
    assert speed_table(STORED) in page
    assert peer_table(STORED) in page
    assert set(BARS) == set(WORDS) == set(judge(STORED)) == set(STORED["bars"])


def test_a_changed_result_would_be_noticed():
    changed = copy.deepcopy(STORED)
    changed["sqlite"]["jobs_per_second"] += 1000
    changed["peers"]["ray"]["tasks_per_second"] = 1
    assert speed_table(changed) not in PAGE.read_text()
    assert peer_table(changed) not in PAGE.read_text()


def test_a_missed_bar_is_told():
    slow = copy.deepcopy(STORED)
    slow["sqlite"]["idle_cpu_share"] = 0.5
    slow["peers"]["dbos"] = {"missing": "not installed"}
    assert "| CPU of an idle worker | < 1.00% | 50.00% | NO |" in speed_table(slow)
    assert "not measured" in speed_table(slow)
    assert [is_met("jobs_per_second", value) for value in (None, 999, 1000)] == [False, False, True]
    assert [is_met("help_seconds", value) for value in (1.2, 1.1)] == [False, True]


def test_the_page_is_rewritten_in_place(tmp_path):
    page = tmp_path / "speed.md"
    page.write_text(PAGE.read_text().replace("|", "!"))
    write_page(STORED, page)
    assert page.read_text() == PAGE.read_text()
