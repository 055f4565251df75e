"""What a search found, as Markdown and JSON: the best values, what mattered, every trial."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl.training.hyperparameter_search import HyperparameterSearch, TrialRecord
from utils.config import to_json
from utils.persistence.files import write_atomically


def as_words(values: Mapping[str, Any]) -> str:
    """Return values as they are typed on a command line.

    Args:
        values: JSON values by name.
    """
    return " ".join(shlex.quote(f"{name}={_word(value)}") for name, value in values.items())


def write_search_report(search: HyperparameterSearch, folder: Path, command: str) -> str:
    """Write `search.md` and `search.json`.

    Args:
        search: The study.
        folder: Where.
        command: What made it.

    Returns:
        The Markdown.
    """
    records, best, importances = search.records(), search.best(), search.importances()
    text = _markdown(search, command)
    found = {
        "study": to_json(search.config),
        "axes": [to_json(axis) for axis in search.axes],
        "command": command,
        "best": None if best is None else to_json_record(best),
        "importances": importances,
        "trials": [to_json_record(one) for one in records],
    }
    write_atomically(folder / "search.md", text.encode())
    write_atomically(folder / "search.json", json.dumps(found, indent=2).encode())
    return text


def to_json_record(record: TrialRecord) -> dict[str, Any]:
    """Return a trial as JSON.

    Args:
        record: What became of it.
    """
    return {**to_json(record), "values": dict(record.values)}


def _markdown(search: HyperparameterSearch, command: str) -> str:
    records, best, importances = search.records(), search.best(), search.importances()
    states = [one.state for one in records]
    counted = ", ".join(f"{states.count(one)} {one}" for one in sorted(set(states)))
    lines = [f"# Search {search.config.study}", "", f"{len(records)} trials: {counted}.", ""]
    if best is None:
        lines += ["No trial was completed, so there is no best one.", ""]
    else:
        lines += [f"Best: trial {best.number}, score {best.score:.6g}", ""]
        lines += [f"    {as_words(best.values)}", ""]
    lines += ["## What mattered", ""]
    if importances:
        lines += ["| setting | importance |", "|---|---|"]
        lines += [f"| `{name}` | {share:.2f} |" for name, share in importances.items()]
        lines += [
            "",
            "Shares by PED-ANOVA over the complete trials; of few trials a rough guess.",
        ]
    else:
        lines += ["Not known: five complete trials with different scores are needed."]
    names = [axis.name for axis in search.axes]
    lines += ["", "## Trials", "", f"| trial | state | score | {' | '.join(names)} | error |"]
    lines += ["|---" * (len(names) + 4) + "|"]
    lines += [_row(one, names) for one in records]
    lines += ["", "The score is the best mean KPI on validation scenarios, of one seed.", ""]
    return "\n".join([*lines, f"    {command}", ""])


def _row(record: TrialRecord, names: list[str]) -> str:
    score = "" if record.score is None else f"{record.score:.6g}"
    values = [f"`{_word(record.values[name])}`" if name in record.values else "" for name in names]
    cells = [str(record.number), record.state, score, *values, " ".join(record.error.split())]
    return f"| {' | '.join(cells)} |"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
