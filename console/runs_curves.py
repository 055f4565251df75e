"""The figures of a run: scores, returns, losses, any other metric, and its stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from console.runs_address import METRIC, note
from console.runs_charts import Picture, draw_curves, draw_evaluations, draw_stages, group_metrics
from console.server import ask
from console.showing import figure
from orchestration.client.client import Client
from utils.persistence.run_queries import Evaluation, MetricPoint, RunDetails

POINTS = 400
USUAL = "validation"


def show_curves(run: RunDetails) -> None:
    """Draw what one looks at first, and any metric that is asked for.

    Args:
        run: Which.
    """
    if not run.latest and not run.evaluations:
        st.info("Nothing measured yet: the first figures come after the first update.")
        return
    groups = group_metrics(run.latest)
    known, asked = list(run.latest), st.query_params.get(METRIC)
    index = known.index(asked) if asked in known else None
    chosen = st.selectbox("Any other metric", known, index=index, key=METRIC)
    note(METRIC, chosen)
    names = {name for group in groups.values() for name in group} | ({chosen} if chosen else set())
    curves = fetch_curves(run.summary.id, sorted(names))
    if chosen and chosen in curves:
        _draw(chosen, draw_curves(chosen, {chosen: curves[chosen]}), f"run:chosen:{chosen}")
    for name, evaluations in _by_set(run.evaluations).items():
        st.subheader(f"Score on {name.replace('_', ' ')} scenarios")
        _draw_figure(draw_evaluations(evaluations), f"run:scores:{name}")
    cells = [
        (title if len(group) == 1 else f"{title}: {name.replace('_', ' ')}", name)
        for title, group in groups.items()
        for name in group
        if curves.get(name)
    ]
    for place in range(0, len(cells), 2):
        for column, (title, name) in zip(st.columns(2), cells[place : place + 2], strict=False):
            with column:
                picture = draw_curves(name.replace("_", " "), {name: curves[name]})
                _draw(title, picture, f"run:curve:{name}")


def show_stages(run: RunDetails) -> None:
    """Draw which stage the run was in, from step to step.

    Args:
        run: Which.
    """
    run_id = run.summary.id
    stages = ask(lambda client: client.runs.stages(run_id))
    if not stages:
        st.info("No stage was told yet.")
        return
    _draw_figure(draw_stages(stages, run.summary.env_steps), "run:stages")
    if "curriculum/stage" in run.latest:
        names = ("curriculum/stage", "curriculum/difficulty")
        for name, points in fetch_curves(run_id, names).items():
            _draw(name, draw_curves(name, {name: points}), f"run:{name}")


def fetch_curves(run_id: str, names: Sequence[str]) -> Mapping[str, Sequence[MetricPoint]]:
    """Return the metrics of a run over steps, by name.

    Args:
        run_id: Which run.
        names: Of metrics that it has.
    """

    async def fetch(client: Client) -> dict[str, Sequence[MetricPoint]]:
        return {name: await client.runs.curve(run_id, name, max_points=POINTS) for name in names}

    return ask(fetch)


def _by_set(evaluations: Sequence[Evaluation]) -> dict[str, list[Evaluation]]:
    """Return the evaluations by set of scenarios, those on the usual one first."""
    names = sorted({one.name for one in evaluations}, key=lambda name: (name != USUAL, name))
    return {name: [one for one in evaluations if one.name == name] for name in names}


def _draw(title: str, picture: Picture, key: str) -> None:
    st.subheader(title)
    _draw_figure(picture, key)


def _draw_figure(picture: Picture, key: str) -> None:
    figure(picture.chart, picture.rows, picture.summary, key=key)
