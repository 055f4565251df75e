"""A stage of a curriculum as data: what is played there, and what has to be reached."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from utils.errors import ConfigError


class DifficultyLevel(Enum):
    """How hard a stage is, in words; nothing is decided by it."""

    BEGINNER = "beginner"
    EASY = "easy"
    MEDIUM = "medium"
    HARD = "hard"
    EXPERT = "expert"
    MASTER = "master"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One thing that a stage sets in its world: a number, or a choice by name."""

    name: str
    value: float | None = None
    choice: str | None = None

    def __post_init__(self) -> None:
        """Refuse parameters that say nothing, or two things.

        Raises:
            ConfigError: There is not exactly one of value and choice, or no finite value.
        """
        if (self.value is None) == (self.choice is None):
            raise ConfigError(f"parameter {self.name!r}: give either a value or a choice")
        if self.value is not None and not math.isfinite(self.value):
            raise ConfigError(f"parameter {self.name!r} is {self.value}: give a finite number")

    @property
    def setting(self) -> float | str:
        """The value or the choice."""
        return self.choice or "" if self.value is None else self.value


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """A bound on the mean of a named figure, beside the score."""

    figure: str
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        """Refuse a criterion that everything or nothing meets.

        Raises:
            ConfigError: No bound is given, one is not finite, or they exclude each other.
        """
        bounds = [bound for bound in (self.at_least, self.at_most) if bound is not None]
        if not bounds or not all(math.isfinite(bound) for bound in bounds):
            raise ConfigError(f"criterion {self.figure!r}: give a finite at_least or at_most")
        if bounds != sorted(bounds):
            raise ConfigError(f"criterion {self.figure!r}: at_least must not exceed at_most")

    def is_met(self, value: float) -> bool:
        """Return whether a value lies within the bounds.

        Args:
            value: Mean of the figure.
        """
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return low <= value <= high

    def describe(self) -> str:
        """Return what is wanted, in words."""
        parts = [("at least", self.at_least), ("at most", self.at_most)]
        wanted = " and ".join(f"{word} {bound:g}" for word, bound in parts if bound is not None)
        return f"{self.figure} {wanted}"


@dataclass(frozen=True, kw_only=True)
class CurriculumStage:
    """One stage. A score is 0 for chance and 1 for the expert (`ScoreScale`)."""

    name: str
    difficulty: DifficultyLevel
    parameters: tuple[Parameter, ...] = ()
    success_criteria: tuple[Criterion, ...] = ()
    """All must be met for a promotion."""
    min_episodes: int = 100
    """Played here before anything changes."""
    max_episodes: int = 1000
    """After these the report says that the stage takes long. Nobody is promoted by time."""
    advancement_threshold: float = 0.8
    """What the lower bound of the mean score must reach."""
    regression_threshold: float = 0.4
    """Below this the upper bound of the mean score means that the stage is too hard."""
    stability_window: int = 50
    """Episodes whose scores are judged, the newest ones."""

    def __post_init__(self) -> None:
        """Refuse stages that nobody can play or leave in order.

        Raises:
            ConfigError: A field is empty or out of range, or a name is there twice.
        """
        if not self.name.strip():
            raise ConfigError("name is empty: give every stage a name")
        if self.min_episodes < 1 or self.stability_window < 1:
            raise ConfigError(
                f"{self.name}: min_episodes={self.min_episodes}, stability_window="
                f"{self.stability_window}: choose at least 1"
            )
        if self.max_episodes < self.min_episodes:
            raise ConfigError(
                f"{self.name}: max_episodes={self.max_episodes} is below min_episodes="
                f"{self.min_episodes}: choose at least as many"
            )
        if not -math.inf < self.regression_threshold < self.advancement_threshold < math.inf:
            raise ConfigError(
                f"{self.name}: regression_threshold={self.regression_threshold} must lie below "
                f"advancement_threshold={self.advancement_threshold}, both finite"
            )
        for names in (
            [one.name for one in self.parameters],
            [one.figure for one in self.success_criteria],
        ):
            if len(set(names)) < len(names):
                raise ConfigError(f"{self.name}: a name is there twice in {', '.join(names)}")

    def number(self, name: str) -> float:
        """Return the value of a parameter.

        Args:
            name: Of it.

        Raises:
            ConfigError: The stage has no such number.
        """
        for parameter in self.parameters:
            if parameter.name == name and parameter.value is not None:
                return parameter.value
        raise ConfigError(f"{self.name} has no number {name!r} among its parameters: add it")

    def choice(self, name: str) -> str:
        """Return the choice of a parameter.

        Args:
            name: Of it.

        Raises:
            ConfigError: The stage has no such choice.
        """
        for parameter in self.parameters:
            if parameter.name == name and parameter.choice is not None:
                return parameter.choice
        raise ConfigError(f"{self.name} has no choice {name!r} among its parameters: add it")
