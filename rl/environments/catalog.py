"""Every world by name, as a preset that plays at once on synthetic scenarios."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from data.cluster_trace import make_cluster_trace
from data.market import MarketRegime
from data.market_config import SyntheticMarketConfig
from data.market_generator import SyntheticMarket
from data.node_workload import NodeWorkload
from data.order_flow import OrderFlowConfig, PoissonOrderFlow
from data.price_shocks import NormalShocks, ShockConfig
from data.scenario import BankConfig, ScenarioBank, ScenarioSource
from rl.domains.cluster_presets import small_cluster
from rl.domains.execution import almgren_chriss
from rl.domains.inventory import inv_management, inv_management_demand
from rl.domains.inventory_presets import (
    InventoryPreset,
    clark_scarf,
    fixed_order_cost,
    newsvendor,
)
from rl.domains.market_making import avellaneda_stoikov
from rl.domains.nodes import distributed_nodes
from rl.domains.portfolio import PortfolioConfig
from rl.environments.cluster_scheduling_environment import BatchedClusterScheduling
from rl.environments.discrete_faces import BinnedActions, UnitActions
from rl.environments.execution_environment import BatchedExecution
from rl.environments.inventory_environment import BatchedInventory, InventoryOptions
from rl.environments.lockstep import LockstepEnvironment, LockstepOptions
from rl.environments.market_making_environment import BatchedMarketMaking
from rl.environments.node_allocation_environment import BatchedNodes
from rl.environments.portfolio_environment import BatchedPortfolio
from rl.environments.resource_allocation_environment import (
    BatchedResourceAllocation,
    EnvironmentConfig,
)
from rl.environments.synthetic_services import make_synthetic_services
from utils.errors import ConfigError
from utils.seeding import derive_seed

Actions = Literal["own", "binned", "units"]
World = LockstepEnvironment[Any]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One world."""

    about: str
    """What is decided in it."""
    make: Callable[[int, int], World]
    """Builds so many copies from a seed."""
    has_many_agents: bool = False


def make_world(name: str, *, num_envs: int = 64, seed: int = 0) -> World:
    """Build copies of a world.

    Args:
        name: In `PRESETS`.
        num_envs: How many copies.
        seed: Of the scenarios and of the choice among them.

    Raises:
        ConfigError: There is no such world.
    """
    if name not in PRESETS:
        raise ConfigError(f"no world {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name].make(num_envs, seed)


def with_actions(world: World, actions: Actions) -> World | BinnedActions | UnitActions:
    """Return the world as agents see it that set amounts, or that choose.

    Args:
        world: Any.
        actions: `own` are the world's; `binned` a grid of joint actions, `units` one unit at a
            time, both for worlds of continuous actions.

    Raises:
        ConfigError: The actions are unknown or do not fit the world.
    """
    if actions == "own":
        return world
    if actions == "binned":
        return BinnedActions(world)
    if actions == "units":
        return UnitActions(world)
    raise ConfigError(f"actions {actions!r}; known: own, binned, units")


def make_bank(source: ScenarioSource[Any], seed: int) -> ScenarioBank[Any]:
    """Draw a bank of the usual size.

    Args:
        source: Of the episodes.
        seed: Of their chance.
    """
    return ScenarioBank(source, BankConfig(), derive_seed(seed, "catalog"))


def _shared_services(num_envs: int, seed: int, view: Literal["planner", "services"]) -> World:
    config, bank = make_synthetic_services(seed=seed)
    options = EnvironmentConfig(num_envs=num_envs, view=view)
    return BatchedResourceAllocation(config, bank, options, seed)


def _distributed_nodes(num_envs: int, seed: int) -> World:
    preset = distributed_nodes()
    bank = make_bank(NodeWorkload(preset.world), seed)
    return BatchedNodes(preset.nodes, bank, LockstepOptions(num_envs=num_envs), seed)


def _cluster(num_envs: int, seed: int) -> World:
    preset = small_cluster(make_cluster_trace())
    bank = make_bank(preset.source, seed)
    return BatchedClusterScheduling(preset.config, bank, LockstepOptions(num_envs=num_envs), seed)


def _or_gym(num_envs: int, seed: int, *, lost_sales: bool) -> World:
    config, bank = inv_management(lost_sales=lost_sales), make_bank(inv_management_demand(), seed)
    return BatchedInventory(config, bank, InventoryOptions(num_envs=num_envs), seed)


def _known_optimum(num_envs: int, seed: int, preset: Callable[[], InventoryPreset]) -> World:
    chain = preset()
    options = InventoryOptions(num_envs=num_envs)
    return BatchedInventory(chain.chain, make_bank(chain.demand, seed), options, seed)


def _execution(num_envs: int, seed: int) -> World:
    config = almgren_chriss()
    bank = make_bank(NormalShocks(ShockConfig(num_steps=config.num_steps)), seed)
    return BatchedExecution(config, bank, LockstepOptions(num_envs=num_envs), seed)


def _market_making(num_envs: int, seed: int) -> World:
    config = avellaneda_stoikov()
    bank = make_bank(PoissonOrderFlow(OrderFlowConfig(num_steps=config.num_steps)), seed)
    return BatchedMarketMaking(config, bank, LockstepOptions(num_envs=num_envs), seed)


def _portfolio(num_envs: int, seed: int) -> World:
    config = PortfolioConfig()
    market = SyntheticMarketConfig(
        max_symbols=5,
        max_steps=config.num_steps,
        regime=MarketRegime.BULL,
        regime_switching=True,
    )
    bank = make_bank(SyntheticMarket(market), seed)
    return BatchedPortfolio(config, bank, LockstepOptions(num_envs=num_envs), seed)


PRESETS: dict[str, Preset] = {
    "shared_services": Preset(
        about="how one planner splits capacities among services",
        make=partial(_shared_services, view="planner"),
    ),
    "service_agents": Preset(
        about="how much of each capacity every service asks for",
        make=partial(_shared_services, view="services"),
        has_many_agents=True,
    ),
    "distributed_nodes": Preset(
        about="how much of its free capacity each node offers",
        make=_distributed_nodes,
        has_many_agents=True,
    ),
    "cluster_scheduling": Preset(about="which node takes this GPU job", make=_cluster),
    "serial_inventory": Preset(
        about="how much each stage of a chain orders, unmet demand waits (OR-Gym v0)",
        make=partial(_or_gym, lost_sales=False),
    ),
    "serial_inventory_lost_sales": Preset(
        about="how much each stage of a chain orders, unmet demand is lost (OR-Gym v1)",
        make=partial(_or_gym, lost_sales=True),
    ),
    "newsvendor": Preset(
        about="how much to stock for one uncertain day",
        make=partial(_known_optimum, preset=newsvendor),
    ),
    "fixed_order_cost": Preset(
        about="when to order and how much, where every order costs something",
        make=partial(_known_optimum, preset=fixed_order_cost),
    ),
    "clark_scarf": Preset(
        about="how much three stages order, with a known optimum",
        make=partial(_known_optimum, preset=clark_scarf),
    ),
    "execution": Preset(about="how much of an order to sell now", make=_execution),
    "market_making": Preset(about="at which prices to quote", make=_market_making),
    "portfolio": Preset(about="how to split wealth among symbols and cash", make=_portfolio),
}
