"""Rows and sentences about deciders in the same episodes; the server did the statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from console.lab_rows import Row, write
from orchestration.endpoints.session_play_routes import ComparisonReport, IntervalView, PlayerView

PROJECTED = ", projected"


def name_of(player: PlayerView) -> str:
    """Return what a decider is called.

    Args:
        player: Of a report.
    """
    names = {"random": "chance", "expert": player.name.replace("_", " ") or "usual rule"}
    projected = PROJECTED if player.is_projected else ""
    return names.get(player.kind, player.name) + projected


def as_decided(report: ComparisonReport) -> list[PlayerView]:
    """Return the deciders as they decide, without those whose actions were projected.

    Args:
        report: Of the server.
    """
    return [player for player in report.players if not player.is_projected]


def table_rows(report: ComparisonReport) -> list[Row]:
    """Return a line per decider, the best mean first.

    Args:
        report: Of the server.
    """
    order = sorted(report.players, key=lambda player: -player.mean.value)
    return [_table_row(player) for player in order]


def _table_row(player: PlayerView) -> Row:
    low, _, middle, _, high = player.quantiles
    return {
        "decider": name_of(player),
        "mean": shorten(player.mean.value),
        "mean, 95 %": tell_interval(player.mean),
        "to the baseline": "baseline"
        if player.difference is None
        else f"{write(player.difference.value)} {tell_interval(player.difference)}",
        "better in": "" if player.wins is None else f"{player.wins.value:.0%}",
        "IQM": shorten(player.iqm.value),
        "CVaR 5 %": shorten(player.worst.value),
        "5 %": shorten(low),
        "median": shorten(middle),
        "95 %": shorten(high),
        "violations a step": None if player.violation is None else player.violation.per_step.value,
    }


def shorten(value: float | None) -> float | None:
    """Return a number as a table shows it.

    Args:
        value: None where there is none.
    """
    return None if value is None else float(f"{value:.5g}")


def tell_interval(interval: IntervalView) -> str:
    """Write the ends of an interval.

    Args:
        interval: Without ends where there was nothing to resample.
    """
    if interval.low is None or interval.high is None:
        return ""
    return f"[{write(interval.low)}, {write(interval.high)}]"


def tell_table(report: ComparisonReport) -> str:
    """Say who is best, and whether that is more than chance.

    Args:
        report: Of the server.
    """
    base = report.players[report.baseline]
    best = max(report.players, key=lambda player: player.mean.value)
    words = (
        f"{report.episodes} episodes of {report.steps} steps, the same for everybody. Highest "
        f"mean: {name_of(best)} with {write(best.mean.value)} {tell_interval(best.mean)}."
    )
    gap = best.difference
    if gap is None or gap.low is None:
        return words
    sure = "more than chance" if gap.low > 0 else "not more than chance explains"
    return f"{words} That is {write(gap.value)} above {name_of(base)} {tell_interval(gap)}: {sure}."


def tail_notes(report: ComparisonReport) -> list[str]:
    """Return why tails are missing, each reason once.

    Args:
        report: Of the server.
    """
    reasons = (player.worst.reason for player in report.players)
    return list(dict.fromkeys(reason for reason in reasons if reason))


def mean_rows(report: ComparisonReport) -> list[Row]:
    """Return means with their intervals.

    Args:
        report: Of the server.
    """
    return [_interval_row(player, player.mean) for player in as_decided(report)]


def difference_rows(report: ComparisonReport) -> list[Row]:
    """Return paired differences to the baseline with their intervals.

    Args:
        report: Of the server.
    """
    return [
        _interval_row(player, player.difference)
        for player in as_decided(report)
        if player.difference is not None
    ]


def tell_differences(report: ComparisonReport) -> str:
    """Say who is surely better or worse than the baseline.

    Args:
        report: Of the server.
    """
    base = name_of(report.players[report.baseline])
    parts = []
    for player in as_decided(report):
        gap = player.difference
        if gap is None or gap.low is None or gap.high is None:
            continue
        sure = "better" if gap.low > 0 else "worse" if gap.high < 0 else "not told apart"
        parts.append(f"{name_of(player)} {write(gap.value)} {tell_interval(gap)}, {sure}")
    return f"Paired differences to {base}, 95 % intervals: {'; '.join(parts)}."


def return_rows(report: ComparisonReport) -> list[Row]:
    """Return the return of every decider in every episode.

    Args:
        report: Of the server.
    """
    return [
        {"decider": name_of(player), "episode": number, "return": value}
        for player in as_decided(report)
        for number, value in enumerate(player.returns, 1)
    ]


def tell_returns(report: ComparisonReport) -> str:
    """Say where the returns lie.

    Args:
        report: Of the server.
    """
    parts = [
        f"{name_of(player)} from {write(player.quantiles[0])} to {write(player.quantiles[-1])}"
        for player in as_decided(report)
    ]
    return f"Nine of ten episodes lie: {'; '.join(parts)}. One mark is one episode."


def curve_rows(report: ComparisonReport) -> list[Row]:
    """Return the return so far: mean and band.

    Args:
        report: Of the server.
    """
    return [
        {"decider": name_of(player), "step": step, "mean": mean, "low": low, "high": high}
        for player in as_decided(report)
        for step, mean, low, high in zip(
            player.curve.steps,
            player.curve.mean,
            player.curve.low,
            player.curve.high,
            strict=True,
        )
    ]


def path_rows(report: ComparisonReport, name: str) -> list[Row]:
    """Return single episodes of one decider.

    Args:
        report: Of the server.
        name: As `name_of` calls it.
    """
    return [
        {"episode": str(number), "step": step, "return": value}
        for player in report.players
        if name_of(player) == name
        for number, path in enumerate(player.curve.paths, 1)
        for step, value in zip(player.curve.steps, path, strict=True)
    ]


def violation_rows(report: ComparisonReport) -> list[Row]:
    """Return how often and how far limits were broken, before and after projection.

    Args:
        report: Of the server.
    """
    return [
        {
            "decider": name_of(player).removesuffix(PROJECTED),
            "actions": "projected" if player.is_projected else "as decided",
            "violation a step": player.violation.per_step.value,
            "low": player.violation.per_step.low,
            "high": player.violation.per_step.high,
            "steps with one": player.violation.steps_with,
            "episodes without": player.violation.free.value,
        }
        for player in report.players
        if player.violation is not None
    ]


def tell_violations(rows: Sequence[Row]) -> str:
    """Say who breaks limits, and what projecting does about it.

    Args:
        rows: Of the report.
    """
    parts = [
        f"{row['decider']} ({row['actions']}) {write(row['violation a step'])} a step, "
        f"{row['episodes without']:.0%} of episodes without any"
        for row in rows
    ]
    return f"Violations of limits: {'; '.join(parts)}."


def _interval_row(player: PlayerView, interval: IntervalView) -> Row:
    low = interval.value if interval.low is None else interval.low
    high = interval.value if interval.high is None else interval.high
    return {"decider": name_of(player), "value": interval.value, "low": low, "high": high}


def run_rows(runs: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Return the lines of finished runs' own tables on episodes that they never saw.

    Args:
        runs: Tables as jobs keep them, by what the run is called.
    """
    return [
        {
            "run": run,
            "entrant": row["name"],
            "kind": row["kind"],
            "value": row["kpi"]["mean"],
            "low": row["kpi"]["low"],
            "high": row["kpi"]["high"],
            "to the baseline": None
            if row["difference"] is None
            else f"{row['difference']['mean']:+,.4g} "
            f"[{write(row['difference']['low'])}, {write(row['difference']['high'])}]",
            "is baseline": row["name"] == table["baseline"],
            "episodes": table["num_episodes"],
            "figure": table["kpi"],
        }
        for run, table in runs.items()
        for row in table["rows"]
    ]


def evaluation_rows(run: str, evaluations: Sequence[Any]) -> list[Row]:
    """Return how a run's evaluations went while it learnt.

    Args:
        run: What it is called.
        evaluations: Of the run, oldest first.
    """
    return [
        {
            "run": run,
            "environment steps": one.env_steps,
            "value": one.scores["kpi"],
            "low": one.scores.get("kpi_low"),
            "high": one.scores.get("kpi_high"),
            "expert": one.scores.get("expert"),
        }
        for one in evaluations
        if one.scores.get("kpi") is not None
    ]
