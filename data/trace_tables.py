"""Reading of published comma-separated files, every fault named with path and where to get them."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from data.traces import TraceError


def read_table(
    path: Path, first_column: str, source: str, *, last_line_is_open: bool = False
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows, all of one length.

    Args:
        path: The file.
        first_column: Name that its header begins with.
        source: Where to get it, for errors.
        last_line_is_open: Whether the published file ends without a line break.

    Raises:
        TraceError: The file is missing, not text, empty, cut within its last line, or has lines
            of unequal length.
    """
    try:
        text = path.read_text(encoding="utf-8")
        rows = list(csv.reader(text.splitlines(), strict=True))
    except OSError as error:
        raise TraceError(f"cannot read {path}: {error.strerror}; get it: {source}") from error
    except UnicodeDecodeError as error:
        raise TraceError(f"{path} is not text; get it again: {source}") from error
    except csv.Error as error:
        raise TraceError(f"{path} is damaged: {error}; get it again: {source}") from error
    if len(rows) < 2 or rows[0][:1] != [first_column]:
        raise TraceError(f"{path} is not the published file; get it again: {source}")
    whole = last_line_is_open or text.endswith("\n")
    if not whole or len({len(row) for row in rows}) != 1:
        raise TraceError(f"{path} is cut short or damaged; get it again: {source}")
    return rows[0], rows[1:]


def read_number(path: Path, cell: str, source: str) -> float:
    """Return a number that is finite and not negative.

    Args:
        path: The file, for errors.
        cell: The text.
        source: Where to get the file, for errors.

    Raises:
        TraceError: The text is no such number.
    """
    try:
        value = float(cell)
    except ValueError as error:
        raise TraceError(f"{path}: {cell!r} is not a number; get it again: {source}") from error
    if not math.isfinite(value) or value < 0:
        raise TraceError(f"{path} holds {cell}; numbers are finite and >= 0: {source}")
    return value
