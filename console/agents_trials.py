"""Canaries, second answers and the gate in rows and words."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import altair as alt

from orchestration.endpoints.rollout_routes import SecondAnswer
from orchestration.rollout.figures import ArmFigures, TrialFigures
from orchestration.rollout.gate import GateResult
from orchestration.rollout.plan import CanaryPlan


def plan_words(plan: CanaryPlan) -> str:
    """Say what has become of a canary.

    Args:
        plan: The agent's last one.
    """
    state = plan.state.value.replace("_", " ")
    said = f"Version {plan.version} on {plan.share:.0%} of the request keys: {state}"
    why = f" ({plan.reason})" if plan.reason else ""
    return f"{said}{why}, since {plan.since:%Y-%m-%d %H:%M} UTC."


def arm_rows(trial: TrialFigures) -> list[dict[str, Any]]:
    """Return what both arms of a canary have done.

    Args:
        trial: As one server has seen it.
    """
    return [
        {"who": who, **_arm(arm)}
        for who, arm in (("challenger", trial.challenger), ("champion", trial.champion))
    ]


def _arm(arm: ArmFigures) -> dict[str, Any]:
    asked = max(arm.requests, 1)
    return {
        "requests": arm.requests,
        "errors": arm.errors,
        "error share": f"{arm.errors / asked:.1%}",
        "fallbacks": arm.fallbacks,
        "median ms": _milliseconds(arm.median_seconds),
        "95 % within ms": _milliseconds(arm.slow_seconds),
    }


def _milliseconds(seconds: float | None) -> str:
    return "not asked" if seconds is None else f"{seconds * 1e3:.3g}"


def trial_words(plan: CanaryPlan, trial: TrialFigures) -> str:
    """Say what is concluded so far.

    Args:
        plan: The limits.
        trial: The figures.
    """
    if trial.verdict is not None:
        return f"It must not go on: {trial.verdict}."
    if trial.challenger.requests < plan.limits.fewest:
        missing = plan.limits.fewest - trial.challenger.requests
        return f"Nothing is concluded yet: {missing} more requests of the challenger are needed."
    regret = (
        "the champion was not asked the same yet"
        if trial.mean_regret is None
        else f"the champion expects {trial.mean_regret:+.2%} value over {trial.num_regrets}"
    )
    return f"It may go on: no limit is broken beyond doubt; {regret}."


def limit_rows(plan: CanaryPlan) -> list[dict[str, Any]]:
    """Return what a challenger must not exceed.

    Args:
        plan: Of the canary.
    """
    return [{"limit": name, "value": value} for name, value in asdict(plan.limits).items()]


def agreement_words(answers: Sequence[SecondAnswer]) -> str:
    """Say how often other versions decide the same.

    Args:
        answers: At least one.
    """
    counts = Counter(one.outcome for one in answers)
    parts = [f"{count} {outcome}" for outcome, count in counts.most_common()]
    said = (
        f"Of {len(answers)} second answers {', '.join(parts)}: "
        f"{counts['equal'] / len(answers):.0%} agree"
    )
    distances = [one.distance for one in answers if one.distance is not None]
    regrets = [one.regret for one in answers if one.regret is not None]
    if distances:
        said += f"; mean distance {statistics.fmean(distances):.2%}"
    if regrets:
        said += f"; the others expect {statistics.fmean(regrets):+.2%} value"
    return f"{said}."


def answer_rows(answers: Sequence[SecondAnswer]) -> list[dict[str, Any]]:
    """Return a row for each second answer.

    Args:
        answers: As the server lists them.
    """
    return [
        {
            "at": one.at.isoformat(),
            "version": one.version,
            "served": one.served_version,
            "outcome": one.outcome,
            "distance": one.distance,
            "regret": one.regret,
            "ms": round(one.latency_seconds * 1e3, 3),
            "decision": one.decision_id,
        }
        for one in answers
    ]


def draw_answers(rows: Sequence[dict[str, Any]]) -> alt.Chart:
    """Draw how far second answers lie from those that were served.

    Args:
        rows: See `answer_rows`.
    """
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=[row for row in rows if row["distance"] is not None]))
        .mark_circle(size=60)
        .encode(
            x=alt.X("at:T", title=None, scale=alt.Scale(nice="minute")),
            y=alt.Y("distance:Q", title="Distance", axis=alt.Axis(format="%")),
            color=alt.Color("outcome:N", title=None, legend=alt.Legend(orient="top")),
            tooltip=["at:T", "version:N", "outcome:N", alt.Tooltip("distance:Q", format=".2%")],
        )
        .properties(height=220)
    )
    return chart


def gate_rows(results: Sequence[GateResult]) -> list[dict[str, Any]]:
    """Return what the gate said, newest first.

    Args:
        results: As the server lists them.
    """
    return [
        {
            "at": one.at,
            "version": one.version,
            "against": one.champion,
            "verdict": "passed" if one.is_passed else "refused",
            "forced because": one.forced_because or "",
            "what speaks against it": "; ".join(one.reasons),
        }
        for one in results
    ]
