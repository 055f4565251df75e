"""Search without gradients: CMA-ES (Hansen, The CMA evolution strategy: a tutorial, 2016)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class EvolutionConfig:
    """How candidates are drawn."""

    population: int = 16
    """Candidates in a generation; the better half moves the search."""
    deviation: float = 0.3
    """Of the first candidates, in every direction."""

    def __post_init__(self) -> None:
        """Refuse searches that cannot move."""
        if self.population < 4:
            raise ConfigError(f"population must be at least 4, not {self.population}")
        if not (np.isfinite(self.deviation) and self.deviation > 0):
            raise ConfigError(f"deviation must be finite and above 0, not {self.deviation}")


class Evolution:
    """Draws candidates around a mean and follows the better ones; lower costs are better."""

    def __init__(self, mean: Floats, config: EvolutionConfig, seed: int) -> None:
        """Begin at a point.

        Args:
            mean: `[number]`.
            config: How candidates are drawn.
            seed: Of the draws.
        """
        size, kept = len(mean), config.population // 2
        weight = np.log(kept + 0.5) - np.log(np.arange(1, kept + 1))
        self.mean, self.deviation = np.array(mean, np.float64), config.deviation
        self._population, self._generator = config.population, np.random.default_rng(seed)
        self._weight = weight / weight.sum()
        mass = 1.0 / float(np.square(self._weight).sum())
        self._mass = mass
        self._path_rate = (4 + mass / size) / (size + 4 + 2 * mass / size)
        self._step_rate = (mass + 2) / (size + mass + 5)
        self._one = 2 / ((size + 1.3) ** 2 + mass)
        self._many = min(1 - self._one, 2 * (mass - 2 + 1 / mass) / ((size + 2) ** 2 + mass))
        grown = max(0.0, ((mass - 1) / (size + 1)) ** 0.5 - 1)
        self._damping = 1 + 2 * grown + self._step_rate
        self._usual = size**0.5 * (1 - 1 / (4 * size) + 1 / (21 * size**2))
        self._covariance = np.eye(size)
        self._path, self._step_path = np.zeros(size), np.zeros(size)
        self._moves, self.generation = np.zeros((0, size)), 0

    def ask(self) -> Floats:
        """Draw a generation, `[candidate, number]`."""
        spread, self._axes = np.linalg.eigh(self._covariance)
        self._spread = np.sqrt(np.maximum(spread, 1e-20))
        drawn = self._generator.standard_normal((self._population, len(self.mean)))
        self._moves = (drawn * self._spread) @ self._axes.T
        return np.asarray(self.mean + self.deviation * self._moves)

    def tell(self, costs: Floats) -> None:
        """Move towards the better candidates.

        Args:
            costs: `[candidate]`, of the last `ask`; lower is better.

        Raises:
            ConfigError: There is not one number per candidate of the last `ask`.
        """
        if costs.shape != (len(self._moves),) or not len(costs) or np.isnan(costs).any():
            raise ConfigError(f"tell wants a cost for each of {len(self._moves)} candidates")
        self.generation += 1
        moves = self._moves[np.argsort(costs, kind="stable")[: len(self._weight)]]
        self._moves = moves[:0]
        move = self._weight @ moves
        self.mean = self.mean + self.deviation * move
        white = (self._axes / self._spread) @ (self._axes.T @ move)
        rate = self._step_rate
        self._step_path = (1 - rate) * self._step_path
        self._step_path += (rate * (2 - rate) * self._mass) ** 0.5 * white
        length = float(np.linalg.norm(self._step_path))
        expected = (1 - (1 - rate) ** (2 * self.generation)) ** 0.5 * self._usual
        steady = length < (1.4 + 2 / (len(move) + 1)) * expected
        rate = self._path_rate
        self._path = (1 - rate) * self._path
        self._path += steady * (rate * (2 - rate) * self._mass) ** 0.5 * move
        self._covariance = (
            (1 - self._one - self._many) * self._covariance
            + self._one * np.outer(self._path, self._path)
            + self._many * (moves * self._weight[:, None]).T @ moves
        )
        self.deviation *= float(
            np.exp(self._step_rate / self._damping * (length / self._usual - 1))
        )
