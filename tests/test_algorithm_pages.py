"""The pages of the algorithms name what exists, under the same headings, and their code runs."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.learning_table import learning_table
from rl.algorithms.apg_config import APGConfig
from rl.algorithms.capabilities import CAPABILITIES
from rl.algorithms.dqn_config import DQNConfig
from rl.algorithms.maddpg_config import MADDPGConfig
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.qmix_config import QMIXConfig
from rl.algorithms.sac_config import SACConfig
from rl.algorithms.td3_config import TD3Config

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "algorithms"
INDEX = (PAGES / "README.md").read_text()
HEADINGS = [
    "What it is for",
    "Equation and source",
    "Options",
    "Metrics and what they mean",
    "Result",
    "Command",
]
ALGORITHM_PAGES = sorted(
    path for path in PAGES.glob("*.md") if path.stem not in ("README", "replay")
)


def test_the_index_names_every_algorithm_and_every_page():
    first_column = "".join(re.findall(r"^\| (.*?) \|", INDEX, flags=re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", first_column)) >= set(CAPABILITIES)
    linked = set(re.findall(r"\]\((\w+\.md)\)", INDEX))
    assert linked == {path.name for path in PAGES.glob("*.md")} - {"README.md"}


@pytest.mark.parametrize("page", ALGORITHM_PAGES, ids=lambda page: page.stem)
def test_every_page_has_the_same_headings(page):
    assert re.findall(r"^## (.+)$", page.read_text(), flags=re.MULTILINE) == HEADINGS


@pytest.mark.parametrize(
    ("config", "pages"),
    [
        (PPOConfig, ("ppo", "constrained_ppo", "recurrent_ppo")),
        (DQNConfig, ("dqn",)),
        (SACConfig, ("sac",)),
        (TD3Config, ("td3",)),
        (MADDPGConfig, ("maddpg",)),
        (QMIXConfig, ("qmix",)),
        (APGConfig, ("apg",)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_option_is_on_a_page(config, pages):
    text = "".join((PAGES / f"{page}.md").read_text() for page in pages)
    text += (PAGES / "README.md").read_text()
    missing = [field.name for field in dataclasses.fields(config) if f"`{field.name}" not in text]
    assert missing == []


def test_the_table_is_the_stored_one():
    assert learning_table() in INDEX


def test_the_index_code_runs():
    (block,) = re.findall(r"```python\n(.*?)```", INDEX, flags=re.DOTALL)
    program = subprocess.run(
        [sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert program.returncode == 0, program.stderr
