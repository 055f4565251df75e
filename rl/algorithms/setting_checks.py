"""A check that the settings of all algorithms share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from utils.errors import ConfigError


def check_finite(config: Any, *, unlimited: Sequence[str] = ()) -> None:
    """Refuse numbers that nothing can be worked out with.

    Args:
        config: A dataclass; numbers in its tuples are looked at, too.
        unlimited: Fields that may be infinite, which stands for no limit.

    Raises:
        ConfigError: A number is infinite, or not a number.
    """
    for name in (field.name for field in fields(config)):
        value = getattr(config, name)
        for one in value if isinstance(value, tuple) else (value,):
            if not isinstance(one, float) or math.isfinite(one):
                continue
            if math.isnan(one) or name not in unlimited:
                raise ConfigError(f"{name}={value}: choose a finite number")
