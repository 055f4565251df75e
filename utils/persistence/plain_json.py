"""JSON that every database and reader takes: what is not finite becomes null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def json_safe(value: Any) -> Any:
    """Return a value as JSON can hold it: what is not finite becomes null.

    Args:
        value: Mappings, sequences, strings and numbers.
    """
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(item) for item in value]
    if isinstance(value, float):
        return finite(value)
    return value


def finite(value: float) -> float | None:
    """Return a number, or None if it is not finite.

    Args:
        value: Any number.
    """
    return float(value) if math.isfinite(value) else None


def write_json(value: Any) -> str:
    """Write what goes into a column of JSON.

    Args:
        value: Mappings, sequences, strings and numbers.

    Raises:
        TypeError: It holds something else.
    """
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:  # PostgreSQL knows no NaN, nor do most readers
        return json.dumps(json_safe(value), allow_nan=False)
