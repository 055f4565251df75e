"""Every world by name, as a preset that plays at once on synthetic scenarios."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from data.capacity_demand import CapacityDemand, CapacityDemandConfig
from data.cluster_trace import make_cluster_trace
from data.job_arrivals import JobArrivals, JobConfig, rate_for_load
from data.market import MarketRegime
from data.market_config import SyntheticMarketConfig
from data.market_generator import SyntheticMarket
from data.node_workload import NodeWorkload
from data.order_flow import OrderFlowConfig, PoissonOrderFlow
from data.price_shocks import NormalShocks, ShockConfig
from data.scenario import BankConfig, ScenarioBank, ScenarioSource
from data.staffing_demand import StaffingConfig, StaffingDemand
from data.task_demand import TaskDemand, TaskLaws
from data.trading_scenarios import TradingSource, TradingStage
from data.traffic_demand import TrafficDemand, TrafficLaws
from rl.domains.capacity_planning import CapacityConfig
from rl.domains.cluster_presets import small_cluster
from rl.domains.constrained_allocation import ConstrainedConfig
from rl.domains.execution import almgren_chriss
from rl.domains.inventory import inv_management, inv_management_demand
from rl.domains.inventory_presets import (
    InventoryPreset,
    clark_scarf,
    fixed_order_cost,
    newsvendor,
)
from rl.domains.job_scheduling import JobSchedulingConfig
from rl.domains.market_making import avellaneda_stoikov
from rl.domains.nodes import DistributedNodes, distributed_nodes, distributed_nodes_deadlines
from rl.domains.portfolio import PortfolioConfig
from rl.domains.service_market import MarketConfig
from rl.domains.supply_business import five_product
from rl.domains.supply_presets import SupplyPreset, multi_echelon, serial
from rl.domains.trading_config import TradingConfig
from rl.domains.traffic_shares import TrafficConfig
from rl.domains.workforce import WorkforceConfig
from rl.environments.allocation_options import EnvironmentConfig
from rl.environments.capacity_planning_environment import BatchedCapacityPlanning
from rl.environments.cluster_scheduling_environment import BatchedClusterScheduling
from rl.environments.constrained_allocation_environment import BatchedConstrainedAllocation
from rl.environments.discrete_faces import BinnedActions, UnitActions
from rl.environments.execution_environment import BatchedExecution
from rl.environments.inventory_environment import BatchedInventory, InventoryOptions
from rl.environments.job_scheduling_environment import BatchedJobScheduling
from rl.environments.lockstep import LockstepEnvironment, LockstepOptions
from rl.environments.market_making_environment import BatchedMarketMaking
from rl.environments.node_allocation_environment import BatchedNodes
from rl.environments.portfolio_environment import BatchedPortfolio
from rl.environments.resource_allocation_environment import BatchedResourceAllocation
from rl.environments.supply_network_environment import BatchedSupplyNetwork, SupplyOptions
from rl.environments.synthetic_services import make_synthetic_services
from rl.environments.trading_market import BatchedTrading
from rl.environments.traffic_shares_environment import BatchedTrafficShares
from rl.environments.workforce_environment import BatchedWorkforce
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


def _nodes(num_envs: int, seed: int, preset_of: Callable[[], DistributedNodes]) -> World:
    preset = preset_of()
    bank = make_bank(NodeWorkload(preset.world), seed)
    return BatchedNodes(preset.nodes, bank, LockstepOptions(num_envs=num_envs), seed)


def _cluster(num_envs: int, seed: int) -> World:
    preset = small_cluster(make_cluster_trace())
    bank = make_bank(preset.source, seed)
    return BatchedClusterScheduling(preset.config, bank, LockstepOptions(num_envs=num_envs), seed)


def _job_scheduling(num_envs: int, seed: int) -> World:
    jobs = JobConfig(arrival_rate=rate_for_load(1.1, JobConfig()))
    bank = make_bank(JobArrivals(jobs), seed)
    options = LockstepOptions(num_envs=num_envs)
    return BatchedJobScheduling(JobSchedulingConfig(), bank, options, seed)


def _workforce(num_envs: int, seed: int) -> World:
    bank = make_bank(StaffingDemand(StaffingConfig()), seed)
    return BatchedWorkforce(WorkforceConfig(), bank, LockstepOptions(num_envs=num_envs), seed)


def _capacity_planning(num_envs: int, seed: int) -> World:
    bank = make_bank(CapacityDemand(CapacityDemandConfig()), seed)
    options = LockstepOptions(num_envs=num_envs)
    return BatchedCapacityPlanning(CapacityConfig(), bank, options, seed)


def _or_gym(num_envs: int, seed: int, *, lost_sales: bool) -> World:
    config, bank = inv_management(lost_sales=lost_sales), make_bank(inv_management_demand(), seed)
    return BatchedInventory(config, bank, InventoryOptions(num_envs=num_envs), seed)


def _known_optimum(num_envs: int, seed: int, preset: Callable[[], InventoryPreset]) -> World:
    chain = preset()
    options = InventoryOptions(num_envs=num_envs)
    return BatchedInventory(chain.chain, make_bank(chain.demand, seed), options, seed)


def _supply(num_envs: int, seed: int, preset: Callable[[], SupplyPreset]) -> World:
    network = preset()
    options = SupplyOptions(num_envs=num_envs)
    return BatchedSupplyNetwork(network.config, make_bank(network.source, seed), options, seed)


def make_constrained_allocation(num_envs: int, seed: int, config: ConstrainedConfig) -> World:
    """Build copies of constrained allocation of other sizes.

    Args:
        num_envs: How many copies.
        seed: Of the scenarios and of the choice among them.
        config: The sizes.
    """
    laws = TaskLaws(num_resources=config.num_resources, num_tasks=config.num_tasks)
    bank = make_bank(TaskDemand(laws, seed), seed)
    return BatchedConstrainedAllocation(config, bank, LockstepOptions(num_envs=num_envs), seed)


def _traffic_shares(num_envs: int, seed: int) -> World:
    bank = make_bank(TrafficDemand(TrafficLaws()), seed)
    return BatchedTrafficShares(TrafficConfig(), bank, LockstepOptions(num_envs=num_envs), seed)


def _service_market(num_envs: int, seed: int) -> World:
    config, bank = make_synthetic_services(seed=seed)
    options = EnvironmentConfig(
        num_envs=num_envs, view="services", mechanism="auction", market=MarketConfig()
    )
    return BatchedResourceAllocation(config, bank, options, seed)


def _trading(num_envs: int, seed: int) -> World:
    config = TradingConfig(agents=tuple(f"trader_{number}" for number in range(4)))
    market = SyntheticMarketConfig(
        max_symbols=len(config.symbols),
        max_steps=config.max_steps,
        regime=None,
        regime_switching=True,
    )
    source = TradingSource(SyntheticMarket(market), TradingStage(max_agents=4))
    bank = make_bank(source, seed)
    return BatchedTrading(config, bank, LockstepOptions(num_envs=num_envs), seed)


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
    "service_market": Preset(
        about="what every service bids for the capacities, with a budget",
        make=_service_market,
        has_many_agents=True,
    ),
    "constrained_allocation": Preset(
        about="how much of each resource every task gets",
        make=partial(make_constrained_allocation, config=ConstrainedConfig()),
    ),
    "traffic_shares": Preset(about="which share of a link to move", make=_traffic_shares),
    "distributed_nodes": Preset(
        about="how much of its free capacity each node offers",
        make=partial(_nodes, preset_of=distributed_nodes),
        has_many_agents=True,
    ),
    "distributed_nodes_deadlines": Preset(
        about="how much each node offers, where workloads are tried until their deadline",
        make=partial(_nodes, preset_of=distributed_nodes_deadlines),
        has_many_agents=True,
    ),
    "cluster_scheduling": Preset(about="which node takes this GPU job", make=_cluster),
    "job_scheduling": Preset(about="which waiting job starts now (DeepRM)", make=_job_scheduling),
    "workforce": Preset(about="how many people of each skill work this shift", make=_workforce),
    "capacity_planning": Preset(
        about="when to add or remove capacity that takes time to build", make=_capacity_planning
    ),
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
    "serial_supply": Preset(
        about="how much each stage of a chain orders (gym-invmgmt Serial-v0)",
        make=partial(_supply, preset=serial),
    ),
    "multi_echelon": Preset(
        about="how much to order on every link of a network (gym-invmgmt MultiEchelon-v0)",
        make=partial(_supply, preset=multi_echelon),
    ),
    "five_product": Preset(
        about="what to order and make in a vehicle maker's network, under disruptions",
        make=partial(_supply, preset=five_product),
    ),
    "execution": Preset(about="how much of an order to sell now", make=_execution),
    "market_making": Preset(about="at which prices to quote", make=_market_making),
    "trading": Preset(
        about="what each of four traders buys and sells, and where it stops",
        make=_trading,
        has_many_agents=True,
    ),
    "portfolio": Preset(about="how to split wealth among symbols and cash", make=_portfolio),
}
