"""Every row of docs/results.md can be made again, and says what is stored."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from benchmarks import decision_quality
from benchmarks.decision_quality import (
    BEGIN,
    BENCHMARKS,
    END,
    PAGE,
    PICTURES,
    cost_table,
    draw,
    main,
    quality_table,
    read_report,
    run,
    write_page,
)
from benchmarks.measuring import RESULTS

STORED = {name: read_report(name, RESULTS) for name in BENCHMARKS}
MEASURED = sorted(name for name, report in STORED.items() if report is not None)
QUICK = ("placement", "placement_mixes", "execution")


def run_and_read(name, folder):
    run(name, folder, smoke=True)
    report = read_report(name, folder)
    rows = BENCHMARKS[name].read(report)
    assert rows
    assert all(np.isfinite(row.ours) for row in rows)
    assert all(f"| {row.setting} |" in quality_table(name, report) for row in rows)
    return report


@pytest.mark.parametrize("name", QUICK)
def test_a_benchmark_runs_at_smoke_size_and_its_rows_are_read(name, tmp_path):
    run_and_read(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name not in QUICK])
def test_one_that_trains_runs_at_smoke_size_and_its_rows_are_read(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_and_read(name, tmp_path)


def test_the_same_command_twice_gives_the_same_table(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    tables = []
    for folder in folders:
        folder.mkdir()
        tables.append(quality_table("placement", run_and_read("placement", folder)))
    assert tables[0] == tables[1]


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_the_page_shows_what_is_stored(name):
    assert quality_table(name, STORED[name]) in PAGE.read_text()
    assert (STORED[name] is None) or (PICTURES / f"{name}.png").stat().st_size > 5000


def test_the_page_tells_what_it_took():
    assert cost_table(STORED) in PAGE.read_text()


def test_a_changed_result_would_be_noticed():
    changed = copy.deepcopy(STORED["jobs"])
    changed["rows"][0]["slowdown"]["learned"] += 0.1
    assert quality_table("jobs", changed) not in PAGE.read_text()
    slower = {**STORED, "jobs": {**STORED["jobs"], "training_cpu_seconds": 1e4}}
    assert cost_table(slower) not in PAGE.read_text()


def test_the_better_figure_is_the_bold_one():
    table = quality_table("jobs", STORED["jobs"])
    assert "| **2.11** (one layer, CMA-ES) | 2.27 (tetris) |" in table
    assert "| 16.01 (one layer, CMA-ES) | **12.88** (tetris) |" in table
    assert "| 12,073 (LP solved in every step) | **12,128**" in quality_table(
        "foresight", STORED["foresight"]
    )


def test_what_was_not_measured_says_how(tmp_path):
    assert "decision_quality jobs`: not measured yet" in quality_table("jobs", None)
    page = tmp_path / "page.md"
    page.write_text(f"before {BEGIN} old {END} after")
    write_page({"jobs": None}, page)
    text = page.read_text()
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert "old" not in text
    assert "not measured yet" in text


@pytest.mark.parametrize("name", MEASURED)
def test_every_benchmark_has_a_picture(name, tmp_path):
    path = tmp_path / "picture.png"
    draw(name, STORED[name], path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_bad_names_and_a_smoke_run_over_stored_results_are_refused(capsys, monkeypatch):
    monkeypatch.chdir(RESULTS)
    monkeypatch.setattr(decision_quality, "run", lambda *_, **__: pytest.fail("it ran"))
    for arguments, word in (
        (["jbos"], "jobs"),
        (["jobs", "--smoke"], "--results"),
        (["jobs", "--smoke", "--results", "."], "--results"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2
        assert word in capsys.readouterr().err


def test_tables_are_written_from_stored_results_alone(tmp_path, capsys):
    assert main(["--stored", "--results", str(tmp_path / "new")]) == 0
    (tmp_path / "job_priority.json").write_text(json.dumps(STORED["jobs"]))
    assert main(["--stored", "--results", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "decision_quality.json").read_text())
    assert list(written["rows"]) == ["jobs"]
    assert "not measured yet" in capsys.readouterr().out
