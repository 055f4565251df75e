"""The words in which dashboards are declared: boards, rows, panels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

RUN = '{environment=~"$environment", run=~"$run"}'
AGENT = '{agent=~"$agent"}'


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One figure over time, or as it is now."""

    title: str
    about: str
    """What it tells, and when to worry."""
    unit: str
    """Grafana's name of it, such as `s`, `percentunit`, `short`."""
    series: dict[str, str]
    """Query by legend."""
    kind: Literal["timeseries", "stat"] = "timeseries"
    warn: float | None = None
    """From here on it is drawn in orange."""
    alarm: float | None = None
    """From here on it is drawn in red."""
    may_be_empty: bool = False
    """Whether a healthy system may have nothing to show, such as a curriculum."""


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A choice at the top of a dashboard."""

    name: str
    metric: str
    """Whose label of this name offers the values."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """One dashboard."""

    uid: str
    title: str
    about: str
    rows: dict[str, tuple[Panel, ...]]
    """By heading."""
    variables: tuple[Variable, ...] = field(default=())


ENVIRONMENT = Variable(name="environment", metric="rl_env_steps_total")
RUN_CHOICE = Variable(name="run", metric="rl_env_steps_total")
AGENT_CHOICE = Variable(name="agent", metric="agent_requests_total")


def of_run(title: str, metric: str, about: str, unit: str = "short") -> Panel:
    """Return a panel of one figure of every chosen run.

    Args:
        title: Its heading.
        metric: Which family.
        about: What it tells.
        unit: Grafana's name of the unit.
    """
    return Panel(title=title, about=about, unit=unit, series={"{{run}}": f"{metric}{RUN}"})


def world_figure(names: str) -> str:
    """Return the query of some of the world's own figures of every chosen run.

    Args:
        names: Of the figures, as a regular expression.
    """
    return f'rl_environment_figure{{environment=~"$environment", run=~"$run", figure=~"{names}"}}'


def share_of(part: str, whole: str) -> str:
    """Return the query of a share of the world's figures.

    Args:
        part: Name of a figure.
        whole: Of the one that it is a part of; nothing is shown where it is zero.
    """
    return f"{world_figure(part)} / ignoring(figure) ({world_figure(whole)} > 0)"


def per_second(metric: str, by: str) -> str:
    """Return the query of a counter of the chosen agents: its rate, by some labels.

    Args:
        metric: The counter.
        by: Labels, with commas between.
    """
    return f"sum by ({by}) (rate({metric}{AGENT}[5m]))"


def quantile(share: float, metric: str, by: str = "") -> str:
    """Return the query of a quantile of five minutes.

    Args:
        share: Of the values that lie below it.
        metric: The histogram.
        by: Labels to tell apart, with commas between.
    """
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket[5m])))"
