"""How close a generator came to the real series it was fitted to, in one form for all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FitFigure:
    """One property, measured alike on the real series and on what was made."""

    name: str
    real: float
    made: float

    @property
    def relative_error(self) -> float:
        """Distance over the size of the real figure; infinite where only the real one is zero."""
        distance = abs(self.made - self.real)
        if distance == 0:
            return 0.0
        return distance / abs(self.real) if self.real else math.inf


@dataclass(frozen=True, kw_only=True)
class FitReport:
    """All figures of one fit."""

    figures: tuple[FitFigure, ...]

    def describe(self) -> tuple[str, ...]:
        """Return one line of text per figure."""
        width = max((len(figure.name) for figure in self.figures), default=0)
        return tuple(
            f"{one.name:<{width}}  real {one.real:>10.4g}  made {one.made:>10.4g}  "
            f"off by {one.relative_error:.0%}"
            if math.isfinite(one.relative_error)
            else f"{one.name:<{width}}  real {one.real:>10.4g}  made {one.made:>10.4g}"
            for one in self.figures
        )
