"""What the pages name is there: links, headings, commands, flags, targets, files and names."""

from __future__ import annotations

import re

import pytest
import typer

from orchestration.cli import commands
from tests.docs.pages import (
    COMMAND,
    MAKE,
    MODULE,
    PAGES,
    ROOT,
    broken_links,
    is_defined,
    named_files,
    named_objects,
)

CLI = typer.main.get_command(commands.cli)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
REFERENCE = ROOT / "docs" / "reference"
SHOWN = {"ai_agents", "orchestration.client", "rl.algorithms", "rl.deployment", "rl.environments"}
SHOWN |= {"rl.evaluation", "rl.training", "data"}
MADE = ("data/csv", "data/realAWSCloudwatch", "data/retail-data", "data/Azure", "data/arr")
"""Folders of other people's repositories."""

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def wrong_words(words: list[str]) -> list[str]:
    """Which words of a command line no command or option has."""
    group, known, wrong = CLI, flags_of(CLI), []
    left = iter(words)
    for word in left:
        inside = getattr(group, "commands", {})
        if word.startswith("--"):
            flag, _, value = word.partition("=")
            wrong += [] if flag in known else [flag]
            if known.get(flag) and not value:
                next(left, None)
        elif word in inside:
            group = inside[word]
            known |= flags_of(group)
        elif inside and re.fullmatch("[a-z]+(-[a-z]+)*", word):
            wrong.append(word)
    return wrong


def flags_of(command) -> dict[str, bool]:
    """Options of a command, and whether each takes a value."""
    return {"--help": False} | {
        flag: not getattr(one, "is_flag", False)
        for one in command.params
        for flag in one.opts + one.secondary_opts
    }


@every_page
def test_links_lead_to_a_page_and_a_heading(page):
    assert broken_links(page, page.read_text()) == []


@every_page
def test_commands_and_their_flags_exist(page):
    for words in COMMAND.findall(page.read_text()):
        assert wrong_words(words.replace("\\\n", " ").split()) == [], words


@every_page
def test_make_targets_exist(page):
    assert set(MAKE.findall(page.read_text())) - TARGETS == set()


@every_page
def test_modules_that_are_run_exist(page):
    others = {"pytest", "json", "pip", "venv", "http"}
    for name in set(MODULE.findall(page.read_text())) - {"learning"}:
        top = name.partition(".")[0]
        assert top in others or is_defined(name), name


@every_page
def test_files_that_are_named_exist(page):
    named = {
        name
        for name in named_files(page.read_text())
        if not name.startswith(MADE) and "FAMILY" not in name
    }
    missing = {
        name
        for name in named
        if not any((ROOT / f"{name}{end}").exists() for end in ("", ".py", ".md"))
        and not (page.parent / name).exists()
    }
    assert missing == set()


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.stem != "CHANGELOG"], ids=lambda page: page.stem
)
def test_python_names_exist(page):
    assert {name for name in named_objects(page.read_text()) if not is_defined(name)} == set()


def test_the_reference_shows_every_module_once():
    shown = [
        name
        for page in REFERENCE.glob("*.md")
        for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
    ]
    assert len(shown) == len(set(shown))
    assert {name for name in shown if name.endswith(".*")} == {f"{one}.*" for one in SHOWN}
    assert [name for name in shown if not is_defined(name.removesuffix(".*"))] == []


def test_what_is_not_there_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.touch()
    text = "# One\n[a](#one) [b](#two) [c](none.md)\n```\n[d](#three)\n```\n"
    assert broken_links(page, text) == ["#two", "none.md"]
    assert wrong_words(["canary", "AGENT", "--share", "0.1", "--sure"]) == ["--sure"]
    assert wrong_words(["trian", "x=1"]) == ["trian"]
    assert wrong_words(["tokens", "creat", "ci"]) == ["creat", "ci"]
    assert is_defined("rl.training.problem.Problem.settings_of")
    assert not is_defined("rl.training.problem.Problem.setting_of")
    assert not is_defined("rl.training.problms")
    assert named_files("see `rl/no/such.py`, tests/x.py") == {"rl/no/such.py", "tests/x.py"}
    assert named_objects("`rl.a.B`, data.json, utils.x") == {"rl.a.B", "utils.x"}
