"""The README promises nothing that is not stored or does not run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.allocation_quality import RESULTS, short_table
from benchmarks.decision_quality import BENCHMARKS, headline_table, read_report
from benchmarks.measuring import RESULTS as FOLDER
from benchmarks.originals import originals_table
from rl.evaluation.comparison import EvaluationTable
from utils.config import from_json

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def stored_table() -> EvaluationTable:
    content = json.loads((RESULTS / "allocation_quality.json").read_text())
    return from_json(EvaluationTable, content["tables"][0])


def test_the_table_is_the_stored_one():
    assert short_table(stored_table()) in README


def test_the_published_figures_are_beside_the_stored_ones():
    assert originals_table() in (ROOT / "docs/environments/README.md").read_text()


def test_decisions_beside_published_ones_are_the_stored_ones():
    reports = {name: read_report(name, FOLDER) for name in BENCHMARKS}
    table = headline_table(reports)
    assert table in README
    reports["inventory"] = json.loads(json.dumps(reports["inventory"]).replace("1409.6", "1509.6"))
    assert headline_table(reports) not in README


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


def run(block):
    program = subprocess.run(
        [sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert program.returncode == 0, program.stderr
    return program.stdout


def test_a_world_is_made_in_three_lines():
    assert run(BLOCKS[1]).startswith("how much to order on every link")


def test_an_agent_of_ones_own_loop_learns():
    steps, _, names = run(BLOCKS[2]).partition(" ")
    assert int(steps) == 64
    assert "'td_loss'" in names


@pytest.mark.slow
def test_the_python_block_runs(tmp_path):
    block = BLOCKS[0]
    shorter = block.replace("total_episodes=2560", f'total_episodes=128, output_dir="{tmp_path}"')
    assert shorter != block
    score, report = run(shorter).split()
    assert float(score) > 0
    assert Path(report, "report.md").is_file()
