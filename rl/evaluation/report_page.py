"""A report as one HTML file: no network, no script, readable on a phone, in light and in dark.

The engine escapes every value, so that a name can hold anything; the page's own policy forbids
scripts and anything from elsewhere besides.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rl.evaluation.chart_layout import VIEW, format_number, lay_out, lay_out_stages
from rl.evaluation.run_report import Amount, Cell, ComparisonReport, RunReport

TEMPLATES = Path(__file__).with_name("templates")


def render_page(report: RunReport | ComparisonReport) -> str:
    """Return the whole HTML page of a report.

    Args:
        report: What to show.
    """
    drawn = [chart for chart in map(lay_out, report.charts) if chart is not None]
    if isinstance(report, ComparisonReport):
        return _engine().get_template("comparison.html").render(report=report, charts=drawn)
    return (
        _engine()
        .get_template("run.html")
        .render(
            report=report,
            charts=drawn,
            evaluation=None if report.evaluation is None else lay_out(report.evaluation),
            stages=lay_out_stages(report.stages, report.env_steps),
        )
    )


def write_cell(cell: Cell) -> str:
    """Write a table's cell for people.

    Args:
        cell: Text, a number, an amount, or None for nothing.
    """
    if isinstance(cell, Amount):
        return cell.text
    if cell is None or isinstance(cell, str):
        return cell or ""
    return f"{cell:,}" if isinstance(cell, int) else format_number(cell)


def write_duration(seconds: float | None) -> str:
    """Write how long something took.

    Args:
        seconds: None if nobody recorded it.
    """
    if seconds is None:
        return "not recorded"
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds:,.0f} s ({seconds / 60:.1f} min)"
    return f"{seconds:,.0f} s ({seconds / 3600:.1f} h)"


def _engine() -> Environment:
    engine = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    engine.globals["view"] = VIEW
    engine.tests["numeric"] = _is_numeric
    engine.filters["cell"] = write_cell
    engine.filters["duration"] = write_duration
    engine.filters["base64"] = _encode
    engine.filters["pretty"] = _pretty
    return engine


def _is_numeric(cell: Cell) -> bool:
    return isinstance(cell, (int, float, Amount))


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _pretty(values: Any) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False)
