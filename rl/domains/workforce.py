"""People called to shifts: what is observed, and how many can be called.

The same lines run in training (torch), evaluation and serving (NumPy).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.errors import ConfigError

OBSERVATION_LIMIT = 5.0


@dataclass(frozen=True, kw_only=True)
class WorkforceConfig:
    """Rules of the roster, and what an hour costs."""

    num_employees: int = 20
    num_skills: int = 3
    num_shifts: int = 42
    """Length of an episode."""
    shifts_per_week: int = 21
    shift_hours: float = 8.0
    max_overtime: float = 8.0
    """Hours a week beyond the contract."""
    wage: float = 20.0
    """Currency per hour within the contract, paid only when worked."""
    overtime_premium: float = 0.5
    """Share of the wage paid on top for an hour beyond the contract."""
    understaffing_penalty: float = 60.0
    """Currency per hour for which one person is missing."""
    lookahead: int = 21
    """Shifts of which the forecast is seen, the next one first."""

    def __post_init__(self) -> None:
        """Refuse empty rosters and prices without sense."""
        for name in ("num_employees", "num_skills", "num_shifts", "shifts_per_week", "lookahead"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.shift_hours < np.inf:
            raise ConfigError(f"shift_hours must be finite and above 0, not {self.shift_hours}")
        for name in ("max_overtime", "wage", "overtime_premium", "understaffing_penalty"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ConfigError(
                    f"{name} must be finite and not negative, not {getattr(self, name)}"
                )

    @property
    def observation_size(self) -> int:
        """Numbers that are observed."""
        return self.num_skills * (self.lookahead + 4) + 2


@dataclass(frozen=True, kw_only=True)
class WorkforceView:
    """What is known before a shift; any leading batch axes, NumPy or torch."""

    skills: Any
    """`[..., employee, skill]`: 1 where somebody has a skill."""
    contract_hours: Any
    """`[..., employee]`: a week."""
    hours: Any
    """`[..., employee]`: worked this week."""
    can_work: Any
    """`[..., employee]`: 1 for those neither absent, nor just off a shift, nor out of hours."""
    forecast: Any
    """`[..., lookahead, skill]`: people expected, from this shift on; 0 after the episode."""
    shift_of_week: Any
    """`[...]`: shifts of this week that are over."""
    shifts_left: Any
    """`[...]`: this one included."""


class WorkforceDomain:
    """Observation and feasibility, on NumPy or torch arrays."""

    def __init__(self, config: WorkforceConfig, xp: Any = np) -> None:
        """Keep the rules.

        Args:
            config: The roster.
            xp: Array namespace, `numpy` or `torch`.
        """
        self.config = config
        self._xp = xp

    def encode(self, view: WorkforceView) -> Any:
        """Observe forecasts and people, by skill.

        Args:
            view: What is known.

        Returns:
            `[..., observation_size]` in [0, 5]: forecast per shift and skill over the people with
            the skill; per skill the share of its people who can work, of those who can within
            their contract, and of its contract hours still to work this week; its people over all
            places; share of the week that is over; share of the episode left.
        """
        xp, config = self._xp, self.config
        roster = view.skills.sum(-2)
        people = xp.clip(roster, 1.0, None)
        room = view.contract_hours - view.hours
        in_contract = xp.where(room >= config.shift_hours, view.can_work, 0.0)
        hours_left = self._by_skill(view, xp.clip(room, 0.0, None))
        contract = xp.clip(self._by_skill(view, view.contract_hours), 1.0, None)
        forecast = view.forecast / people[..., None, :]
        parts = [
            forecast.reshape((*forecast.shape[:-2], -1)),
            self._by_skill(view, view.can_work) / people,
            self._by_skill(view, in_contract) / people,
            hours_left / contract,
            roster / config.num_employees,
            (view.shift_of_week / config.shifts_per_week)[..., None],
            (view.shifts_left / config.num_shifts)[..., None],
        ]
        return xp.clip(xp.concatenate(parts, -1), 0.0, OBSERVATION_LIMIT)

    def project(self, action: Any, view: WorkforceView) -> Any:
        """Turn an action into the whole number of people that are called.

        Args:
            action: `[..., skill]`: share of the people with the skill; clipped to [0, 1].
            view: What is known.

        Returns:
            `[..., skill]`: fewer come where fewer can work.
        """
        xp = self._xp
        return xp.round(xp.clip(action, 0.0, 1.0) * view.skills.sum(-2))

    def in_use(self, view: WorkforceView) -> Any:
        """Tell which skills somebody has.

        Args:
            view: What is known.

        Returns:
            `[..., skill]`, bool.
        """
        return view.skills.sum(-2) > 0

    def _by_skill(self, view: WorkforceView, value: Any) -> Any:
        return (view.skills * value[..., None]).sum(-2)
