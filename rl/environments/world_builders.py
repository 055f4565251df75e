"""How every world of the catalogue is built, of the usual sizes or of chosen ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from data.capacity_demand import CapacityDemand, CapacityDemandConfig
from data.cluster_tasks import RelativesConfig
from data.cluster_trace import make_cluster_trace
from data.demand import PoissonDemand
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
from data.traffic_demand import MOST_RESOURCES, TrafficDemand, TrafficLaws
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
from rl.domains.nodes import (
    DistributedNodes,
    NodeConfig,
    distributed_nodes,
    distributed_nodes_deadlines,
)
from rl.domains.portfolio import PortfolioConfig
from rl.domains.resource_allocation import AllocationConfig
from rl.domains.service_market import MarketConfig
from rl.domains.shared_services import shared_services
from rl.domains.supply_business import five_product
from rl.domains.supply_presets import FAMILIES, SupplyPreset, make_source, multi_echelon, serial
from rl.domains.trading_config import TradingConfig
from rl.domains.traffic_shares import TrafficConfig
from rl.domains.workforce import WorkforceConfig
from rl.domains.world_sizes import (
    FIVE_PRODUCT_NODES,
    FIVE_PRODUCT_STEPS,
    JOB_LOAD,
    PORTFOLIO_SYMBOLS,
    WorldSizes,
    or_else,
)
from rl.environments.allocation_options import EnvironmentConfig
from rl.environments.capacity_planning_environment import BatchedCapacityPlanning
from rl.environments.cluster_scheduling_environment import BatchedClusterScheduling
from rl.environments.constrained_allocation_environment import BatchedConstrainedAllocation
from rl.environments.episodes import WorkloadBank
from rl.environments.execution_environment import BatchedExecution
from rl.environments.inventory_environment import BatchedInventory, InventoryOptions
from rl.environments.job_scheduling_environment import BatchedJobScheduling
from rl.environments.lockstep import LockstepEnvironment, LockstepOptions
from rl.environments.market_making_environment import BatchedMarketMaking
from rl.environments.node_allocation_environment import BatchedNodes
from rl.environments.portfolio_environment import BatchedPortfolio
from rl.environments.resource_allocation_environment import BatchedResourceAllocation
from rl.environments.supply_network_environment import BatchedSupplyNetwork, SupplyOptions
from rl.environments.synthetic_services import (
    DEFAULT_SERVICES,
    DEFAULT_STEPS,
    make_synthetic_services,
)
from rl.environments.trading_market import BatchedTrading
from rl.environments.traffic_shares_environment import BatchedTrafficShares
from rl.environments.workforce_environment import BatchedWorkforce
from utils.seeding import derive_seed

World = LockstepEnvironment[Any]
Build = Callable[[int, int, WorldSizes], World]
"""From a number of copies, a seed and sizes."""


def _make_bank(source: ScenarioSource[Any], seed: int) -> ScenarioBank[Any]:
    """Draw a bank of the usual size."""
    return ScenarioBank(source, BankConfig(), derive_seed(seed, "catalog"))


def _services(seed: int, sizes: WorldSizes) -> tuple[AllocationConfig, WorkloadBank]:
    count = sizes.num_resources
    usual = shared_services().allocation.resources
    more = () if count is None else tuple(f"resource_{n}" for n in range(len(usual), count))
    return make_synthetic_services(
        num_services=or_else(sizes.num_services, DEFAULT_SERVICES),
        resource_types=None if count is None else (*usual, *more)[:count],
        max_steps=or_else(sizes.num_steps, DEFAULT_STEPS),
        seed=seed,
    )


def _shared_services(
    num_envs: int, seed: int, sizes: WorldSizes, view: Literal["planner", "services"]
) -> World:
    config, bank = _services(seed, sizes)
    options = EnvironmentConfig(num_envs=num_envs, view=view)
    return BatchedResourceAllocation(config, bank, options, seed)


def _nodes(
    num_envs: int, seed: int, sizes: WorldSizes, preset_of: Callable[..., DistributedNodes]
) -> World:
    usual = NodeConfig()
    preset = preset_of(
        or_else(sizes.num_nodes, usual.num_nodes),
        max_steps=or_else(sizes.num_steps, usual.max_steps),
    )
    bank = _make_bank(NodeWorkload(preset.world), seed)
    return BatchedNodes(preset.nodes, bank, LockstepOptions(num_envs=num_envs), seed)


def _cluster(num_envs: int, seed: int, sizes: WorldSizes) -> World:
    usual = RelativesConfig()
    relatives = RelativesConfig(
        num_nodes=or_else(sizes.num_nodes, usual.num_nodes),
        num_tasks=or_else(sizes.num_tasks, usual.num_tasks),
    )
    preset = small_cluster(make_cluster_trace(), relatives)
    bank = _make_bank(preset.source, seed)
    return BatchedClusterScheduling(preset.config, bank, LockstepOptions(num_envs=num_envs), seed)


def _job_scheduling(num_envs: int, seed: int, sizes: WorldSizes) -> World:
    load = or_else(sizes.load, JOB_LOAD)
    jobs = JobConfig(arrival_rate=rate_for_load(load, JobConfig()))
    bank = _make_bank(JobArrivals(jobs), seed)
    options = LockstepOptions(num_envs=num_envs)
    return BatchedJobScheduling(JobSchedulingConfig(), bank, options, seed)


def _workforce(num_envs: int, seed: int, sizes: WorldSizes) -> World:
    usual = StaffingConfig()
    staffing = StaffingConfig(
        num_employees=or_else(sizes.num_employees, usual.num_employees),
        num_weeks=or_else(sizes.num_weeks, usual.num_weeks),
        people_per_shift=usual.people_per_shift
        * or_else(sizes.num_employees, usual.num_employees)
        / usual.num_employees,
    )
    rules = WorkforceConfig(num_employees=staffing.num_employees)
    rules = replace(rules, num_shifts=staffing.num_weeks * rules.shifts_per_week)
    bank = _make_bank(StaffingDemand(staffing), seed)
    return BatchedWorkforce(rules, bank, LockstepOptions(num_envs=num_envs), seed)


def _capacity_planning(num_envs: int, seed: int, sizes: WorldSizes) -> World:
    usual = CapacityConfig()
    rules = CapacityConfig(
        num_regions=or_else(sizes.num_regions, usual.num_regions),
        lead_time=or_else(sizes.lead_time, usual.lead_time),
        max_steps=or_else(sizes.num_steps, usual.max_steps),
    )
    demand = CapacityDemandConfig(num_regions=rules.num_regions, max_steps=rules.max_steps)
    options = LockstepOptions(num_envs=num_envs)
    return BatchedCapacityPlanning(rules, _make_bank(CapacityDemand(demand), seed), options, seed)


def _or_gym(num_envs: int, seed: int, sizes: WorldSizes, *, lost_sales: bool) -> World:
    usual = inv_management(lost_sales=lost_sales)
    config = replace(usual, max_steps=or_else(sizes.num_steps, usual.max_steps))
    demand = PoissonDemand(mean=inv_management_demand().mean, max_steps=config.max_steps)
    bank = _make_bank(demand, seed)
    return BatchedInventory(config, bank, InventoryOptions(num_envs=num_envs), seed)


def _newsvendor(num_envs: int, seed: int, sizes: WorldSizes) -> World:
    mean = sizes.mean_demand
    return _known_optimum(num_envs, seed, newsvendor() if mean is None else newsvendor(mean))


def _long_shelf(
    num_envs: int, seed: int, sizes: WorldSizes, preset: Callable[..., InventoryPreset]
) -> World:
    steps = sizes.num_steps
    chain = preset() if steps is None else preset(max_steps=steps)
    return _known_optimum(num_envs, seed, chain)


def _known_optimum(num_envs: int, seed: int, chain: InventoryPreset) -> World:
    options = InventoryOptions(num_envs=num_envs)
    return BatchedInventory(chain.chain, _make_bank(chain.demand, seed), options, seed)


def _families(
    num_envs: int, seed: int, sizes: WorldSizes, preset: Callable[..., SupplyPreset]
) -> World:
    family = or_else(sizes.demand_family, "stationary")
    network = preset(family)
    if sizes.num_steps is not None:
        config = replace(network.config, max_steps=sizes.num_steps)
        network = SupplyPreset(config=config, source=make_source(config, (FAMILIES[family],)))
    return _supply(num_envs, seed, network)


def _five_product(num_envs: int, seed: int, sizes: WorldSizes) -> World:
    nodes = or_else(sizes.num_nodes, FIVE_PRODUCT_NODES)
    steps = or_else(sizes.num_steps, FIVE_PRODUCT_STEPS)
    return _supply(num_envs, seed, five_product(nodes, max_steps=steps))


def _supply(num_envs: int, seed: int, network: SupplyPreset) -> World:
    options = SupplyOptions(num_envs=num_envs)
    return BatchedSupplyNetwork(network.config, _make_bank(network.source, seed), options, seed)


def make_constrained_allocation(num_envs: int, seed: int, config: ConstrainedConfig) -> World:
    """Build copies of constrained allocation of other sizes.

    Args:
        num_envs: How many copies.
        seed: Of the scenarios and of the choice among them.
        config: The sizes.
    """
    laws = TaskLaws(num_resources=config.num_resources, num_tasks=config.num_tasks)
    bank = _make_bank(TaskDemand(laws, seed), seed)
    return BatchedConstrainedAllocation(config, bank, LockstepOptions(num_envs=num_envs), seed)


def _constrained(num_envs: int, seed: int, sizes: WorldSizes) -> World:
    usual = ConstrainedConfig()
    config = ConstrainedConfig(
        num_resources=or_else(sizes.num_resources, usual.num_resources),
        num_tasks=or_else(sizes.num_tasks, usual.num_tasks),
        episode_length=or_else(sizes.num_steps, usual.episode_length),
    )
    return make_constrained_allocation(num_envs, seed, config)


def _traffic_shares(num_envs: int, seed: int, sizes: WorldSizes) -> World:
    rules = TrafficConfig(num_steps=or_else(sizes.num_steps, TrafficConfig().num_steps))
    laws = TrafficLaws(num_steps=rules.num_steps)
    if sizes.difficulty is not None:
        rules = replace(rules, num_slots=MOST_RESOURCES)
        laws = replace(
            laws,
            num_slots=MOST_RESOURCES,
            lowest_difficulty=sizes.difficulty,
            highest_difficulty=sizes.difficulty,
        )
    bank = _make_bank(TrafficDemand(laws), seed)
    return BatchedTrafficShares(rules, bank, LockstepOptions(num_envs=num_envs), seed)


def _service_market(num_envs: int, seed: int, sizes: WorldSizes) -> World:
    config, bank = _services(seed, sizes)
    options = EnvironmentConfig(
        num_envs=num_envs, view="services", mechanism="auction", market=MarketConfig()
    )
    return BatchedResourceAllocation(config, bank, options, seed)


def _trading(num_envs: int, seed: int, sizes: WorldSizes) -> World:
    traders = or_else(sizes.num_traders, 4)
    config = TradingConfig(
        agents=tuple(f"trader_{number}" for number in range(traders)),
        max_steps=or_else(sizes.num_steps, TradingConfig().max_steps),
    )
    market = SyntheticMarketConfig(
        max_symbols=len(config.symbols),
        max_steps=config.max_steps,
        regime=None,
        regime_switching=True,
    )
    source = TradingSource(SyntheticMarket(market), TradingStage(max_agents=traders))
    bank = _make_bank(source, seed)
    return BatchedTrading(config, bank, LockstepOptions(num_envs=num_envs), seed)


def _execution(num_envs: int, seed: int, sizes: WorldSizes) -> World:
    usual = almgren_chriss()
    config = replace(usual, num_steps=or_else(sizes.num_steps, usual.num_steps))
    bank = _make_bank(NormalShocks(ShockConfig(num_steps=config.num_steps)), seed)
    return BatchedExecution(config, bank, LockstepOptions(num_envs=num_envs), seed)


def _market_making(num_envs: int, seed: int, sizes: WorldSizes) -> World:
    usual = avellaneda_stoikov()
    config = replace(
        usual,
        risk_aversion=or_else(sizes.risk_aversion, usual.risk_aversion),
        num_steps=or_else(sizes.num_steps, usual.num_steps),
    )
    bank = _make_bank(PoissonOrderFlow(OrderFlowConfig(num_steps=config.num_steps)), seed)
    return BatchedMarketMaking(config, bank, LockstepOptions(num_envs=num_envs), seed)


def _portfolio(num_envs: int, seed: int, sizes: WorldSizes) -> World:
    usual = PortfolioConfig()
    config = PortfolioConfig(
        num_steps=or_else(sizes.num_steps, usual.num_steps),
        cost_bps=or_else(sizes.cost_bps, usual.cost_bps),
    )
    market = SyntheticMarketConfig(
        max_symbols=or_else(sizes.num_symbols, PORTFOLIO_SYMBOLS),
        max_steps=config.num_steps,
        regime=MarketRegime.BULL,
        regime_switching=True,
    )
    bank = _make_bank(SyntheticMarket(market), seed)
    return BatchedPortfolio(config, bank, LockstepOptions(num_envs=num_envs), seed)


BUILDERS: Mapping[str, Build] = {
    "shared_services": partial(_shared_services, view="planner"),
    "service_agents": partial(_shared_services, view="services"),
    "service_market": _service_market,
    "constrained_allocation": _constrained,
    "traffic_shares": _traffic_shares,
    "distributed_nodes": partial(_nodes, preset_of=distributed_nodes),
    "distributed_nodes_deadlines": partial(_nodes, preset_of=distributed_nodes_deadlines),
    "cluster_scheduling": _cluster,
    "job_scheduling": _job_scheduling,
    "workforce": _workforce,
    "capacity_planning": _capacity_planning,
    "serial_inventory": partial(_or_gym, lost_sales=False),
    "serial_inventory_lost_sales": partial(_or_gym, lost_sales=True),
    "newsvendor": _newsvendor,
    "fixed_order_cost": partial(_long_shelf, preset=fixed_order_cost),
    "clark_scarf": partial(_long_shelf, preset=clark_scarf),
    "serial_supply": partial(_families, preset=serial),
    "multi_echelon": partial(_families, preset=multi_echelon),
    "five_product": _five_product,
    "execution": _execution,
    "market_making": _market_making,
    "trading": _trading,
    "portfolio": _portfolio,
}
"""By world."""
