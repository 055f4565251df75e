"""Dashboards are what their declaration says, drawable, and about families that are exposed."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
import yaml

from deploy.grafana.write import BOARDS, FOLDER, render

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules"
PANELS = [
    (board.uid, panel) for board in BOARDS for panels in board.rows.values() for panel in panels
]
QUERIES = [query for _, panel in PANELS for query in panel.series.values()]
OF_OTHERS = {"up", "ALERTS"}


def exposed() -> set[str]:
    page = (ROOT / "docs" / "metrics.md").read_text()
    return set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE))


def families(text: str) -> set[str]:
    names = re.findall(r"(?<![:\w])(?:rl|agent|job|quartermaster)_\w+", text)
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in names}


def rules() -> list[dict[str, str]]:
    files = [yaml.safe_load(path.read_text()) for path in sorted(RULES.glob("*.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_the_file_is_what_is_declared(board):
    written = (FOLDER / f"{board.uid}.json").read_text()
    assert written == render(board), "run: python -m deploy.grafana.write"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_panels_have_their_own_place_and_name(board):
    panels = json.loads(render(board))["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(ids) == len(set(ids))
    boxes = [panel["gridPos"] for panel in panels]
    for one, other in itertools.combinations(boxes, 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        ), (one, other)
    assert all(box["x"] + box["w"] <= 24 for box in boxes)
    for panel in panels:
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert panel["datasource"]["uid"] == "${source}"
            assert {one["datasource"]["uid"] for one in panel["targets"]} == {"${source}"}


def test_dashboards_show_what_is_exposed():
    shown = set().union(*map(families, QUERIES))
    assert shown <= exposed(), shown - exposed()
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    spoken = {n for query in QUERIES for n in re.findall(r"\b(?:run|agent|job):[\w:]+", query)}
    assert spoken <= recorded, spoken - recorded


def test_everything_that_is_exposed_is_shown_or_watched():
    used = set().union(*map(families, QUERIES), *(families(rule["expr"]) for rule in rules()))
    assert exposed() <= used, exposed() - used


def test_what_is_recorded_is_used():
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    text = " ".join([*QUERIES, *(rule["expr"] for rule in rules() if "alert" in rule)])
    assert all(name in text for name in recorded), [n for n in recorded if n not in text]


def test_panels_of_a_dashboard_have_names_of_their_own():
    for board in BOARDS:
        titles = [panel.title for panels in board.rows.values() for panel in panels]
        assert len(titles) == len(set(titles))
