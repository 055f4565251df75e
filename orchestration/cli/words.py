"""Settings typed as `name=value`, for commands that have many."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from utils.errors import ConfigError


def read_words(words: Sequence[str]) -> dict[str, Any]:
    """Read words; values that are JSON are what JSON says, `a.b=1` puts b into the field a.

    Args:
        words: Each `name=value`.

    Raises:
        ConfigError: A word is none, or a name comes twice.
    """
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        outer, dot, inner = name.partition(".")
        if not equals or not outer or (dot and not inner):
            raise ConfigError(f"{word!r}: write name=value, such as overlap=queue")
        place, key = (values.setdefault(outer, {}), inner) if dot else (values, name)
        if not isinstance(place, dict) or key in place:
            raise ConfigError(f"{name} is given twice")
        place[key] = _read_value(text)
    return values


def _read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None if text.lower() == "none" else text
