"""One setting that is searched over: an interval or a list of options."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A named setting and what it may be."""

    name: str
    """Dotted."""
    low: float = 0.0
    high: float = 0.0
    """Both ends belong to the interval; they are not looked at if there are options."""
    is_log: bool = False
    """Equal factors are equally likely, instead of equal differences."""
    is_int: bool = False
    options: tuple[Any, ...] = ()
    """JSON values to choose from; none for an interval."""

    def __post_init__(self) -> None:
        """Refuse an axis with nothing to choose.

        Raises:
            ConfigError: The interval is empty, or logarithmic and not positive, or an option is
                given twice.
        """
        if self.options:
            shown = [repr(option) for option in self.options]
            if len(set(shown)) < len(shown):
                raise ConfigError(f"{self.name}: an option is given twice: {', '.join(shown)}")
            return
        if not -math.inf < self.low < self.high < math.inf:
            raise ConfigError(
                f"{self.name}: from {self.low} to {self.high} is no interval: give low < high"
            )
        if self.is_log and self.low <= 0:
            raise ConfigError(f"{self.name}: low={self.low}: a log interval begins above 0")
