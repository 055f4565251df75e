"""The committed dashboards, read from the JSON that Grafana imports."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "deploy" / "grafana" / "dashboards"
ORDER = ("overview", "training", "curriculum", "agents", "engine")
"""Of the tabs; others follow."""
LABELS = re.compile(r"label_values\((?P<metric>\w+), *(?P<label>\w+)\)")


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """From which value on a panel is drawn in another colour."""

    value: float
    color: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One figure over time, or as it is now."""

    title: str
    about: str
    unit: str
    """Grafana's name of it."""
    is_stat: bool
    targets: tuple[tuple[str, str], ...]
    """Query and pattern of the legend."""
    thresholds: tuple[Threshold, ...]


@dataclass(frozen=True, kw_only=True)
class Board:
    """One dashboard."""

    uid: str
    title: str
    about: str
    variables: Mapping[str, str]
    """Choices at the top, by name: the metric whose label of this name offers the values."""
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    """Heading and panels."""


def load_boards(folder: Path = FOLDER) -> tuple[Board, ...]:
    """Return all dashboards in their order.

    Args:
        folder: Of the JSON files.
    """
    found = [_board(json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]
    places = {f"qm-{name}": place for place, name in enumerate(ORDER)}
    return tuple(sorted(found, key=lambda board: places.get(board.uid, len(places))))


def _board(document: Mapping[str, Any]) -> Board:
    rows: list[tuple[str, list[Panel]]] = []
    for one in document["panels"]:
        if one["type"] == "row":
            rows.append((one["title"], []))
            continue
        if not rows:
            rows.append(("", []))
        rows[-1][1].append(_panel(one))
    return Board(
        uid=document["uid"],
        title=document["title"].removeprefix("Quartermaster: ").capitalize(),
        about=document["description"],
        variables={
            found["label"]: found["metric"]
            for one in document["templating"]["list"]
            if one["type"] == "query" and (found := LABELS.fullmatch(str(one["query"])))
        },
        rows=tuple((heading, tuple(panels)) for heading, panels in rows),
    )


def _panel(one: Mapping[str, Any]) -> Panel:
    defaults = one["fieldConfig"]["defaults"]
    targets = tuple((target["expr"], target["legendFormat"]) for target in one["targets"])
    queries = f" ({', '.join(query for query, _ in targets)})"
    return Panel(
        title=one["title"],
        about=one["description"].removesuffix(queries),
        unit=defaults.get("unit", "short"),
        is_stat=one["type"] == "stat",
        targets=targets,
        thresholds=tuple(
            Threshold(value=float(step["value"]), color=step["color"])
            for step in defaults["thresholds"]["steps"]
            if step.get("value") is not None
        ),
    )


def fill_in(query: str, chosen: Mapping[str, str]) -> str:
    """Return a query with the choices in place of its variables.

    Args:
        query: Of a panel.
        chosen: A regular expression, or an exact value that is quoted here, by variable.
    """
    return re.sub(r"\$(\w+)", lambda found: chosen.get(found[1], ".*"), query)


def exactly(value: str) -> str:
    """Return the pattern that matches one value of a label, inside a query's quotes.

    Args:
        value: Of the label.
    """
    return json.dumps(re.sub(r"([.^$*+?{}\[\]\\|()])", r"\\\1", value))[1:-1]


def legend_of(pattern: str, labels: Mapping[str, str]) -> str:
    """Return a series' name.

    Args:
        pattern: Such as `{{agent}} p99`.
        labels: Of the series.
    """
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), pattern) or "value"
