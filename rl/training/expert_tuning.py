"""Tunes a problem's experts once, keeping each, so that a restart does not tune again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rl.training.problem import Parameters, Problem
from rl.training.recorder import Recorder
from utils.config import from_json, to_json
from utils.persistence.files import read_json, write_atomically


@dataclass(frozen=True, kw_only=True)
class _Tuned:
    name: str
    parameters: Parameters


def tune_experts_once(problem: Problem, path: Path, recorder: Recorder) -> dict[str, Parameters]:
    """Tune one expert after the other, keeping each, until done or asked to stop.

    Args:
        problem: Whose experts.
        path: JSON file of those tuned so far.
        recorder: May ask to stop; then some are missing.

    Raises:
        ConfigError: The file is damaged.
    """
    kept = read_json(path, _read_tuned) if path.is_file() else []
    experts = {one.name: one.parameters for one in kept if one.name in problem.experts}
    for name, rule in problem.experts.items():
        if name in experts:
            continue
        if recorder.should_stop() is not None:
            break
        experts[name] = rule.tune()
        rows = [to_json(_Tuned(name=one, parameters=tuned)) for one, tuned in experts.items()]
        write_atomically(path, json.dumps(rows, indent=2).encode())
    return experts


def _read_tuned(rows: list[dict[str, Any]]) -> list[_Tuned]:
    return [from_json(_Tuned, row) for row in rows]
