"""The README promises nothing that is not stored or does not run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.allocation_quality import RESULTS, short_table
from rl.evaluation.comparison import EvaluationTable
from utils.config import from_json

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def stored_table() -> EvaluationTable:
    content = json.loads((RESULTS / "allocation_quality.json").read_text())
    return from_json(EvaluationTable, content["tables"][0])


def test_the_table_is_the_stored_one():
    assert short_table(stored_table()) in README


def test_a_changed_number_would_be_noticed():
    changed = re.sub(r"\| urgent_value \| [\d,]+ ", "| urgent_value | 99,999 ", README)
    assert changed != README
    assert short_table(stored_table()) not in changed


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_make_targets_exist():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for target in re.findall(r"`?make ([a-z]+)`?", README):
        assert target in targets


@pytest.mark.slow
def test_the_python_block_runs(tmp_path):
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    shorter = block.replace("total_episodes=2560", f'total_episodes=128, output_dir="{tmp_path}"')
    assert shorter != block
    program = subprocess.run(
        [sys.executable, "-c", shorter], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert program.returncode == 0, program.stderr
    score, report = program.stdout.split()
    assert float(score) > 0
    assert Path(report, "report.md").is_file()
