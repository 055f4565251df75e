"""Disruptions: shortages, delays, spikes of demand, faults of quality, changes of regulation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from data.demand_law import Floats
from data.fit_report import FitFigure, FitReport
from data.scenario import Array, ScenarioError
from utils.errors import ConfigError
from utils.seeding import make_generator


class DisruptionKind(Enum):
    """What goes wrong."""

    SUPPLIER_SHORTAGE = "supplier_shortage"
    LOGISTICS_DELAY = "logistics_delay"
    DEMAND_SPIKE = "demand_spike"
    QUALITY_ISSUE = "quality_issue"
    REGULATORY_CHANGE = "regulatory_change"


KINDS = tuple(DisruptionKind)
"""In the order of the last axis of what `DisruptionLaw` draws."""


@dataclass(frozen=True, kw_only=True)
class DisruptionRule:
    """How often one kind of event strikes one target, how hard and for how long."""

    probability: float = 0.01
    """Chance that an event begins in a step."""
    smallest: float = 0.1
    """Magnitudes are uniform between these two, in [0, 1]."""
    largest: float = 0.5
    shortest: int = 5
    """Lengths are uniform whole numbers between these two, in steps."""
    longest: int = 20

    def __post_init__(self) -> None:
        """Refuse events that cannot be."""
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"probability={self.probability} must lie in [0, 1]")
        if not 0 <= self.smallest <= self.largest <= 1:
            raise ConfigError(f"needed: 0 <= smallest <= largest <= 1: {self}")
        if not 1 <= self.shortest <= self.longest:
            raise ConfigError(f"needed: 1 <= shortest <= longest: {self}")


@dataclass(frozen=True, kw_only=True)
class DisruptionLaw:
    """One rule per kind; events are independent of kind, target and one another.

    A magnitude is a share: of what a supplier ships less, of lead time or demand on top, of units
    that are faulty, of cost on top. What it does is the world's business.
    """

    rules: tuple[DisruptionRule, ...] = (DisruptionRule(),) * len(KINDS)
    """In the order of `KINDS`."""
    intensity: float = 1.0
    """Factor on all probabilities; 0 switches disruptions off. A curriculum turns it."""

    def __post_init__(self) -> None:
        """Refuse a wrong number of rules and impossible chances."""
        if len(self.rules) != len(KINDS):
            names = ", ".join(kind.value for kind in KINDS)
            raise ConfigError(f"{len(self.rules)} rules; give {len(KINDS)}: {names}")
        if not (math.isfinite(self.intensity) and self.intensity >= 0):
            raise ConfigError(f"intensity={self.intensity} must be finite and at least 0")

    def draw(
        self,
        num_episodes: int,
        num_steps: int,
        num_targets: int,
        generator: np.random.Generator,
    ) -> Array:
        """Draw severities, `[episode, time, target, kind]`, 0 where nothing is wrong.

        Of events of one kind that overlap at a target the gravest counts. Events may be under way
        at step 0. From the same state of the generator a law of higher intensity keeps every event
        of a lower one and adds others, so that stages of a curriculum can be compared.

        Args:
            num_episodes: How many.
            num_steps: Length of each.
            num_targets: Nodes, suppliers or products that can be struck.
            generator: The only source of chance.

        Raises:
            ConfigError: A size is below 1.
        """
        if min(num_episodes, num_steps, num_targets) < 1:
            raise ConfigError("episodes, steps and targets must be at least 1")
        severity = [
            self._draw_kind(rule, (num_episodes, num_steps, num_targets), generator)
            for rule in self.rules
        ]
        return np.stack(severity, axis=-1)

    def _draw_kind(
        self, rule: DisruptionRule, shape: tuple[int, int, int], generator: np.random.Generator
    ) -> Array:
        """Return `[episode, time, target]` of one kind."""
        episodes, steps, targets = shape
        lead = rule.longest - 1
        chance, size, length = generator.random((3, episodes, steps + lead, targets))
        where = np.nonzero(chance < rule.probability * self.intensity)
        episode, begin, target = where
        magnitude = rule.smallest + (rule.largest - rule.smallest) * size[where]
        lasts = rule.shortest + (length[where] * (rule.longest - rule.shortest + 1)).astype(int)
        severity = np.zeros((episodes, steps + lead + rule.longest, targets), np.float32)
        for passed in range(rule.longest):
            still = lasts > passed
            at = (episode[still], begin[still] + passed, target[still])
            np.maximum.at(severity, at, magnitude[still].astype(np.float32))
        return severity[:, lead : lead + steps]


def measure_spells(active: np.ndarray, height: Floats) -> tuple[float, float, float, float]:
    """Return spells per 1,000 steps, share of steps in a spell, mean length and mean height.

    Args:
        active: `[series, time]` of booleans; touching steps are one spell.
        height: The same shape; averaged over active steps.
    """
    padded = np.pad(active, ((0, 0), (1, 0)))
    begins = int((padded[:, 1:] & ~padded[:, :-1]).sum())
    steps = int(active.sum())
    mean_height = float(height[active].mean()) if steps else 0.0
    return 1000 * begins / active.size, steps / active.size, steps / max(begins, 1), mean_height


def fit_disruption(
    severity: Floats, *, threshold: float, seed: int = 0
) -> tuple[DisruptionRule, FitReport]:
    """Fit one rule to a real series of how bad things are.

    Magnitudes and lengths are uniform with the mean and deviation of the real spells, as far as
    the bounds of a rule allow; the chance of a beginning is such that as many steps are struck.

    Args:
        severity: `[time]`, in [0, 1].
        threshold: A spell is a run of steps above it.
        seed: Of the draws that the report compares with.

    Raises:
        ScenarioError: Values are not finite or outside [0, 1], or hold fewer than ten spells.
    """
    if severity.ndim != 1 or not np.isfinite(severity).all():
        raise ScenarioError("severity must be one row of finite numbers; clean it")
    if severity.size == 0 or severity.min() < 0 or severity.max() > 1:
        raise ScenarioError("severity must hold numbers in [0, 1]; divide by the capacity")
    active = severity > threshold
    edges = np.flatnonzero(np.diff(np.pad(active.astype(int), 1)))
    begins, ends = edges[::2], edges[1::2]
    if len(begins) < 10:
        raise ScenarioError(f"{len(begins)} spells above {threshold} are too few; give ten")
    lengths = ends - begins
    heights = np.asarray([severity[a:b].mean() for a, b in zip(begins, ends, strict=True)])
    shortest, longest = _uniform_between(lengths, 1.0, float(lengths.max()))
    smallest, largest = _uniform_between(heights, 0.0, 1.0)
    low, high = round(shortest), max(round(longest), round(shortest))
    span = np.arange(low, high + 1)
    free = 1 - active.mean()
    # A step is free when no event that would reach it has begun: the product over its past.
    reach = span.mean()
    rule = DisruptionRule(
        probability=float(1 - free ** (1 / reach)),
        smallest=smallest,
        largest=largest,
        shortest=low,
        longest=high,
    )
    return rule, _compare(rule, severity, active, seed)


def _uniform_between(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Return the ends of the uniform law of the same mean and deviation, within bounds."""
    half = math.sqrt(3) * float(values.std())
    return max(float(values.mean()) - half, low), min(float(values.mean()) + half, high)


def _compare(rule: DisruptionRule, severity: Floats, active: np.ndarray, seed: int) -> FitReport:
    """Set the spells of a series beside those of one kind that a law draws."""
    silent = DisruptionRule(probability=0.0)
    law = DisruptionLaw(rules=(rule, *(silent,) * (len(KINDS) - 1)))
    drawn = law.draw(50, len(severity), 1, make_generator(seed, "disruption fit"))[..., 0, 0]
    real = measure_spells(active[None], severity[None])
    made = measure_spells(drawn > 0, drawn.astype(np.float64))
    names = ("spells_per_1000_steps", "share_of_steps", "mean_length", "mean_severity")
    return FitReport(
        figures=tuple(
            FitFigure(name=name, real=a, made=b)
            for name, a, b in zip(names, real, made, strict=True)
        )
    )
