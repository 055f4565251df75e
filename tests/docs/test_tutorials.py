"""Every tutorial does what it says: its own blocks are run, and its outputs compared."""

from __future__ import annotations

import pytest

from tests.docs.tutorial import ROOT, differences, follow, read_blocks

PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_does_what_it_says(page, tmp_path):
    commands = 0
    for command, shown, came in follow(page.read_text(), tmp_path):
        assert differences(shown, came) == [], command
        commands += 1
    assert commands >= 3


def test_every_block_of_a_tutorial_is_understood():
    for page in PAGES:
        blocks = read_blocks(page.read_text())
        assert page.read_text().count("\n```") == 2 * len(blocks)
        for block in blocks:
            assert block.steps if block.language == "console" else block.title, block


@pytest.mark.parametrize(
    ("shown", "came"),
    [
        (["a", "...", "z"], ["a", "b", "c", "z"]),
        (["..."], ["a", "b"]),
        (["...", "z"], ["z"]),
        (["run ... of 3"], ["run 5f2a of 3"]),
        (["best 7,515  -34 [-36, -31]"], ["best 7,520   -34 [-36, -30]"]),
        (["12.0 %", "9%"], ["12.1 %", "10%"]),
    ],
)
def test_what_is_alike_passes(shown, came):
    assert differences(shown, came) == []


@pytest.mark.parametrize(
    ("shown", "came"),
    [
        (["a"], ["a", "b"]),
        (["a", "b"], ["a"]),
        (["a", "...", "z"], ["a", "b"]),
        (["version 1"], ["version 2"]),
        (["7,515"], ["7,715"]),
        (["-34"], ["34"]),
        (["9%"], ["9"]),
        (["run ... of 3"], ["run 5f2a of 4"]),
    ],
)
def test_what_differs_is_told(shown, came):
    assert differences(shown, came)
