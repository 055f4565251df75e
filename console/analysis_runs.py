"""What finished runs showed: evaluations while they learnt, and their table on unseen episodes."""

from __future__ import annotations

from typing import Any

import streamlit as st

from console import analysis_rows as rows_of
from console.analysis_charts import draw_evaluations, draw_intervals
from console.lab_rows import write
from console.runs_words import short
from console.server import ask
from console.showing import figure
from utils.persistence.run_filter import RunFilter
from utils.persistence.run_log import RunState
from utils.persistence.run_queries import RunDetails, RunSummary

MOST_RUNS = 100


def show_runs() -> None:
    """Draw the tab."""
    st.write(
        "Runs keep how they did on validation episodes while they learnt, and at their end a table "
        "on episodes that they never saw, beside experts and chance."
    )
    wanted = RunFilter(states=(RunState.SUCCEEDED,))
    runs = ask(lambda client: client.runs.page(wanted, limit=MOST_RUNS)).items
    if not runs:
        st.info("No run has finished yet. Submit one on the page Submit; it appears here.")
        return
    by_id = {run.id: run for run in runs}
    asked = [one for one in st.query_params.get_all("run") if one in by_id]
    chosen = st.multiselect(
        "Runs",
        list(by_id),
        default=asked or list(by_id)[:1],
        format_func=lambda one: name_of_run(by_id[one]),
        key="analysis-runs",
    )
    st.query_params["run"] = chosen
    details = [_load(one) for one in chosen]
    _show_evaluations(details)
    _show_tables(details)


def _load(run_id: str) -> RunDetails:
    return ask(lambda client: client.runs.get(run_id))


def name_of_run(run: RunSummary) -> str:
    """Name a run among others of its experiment and seed.

    Args:
        run: Which.
    """
    return f"{run.experiment} · seed {run.seed} · {short(run.id)}"


def _show_evaluations(details: list[RunDetails]) -> None:
    st.subheader("Evaluations while learning")
    rows = [
        row
        for one in details
        for row in rows_of.evaluation_rows(name_of_run(one.summary), one.evaluations)
    ]
    if not rows:
        st.info("These runs were never evaluated.")
        return
    newest = {row["run"]: row for row in rows}
    words = "; ".join(
        f"{run} reached {write(row['value'])} after {row['environment steps']:,} steps"
        for run, row in newest.items()
    )
    figure(
        draw_evaluations(rows),
        rows,
        f"{words}. The dashed line is the expert's.",
        key="analysis-rows-evaluations",
    )


def _show_tables(details: list[RunDetails]) -> None:
    st.subheader("On episodes that were never seen")
    tables = {name_of_run(one.summary): table for one in details if (table := _load_table(one))}
    if not tables:
        st.info("These runs kept no table: they ended before they were judged.")
        return
    rows = rows_of.run_rows(tables)
    of_run = "{entrant} · {run}" if len(tables) > 1 else "{entrant}"
    drawn = [{**row, "decider": of_run.format_map(row)} for row in rows]
    parts = [
        f"{row['entrant']} {write(row['value'])} in {row['run']}"
        for row in rows
        if row["kind"] == "agent"
    ]
    words = (
        f"Trained policies: {'; '.join(parts) or 'none'}. Bars are 95 % intervals over blocks of "
        "episodes; differences are paired with the best expert of the same run."
    )
    figure(draw_intervals(drawn, title=rows[0]["figure"]), rows, words, key="analysis-rows-tables")


def _load_table(run: RunDetails) -> dict[str, Any] | None:
    job_id = run.summary.job_id
    if job_id is None:
        return None
    result = ask(lambda client: client.jobs.get(job_id)).result or {}
    table: dict[str, Any] | None = result.get("table")
    return table
