"""Values in the units that dashboards name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

UNITS: Mapping[str, tuple[str, float]] = {
    "s": ("seconds", 1.0),
    "reqps": ("a second", 1.0),
    "percentunit": ("%", 100.0),
    "percent": ("%", 1.0),
    "bytes": ("MiB", 1 / 2**20),
    "short": ("", 1.0),
}
"""What the axis says, and what values are multiplied by."""


def axis_of(unit: str) -> tuple[str, float]:
    """Return what an axis says and what its values are multiplied by.

    Args:
        unit: Grafana's name of it.
    """
    return UNITS.get(unit, (unit, 1.0))


def _seconds(value: float) -> str:
    size = abs(value)
    if size >= 7200:
        return f"{value / 3600:.3g} h"
    if size >= 120:
        return f"{value / 60:.3g} min"
    if 0 < size < 0.001:
        return f"{value * 1e6:.3g} µs"
    return f"{value:.3g} s" if size >= 1 or size == 0 else f"{value * 1e3:.3g} ms"


def _bytes(value: float) -> str:
    size = abs(value)
    for unit, least in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= least:
            return f"{value / least:.3g} {unit}"
    return f"{value:.0f} B"


def _plain(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


WORDS: Mapping[str, Callable[[float], str]] = {
    "s": _seconds,
    "bytes": _bytes,
    "percentunit": lambda value: f"{value * 100:.3g} %",
    "percent": lambda value: f"{value:.3g} %",
    "reqps": lambda value: f"{value:.3g}/s",
}


def say(value: float, unit: str) -> str:
    """Write a value with its unit.

    Args:
        value: As Prometheus has it.
        unit: Grafana's name of it.
    """
    return WORDS.get(unit, _plain)(value)
