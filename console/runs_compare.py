"""Runs beside each other: curves over each other, and only the settings that differ."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from console.runs_address import METRIC, note, open_list
from console.runs_charts import Picture, draw_curves, overlay_evaluations
from console.runs_curves import POINTS
from console.runs_link import link_to_run
from console.runs_words import comparison_rows, result_rows, short, title_of
from console.server import ask
from console.showing import figure, told
from orchestration.client.client import Client
from orchestration.client.runs import RunComparison
from utils.persistence.run_queries import MetricPoint, RunDetails

MOST = 5
RETURN = "return"


def compare_runs(run_ids: Sequence[str]) -> None:
    """Draw runs beside each other.

    Args:
        run_ids: Two to five.
    """
    if st.button("All runs", key="compare:back", icon=":material/arrow_back:", type="tertiary"):
        open_list()
    st.title("Runs compared")
    if not 2 <= len(set(run_ids)) <= MOST:
        st.info(f"Choose 2 to {MOST} different runs in the list of runs, not {len(set(run_ids))}.")
        return
    with told():
        runs, comparison = ask(lambda client: _fetch(client, list(dict.fromkeys(run_ids))))
        names = {
            run.summary.id: f"{title_of(run.config, run.summary.seed)} ({short(run.summary.id)})"
            for run in runs
        }
        for run_id, name in names.items():
            link_to_run(run_id, name)
        _draw_scores(runs, names)
        _draw_metric(runs, names)
        _draw_differences(comparison, list(names.values()))


async def _fetch(client: Client, run_ids: list[str]) -> tuple[list[RunDetails], RunComparison]:
    return [await client.runs.get(one) for one in run_ids], await client.runs.compare(run_ids)


def _draw_scores(runs: Sequence[RunDetails], names: dict[str, str]) -> None:
    scored = {
        names[run.summary.id]: [one for one in run.evaluations if one.name == "validation"]
        for run in runs
    }
    if any(scored.values()):
        st.subheader("Score on validation scenarios")
        _draw(overlay_evaluations(scored), "compare:scores")


def _draw_metric(runs: Sequence[RunDetails], names: dict[str, str]) -> None:
    known = sorted({name for run in runs for name in run.latest})
    if not known:
        st.info("None of them has measured anything yet.")
        return
    told = st.query_params.get(METRIC)
    usual = next((name for name in (told, RETURN) if name in known), known[0])
    metric = st.selectbox("Metric", known, index=known.index(usual), key=METRIC)
    note(METRIC, metric)

    async def fetch(client: Client) -> dict[str, Sequence[MetricPoint]]:
        return {
            names[run.summary.id]: await client.runs.curve(
                run.summary.id, metric, max_points=POINTS
            )
            for run in runs
            if metric in run.latest
        }

    st.subheader(metric.replace("_", " "))
    _draw(draw_curves(metric.replace("_", " "), ask(fetch)), "compare:metric")


def _draw_differences(comparison: RunComparison, names: Sequence[str]) -> None:
    st.subheader("What differs")
    rows = comparison_rows(comparison, names)
    if rows:
        st.dataframe(rows, hide_index=True, key="compare:settings")
    st.caption(f"{comparison.num_same} settings are the same.")
    if comparison.other_data:
        sets = ", ".join(comparison.other_data)
        st.warning(f"Scores cannot be compared: the scenarios differ in {sets}.")
    st.subheader("What they came to")
    st.dataframe(result_rows(comparison, names), hide_index=True, key="compare:results")


def _draw(picture: Picture, key: str) -> None:
    figure(picture.chart, picture.rows, picture.summary, key=key)
