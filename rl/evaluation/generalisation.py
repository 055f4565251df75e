"""Sets of troubled scenarios, and a grid of them: kind by intensity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rl.evaluation.contest import ScenarioSet
from rl.evaluation.stress import Stress, apply_stress, stresses_of
from utils.errors import ConfigError

INTENSITIES = (0.25, 0.5, 1.0, 2.0)


@dataclass(frozen=True, kw_only=True)
class GridCell:
    """One kind of trouble at one intensity."""

    stress: Stress
    intensity: float
    episodes: ScenarioSet


def stress_set(episodes: ScenarioSet, stress: Stress, intensity: float = 1.0) -> ScenarioSet:
    """Return a set in trouble; the same episodes, in the same blocks, with the same luck.

    Args:
        episodes: As they are.
        stress: What goes wrong.
        intensity: How much of it.

    Raises:
        ConfigError: The stress does not exist for such scenarios, or the intensity is refused.
    """
    return replace(
        episodes,
        name=f"{episodes.name}/{stress}@{intensity:g}",
        about=f"{episodes.about}; {stress.replace('_', ' ')}, intensity {intensity:g}",
        scenarios=apply_stress(episodes.scenarios, stress, intensity),
    )


def generalisation_grid(
    episodes: ScenarioSet, intensities: Sequence[float] = INTENSITIES
) -> tuple[GridCell, ...]:
    """Return every stress that means something here, at every intensity.

    Args:
        episodes: As they are.
        intensities: Rising, above 0.

    Raises:
        ConfigError: Intensities do not rise from above 0, or no stress exists for such scenarios.
    """
    if not intensities or list(intensities) != sorted({*intensities}) or intensities[0] <= 0:
        raise ConfigError(f"intensities must rise from above 0: {tuple(intensities)}")
    kinds = stresses_of(episodes.scenarios)
    if not kinds:
        raise ConfigError(f"no stress exists for {type(episodes.scenarios).__name__}")
    return tuple(
        GridCell(
            stress=stress, intensity=intensity, episodes=stress_set(episodes, stress, intensity)
        )
        for stress in kinds
        for intensity in intensities
    )
