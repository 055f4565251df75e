"""How much worse policies do that see with noise, or without some of what they observe."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from rl.evaluation.changed_sight import (
    ChangedSight,
    ClearSight,
    DroppedSight,
    NoisySight,
    Sight,
    Spread,
)
from rl.evaluation.contest import Contest, Numbers, ScenarioSet
from rl.evaluation.entrants import Entrant, play_runs
from rl.evaluation.episode_statistics import estimate_mean
from rl.evaluation.judging import kpis_of
from rl.evaluation.resampling import Resampling
from rl.evaluation.suite_results import Change, SightResult
from utils.errors import ConfigError
from utils.seeding import make_generator


@dataclass(frozen=True, kw_only=True)
class SightConfig:
    """How sight is disturbed."""

    noise_levels: tuple[float, ...] = (0.05, 0.1, 0.25)
    """Deviation of noise on what is observed, in deviations of each feature."""
    dropped_shares: tuple[float, ...] = (0.1, 0.25)
    """Of the features that vary, shown as their mean."""
    seed: int = 0
    """Of noise and of the choice of dropped features; each level has a stream of its own."""

    def __post_init__(self) -> None:
        """Refuse levels that disturb nothing, or more than there is.

        Raises:
            ConfigError: A level is not positive, or a share is above 1.
        """
        if any(not 0 < level < math.inf for level in self.noise_levels):
            raise ConfigError(f"noise_levels must be finite and above 0: {self.noise_levels}")
        if any(not 0 < share <= 1 for share in self.dropped_shares):
            raise ConfigError(f"dropped_shares must lie in (0, 1]: {self.dropped_shares}")


def disturb(
    contest: Contest,
    entrant: Entrant,
    standard: ScenarioSet,
    *,
    before: Numbers,
    config: SightConfig,
    resampling: Resampling,
) -> tuple[SightResult, ...]:
    """Let policies play the standard set with disturbed sight; all runs see the same noise.

    Args:
        contest: The world.
        entrant: With policies.
        standard: What is played.
        before: `[run, episode]`: its KPI with clear sight.
        config: How sight is disturbed.
        resampling: How intervals are made.
    """
    spread = _look(contest, entrant, standard)

    def result(level: float, features: tuple[int, ...], make: Callable[[], Sight]) -> SightResult:
        runs = play_runs(
            contest, entrant, standard, wrap_policy=lambda policy: ChangedSight(policy, make())
        )
        difference = estimate_mean(kpis_of(runs) - before, standard.blocks, resampling)
        change = Change(name=entrant.name, difference=difference)
        return SightResult(noise_level=level, dropped_features=features, change=change)

    def noisy(level: float) -> Sight:
        return NoisySight(level, spread, make_generator(config.seed, f"suite/noise/{level!r}"))

    def dropped(share: float) -> DroppedSight:
        generator = make_generator(config.seed, f"suite/dropped/{share!r}")
        return DroppedSight(share, spread, generator)

    return (
        *(result(level, (), partial(noisy, level)) for level in config.noise_levels),
        *(
            result(0.0, dropped(share).features, partial(dropped, share))
            for share in config.dropped_shares
        ),
    )


def _look(contest: Contest, entrant: Entrant, standard: ScenarioSet) -> Spread:
    """Return how far features spread where the first run plays."""
    clear = ClearSight()
    first = entrant.runs()[0]
    play_runs(contest, first, standard, wrap_policy=lambda policy: ChangedSight(policy, clear))
    return clear.spread()
