"""What is known of everybody who played one set of episodes: frozen, and JSON by `to_json`."""

from __future__ import annotations

from dataclasses import dataclass

from rl.evaluation.entrants import Kind
from rl.evaluation.episode_statistics import Guarded, GuardedShare, Share
from rl.evaluation.resampling import Interval, Locations, Profile


@dataclass(frozen=True, kw_only=True)
class ConstraintResult:
    """How one cost was kept."""

    limit: float
    mean_cost: Interval
    kept: Share
    """How often the sum over an episode was at most the limit."""


@dataclass(frozen=True, kw_only=True)
class FairnessResult:
    """How evenly it was shared, by Jain's index."""

    of: str
    """Whose shares of what."""
    mean: Guarded
    worst: Guarded
    """Of all episodes."""


@dataclass(frozen=True, kw_only=True)
class Lead:
    """How far somebody is ahead of the reference, on the same episodes."""

    difference: Interval
    """Of the KPI; paired, the reference's runs averaged."""
    probability_of_improvement: Interval
    """Of a better KPI on the same episode; a tie is half a win."""


@dataclass(frozen=True, kw_only=True)
class FigureMean:
    """Something that lies behind the KPI."""

    name: str
    mean: Guarded
    """Over runs and episodes; absent if it is undefined in some of them."""


@dataclass(frozen=True, kw_only=True)
class EntrantRow:
    """How one entrant did."""

    name: str
    kind: Kind
    num_runs: int
    kpi: Locations
    cvar_95: Guarded
    """Mean KPI of the worst 5 % of episodes."""
    cvar_99: Guarded
    success: GuardedShare
    all_constraints: GuardedShare
    """How often every cost was within its limit."""
    constraints: tuple[ConstraintResult, ...]
    fairness: FairnessResult
    lead: Lead | None
    """None for the reference itself."""
    profile: Profile
    figures: tuple[FigureMean, ...]


@dataclass(frozen=True, kw_only=True)
class SetResult:
    """Everybody on one set of episodes."""

    name: str
    about: str
    sha256: str
    """Of the scenarios: the same for whoever played the same."""
    num_episodes: int
    num_blocks: int
    reference: str
    """The expert with the highest mean KPI on these very episodes; else the first entrant."""
    rows: tuple[EntrantRow, ...]
    """From the lowest mean KPI to the highest."""

    def row(self, name: str) -> EntrantRow:
        """Return the row of an entrant.

        Args:
            name: Of the entrant.

        Raises:
            KeyError: Nobody of that name played.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"{name!r} did not play; there are {[row.name for row in self.rows]}")
