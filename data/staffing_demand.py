"""Episodes of a workforce: who is employed, who is absent, and how many people each shift needs."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from data.scenario import Array, ScenarioArrays, ScenarioError
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class StaffingScenarios(ScenarioArrays):
    """What the outside world does to a roster; people are whole, flags are 0 or 1."""

    demand: Array
    """`[episode, time, skill]`: people needed in each shift, known when it is over."""
    forecast: Array
    """`[episode, time, skill]`: people expected, known beforehand."""
    absent: Array
    """`[episode, time, employee]`: 1 where somebody cannot come, known before the shift."""
    skills: Array
    """`[episode, employee, skill]`: 1 where somebody has a skill; nobody's place has none."""
    contract_hours: Array
    """`[episode, employee]`: hours a week at the plain wage; 0 for nobody's place."""

    def __post_init__(self) -> None:
        """Check shapes and values once, where scenarios enter."""
        if self.demand.ndim != 3 or 0 in self.demand.shape or self.absent.ndim != 3:
            raise ScenarioError(
                f"demand has shape {self.demand.shape} and absent {self.absent.shape}; give "
                "[episode, time, skill] and [episode, time, employee], not empty"
            )
        episodes, steps, skills = self.demand.shape
        employees = self.absent.shape[2]
        wanted = {
            "forecast": (episodes, steps, skills),
            "absent": (episodes, steps, employees),
            "skills": (episodes, employees, skills),
            "contract_hours": (episodes, employees),
        }
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ScenarioError(f"{name} has shape {getattr(self, name).shape}, not {shape}")
        self._check_values()

    def _check_values(self) -> None:
        for field in fields(self):
            values = getattr(self, field.name)
            if not np.isfinite(values).all() or (values < 0).any():
                raise ScenarioError(f"{field.name} holds negative or non-finite values")
        for name in ("absent", "skills"):
            if not np.isin(getattr(self, name), (0, 1)).all():
                raise ScenarioError(f"{name} holds values other than 0 and 1")
        if (self.demand != np.rint(self.demand)).any():
            raise ScenarioError("demand holds parts of people; round to whole ones")
        is_missing = self.skills.sum(1) == 0
        if (is_missing[:, None] & (self.demand > 0)).any():
            raise ScenarioError("demand asks for a skill nobody has; drop it or train somebody")
        if ((self.contract_hours > 0) != (self.skills.sum(2) > 0)).any():
            raise ScenarioError("contract_hours must be above 0 exactly where somebody has a skill")


@dataclass(frozen=True, kw_only=True)
class StaffingConfig:
    """The law of employees, absences and demand."""

    num_employees: int = 20
    num_skills: int = 3
    active_employees: int | None = None
    """The other places are nobody's; None fills all."""
    active_skills: int | None = None
    """The others nobody has or needs; None switches all on."""
    num_weeks: int = 2
    contract_hours: tuple[float, ...] = (40.0, 24.0, 32.0)
    """Hours a week, dealt out in turn."""
    second_skill_share: float = 0.4
    """Chance that somebody has the next skill besides the own one."""
    people_per_shift: float = 3.6
    """Expected demand over all active skills, mean over a week."""
    shift_profile: tuple[float, ...] = (1.2, 1.3, 0.5)
    """Demand of the shifts of a day, relative; early, late, night."""
    day_profile: tuple[float, ...] = (1.1, 1.0, 1.0, 1.0, 1.2, 1.0, 0.7)
    """Demand of the days of a week, relative."""
    surprise: float = 0.25
    """Deviation of the logarithm of demand from the forecast; then it is rounded at random."""
    absence_rate: float = 0.02
    """Chance that an absence begins in a shift."""
    absence_shifts: float = 4.0
    """Mean length of an absence, geometric."""

    def __post_init__(self) -> None:
        """Refuse laws that cannot be drawn."""
        for name in ("num_employees", "num_skills", "num_weeks"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        for active, whole in (
            ("active_employees", "num_employees"),
            ("active_skills", "num_skills"),
        ):
            value = getattr(self, active)
            if value is not None and not 1 <= value <= getattr(self, whole):
                raise ConfigError(f"{active}={value} must lie in 1 .. {getattr(self, whole)}")
        if self.employed < self.skills_in_use:
            raise ConfigError(
                f"{self.employed} employees cannot have {self.skills_in_use} own skills; switch "
                "skills off or employ more"
            )
        positive = (*self.contract_hours, *self.shift_profile, *self.day_profile)
        if not positive or not all(0 < value < np.inf for value in positive):
            raise ConfigError("contract_hours and profiles must be finite and above 0")
        if not all(
            0 <= value <= 1 for value in (self.second_skill_share, self.absence_rate)
        ) or not (1 <= self.absence_shifts < np.inf):
            raise ConfigError(
                "second_skill_share and absence_rate are chances in [0, 1], absence_shifts at "
                f"least 1: {self}"
            )
        if not (0 <= self.people_per_shift < np.inf and 0 <= self.surprise < np.inf):
            raise ConfigError("people_per_shift and surprise must be finite and not negative")

    @property
    def employed(self) -> int:
        """Places that are somebody's."""
        return self.num_employees if self.active_employees is None else self.active_employees

    @property
    def skills_in_use(self) -> int:
        """Skills that are needed."""
        return self.num_skills if self.active_skills is None else self.active_skills

    @property
    def shifts_per_week(self) -> int:
        """Shifts of all days of a week."""
        return len(self.shift_profile) * len(self.day_profile)

    @property
    def num_shifts(self) -> int:
        """Length of an episode."""
        return self.num_weeks * self.shifts_per_week


class StaffingDemand:
    """A scenario source: demand around a weekly forecast, in whole people, geometric absences."""

    def __init__(self, config: StaffingConfig) -> None:
        """Keep the law.

        Args:
            config: The law.
        """
        self._config = config

    def draw(self, num_episodes: int, generator: np.random.Generator) -> StaffingScenarios:
        """Draw episodes.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        config = self._config
        skill_on = np.arange(config.num_skills) < config.skills_in_use
        is_employed = np.arange(config.num_employees) < config.employed
        profile = np.outer(config.day_profile, config.shift_profile).ravel()
        week = config.people_per_shift / config.skills_in_use * profile / profile.mean()
        level = generator.uniform(0.8, 1.2, (num_episodes, 1, config.num_skills))
        forecast = np.tile(week, config.num_weeks)[None, :, None] * level * skill_on
        shock = generator.normal(-0.5 * config.surprise**2, config.surprise, forecast.shape)
        expected = forecast * np.exp(shock)
        hours = np.resize(config.contract_hours, config.num_employees) * is_employed
        return StaffingScenarios(
            demand=np.floor(expected + generator.random(expected.shape)).astype(np.float32),
            forecast=forecast.astype(np.float32),
            absent=self._draw_absences(num_episodes, generator) * is_employed,
            skills=self._draw_skills(num_episodes, generator) * is_employed[:, None],
            contract_hours=np.tile(hours, (num_episodes, 1)).astype(np.float32),
        )

    def _draw_absences(self, num_episodes: int, generator: np.random.Generator) -> Array:
        config = self._config
        shape = (num_episodes, config.num_shifts, config.num_employees)
        begins = generator.random(shape) < config.absence_rate
        length = generator.geometric(1.0 / config.absence_shifts, shape)
        step = np.arange(config.num_shifts)[None, :, None]
        until = np.maximum.accumulate(np.where(begins, step + length, 0), axis=1)
        return (until > step).astype(np.float32)

    def _draw_skills(self, num_episodes: int, generator: np.random.Generator) -> Array:
        config = self._config
        own = np.arange(config.num_employees) % config.skills_in_use
        second = (own + 1) % config.skills_in_use
        has_second = generator.random((num_episodes, config.num_employees)) < (
            config.second_skill_share
        )
        every = np.eye(config.num_skills, dtype=np.float32)
        skills: NDArray[np.float32] = np.maximum(every[own], every[second] * has_second[..., None])
        return skills
