"""Checks that all algorithms share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from numbers import Integral
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


def check_sizes(state_dim: int, action_dim: int | tuple[int, ...], num_agents: int = 1) -> None:
    """Refuse an agent that would see or do nothing.

    Args:
        state_dim: Numbers in an observation.
        action_dim: Dimensions of an action or choices; a tuple for several choices at once.
        num_agents: Who share the agent's networks.

    Raises:
        ConfigError: A size is no whole number from 1 on.
    """
    sizes = {"state_dim": state_dim, "action_dim": action_dim, "num_agents": num_agents}
    for name, value in sizes.items():
        parts = value if isinstance(value, tuple) else (value,)
        if not parts or not all(isinstance(one, Integral) and one >= 1 for one in parts):
            raise ConfigError(f"{name}={value}: choose whole numbers from 1 on")
