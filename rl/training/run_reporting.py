"""Builds a run's report from what the database and the run's folder know of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
from sqlalchemy.ext.asyncio import AsyncConnection

from rl.evaluation.comparison import EvaluationTable
from rl.evaluation.report import conclude
from rl.evaluation.run_report import (
    Chart,
    Compute,
    Curve,
    Level,
    Origin,
    Picture,
    ReportTable,
    RunReport,
    Stage,
    TableRow,
)
from rl.evaluation.score_table import show_scores
from rl.training.run_diary import Diary, read_diary
from rl.training.training_config import CUSTOM, TrainingConfig
from utils.config import from_json, to_json
from utils.errors import ConfigError
from utils.persistence.run_queries import (
    Evaluation,
    MetricPoint,
    RunDetails,
    get_run,
    read_curve,
)

MAX_POINTS: Final = 200
MAX_METRICS: Final = 60
FIRST_METRICS: Final = ("return", "episode_length", "policy_loss", "value_loss", "entropy")
LEFT_OUT: Final = ("episodes",)
"""Counters that say nothing beside the steps."""
REDRAWN: Final = ("learning",)
"""Pictures of the report folder that the page draws itself."""
PLAIN_NAMES: Final = {"kpi": "policy", "expert": "best expert", "bound": "bound"}


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What training wrote into `report/report.json` when it ended."""

    title: str
    tables: tuple[EvaluationTable, ...]
    """The held-out set first, then the stress sets."""
    experts: tuple[ReportTable, ...]
    """What they were tuned to, if anything."""
    data_sha256: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """What lies in a run's folder."""

    diary: Diary | None
    judgement: Judgement | None
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """All that is known of a run."""

    details: RunDetails
    curves: Mapping[str, Sequence[MetricPoint]]
    """Its metrics over steps, thinned, by name."""
    files: RunFiles


async def load_run(connection: AsyncConnection, run_id: str, *, folder: Path) -> RecordedRun:
    """Gather all that is known of a run.

    Args:
        connection: An open transaction.
        run_id: Which run.
        folder: Of the run; it may be absent, then only the database speaks.

    Raises:
        RunNotFoundError: There is no such run.
        ConfigError: A file in the folder is damaged.
    """
    details = await get_run(connection, run_id)
    curves = {
        key: await read_curve(connection, run_id, key, max_points=MAX_POINTS)
        for key in _chosen(details.latest)
    }
    files = await anyio.to_thread.run_sync(read_run_files, folder)
    return RecordedRun(details=details, curves=curves, files=files)


def read_run_files(folder: Path) -> RunFiles:
    """Read what training left in a run's folder.

    Args:
        folder: Of the run; it may be absent.

    Raises:
        ConfigError: A file is damaged.
    """
    report = folder / "report"
    pictures = tuple(
        Picture(name=path.stem, caption=_caption(path.stem), alt=_caption(path.stem), png=png)
        for path in sorted(report.glob("*.png"))
        if path.stem not in REDRAWN
        for png in [path.read_bytes()]
    )
    judgement = _read_judgement(report / "report.json")
    return RunFiles(diary=read_diary(folder), judgement=judgement, pictures=pictures)


def make_run_report(run: RecordedRun) -> RunReport:
    """Put the report of a run together.

    Args:
        run: What is known of it.
    """
    details, files = run.details, run.files
    summary, config = details.summary, details.config
    evaluations = evaluation_charts(details.evaluations)
    charts, constants = _metric_charts(run.curves)
    judgement = files.judgement
    tables = () if judgement is None else judgement.tables
    return RunReport(
        title=_title(config, summary.experiment, judgement),
        verdict=_verdict(details, judgement),
        run_id=summary.id,
        state=summary.state.value,
        env_steps=summary.env_steps,
        total_env_steps=summary.total_env_steps,
        created_at=f"{summary.created_at:%Y-%m-%d %H:%M} UTC",
        error=summary.error,
        evaluation=evaluations[0] if evaluations else None,
        charts=(*evaluations[1:], *charts),
        stages=_stages(files.diary),
        tables=(
            *map(show_scores, tables),
            *(() if judgement is None else judgement.experts),
            *constants,
        ),
        pictures=files.pictures,
        configuration=config,
        compute=_compute(details, files.diary),
        origin=Origin(
            seeds=(summary.seed,),
            commit=details.code_commit,
            versions=details.versions,
            data_sha256={} if judgement is None else judgement.data_sha256,
            command=reproduce(config, commit=details.code_commit),
        ),
    )


def reproduce(config: Mapping[str, Any], *, commit: str) -> str:
    """Return the commands that train the same run again; for a user's own problem, its settings.

    Args:
        config: The whole configuration, plain JSON.
        commit: Of the code; empty if unknown.
    """
    defaults = to_json(TrainingConfig())
    words = [
        shlex.quote(f"{name}={value if isinstance(value, str) else json.dumps(value)}")
        for name, value in config.items()
        if name not in defaults or defaults[name] != value
    ]
    lines = [f"git checkout {shlex.quote(commit)}"] if commit else []
    if config.get("environment") == CUSTOM:
        lines.append("# a problem of its own: run the program that made it, with these settings:")
        return "\n".join([*lines, "# " + " ".join(" ".join(words).split())])
    lines.append(" ".join(["python -m orchestration submit train", *words, "--watch"]))
    return "\n".join(lines)


def _title(config: Mapping[str, Any], experiment: str, judgement: Judgement | None) -> str:
    names = (str(config.get("environment", "")), str(config.get("algorithm", "")))
    if judgement is None:
        return f"{experiment}: {names[1]} in {names[0]}".replace("_", " ")
    return f"{judgement.title} ({names[1]})"


def _verdict(details: RunDetails, judgement: Judgement | None) -> str:
    if judgement is not None:
        table, *others = judgement.tables
        words = [conclude(table), *(f"On {one.data}: {conclude(one)}" for one in others)]
        return "\n".join(word for word in words if word)
    if details.summary.error:
        return "The run broke before it was evaluated on held-out scenarios."
    if not details.summary.state.is_terminal:
        return "The run is not finished: nothing was evaluated on held-out scenarios yet."
    return "The run was not evaluated on held-out scenarios, so nothing can be said of its worth."


def evaluation_charts(evaluations: Sequence[Evaluation]) -> list[Chart]:
    """Draw the scores during training, one chart for each set of scenarios.

    Args:
        evaluations: Of one run, oldest first.
    """
    by_name: dict[str, list[Evaluation]] = {}
    for one in evaluations:
        by_name.setdefault(one.name, []).append(one)
    return [_evaluation_chart(name, group) for name, group in by_name.items()]


def _evaluation_chart(name: str, evaluations: Sequence[Evaluation]) -> Chart:
    steps = tuple(one.env_steps for one in evaluations)
    low, high = (_complete(evaluations, key) for key in ("kpi_low", "kpi_high"))
    has_band = low is not None and high is not None
    newest = evaluations[-1].scores
    kinds: tuple[tuple[str, Any], ...] = (("expert", "expert"), ("bound", "bound"))
    return Chart(
        name=f"evaluation-{name}",
        title=f"Scores on the {name.replace('_', ' ')} scenarios",
        unit="KPI; higher is better",
        curves=(
            Curve(
                name=PLAIN_NAMES["kpi"],
                env_steps=steps,
                mean=tuple(one.scores.get("kpi") for one in evaluations),
                low=low if has_band else None,
                high=high if has_band else None,
            ),
        ),
        levels=tuple(
            Level(name=PLAIN_NAMES[key], value=float(newest[key]), kind=kind)
            for key, kind in kinds
            if newest.get(key) is not None
        ),
        note="Band: interval of the mean over episodes." if has_band else "",
    )


def _complete(evaluations: Sequence[Evaluation], key: str) -> tuple[float, ...] | None:
    values = [one.scores.get(key) for one in evaluations]
    found = tuple(float(value) for value in values if value is not None)
    return found if len(found) == len(values) else None


def _chosen(names: Iterable[str]) -> list[str]:
    """Put what people look at first in front; of very many metrics the rest is left out."""
    rank = {name: place for place, name in enumerate(FIRST_METRICS)}
    chosen = [name for name in names if name not in LEFT_OUT]
    chosen.sort(key=lambda name: (rank.get(name, len(rank)), "/" in name, name))
    return chosen[:MAX_METRICS]


def _metric_charts(
    curves: Mapping[str, Sequence[MetricPoint]],
) -> tuple[list[Chart], tuple[ReportTable, ...]]:
    """Draw what changes; what stayed the same goes into a table."""
    charts, constants = [], []
    for name, points in curves.items():
        if not points:
            continue
        values = {point.value for point in points}
        title = name.replace("_", " ")
        if len(values) == 1:
            (value,) = values
            constants.append(TableRow(cells=(title, "not finite" if value is None else value)))
            continue
        curve = metric_curve(title, points)
        charts.append(Chart(name=f"metric-{name}", title=title, unit="", curves=(curve,)))
    table = ReportTable(
        title="Figures that did not change", header=("figure", "value"), rows=tuple(constants)
    )
    return charts, (table,) if constants else ()


def metric_curve(name: str, points: Sequence[MetricPoint]) -> Curve:
    """Turn a stored metric into a curve.

    Args:
        name: Of the curve.
        points: In order of steps.
    """
    steps, values = zip(*((point.step, point.value) for point in points), strict=True)
    return Curve(name=name, env_steps=steps, mean=values)


def _stages(diary: Diary | None) -> tuple[Stage, ...]:
    """Return the stages; without a diary nobody knows when they were entered."""
    entries = () if diary is None else diary.stages
    return tuple(Stage(name=entry.name, env_steps=entry.env_steps) for entry in entries)


def _compute(details: RunDetails, diary: Diary | None) -> Compute:
    summary = details.summary
    ended = summary.ended_at
    wall = None if ended is None else (ended - summary.created_at).total_seconds()
    cpu = None if diary is None else diary.cpu_seconds
    return Compute(cpu_seconds=cpu, wall_seconds=wall)


def _caption(name: str) -> str:
    words = {
        "scores": "Mean KPI of everybody on the held-out episodes, and paired differences to the "
        "best expert, with intervals.",
        "window": "One held-out episode: what was asked for and what each player held over time, "
        "against capacity.",
    }
    return words.get(name, name.replace("_", " "))


def _read_judgement(path: Path) -> Judgement | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        tables = [content["table"], *content["other_tables"]]
        return Judgement(
            title=str(content["title"]),
            tables=tuple(from_json(EvaluationTable, table, "table.") for table in tables),
            experts=_expert_table(content["experts"]),
            data_sha256=dict(content.get("data_sha256", {})),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"{path} is damaged or of another version ({type(error).__name__}: {error}): move it "
            "away to do without"
        ) from error


def _expert_table(experts: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[ReportTable, ...]:
    rows = tuple(
        TableRow(
            cells=(
                name.replace("_", " "),
                ", ".join(f"{one['name'].replace('_', ' ')} {one['value']:g}" for one in tuned)
                or "nothing to tune",
            ),
            kind="expert",
        )
        for name, tuned in experts.items()
    )
    title = "Experts, tuned on training scenarios"
    return (ReportTable(title=title, header=("expert", "tuned to"), rows=rows),) if rows else ()
