"""The table of docs/metrics.md is that of the stored results."""

from __future__ import annotations

import copy
import json

from benchmarks.measuring import RESULTS
from benchmarks.monitoring import PAGE, judge, table, write_page

STORED = json.loads((RESULTS / "monitoring.json").read_text())


def test_the_table_is_stored():
    assert table(STORED) in PAGE.read_text()
    assert STORED["bars"] == judge(STORED)


def test_a_changed_result_would_be_noticed_and_a_missed_bar_told():
    changed = copy.deepcopy(STORED)
    changed["scrapes"]["scrape_p99_ms"] = 999.0
    changed["training"]["training_overhead"] = 0.021
    assert table(changed) not in PAGE.read_text()
    assert judge(changed) == {"scrape_p99_ms": False, "training_overhead": False}


def test_the_page_is_rewritten_in_place(tmp_path):
    page = tmp_path / "metrics.md"
    page.write_text(PAGE.read_text().replace("| a scrape", "| a guess"))
    write_page(STORED, page)
    assert page.read_text() == PAGE.read_text()
