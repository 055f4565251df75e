"""An agent's card in figures: how good it is, beside its expert and the bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt

from console.showing import AXIS_ROOM, Drawing

Card = Mapping[str, Any]


def proof_rows(card: Card) -> list[dict[str, Any]]:
    """Return what the policy, its expert and hindsight reach on the same scenarios.

    Args:
        card: Of the agent.
    """
    model = card["model"]
    found, baseline = model["evaluation"], model["baseline"]
    rows = [
        {
            "who": "policy",
            "value": found["kpi"],
            "low": found["kpi_low"],
            "high": found["kpi_high"],
        },
        {"who": f"expert {baseline['expert']}", "value": baseline["kpi"]},
    ]
    if model.get("bound") is not None:
        rows.append({"who": "bound (hindsight)", "value": model["bound"]})
    return rows


def proof_words(card: Card) -> str:
    """Say how good the policy is.

    Args:
        card: Of the agent.
    """
    model = card["model"]
    found, baseline = model["evaluation"], model["baseline"]
    said = (
        f"{found['kpi']:,.2f} (95 % interval {found['kpi_low']:,.2f} to {found['kpi_high']:,.2f}) "
        f"against {baseline['kpi']:,.2f} of {baseline['expert']}"
    )
    if model.get("bound") is not None:
        said += f" and a bound of {model['bound']:,.2f}"
    if card["gap_closed_fraction"] is not None:
        said += f"; {card['gap_closed_fraction']:.1%} of the gap between them is closed"
    return f"{said}. {found['num_episodes']} episodes: {found['scenarios']}."


def draw_proof(rows: list[dict[str, Any]]) -> Drawing:
    """Draw the policy with its interval, its expert and the bound.

    Args:
        rows: See `proof_rows`.
    """
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        y=alt.Y("who:N", title=None, sort=None, axis=alt.Axis(labelLimit=300))
    )
    scale = alt.Scale(zero=False, nice=True, padding=12)
    point = base.mark_point(filled=True, size=110).encode(
        x=alt.X("value:Q", title="Score on held-out scenarios", scale=scale),
        color=alt.Color("who:N", legend=None),
        tooltip=["who:N", alt.Tooltip("value:Q", format=",.2f")],
    )
    interval = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=3)
    return alt.layer(
        interval.encode(x="low:Q", x2="high:Q", color=alt.Color("who:N", legend=None)), point
    ).properties(height=AXIS_ROOM + 30 * len(rows))


def lineage_rows(card: Card) -> list[dict[str, str]]:
    """Return where a policy comes from.

    Args:
        card: Of the agent.
    """
    model = card["model"]
    return [
        {"what": what, "value": str(value or "not on the card")}
        for what, value in (
            ("run", model["run_id"]),
            ("checkpoint", model["checkpoint_sha256"]),
            ("commit", model["commit"]),
            ("data", model["data"]),
            ("made at", model["created_at"]),
            ("artifact", card["artifact_sha256"]),
            ("precision", card["precision"]),
        )
    ]
