"""Episodes of a supply network: what customers ask for, and what goes wrong."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from data.scenario import Array, ScenarioArrays, ScenarioError

DISRUPTIONS = ("shortage", "delay", "quality_loss", "capacity_loss")
SHARES = ("demand_uniform", "shortage", "quality_loss", "capacity_loss")
SWITCHES = ("node_active", "product_active")


@dataclass(frozen=True, kw_only=True)
class SupplyScenarios(ScenarioArrays):
    """Episodes of one network; nodes, products, links and markets in its order.

    The four arrays of disruptions have a last axis of zero in a network without disruptions.
    """

    demand: Array
    """`[episode, time, market]`: units asked for at neutral goodwill, demand spikes included."""
    demand_mean: Array
    """`[episode, time + ahead, market]`: mean of the law behind it, some steps past the end."""
    demand_uniform: Array
    """`[episode, time, market]` in [0, 1): chance of demand that follows goodwill."""
    shortage: Array
    """`[episode, time, node]` in [0, 1]: share of all requests to the node that it refuses."""
    delay: Array
    """`[episode, time, flow]`: whole steps by which what is shipped or begun now comes later."""
    quality_loss: Array
    """`[episode, time, node]` in [0, 1]: share of what the node receives that is scrapped."""
    capacity_loss: Array
    """`[episode, time, node]` in [0, 1]: share of the node's capacities that is forbidden."""
    node_active: Array
    """`[episode, node]`: 0 takes a node and all its links and markets out of the world."""
    product_active: Array
    """`[episode, product]`: 0 takes a product out of the world."""

    def __post_init__(self) -> None:
        """Check shapes and values once, where scenarios enter."""
        episodes, steps, markets = self.demand.shape
        nodes = self.node_active.shape[1]
        ahead = self.demand_mean.shape[1]
        expected: dict[str, tuple[int, ...]] = {
            "demand_mean": (episodes, max(ahead, steps), markets),
            "demand_uniform": (episodes, steps, markets),
            "delay": (episodes, steps, self.delay.shape[-1]),
            "node_active": (episodes, nodes),
            "product_active": (episodes, self.product_active.shape[-1]),
        }
        quiet = self.shortage.shape[-1] == 0
        for name in ("shortage", "quality_loss", "capacity_loss"):
            expected[name] = (episodes, steps, 0 if quiet else nodes)
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ScenarioError(f"{name} has shape {getattr(self, name).shape}, not {shape}")
        for field in fields(self):
            _check_values(field.name, getattr(self, field.name))

    @property
    def num_steps(self) -> int:
        """Steps of every episode."""
        steps: int = self.demand.shape[1]
        return steps


def _check_values(name: str, values: NDArray[np.float32]) -> None:
    if not np.isfinite(values).all() or (values < 0).any():
        raise ScenarioError(f"{name} holds negative or non-finite values; give numbers >= 0")
    if name in SHARES and (values > 1).any():
        raise ScenarioError(f"{name} holds values above 1; it is a share")
    if name in SWITCHES and not np.isin(values, (0, 1)).all():
        raise ScenarioError(f"{name} must hold 0 or 1 only")
    if name == "delay" and (values != np.floor(values)).any():
        raise ScenarioError("delay must hold whole steps")


def make_quiet_scenarios(
    demand: NDArray[np.floating],
    mean: NDArray[np.floating],
    *,
    num_nodes: int,
    num_products: int,
) -> SupplyScenarios:
    """Return given demand in a world where nothing goes wrong and nothing is switched off.

    Args:
        demand: `[episode, time, market]`.
        mean: `[episode, time + ahead, market]`.
        num_nodes: Of the network.
        num_products: Of the network.
    """
    episodes, steps, _ = demand.shape
    none = np.zeros((episodes, steps, 0), np.float32)
    return SupplyScenarios(
        demand=demand,
        demand_mean=mean,
        demand_uniform=np.zeros_like(demand),
        shortage=none,
        delay=none,
        quality_loss=none,
        capacity_loss=none,
        node_active=np.ones((episodes, num_nodes), np.float32),
        product_active=np.ones((episodes, num_products), np.float32),
    )
