"""A report as Markdown and as JSON, and all of its files beside each other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rl.evaluation.chart_layout import format_number
from rl.evaluation.report_page import render_page, write_cell, write_duration
from rl.evaluation.run_report import (
    Chart,
    ComparisonReport,
    Curve,
    Picture,
    ReportTable,
    RunReport,
    TableRow,
)
from utils.config import to_json
from utils.errors import ConfigError
from utils.persistence.files import write_atomically

FORMAT_VERSION: Final = 1
SPARKS: Final = "▁▂▃▄▅▆▇█"
SPARK_WIDTH: Final = 24
ESCAPED: Final = str.maketrans({mark: f"\\{mark}" for mark in "\\`*[]<>|"} | {"\n": " ", "\r": " "})


@dataclass(frozen=True, kw_only=True)
class ReportFiles:
    """Where the files of a report lie."""

    page: Path
    """HTML, complete in itself."""
    summary: Path
    """Markdown."""
    data: Path
    """JSON."""


def write_files(folder: Path, name: str, report: RunReport | ComparisonReport) -> ReportFiles:
    """Write NAME.html, NAME.md and NAME.json; each is whole or as it was before.

    Args:
        folder: Made if absent.
        name: Of the files, without an ending.
        report: What to show.

    Raises:
        ConfigError: The name holds a path.
        OSError: The disk is full or not writable.
    """
    if not name or name != Path(name).name or name.startswith("."):
        raise ConfigError(f"name={name!r}: give a file name without folder and ending")
    files = ReportFiles(
        page=folder / f"{name}.html", summary=folder / f"{name}.md", data=folder / f"{name}.json"
    )
    for path, text in (
        (files.data, render_json(report)),
        (files.summary, render_markdown(report)),
        (files.page, render_page(report)),
    ):
        write_atomically(path, text.encode())
    return files


def render_json(report: RunReport | ComparisonReport) -> str:
    """Return all of a report but its pictures' pixels, which are named by hash and size.

    Args:
        report: What to write.
    """
    kind = "run" if isinstance(report, RunReport) else "comparison"
    content = {"format": FORMAT_VERSION, "kind": kind, **_plain(report)}
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def render_markdown(report: RunReport | ComparisonReport) -> str:
    """Return a report as Markdown that also reads well as plain text; pictures are only named.

    Args:
        report: What to write.
    """
    body = _run_parts(report) if isinstance(report, RunReport) else _comparison_parts(report)
    parts = [f"# {_escape(report.title)}", _escape(report.verdict), *body]
    return "\n\n".join(part for part in parts if part) + "\n"


def _run_parts(report: RunReport) -> Iterator[str]:
    total = f" of {report.total_env_steps:,}" if report.total_env_steps else ""
    yield (
        f"Run {_code(report.run_id)}: {_escape(report.state)}, {report.env_steps:,}{total} "
        f"environment steps, begun {_escape(report.created_at)}."
    )
    if report.error:
        yield f"**It broke:** {_escape(report.error)}"
    if report.evaluation is not None:
        yield from (
            "## Learning",
            _chart_table([report.evaluation]),
            _escape(report.evaluation.note),
        )
    if report.stages:
        rows = [TableRow(cells=(stage.name, stage.env_steps)) for stage in report.stages]
        header = ("stage", "entered at environment step")
        yield _table(ReportTable(title="Stages", header=header, rows=tuple(rows)))
    if report.tables:
        yield "## Evaluation"
        yield from map(_table, report.tables)
    if report.charts:
        yield from ("## Figures of training", _chart_table(report.charts))
    if report.pictures:
        yield "## Episodes"
        yield "\n".join(f"- {_escape(one.caption)}" for one in report.pictures)
        yield "The pictures are in the HTML page beside this file."
    yield from ("## Where the numbers come from", _origin(report))
    yield f"```json\n{_fenced(json.dumps(report.configuration, indent=2))}\n```"


def _comparison_parts(report: ComparisonReport) -> Iterator[str]:
    if report.charts:
        yield from ("## Learning", _chart_table(report.charts))
    yield from map(_table, report.tables)
    yield "## Where the numbers come from"
    for run in report.runs:
        yield from (
            f"### {_escape(run.title)} {_code(run.run_id)}",
            _escape(run.verdict),
            _origin(run),
        )


def _chart_table(charts: Sequence[Chart]) -> str:
    """Say of every curve how it went: first, last, least and greatest value, and its shape."""
    rows = [
        TableRow(
            cells=(
                chart.title if len(chart.curves) == 1 else f"{chart.title}: {curve.name}",
                *_milestones(curve),
            )
        )
        for chart in charts
        for curve in chart.curves
        if any(value is not None for value in curve.mean)
    ]
    rows += [
        TableRow(cells=(f"{chart.title}: {level.name}", None, level.value, None, None, ""))
        for chart in charts
        for level in chart.levels
    ]
    header = ("figure", "first", "last", "least", "greatest", "course")
    return _table(ReportTable(title="", header=header, rows=tuple(rows)))


def _milestones(curve: Curve) -> tuple[float, float, float, float, str]:
    known = [value for value in curve.mean if value is not None]
    return known[0], known[-1], min(known), max(known), _spark(known)


def _spark(values: Sequence[float]) -> str:
    stride = max(1, -(-len(values) // SPARK_WIDTH))
    chosen = values[::-1][::stride][::-1]
    low, span = min(chosen), max(chosen) - min(chosen)
    top = len(SPARKS) - 1
    return "".join(SPARKS[round(top * (value - low) / span) if span else 0] for value in chosen)


def _table(table: ReportTable) -> str:
    lines = [[_escape(name) for name in table.header]]
    lines += [[_escape(write_cell(cell)) for cell in row.cells] for row in table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.header))]
    padded = [
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]
    rule = " | ".join("-" * max(3, width) for width in widths)
    text = "\n".join(f"| {line} |" for line in (padded[0], rule, *padded[1:]))
    title = f"**{_escape(table.title)}**\n\n" if table.title else ""
    return title + text + (f"\n\n{_escape(table.note)}" if table.note else "")


def _origin(report: RunReport) -> str:
    origin, compute = report.origin, report.compute
    energy = "not estimated: CPU time was not recorded"
    if compute.energy_watt_hours is not None:
        energy = (
            f"about {format_number(compute.energy_watt_hours)} Wh, estimated as CPU time times "
            f"{compute.watts_per_core:g} W per busy core (an assumption, not a measurement)"
        )
    lines = [
        f"- Commit: {_escape(origin.commit or 'not recorded')}",
        f"- Seeds: {', '.join(map(str, origin.seeds))}",
        f"- Versions: {_pairs(origin.versions)}",
        f"- Data (SHA-256): {_pairs(origin.data_sha256)}",
        f"- CPU time: {write_duration(compute.cpu_seconds)}",
        f"- Wall time: {write_duration(compute.wall_seconds)}",
        f"- Energy: {energy}",
        "- Command to reproduce:",
    ]
    return "\n".join(lines) + f"\n\n```sh\n{_fenced(origin.command)}\n```"


def _pairs(values: Mapping[str, str]) -> str:
    return _escape(", ".join(f"{name} {value}" for name, value in values.items())) or "not recorded"


def _escape(text: str) -> str:
    return text.translate(ESCAPED)


def _code(text: str) -> str:
    return "`" + " ".join(text.replace("`", "'").split()) + "`"


def _fenced(text: str) -> str:
    """Keep a text from ending the fence around it."""
    return text.replace("```", "` ` `")


def _plain(report: RunReport | ComparisonReport) -> dict[str, Any]:
    if isinstance(report, ComparisonReport):
        return {**to_json(replace(report, runs=())), "runs": [_plain(run) for run in report.runs]}
    content = to_json(replace(report, pictures=()))
    content["compute"]["energy_watt_hours"] = report.compute.energy_watt_hours
    content["pictures"] = [_picture(picture) for picture in report.pictures]
    return content


def _picture(picture: Picture) -> dict[str, Any]:
    width, height = picture.size
    sha256 = hashlib.sha256(picture.png).hexdigest()
    names = {"name": picture.name, "caption": picture.caption, "alt": picture.alt}
    return {**names, "sha256": sha256, "width": width, "height": height}
