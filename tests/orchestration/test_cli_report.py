"""`report`: files and their path, and errors of one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.orchestration.test_cli import Shell, report_half

pytestmark = pytest.mark.usefixtures("logs_as_before")


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


@pytest.fixture
def busy(shell):
    for seed in (1, 2):
        shell("submit", "train", f"seed={seed}", "experiment_name=<b>bold</b>")
        shell.work(report_half)
    return shell


def test_a_run_and_a_comparison_are_written(busy, tmp_path):
    said = busy("report", "latest")
    assert said.exit_code == 0, said.output
    page = next((tmp_path / "reports").glob("run-*.html"))
    assert f"Report: {page}" in said.stdout
    assert "not finished" in page.read_text()
    assert "&lt;b&gt;bold" in page.read_text()
    ids = [run["id"] for run in busy.json("runs", "--json")]
    both = busy("report", *[one[-8:] for one in ids], "--open-path")
    path = Path(both.stdout.strip())
    assert path.is_absolute()
    assert path.name.startswith("comparison-")
    assert all(one in path.read_text() for one in ids)
    assert {one.suffix for one in path.parent.iterdir()} == {".html", ".md", ".json"}


@pytest.mark.parametrize(
    ("words", "said"),
    [(("nobody",), "no run 'nobody'"), (("latest", "latest"), "at least two different")],
)
def test_errors_are_one_line(busy, words, said):
    result = busy("report", *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_named(busy, tmp_path):
    (tmp_path / "reports").write_text("in the way")
    result = busy("report", "latest")
    assert result.exit_code == 2
    assert "reports cannot be written" in result.stderr


def test_what_is_missing_to_report_is_said(busy, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "rl.training.report_files", None)
    result = busy("report", "latest")
    assert result.exit_code == 2
    assert "pip install -r requirements.txt" in result.stderr
