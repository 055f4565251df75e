"""Worlds in trouble: scenarios of the same shapes in which more happens, or less is there.

Each transform changes the arrays that the world plays, so whoever plays them meets the trouble.
`intensity` is 0 for no change and 1 for the size that the transform names; a seed places what has a
beginning. History before the first step is left as it was: nobody is warned.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from data.demand import InventoryScenarios
from data.market import REGIMES, TRADING_DAYS, MarketRegime, MarketScenarios
from data.order_flow import OrderFlowScenarios
from data.price_shocks import ExecutionScenarios
from data.scenario import ScenarioArrays, Scenarios, WorkloadScenarios
from data.supply_scenarios import SupplyScenarios
from utils.errors import ConfigError
from utils.seeding import make_generator

Stress = Literal["crisis_volatility", "supply_disruption", "capacity_failure", "demand_shock"]
STRESSES: Final[tuple[Stress, ...]] = get_args(Stress)
SHOCK_SHARE = 0.25
"""Of an episode's steps that a failure, disruption or shock lasts."""
FAILURE_SHARE = 0.5
"""Of what is there that is gone at intensity 1; everything from 2 on."""
DELAY_STEPS = 2
"""By which shipments come later at intensity 1, where the network has delays."""

Numbers = NDArray[np.float64]
_Change = Callable[[Any, float, int], ScenarioArrays]


def apply_stress(
    scenarios: Scenarios, stress: Stress, intensity: float, *, seed: int = 0
) -> Scenarios:
    """Return the episodes in trouble.

    Args:
        scenarios: As they are; not changed.
        stress: What goes wrong.
        intensity: 0 for nothing; finite.
        seed: Of when it begins, in each episode by itself; the same for every intensity.

    Raises:
        ConfigError: The stress is unknown, does not exist for such scenarios, or the intensity is
            negative or not finite.
    """
    if stress not in STRESSES:
        raise ConfigError(f"stress is {stress!r}; choose from {', '.join(STRESSES)}")
    if not (math.isfinite(intensity) and intensity >= 0):
        raise ConfigError(f"intensity is {intensity}; give a finite number >= 0")
    change = _find_change(scenarios, stress)
    if change is None:
        known = ", ".join(stresses_of(scenarios)) or "none"
        raise ConfigError(
            f"{stress} means nothing for {type(scenarios).__name__}; stresses for these: {known}"
        )
    return cast("Scenarios", change(scenarios, intensity, seed)) if intensity else scenarios


def stresses_of(scenarios: ScenarioArrays) -> tuple[Stress, ...]:
    """Return the stresses that mean something for these scenarios.

    Args:
        scenarios: Of any world.
    """
    return tuple(stress for stress in STRESSES if _find_change(scenarios, stress) is not None)


def _find_change(scenarios: ScenarioArrays, stress: Stress) -> _Change | None:
    if isinstance(scenarios, SupplyScenarios) and not scenarios.shortage.shape[-1]:
        return _shock_supply_demand if stress == "demand_shock" else None
    for record, changes in _CHANGES.items():
        if isinstance(scenarios, record):
            return changes.get(stress)
    return None


def _shake_market(s: MarketScenarios, intensity: float, seed: int) -> MarketScenarios:
    """Multiply deviations of log returns by 1 + intensity, and let prices fall as in a crisis.

    The drift is lowered by what the larger variance adds to the mean price, and by intensity times
    the drift of `MarketRegime.CRISIS`.
    """
    del seed
    mean = s.log_return.mean(1, keepdims=True, dtype=np.float64)
    spread = s.log_return - mean
    variance = spread.var(1, keepdims=True)
    drift = mean - 0.5 * variance * ((1 + intensity) ** 2 - 1)
    drift += intensity * MarketRegime.CRISIS.drift / TRADING_DAYS
    moved = drift + (1 + intensity) * spread
    active = s.symbol_active[:, None] > 0
    return replace(
        s,
        log_return=np.where(active, moved, s.log_return).astype(np.float32),
        regime=np.full_like(s.regime, REGIMES.index(MarketRegime.CRISIS)),
    )


def _shake_execution(s: ExecutionScenarios, intensity: float, seed: int) -> ExecutionScenarios:
    """Multiply price shocks by 1 + intensity."""
    del seed
    return replace(s, shocks=s.shocks * np.float32(1 + intensity))


def _shake_order_flow(s: OrderFlowScenarios, intensity: float, seed: int) -> OrderFlowScenarios:
    """Multiply shocks, not the volatility that the quoting agent knows, by 1 + intensity."""
    del seed
    return replace(s, shocks=s.shocks * np.float32(1 + intensity))


def _fail_capacity(s: WorkloadScenarios, intensity: float, seed: int) -> WorkloadScenarios:
    """Take a share of all capacities away for a quarter of the episode."""
    struck = _window(s.capacity, seed, "capacity_failure")[..., None]
    left = 1 - struck * _lost(intensity)
    return replace(s, capacity=(s.capacity * left).astype(np.float32))


def _fail_supply_capacity(s: SupplyScenarios, intensity: float, seed: int) -> SupplyScenarios:
    """Forbid a share of all capacities of nodes for a quarter of the episode."""
    struck = _window(s.capacity_loss, seed, "capacity_failure")[..., None]
    return replace(s, capacity_loss=_no_less(s.capacity_loss, struck * _lost(intensity)))


def _disrupt_supply(s: SupplyScenarios, intensity: float, seed: int) -> SupplyScenarios:
    """Let all nodes refuse a share of requests, and shipments come later, for a quarter.

    Delays are at most the longest that the episodes hold already: a world refuses longer ones.
    """
    struck = _window(s.shortage, seed, "supply_disruption")[..., None]
    longest = s.delay.max(initial=0.0)
    late = np.minimum(np.ceil(DELAY_STEPS * intensity), longest)
    return replace(
        s,
        shortage=_no_less(s.shortage, struck * _lost(intensity)),
        delay=_no_less(s.delay, struck * late),
    )


def _shock_workload(s: WorkloadScenarios, intensity: float, seed: int) -> WorkloadScenarios:
    """Multiply arriving work by 1 + intensity for a quarter of the episode."""
    factor = 1 + intensity * _window(s.demand, seed, "demand_shock")[..., None]
    return replace(s, demand=(s.demand * factor).astype(np.float32))


def _shock_inventory(s: InventoryScenarios, intensity: float, seed: int) -> InventoryScenarios:
    """Multiply demand by 1 + intensity for a quarter of the episode; whole units stay whole."""
    factor = 1 + intensity * _window(s.demand, seed, "demand_shock")
    return replace(s, demand=_scaled_units(s.demand, factor))


def _shock_supply_demand(s: SupplyScenarios, intensity: float, seed: int) -> SupplyScenarios:
    """Multiply demand, and the mean that goodwill follows, by 1 + intensity for a quarter.

    In worlds whose agents know the mean of coming demand, they see the shock as far ahead.
    """
    factor = 1 + intensity * _window(s.demand, seed, "demand_shock")[..., None]
    mean = s.demand_mean.astype(np.float64)
    mean[:, : factor.shape[1]] *= factor
    return replace(s, demand=_scaled_units(s.demand, factor), demand_mean=mean.astype(np.float32))


_CHANGES: dict[type[ScenarioArrays], dict[Stress, _Change]] = {
    WorkloadScenarios: {"capacity_failure": _fail_capacity, "demand_shock": _shock_workload},
    InventoryScenarios: {"demand_shock": _shock_inventory},
    SupplyScenarios: {
        "supply_disruption": _disrupt_supply,
        "capacity_failure": _fail_supply_capacity,
        "demand_shock": _shock_supply_demand,
    },
    MarketScenarios: {"crisis_volatility": _shake_market},
    ExecutionScenarios: {"crisis_volatility": _shake_execution},
    OrderFlowScenarios: {"crisis_volatility": _shake_order_flow},
}


def _window(values: NDArray[np.float32], seed: int, stream: str) -> Numbers:
    """Return 1 in each episode's steps of trouble, else 0; `[episode, time]` of the values.

    It begins between a quarter and a half of the way, so that all of it falls into the episode.
    """
    episodes, steps = values.shape[:2]
    length = max(1, round(SHOCK_SHARE * steps))
    first, last = steps // 4, max(steps // 4, min(steps // 2, steps - length))
    begins = make_generator(seed, f"stress/{stream}").integers(first, last + 1, (episodes, 1))
    time = np.arange(steps)
    struck: Numbers = ((time >= begins) & (time < begins + length)).astype(np.float64)
    return struck


def _lost(intensity: float) -> float:
    return min(1.0, FAILURE_SHARE * intensity)


def _no_less(values: NDArray[np.float32], least: Numbers) -> NDArray[np.float32]:
    return np.maximum(values, least).astype(np.float32)


def _scaled_units(demand: NDArray[np.float32], factor: Numbers) -> NDArray[np.float32]:
    scaled = demand * factor
    whole = bool((demand == np.rint(demand)).all())
    return (np.rint(scaled) if whole else scaled).astype(np.float32)
