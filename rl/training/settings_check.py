"""Which settings of a training are to blame where they do not fit, each with what is wrong."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Any

from rl.training.training_config import TrainingConfig
from utils.config import from_json
from utils.dotted import nested_type
from utils.errors import ConfigError

Path = tuple[str, ...]
MOST_UNKNOWN = 20
"""More unknown names are not told."""


def find_problems(values: Mapping[str, Any]) -> dict[str, str]:
    """Say what is wrong with settings, by dotted name; nothing if they fit.

    As many as fit together are taken first, in their order, so that a setting that wants another
    one, such as `collection_shards`, is not blamed where that is given.

    Args:
        values: Fields of TrainingConfig, plain JSON.
    """
    hints = typing.get_type_hints(TrainingConfig)
    unknown = [name for name in values if name not in hints][:MOST_UNKNOWN]
    problems = {name: str(_refusal({name: values[name]})) for name in unknown}
    waiting = list(_leaves({name: values[name] for name in values if name in hints}, hints))
    kept: dict[str, Any] = {}
    while waiting:
        refused: list[tuple[Path, Any]] = []
        for path, value in waiting:
            tried = _with(kept, path, value)
            refusal = _refusal(tried)
            if refusal is None:
                kept = tried
            else:
                refused.append((path, value))
                problems[".".join(path)] = str(refusal)
        if len(refused) == len(waiting):
            break
        for path, _ in refused:
            del problems[".".join(path)]
        waiting = refused
    return problems


def _refusal(values: Mapping[str, Any]) -> ConfigError | None:
    try:
        from_json(TrainingConfig, values, "config.")
    except ConfigError as error:
        return error
    return None


def _leaves(
    values: Mapping[str, Any], hints: Mapping[str, Any], start: Path = ()
) -> Iterator[tuple[Path, Any]]:
    for name, value in values.items():
        inner = nested_type(hints.get(name))
        if inner is not None and isinstance(value, Mapping) and value:
            yield from _leaves(value, typing.get_type_hints(inner), (*start, name))
        else:
            yield (*start, name), value


def _with(values: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    first, *rest = path
    inner = _with(values.get(first) or {}, tuple(rest), value) if rest else value
    return {**values, first: inner}
