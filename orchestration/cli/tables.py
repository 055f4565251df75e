"""Answers for people: tables of runs, agents and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestration.cli.run_view import score_line

if TYPE_CHECKING:
    from orchestration.orchestrator import AgentSummary
    from utils.persistence.run_queries import RunDetails, RunSummary

SHORT_ID = 8
COLUMN_GAP = 2
FEWEST_COLUMNS = 3
UNBROKEN = {"run", "who", "KPI", "to best expert", "state", "age", "service"}
STATE_STYLES = {
    "succeeded": "green",
    "running": "cyan",
    "failed": "red",
    "dead": "red",
    "paused": "yellow",
}


def short(identifier: str) -> str:
    """Return the end of an id, which is enough to name it in commands.

    Args:
        identifier: A whole id; its beginning is only the time.
    """
    return identifier[-SHORT_ID:]


def runs_table(runs: Sequence[RunSummary], now: datetime) -> RenderableType:
    """Draw a list of runs.

    Args:
        runs: Newest first.
        now: Tells their age.
    """
    table = make_table("run", "experiment", "state", "progress", "best", "seed", "age", "note")
    for run in runs:
        total = run.total_env_steps
        table.add_row(
            short(run.id),
            run.experiment,
            _state(run.state.value),
            f"{run.env_steps / total:.0%}" if total else f"{run.env_steps:,} steps",
            "" if run.best_score is None else f"{run.best_score:,.4g}",
            str(run.seed),
            age(run.created_at, now),
            _note(run),
        )
    return table


def run_page(run: RunDetails, now: datetime) -> RenderableType:
    """Draw all about one run.

    Args:
        run: Which.
        now: Tells its age.
    """
    summary = run.summary
    facts = Table.grid(padding=(0, 2))
    facts.add_row("run", Text(summary.id, style="bold"))
    facts.add_row("job", summary.job_id or "none")
    facts.add_row("state", _state(summary.state.value))
    facts.add_row("experiment", summary.experiment)
    facts.add_row("made", f"{age(summary.created_at, now)} ago")
    facts.add_row("steps", f"{summary.env_steps:,} of {summary.total_env_steps or 0:,}")
    for fact, words in _origins(run):
        facts.add_row(fact, words)
    facts.add_row("config", "  ".join(f"{key}={value}" for key, value in run.config.items()))
    if summary.error:
        facts.add_row("error", Text(summary.error, style="red"))
    for evaluation in run.evaluations[-3:]:
        facts.add_row("evaluation", f"{score_line(evaluation)}  (at {evaluation.env_steps:,})")
    for model in run.models:
        facts.add_row("model", f"{model.agent} version {model.version}  {model.sha256[:12]}")
    figures = make_table("metric", "newest", "at step")
    for name, point in run.latest.items():
        value = "not finite" if point.value is None else f"{point.value:,.4g}"
        figures.add_row(name, value, f"{point.step:,}")
    return Group(facts, figures) if run.latest else facts


def _origins(run: RunDetails) -> list[tuple[str, str]]:
    """Say where a run comes from and what is kept beside it, each line with its name."""
    dirty = {None: "", False: "", True: ", with changes"}[run.code_dirty]
    lines = [("code", f"{run.code_commit[:12]}{dirty}")] if run.code_commit else []
    for parent in run.facts.parents:
        checkpoint = f", checkpoint {parent.checkpoint_sha256[:12]}"
        words = f"{parent.run_id}{checkpoint if parent.checkpoint_sha256 else ''}"
        lines.append((parent.relation.value.replace("_", " "), words))
    lines += [
        (f"{data.role} data", f"{data.about}  {data.sha256[:12]}".strip())
        for data in run.facts.data
    ]
    lines += [("artifact", f"{one.name}  {one.sha256[:12]}") for one in run.facts.artifacts]
    if run.facts.tags:
        lines.append(("tags", " ".join(run.facts.tags)))
    return lines


def agents_table(agents: Sequence[AgentSummary]) -> RenderableType:
    """Draw a list of agents.

    Args:
        agents: By name.
    """
    table = make_table("agent", "versions", "aliases", "newest artifact", "from run")
    for agent in agents:
        newest = agent.versions[-1]
        aliases = "  ".join(f"{alias}={version}" for alias, version in agent.aliases.items())
        numbers = f"{len(agent.versions)}, newest {newest.version}"
        run = short(newest.run_id) if newest.run_id else ""
        table.add_row(agent.name, numbers, aliases or "none", newest.sha256[:12], run)
    return table


def scores_table(table: Mapping[str, Any], *, width: int | None = None) -> RenderableType:
    """Draw who scored what on held-out scenarios: means, paired differences with intervals.

    Args:
        table: An evaluation table as JSON, from a training job's result.
        width: Characters there are; the last figures are left out where they do not fit.
    """
    spec, columns = table["kpi_format"], table["columns"]
    best = f"to {'best expert' if _has_expert(table) else table['baseline']}"
    lines = [("who", "KPI", best, "gap closed", *(column["title"] for column in columns))]
    for row in table["rows"]:
        figures = zip(row["figures"], columns, strict=True)
        lines.append(
            (
                row["name"],
                f"{row['kpi']['mean']:{spec}}",
                _interval(row["difference"], f"+{spec}") if row["difference"] else "(baseline)",
                _share(row["gap_closed"]),
                *("" if value is None else f"{value:{one['format']}}" for value, one in figures),
            )
        )
    shown = _columns_that_fit(lines, width)
    drawn = make_table(*lines[0][:shown])
    for row, cells in zip(table["rows"], lines[1:], strict=True):
        style = {"agent": "bold", "bound": "dim"}.get(row["kind"], "")
        drawn.add_row(*cells[:shown], style=style)
    return drawn


def _columns_that_fit(lines: Sequence[Sequence[str]], width: int | None) -> int:
    if width is None:
        return len(lines[0])
    used, shown = 0, 0
    for column in zip(*lines, strict=True):
        used += max(len(cell) for cell in column) + COLUMN_GAP
        if used - COLUMN_GAP > width and shown >= FEWEST_COLUMNS:
            break
        shown += 1
    return shown


def verdict(table: Mapping[str, Any]) -> str:
    """Say in a sentence whether the agent beats the best tuned expert.

    Args:
        table: An evaluation table as JSON, with one agent.
    """
    agent = next(row for row in table["rows"] if row["kind"] == "agent")
    difference, rival = agent["difference"], "random play"
    if _has_expert(table):
        rival = f"the best tuned expert ({table['baseline']})"
    interval = _interval(difference, f"+{table['kpi_format']}")
    more = ""
    if agent["to_rival"] and table["rival"] != table["baseline"]:
        to_rival = _interval(agent["to_rival"], f"+{table['kpi_format']}")
        more = f" To {table['rival']}: {to_rival}."
    blocks = f"better on {agent['blocks_better']} of {table['num_blocks']} {table['block_name']}s"
    if difference["low"] > 0:
        return f"The agent beats {rival}: {interval} per episode, {blocks}.{more}"
    if difference["high"] < 0:
        return f"The agent does NOT beat {rival}: {interval}, {blocks}.{more}"
    return (
        f"The agent does NOT clearly beat {rival}: {interval} per episode, an interval that holds "
        f"zero; {blocks}.{more}"
    )


def _has_expert(table: Mapping[str, Any]) -> bool:
    kinds = {row["name"]: row["kind"] for row in table["rows"]}
    return bool(kinds[table["baseline"]] == "expert")


def age(moment: datetime, now: datetime) -> str:
    """Write how long ago something was.

    Args:
        moment: When it was.
        now: The present.
    """
    seconds = max(0, int((now.astimezone(UTC) - moment).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def make_table(*columns: str) -> Table:
    """Return an empty table in the style of all.

    Args:
        columns: Their headings.
    """
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=column in UNBROKEN, overflow="fold")
    return table


def _note(run: RunSummary) -> str:
    if run.error:
        return run.error.splitlines()[0]
    return "" if run.state.is_terminal else run.stage or ""


def _state(state: str) -> Text:
    return Text(state, style=STATE_STYLES.get(state, ""))


def _interval(estimate: Mapping[str, float], spec: str) -> str:
    mean, low, high = (f"{estimate[part]:{spec}}" for part in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _share(estimate: Mapping[str, float] | None) -> str:
    return f"{estimate['mean']:.0%}" if estimate else ""
