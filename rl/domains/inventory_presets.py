"""Chains with a known optimum: the newsvendor, one shelf with setup costs, Clark and Scarf's.

They pay costs only, so that a step's reward is minus its cost. Steps go as the optima assume:
order, receive what is due, meet demand, pay for what is left and for what waits.
"""

from __future__ import annotations

from dataclasses import dataclass

from data.demand import GaussianDemand, InventoryScenarios, PoissonDemand
from data.scenario import ScenarioSource
from rl.domains.inventory import InventoryConfig

PLENTY = 10.0
"""Capacity in multiples of the mean demand of a step: more than a good policy ever orders."""


@dataclass(frozen=True, kw_only=True)
class InventoryPreset:
    """A chain and what its customers ask for."""

    chain: InventoryConfig
    demand: ScenarioSource[InventoryScenarios]


def newsvendor(
    mean: float = 20.0, *, holding: float = 1.0, shortage: float = 4.0
) -> InventoryPreset:
    """Return the newsvendor's single period with Poisson demand.

    Args:
        mean: Expected demand.
        holding: Cost of a unit left over.
        shortage: Cost of a unit short.
    """
    return InventoryPreset(
        chain=_costs_only((holding,), mean=mean, shortage=shortage, lead_time=(0,), max_steps=1),
        demand=PoissonDemand(mean=mean, max_steps=1),
    )


def fixed_order_cost(
    mean: float = 20.0,
    *,
    holding: float = 1.0,
    shortage: float = 9.0,
    setup: float = 64.0,
    max_steps: int = 200,
) -> InventoryPreset:
    """Return one shelf with Poisson demand on which every order costs something: (s, S) is best.

    Args:
        mean: Expected demand of a step.
        holding: Cost of a unit on the shelf after a step.
        shortage: Cost of a unit that waits after a step.
        setup: Cost of an order.
        max_steps: Length of an episode.
    """
    return InventoryPreset(
        chain=_costs_only(
            (holding,),
            mean=mean,
            shortage=shortage,
            lead_time=(0,),
            max_steps=max_steps,
            setup=(setup,),
        ),
        demand=PoissonDemand(mean=mean, max_steps=max_steps),
    )


def clark_scarf(max_steps: int = 200) -> InventoryPreset:
    """Return the serial chain of three stages with N(5, 1) demand of Snyder and Shen (2019).

    Its lead times of 1, 1 and 2 count from an order to the cost after its receipt; here receipt
    comes before demand, so they are 0, 0 and 1. Goods between two stages are on a shelf at the end
    of every step, so local holding costs of 7, 4 and 2 pay for all of them.

    Args:
        max_steps: Length of an episode.
    """
    return InventoryPreset(
        chain=_costs_only(
            (7.0, 4.0, 2.0),
            mean=5.0,
            shortage=37.12,
            lead_time=(0, 0, 1),
            max_steps=max_steps,
            whole_units=False,
        ),
        demand=GaussianDemand(mean=5.0, deviation=1.0, max_steps=max_steps),
    )


def _costs_only(
    holding: tuple[float, ...],
    *,
    mean: float,
    shortage: float,
    lead_time: tuple[int, ...],
    max_steps: int,
    setup: tuple[float, ...] = (),
    whole_units: bool = True,
) -> InventoryConfig:
    stages = len(holding)
    return InventoryConfig(
        initial_stock=(0.0,) * stages,
        capacity=(PLENTY * mean,) * stages,
        lead_time=lead_time,
        price=0.0,
        replenishment_cost=(0.0,) * (stages + 1),
        penalty=(shortage, *(0.0,) * stages),
        holding_cost=holding,
        setup_cost=setup,
        whole_units=whole_units,
        max_steps=max_steps,
    )
