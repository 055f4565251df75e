"""The best quotes of a market maker, and what any quotes are worth, exactly.

The mid price is a martingale that fills do not depend on, so the expected return is that of the
spread less penalties, and only time and inventory matter: backward recursion over the two gives
the optimum over all policies, adaptive ones included. Nothing is relaxed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from rl.domains.market_making import MarketMakingConfig, MarketMakingDomain, MarketMakingView
from rl.domains.market_making_experts import Array, Expert, FixedSpread, as_action
from utils.errors import ConfigError

Floats = NDArray[np.float64]
SWEEP_TOLERANCE = 1e-12
MAX_SWEEPS = 1000


@dataclass(frozen=True, kw_only=True)
class OrderFlowLaw:
    """The order flow that expectations are taken over."""

    volatility: float = 2.0
    arrival_rate: float = 140.0


@dataclass(frozen=True, kw_only=True)
class MarketMakingBound:
    """The best quotes and what they are worth; nobody can expect a higher return."""

    expected_return: float
    """From the initial inventory, in currency."""
    distances: Floats
    """`[time, inventory, 2]`: of (bid, ask), inventories from the short limit to the long one."""

    def __call__(self, view: MarketMakingView, config: MarketMakingConfig) -> Array:
        """Quote optimally; an expert like the others.

        Args:
            view: What is known, NumPy.
            config: The task the bound was computed for.
        """
        time = config.num_steps - np.asarray(view.steps_left, np.intp)
        row = np.asarray(view.inventory, np.intp) + config.inventory_limit
        return as_action(self.distances[time, row], config)


def compute_market_making_bound(config: MarketMakingConfig, law: OrderFlowLaw) -> MarketMakingBound:
    """Compute the optimal quotes by backward recursion over time and inventory.

    In each state the gain is x d(x) + y d(y) + a x + b y + K x y in the fill probabilities x and
    y, with d(x) = -ln(x / (A dt)) / k and K = 2 W(q) - W(q - 1) - W(q + 1) for the values W that
    follow. Its Hessian is negative definite where K k sqrt(x y) < 1; there the alternating
    closed-form maxima meet at the one global maximum.

    Args:
        config: The task.
        law: The order flow.

    Raises:
        ConfigError: A state might have several maxima, because liquidation or penalty is dear
            against 1 / k at these fill probabilities.
    """
    view = _every_inventory(config, law)
    domain = MarketMakingDomain(config)
    table = np.empty((config.num_steps, len(view.inventory), 2))
    value = -config.liquidation_cost * np.abs(view.inventory)
    for time in reversed(range(config.num_steps)):
        bought, sold, cross = _compare_neighbours(_hold(value, config, law))
        nearest = domain.compute_fill_probability(np.full(2, config.lowest_distance), view)
        if (cross * config.decay * np.sqrt(nearest.prod(-1))).max() >= 1.0:
            raise ConfigError(
                "the best quotes may not be unique; take more steps, raise lowest_distance or "
                "lower risk_aversion or liquidation_cost"
            )
        table[time] = _best_distances(bought, sold, cross, (config, view))
        value = _step_value(table[time], value, config, law)
    expected = float(value[config.inventory_limit + config.initial_inventory])
    return MarketMakingBound(expected_return=expected, distances=table)


def compute_expected_return(expert: Expert, config: MarketMakingConfig, law: OrderFlowLaw) -> float:
    """Compute what an expert's quotes are worth, exactly.

    Args:
        expert: Its quotes may depend on time and inventory, not on the price.
        config: The task.
        law: The order flow.
    """
    value = -config.liquidation_cost * np.abs(_every_inventory(config, law).inventory)
    for distances in _tabulate_backwards(expert, config, law):
        value = _step_value(distances, value, config, law)
    return float(value[config.inventory_limit + config.initial_inventory])


def tune_fixed_spread(config: MarketMakingConfig, law: OrderFlowLaw) -> FixedSpread:
    """Find the symmetric distance that is worth most.

    Args:
        config: The task.
        law: The order flow.
    """
    lowest, highest = config.lowest_distance, config.highest_distance
    grid = np.linspace(lowest, highest, 41)

    def loss(distance: float) -> float:
        return -compute_expected_return(FixedSpread(distance=float(distance)), config, law)

    best = int(np.argmin([loss(distance) for distance in grid]))
    around = (float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)]))
    found = minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-4})
    return FixedSpread(distance=float(found.x))


def _every_inventory(config: MarketMakingConfig, law: OrderFlowLaw) -> MarketMakingView:
    """Return one row per inventory, at no particular time."""
    limit = config.inventory_limit
    inventory = np.arange(-limit, limit + 1, dtype=np.float64)
    nothing = np.zeros_like(inventory)
    return MarketMakingView(
        inventory=inventory,
        steps_left=nothing + config.num_steps,
        price_change=nothing,
        last_move=nothing,
        volatility=nothing + law.volatility,
        arrival_rate=nothing + law.arrival_rate,
    )


def _tabulate_backwards(
    expert: Expert, config: MarketMakingConfig, law: OrderFlowLaw
) -> Iterator[Floats]:
    """Yield an expert's distances `[inventory, 2]`, the last step first."""
    domain = MarketMakingDomain(config)
    every = _every_inventory(config, law)
    for left in range(1, config.num_steps + 1):
        fields = vars(every) | {"steps_left": np.full_like(every.inventory, left)}
        yield np.asarray(domain.project(expert(MarketMakingView(**fields), config)), np.float64)


def _hold(value: Floats, config: MarketMakingConfig, law: OrderFlowLaw) -> Floats:
    """Value after the fills of a step: the penalty of holding over it, and what follows."""
    limit = config.inventory_limit
    inventory = np.arange(-limit, limit + 1, dtype=np.float64)
    variance = law.volatility**2 * config.step_time
    return value - 0.5 * config.risk_aversion * variance * inventory**2


def _compare_neighbours(held: Floats) -> tuple[Floats, Floats, Floats]:
    """What buying, selling, and doing both instead of one of each add to what is held."""
    step = np.diff(held)
    bought, sold = np.append(step, 0.0), -np.insert(step, 0, 0.0)
    return bought, sold, -(bought + sold)


def _best_distances(
    bought: Floats, sold: Floats, cross: Floats, task: tuple[MarketMakingConfig, MarketMakingView]
) -> Floats:
    """Alternate the closed-form maxima over one side until neither moves; `[inventory, 2]`."""
    config, view = task
    domain = MarketMakingDomain(config)
    low, high = config.lowest_distance, config.highest_distance
    sure = np.log(np.maximum(view.arrival_rate * config.step_time, 1e-300)) / config.decay
    low = np.clip(sure, low, high)  # nearer quotes are filled no more often
    distances = np.stack([low, low], axis=-1)
    for _ in range(MAX_SWEEPS):
        before = distances.copy()
        for side, gain in ((0, bought), (1, sold)):
            other = domain.compute_fill_probability(distances, view)[:, 1 - side]
            wanted = 1.0 / config.decay - gain - cross * other
            distances[:, side] = np.clip(wanted, low, high)
        if np.abs(distances - before).max() <= SWEEP_TOLERANCE:
            return distances
    raise ArithmeticError(f"quotes still move after {MAX_SWEEPS} sweeps")


def _step_value(
    distances: Floats, value: Floats, config: MarketMakingConfig, law: OrderFlowLaw
) -> Floats:
    """Expected return from each inventory if these quotes are made now."""
    view = _every_inventory(config, law)
    held = _hold(value, config, law)
    bought, sold, cross = _compare_neighbours(held)
    filled = MarketMakingDomain(config).compute_fill_probability(distances, view)
    bid, ask = filled.T
    earned = (filled * distances).sum(-1)
    return np.asarray(held + earned + bid * bought + ask * sold + bid * ask * cross)
