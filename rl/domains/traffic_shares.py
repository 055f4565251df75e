"""Shares of a link that follow demands in small steps: what is observed and what a choice does.

The same lines run in training (torch), evaluation and serving (NumPy).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TrafficConfig:
    """Size and rules of the preset `traffic_shares`."""

    num_slots: int = 4
    """Resources there is room for."""
    num_steps: int = 200
    move: float = 0.05
    """How far one choice moves a share."""
    movable: Literal["all", "first"] = "all"
    """All shares, or only the first, as published: there no choice brings the others back."""

    def __post_init__(self) -> None:
        """Refuse empty worlds and moves beyond a share."""
        if min(self.num_slots, self.num_steps) < 1:
            raise ConfigError(f"num_slots and num_steps must be at least 1: {self}")
        if not 0 < self.move <= 1:
            raise ConfigError(f"move must lie in (0, 1], not {self.move}")
        if self.movable not in {"all", "first"}:
            raise ConfigError(f"movable {self.movable!r}; known: all, first")

    @property
    def num_choices(self) -> int:
        """Choices there are: 9 for four movable shares, 5 where only the first one moves."""
        return 2 * self.num_slots + 1 if self.movable == "all" else self.num_slots + 1

    @property
    def no_op(self) -> int:
        """The choice that moves nothing."""
        return self.num_choices - 1


@dataclass(frozen=True, kw_only=True)
class TrafficView:
    """What is known when a choice is made; any leading batch axes, NumPy or torch."""

    demand: Any
    """`[..., resource]`, in [0, 1]."""
    share: Any
    """`[..., resource]`, in [0, 1]; they sum to at most one."""
    resource_active: Any
    """`[..., resource]`: one where the resource exists."""


class TrafficDomain:
    """Observation and choices of one world, on NumPy or torch arrays."""

    def __init__(self, config: TrafficConfig, xp: Any = np, as_array: Any = np.asarray) -> None:
        """Prepare what each choice does.

        Args:
            config: Size and rules.
            xp: Array namespace, `numpy` or `torch`.
            as_array: Turns a float32 array into one of that namespace.
        """
        self.config = config
        self._xp = xp
        moves = np.zeros((config.num_choices, config.num_slots), np.float32)
        for slot in range(config.num_slots if config.movable == "all" else 1):
            moves[2 * slot, slot] = -config.move
            moves[2 * slot + 1, slot] = config.move
        self.moves = as_array(moves)
        """`[choice, resource]`: 2 i lowers share i, 2 i + 1 raises it, the others do nothing."""

    def encode(self, view: TrafficView) -> Any:
        """Observe demands, then shares.

        Args:
            view: What is known.

        Returns:
            `[..., 2 * resource]`, in [0, 1].
        """
        return self._xp.concatenate([view.demand, view.share], axis=-1)

    def project(self, choice: Any, view: TrafficView) -> Any:
        """Return the shares after a choice.

        Args:
            choice: `[...]`, integers.
            view: What is known.

        Returns:
            `[..., resource]`: cut to [0, 1]; where they sum to more than one, divided by the sum.
        """
        return self._settle(view.share + self.moves[choice] * view.resource_active)

    def consider(self, view: TrafficView) -> Any:
        """Return the shares after every choice, `[..., choice, resource]`.

        Args:
            view: What is known.
        """
        moved = self.moves * view.resource_active[..., None, :]
        return self._settle(view.share[..., None, :] + moved)

    def allowed(self, view: TrafficView) -> Any:
        """Return which choices exist, `[..., choice]`: none that moves an absent resource.

        Args:
            view: What is known.
        """
        touched = (self.moves != 0) & (view.resource_active[..., None, :] == 0)
        return ~touched.any(-1)

    def _settle(self, share: Any) -> Any:
        cut = self._xp.clip(share, 0.0, 1.0)
        return cut / self._xp.clip(cut.sum(-1)[..., None], 1.0, None)
