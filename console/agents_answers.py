"""Decisions in figures: what was decided, beside what the expert would have done."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from console.showing import AXIS_ROOM

Answer = Mapping[str, Any]
Amount = tuple[str, float]
MOST_BARS = 60
MOST_FIELDS = 12
MOST_LABELS = 20
"""Beside each other; of more, some are left out."""
AXIS = alt.Axis(labelLimit=320, labelOverlap=False)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What a decision's chart shows."""

    of: str
    """What the amounts are."""
    rows: tuple[Mapping[str, Any], ...]
    """What, who, amount."""

    @property
    def summary(self) -> str:
        """One sentence for readers who do not see it."""
        who = list(dict.fromkeys(str(row["who"]) for row in self.rows))
        top = max(self.rows, key=lambda row: abs(row["amount"]))
        said = f"{self.of} by {' and '.join(who)}; largest: {top['what']} with {top['amount']:.4g}"
        return said + _difference(self.rows, who) + "."


def _difference(rows: Sequence[Mapping[str, Any]], who: Sequence[str]) -> str:
    if len(who) < 2:
        return ""
    first, second = ({r["what"]: r["amount"] for r in rows if r["who"] == w} for w in who[:2])
    gaps = {what: amount - second.get(what, 0.0) for what, amount in first.items()}
    what = max(gaps, key=lambda name: abs(gaps[name]))
    if abs(gaps[what]) < 1e-9:
        return "; they agree"
    return f"; they differ most in {what}, by {gaps[what]:+.4g}"


def _allocations(part: Answer) -> Iterator[Amount]:
    for one in part["services"]:
        for resource, amount in one["allocation"].items():
            yield f"{one['name']} · {resource}", amount


def _slices(part: Answer) -> Iterator[Amount]:
    for number, shares in enumerate(part["outlook"]["slices"], start=1):
        yield f"slice {number:>3}", shares


def _weights(part: Answer) -> Iterator[Amount]:
    for one in part["portfolio"]["positions"]:
        yield one["symbol"], one["target_weight"]
    yield "cash", part["portfolio"]["cash_weight"]


def _orders(part: Answer) -> Iterator[Amount]:
    for product in part["products"]:
        for line in product["orders"]:
            yield f"{product['name']} · {line['place']}", line["order"]


def _people(part: Answer) -> Iterator[Amount]:
    for one in part["staffing"]:
        yield one["skill"], one["wanted_people"]


def _nodes(part: Answer) -> Iterator[Amount]:
    ranked = [part.get("placement"), *part.get("alternatives", ())]
    for one in ranked:
        if one is not None:
            gpus = ", ".join(str(gpu) for gpu in one["gpus"])
            yield one["node"] + (f" (GPU {gpus})" if gpus else ""), one["score"]


def _workloads(part: Answer) -> Iterator[Amount]:
    for one in part["placements"]:
        yield f"{one['workload']} → {one['node'] or 'nobody'}", one["spare_share"] or 0.0


def _numbers(part: Answer) -> Iterator[Amount]:
    yield from _flat(part["action"], "")


def _flat(value: Any, place: str) -> Iterator[Amount]:
    if isinstance(value, list):
        for number, one in enumerate(value):
            yield from _flat(one, f"{place}[{number}]")
    else:
        yield place or "action", float(value)


READERS: Mapping[str, tuple[str, Callable[[Answer], Iterator[Amount]]]] = {
    "services": ("Units granted", _allocations),
    "outlook": ("Shares to sell", _slices),
    "portfolio": ("Share of wealth", _weights),
    "products": ("Units to order", _orders),
    "staffing": ("People wanted", _people),
    "alternatives": ("Score of a place", _nodes),
    "placements": ("Spare share of the node", _workloads),
    "action": ("Action", _numbers),
}


def picture_of(decision: Answer) -> Picture | None:
    """Return what a decision's chart shows; None where there is nothing to draw.

    Args:
        decision: As the server returned it.
    """
    known = next((key for key in READERS if key in decision), None)
    if known is None:
        return None
    of, read = READERS[known]
    asked = f"{decision['decided_by']} (decision)"
    rows = _rows(asked, read(decision))
    expert = decision.get("expert")
    if expert is not None:
        rows += _rows(f"{expert['name']} (expert)", read(expert))
    return Picture(of=of, rows=tuple(rows)) if rows else None


def _rows(who: str, amounts: Iterator[Amount]) -> list[dict[str, Any]]:
    return [
        {"what": what, "who": who, "amount": amount}
        for what, amount in itertools.islice(amounts, MOST_BARS)
    ]


def draw_picture(picture: Picture) -> alt.Chart:
    """Draw a decision beside the expert's answer.

    Args:
        picture: What it shows.
    """
    order = list(dict.fromkeys(row["what"] for row in picture.rows))
    who = list(dict.fromkeys(row["who"] for row in picture.rows))
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=[dict(row) for row in picture.rows]))
        .mark_bar()
        .encode(
            x=alt.X(
                "what:N",
                title=None,
                sort=order,
                axis=alt.Axis(
                    labelAngle=-30, labelLimit=240, labelOverlap=len(order) > MOST_LABELS
                ),
            ),
            xOffset=alt.XOffset("who:N", sort=who),
            y=alt.Y("amount:Q", title=picture.of),
            color=alt.Color(
                "who:N", title=None, sort=who, legend=alt.Legend(orient="top", labelLimit=400)
            ),
            tooltip=["what:N", "who:N", alt.Tooltip("amount:Q", format=".5~g")],
        )
        .properties(height=280)
    )
    return chart


def reasons_of(decision: Answer) -> list[dict[str, str]]:
    """Return the reasons that a decision gives, each with what it is about.

    Args:
        decision: As the server returned it.
    """
    return [
        {"about": about or "decision", "reason": reason} for about, reason in _reasons(decision, "")
    ]


def _reasons(part: Any, about: str) -> Iterator[tuple[str, str]]:
    if isinstance(part, list):
        for one in part:
            yield from _reasons(one, about)
        return
    if not isinstance(part, Mapping):
        return
    names = (part.get(key) for key in ("name", "place", "skill", "symbol", "workload"))
    own = " · ".join([about, *(str(name) for name in names if name)]).strip(" ·")
    if part.get("reason"):
        yield own, str(part["reason"])
    for key, one in part.items():
        if key not in {"expert", "explanation"}:
            yield from _reasons(one, own)


def head_of(decision: Answer) -> str:
    """Say in a sentence who decided, and how.

    Args:
        decision: As the server returned it.
    """
    said = (
        f"Version {decision['version']} of {decision['agent']} answered in "
        f"{decision['duration_seconds'] * 1e3:.3g} ms; decided by {decision['decided_by']}"
    )
    if decision["fallback_used"]:
        said += f", in place of the policy ({decision['fallback_reason']})"
    bound = ", ".join(decision["guardrails"])
    return f"{said}. {f'Cut to what is feasible: {bound}' if bound else 'Nothing had to be cut'}."


def influence_rows(explanation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the fields that an answer hangs on most, strongest first.

    Args:
        explanation: Of a decision.
    """
    return [dict(one) for one in explanation["fields"][:MOST_FIELDS]]


def draw_influences(rows: Sequence[Mapping[str, Any]], unit: str) -> alt.Chart:
    """Draw how much the answer would move if a field were at its reference.

    Args:
        rows: Fields, strongest first.
        unit: Of the answer's numbers.
    """
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))
        .mark_bar()
        .encode(
            y=alt.Y("field:N", title=None, sort=None, axis=AXIS),
            x=alt.X("moved:Q", title=f"Change of the answer, {unit}"),
            tooltip=["field:N", alt.Tooltip("moved:Q", format=".4~g")],
        )
        .properties(height=AXIS_ROOM + 26 * len(rows))
    )
    return chart
