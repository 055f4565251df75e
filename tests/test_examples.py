"""Every example runs as its page says, from the repository's root, and leaves nothing there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "examples/README.md"
WORLDS = {"challengers", "water_tank"}
"""Shared by examples, not run by itself."""
EXAMPLES = sorted({path.stem for path in ROOT.glob("examples/*.py")} - WORLDS)
MOST_LINES = 80


def number_after(label: str, output: str) -> float:
    """The first number of the line that begins with a label."""
    (line,) = re.findall(rf"^{label} +(-?[\d,.]+)", output, re.MULTILINE)
    return float(line.replace(",", ""))


def check_beats_the_rule(output: str) -> None:
    assert number_after("apg", output) > number_after("give_all", output)


def check_passes_the_rule(output: str) -> None:
    before, rule, after = (number_after(one, output) for one in ("before", "give_all", "after"))
    assert before < rule < after


def check_return_climbs(output: str) -> None:
    returns = [float(one) for one in re.findall(r"mean return +([\d.]+)", output)]
    assert returns[-1] > 2 * returns[0]


def check_interval_is_narrower(output: str) -> None:
    widths = {
        name: float(high) - float(low)
        for name, low, high in re.findall(
            r"^(.+?) +-?[\d.]+ +\[(-?[\d.]+), (-?[\d.]+)\]", output, re.MULTILINE
        )
    }
    assert widths["difference, paired"] < widths["without pairing"]
    assert "longer is better" in output


def check_best_is_the_highest(output: str) -> None:
    scores = {
        int(n): float(s)
        for n, s in re.findall(r"^(\d) .* complete +(-?[\d.]+)$", output, re.MULTILINE)
    }
    (best,) = re.findall(r"^best: trial (\d)$", output, re.MULTILINE)
    assert scores[int(best)] == max(scores.values())


def check_same_bytes(output: str) -> None:
    (straight,) = re.findall(r"never stopped +([0-9a-f]{16})", output)
    (resumed,) = re.findall(r"resumed +([0-9a-f]{16})", output)
    assert straight == resumed
    assert re.search(r"^stopped after [\d,]+ of", output, re.MULTILINE)


def check_grants_are_positive(output: str) -> None:
    grants = [float(one) for one in re.findall(r"(?:compute|memory) +([\d.]+)", output)]
    assert grants
    assert min(grants) >= 0 < max(grants)


def check_all_are_rolled_back(output: str) -> None:
    ends = dict(re.findall(r"^(overflowing|slow|stingy) +(\w+) after", output, re.MULTILINE))
    assert ends == dict.fromkeys(("overflowing", "slow", "stingy"), "rolled_back")
    assert re.search(r"^overflowing .* fallbacks: 20 of 20 requests", output, re.MULTILINE)
    assert "champion is still version 1" in output


CHECKS = {
    "bad_challenger": check_all_are_rolled_back,
    "compare": check_interval_is_narrower,
    "custom_algorithm": check_passes_the_rule,
    "custom_environment": check_beats_the_rule,
    "foreign_gymnasium_environment": check_return_climbs,
    "own_data": check_beats_the_rule,
    "resume": check_same_bytes,
    "search": check_best_is_the_highest,
    "serve": check_grants_are_positive,
}


def test_every_example_is_known_and_on_the_page():
    assert list(CHECKS) == EXAMPLES
    commands = re.findall(r"python -m examples\.(\w+)", PAGE.read_text())
    assert sorted(set(commands)) == EXAMPLES


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*.py")), ids=lambda path: path.stem)
def test_examples_are_short(path):
    assert len(path.read_text().splitlines()) < MOST_LINES


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name, tmp_path):
    before = set(ROOT.iterdir())
    environment = os.environ | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-m", f"examples.{name}"]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    CHECKS[name](result.stdout)
    assert set(ROOT.iterdir()) == before
    left = {path.name for path in tmp_path.iterdir()}
    assert {name for name in left if not name.startswith("torchinductor")} == set()
