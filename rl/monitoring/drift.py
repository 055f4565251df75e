"""Whether requests still look as they did: population stability, Kolmogorov and Smirnov; pure.

A reference is a sample of each feature, of the first requests. The last requests are held against
it: the population stability index on bins that hold a tenth of the reference each, and the largest
distance of the two distribution functions. Memory is bounded: so many values of so many features.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from utils.errors import ConfigError

Array64 = NDArray[np.float64]
MOST_POINTS = 200
"""A feature's sample is kept as at most so many of its order statistics, evenly spread."""
SMALLEST_SHARE = 1e-4
"""Shares of bins below it count as it, so that an empty bin is no infinity."""


@dataclass(frozen=True, kw_only=True)
class DriftConfig:
    """When requests count as drifted."""

    reference_size: int = 500
    """So many requests make the reference."""
    window: int = 500
    """So many last requests are held against it."""
    num_bins: int = 10
    psi_limit: float = 0.25
    """Above it a feature has drifted; 0.1 to 0.25 is a usual unrest."""
    ks_limit: float = 0.25
    """Both must be above their limits."""
    max_features: int = 256
    """Further features are not looked at."""

    def __post_init__(self) -> None:
        """Refuse what cannot tell anything.

        Raises:
            ConfigError: A number is out of range.
        """
        if not 2 <= self.num_bins <= 100:
            raise ConfigError(f"num_bins={self.num_bins}: choose 2 to 100")
        smallest, largest = 5 * self.num_bins, 10_000
        for name in ("reference_size", "window"):
            if not smallest <= getattr(self, name) <= largest:
                raise ConfigError(
                    f"{name}={getattr(self, name)}: choose {smallest} (5 a bin) to {largest}"
                )
        if not (0 < self.psi_limit < 100 and 0 < self.ks_limit < 1):
            raise ConfigError(
                f"psi_limit={self.psi_limit}, ks_limit={self.ks_limit}: choose above 0, ks below 1"
            )
        if not 1 <= self.max_features <= 10_000:
            raise ConfigError(f"max_features={self.max_features}: choose 1 to 10000")


@dataclass(frozen=True, kw_only=True)
class FeatureDrift:
    """How far one feature has moved."""

    feature: str
    psi: float
    ks: float


@dataclass(frozen=True, kw_only=True)
class DriftReport:
    """How far requests have moved."""

    features: tuple[FeatureDrift, ...]
    """Farthest first, by population stability index."""
    drifted: tuple[FeatureDrift, ...]
    """Those above both limits."""
    num_requests: int
    """In the window."""

    @property
    def score(self) -> float:
        """The largest population stability index."""
        return self.features[0].psi if self.features else 0.0


def population_stability(expected: ArrayLike, actual: ArrayLike) -> float:
    """Return the population stability index of two counts over the same bins.

    The sum over bins of (actual share - expected share) * log(actual share / expected share).

    Args:
        expected: `[bin]`, of the reference.
        actual: `[bin]`, of now.
    """
    before, now = (
        np.maximum(counts / counts.sum(), SMALLEST_SHARE)
        for counts in (np.asarray(expected, np.float64), np.asarray(actual, np.float64))
    )
    return float(((now - before) * np.log(now / before)).sum())


def ks_distance(one: ArrayLike, other: ArrayLike) -> float:
    """Return the largest distance between the distribution functions of two samples.

    Args:
        one: `[value]`.
        other: `[value]`.
    """
    first, second = np.sort(np.asarray(one, np.float64)), np.sort(np.asarray(other, np.float64))
    places = np.concatenate([first, second])
    shares = [
        np.searchsorted(sample, places, side="right") / len(sample) for sample in (first, second)
    ]
    return float(np.abs(shares[0] - shares[1]).max())


def count_in_bins(sample: ArrayLike, values: ArrayLike, num_bins: int) -> tuple[Array64, Array64]:
    """Count a reference and values in bins that split the reference evenly.

    A value that many of the reference share makes its bin larger; it is never split. Where that is
    its smallest value, what lies below has a bin of its own.

    Args:
        sample: `[value]`, the reference.
        values: `[value]`.
        num_bins: How many bins at most.

    Returns:
        `[bin]` of the reference and of the values.
    """
    before, now = np.asarray(sample, np.float64), np.asarray(values, np.float64)
    edges = np.unique(np.quantile(before, np.arange(1, num_bins) / num_bins, method="lower"))
    if edges[0] == before.min():
        edges = np.append(np.nextafter(edges[0], -np.inf), edges)
    counts = []
    for numbers in (before, now):
        bins = np.searchsorted(edges, numbers, side="left")
        counts.append(np.bincount(bins, minlength=len(edges) + 1).astype(np.float64))
    return counts[0], counts[1]


@dataclass(kw_only=True)
class DriftWatch:
    """Watches the requests to one version of an agent."""

    config: DriftConfig = field(default_factory=DriftConfig)
    reference: dict[str, list[float]] | None = None
    """A sample of each feature; None until so many requests made it."""

    def __post_init__(self) -> None:
        """Begin with an empty window."""
        self._early: list[dict[str, float]] = []
        self._window: deque[dict[str, float]] = deque(maxlen=self.config.window)

    def add(self, features: Mapping[str, float]) -> bool:
        """Take in a request.

        Args:
            features: Its numbers; those that are not finite are left out.

        Returns:
            Whether it completed the reference.
        """
        finite = {name: float(value) for name, value in features.items() if math.isfinite(value)}
        if self.reference is not None:
            known = self.reference
            self._window.append({name: value for name, value in finite.items() if name in known})
            return False
        self._early.append(finite)
        if len(self._early) < self.config.reference_size:
            return False
        self.reference = self._make_reference()
        self._early = []
        return True

    def report(self) -> DriftReport | None:
        """Hold the window against the reference; None until both are full."""
        if self.reference is None or len(self._window) < self.config.window:
            return None
        found = []
        for name, sample in self.reference.items():
            values = [request[name] for request in self._window if name in request]
            if 2 * len(values) >= len(self._window):
                found.append(self._compare(name, sample, values))
        found.sort(key=lambda one: (-one.psi, one.feature))
        limit = self.config
        drifted = [one for one in found if one.psi > limit.psi_limit and one.ks > limit.ks_limit]
        return DriftReport(
            features=tuple(found), drifted=tuple(drifted), num_requests=len(self._window)
        )

    def _compare(self, name: str, sample: Sequence[float], values: Sequence[float]) -> FeatureDrift:
        before, now = count_in_bins(sample, values, self.config.num_bins)
        psi = population_stability(before, now)
        return FeatureDrift(feature=name, psi=psi, ks=ks_distance(sample, values))

    def _make_reference(self) -> dict[str, list[float]]:
        names = dict.fromkeys(name for request in self._early for name in request)
        samples = {name: [r[name] for r in self._early if name in r] for name in names}
        half = len(self._early) // 2
        often = [name for name, sample in samples.items() if len(sample) >= half]
        return {name: _thin(samples[name]) for name in often[: self.config.max_features]}


def _thin(sample: Sequence[float]) -> list[float]:
    ordered, points = sorted(sample), min(len(sample), MOST_POINTS)
    return [ordered[int((k + 0.5) * len(ordered) / points)] for k in range(points)]
