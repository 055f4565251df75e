"""JSON from callers, before it is stored: plain, finite, not too large."""

from __future__ import annotations

import json
from typing import Any

from utils.errors import QuartermasterError

MOST_BYTES = 65_536


class JsonValueError(QuartermasterError, ValueError):
    """A value is not JSON, or too large; the message says which and what to do."""


def checked_json(value: Any, where: str) -> Any:
    """Return a value as it reads back from the database.

    Args:
        value: Numbers, texts, booleans, None, lists and objects of them.
        where: Names it in the error.

    Raises:
        JsonValueError: It is not JSON, holds NaN or infinity, or is larger than 64 KiB.
    """
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise JsonValueError(f"{where} cannot be stored as JSON: {error}") from error
    if len(text) > MOST_BYTES:
        raise JsonValueError(
            f"{where} has {len(text):,} bytes as JSON; at most {MOST_BYTES:,} are kept: store it "
            "as an artifact and name its sha256 here"
        )
    return json.loads(text)
