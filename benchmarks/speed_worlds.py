"""The worlds whose speed is measured, the bar of each, and who they are compared with."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from benchmarks import plain_allocation, plain_services
from benchmarks.distributed_nodes import make_environment as make_nodes
from benchmarks.measuring import Speed, measure
from benchmarks.plain_nodes import PlainNodes, check_plain_nodes
from benchmarks.plain_trading import check_plain_trading, make_trading, measure_plain_trading
from data.scenario import BankConfig, ScenarioBank
from rl.domains.inventory import inv_management, inv_management_demand
from rl.domains.supply_business import five_product
from rl.environments.base_environment import BatchedEnvironment
from rl.environments.inventory_environment import BatchedInventory, InventoryOptions
from rl.environments.registration import make_planner
from rl.environments.resource_allocation_environment import (
    BatchedResourceAllocation,
    EnvironmentConfig,
)
from rl.environments.supply_chain_environment import make_multi_echelon, make_serial
from rl.environments.supply_network_environment import BatchedSupplyNetwork, SupplyOptions
from rl.environments.synthetic_services import make_synthetic_services

PEERS = Path("var/peers")
PEER_COPIES = 16

Make = Callable[[int], BatchedEnvironment]
MeasurePeer = Callable[[], list[Speed]]


@dataclass(frozen=True, kw_only=True)
class World:
    """One world and what its speed is held against."""

    make: Make
    """Builds so many copies."""
    bar: int
    """Joint steps per second that are wanted of one core."""
    peers: tuple[MeasurePeer, ...]
    scale: Callable[[int, int], BatchedEnvironment] | None = None
    """Builds so many copies with so many agents, where the number is free."""


def run_peer(name: str, script: str, only: str = "") -> list[Speed]:
    """Measure a public environment in its own virtual environment; nothing if it is not there.

    Args:
        name: Of the folder in var/peers.
        script: In benchmarks/peers; prints speeds by name as JSON.
        only: Part of the names that count.
    """
    python = PEERS / name / "bin" / "python"
    if not python.exists():
        print(f"{name} is not installed, so it is not measured; scripts/install-peers {name}")
        return []
    command = [str(python), f"benchmarks/peers/{script}"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    found: Mapping[str, float] = json.loads(run.stdout.splitlines()[-1])
    return [
        Speed(
            name=peer,
            copies=1,
            steps_per_second=round(rate),
            steps_per_cpu_second=round(rate),
        )
        for peer, rate in found.items()
        if only in peer
    ]


def measure_plain_allocation() -> list[Speed]:
    """Measure a plain loop over Python floats that earns the same rewards."""
    plain_allocation.check_plain(0)
    core = plain_allocation.make_core(1, 0)
    world = plain_allocation.PlainAllocation(core.config, core.bank.scenarios)
    action = np.random.default_rng(0).random(core.groups[0].action.size).tolist()
    world.reset(0)

    def step() -> None:
        _, _, truncated = world.step(action)
        if truncated:
            world.reset((world.episode + 1) % core.bank.scenarios.num_episodes)

    return [measure("plain Python loop", 1, step)]


def measure_sync_vector() -> list[Speed]:
    """Measure Gymnasium's own vectorisation of our single face."""

    def make() -> gymnasium.Env:
        return make_planner(num_services=plain_allocation.SERVICES)

    copies = SyncVectorEnv([make] * PEER_COPIES, autoreset_mode=AutoresetMode.SAME_STEP)
    copies.reset(seed=0)
    copies.action_space.seed(0)
    action = copies.action_space.sample()
    return [measure("SyncVectorEnv of our face", PEER_COPIES, lambda: copies.step(action))]


def measure_plain_services() -> list[Speed]:
    """Measure a dict-per-agent loop that earns the same in the same auctions."""
    plain_services.check_plain(0)
    core = plain_services.make_core(1, 0)
    world = plain_services.PlainServices(core.config, core.bank.scenarios)
    draw = np.random.default_rng(0)
    actions = {name: draw.random(core.action_size).tolist() for name in world.names}
    world.reset(0)

    def step() -> None:
        if world.step(actions)[2]:
            world.reset((world.episode + 1) % core.bank.scenarios.num_episodes)

    return [measure("dict-per-agent loop", 1, step)]


def make_services(copies: int, num_services: int) -> BatchedResourceAllocation:
    """Build the services view without a market: each asks, overbooked capacities are shared.

    Args:
        copies: How many.
        num_services: Agents.
    """
    config, bank = make_synthetic_services(num_services=num_services)
    options = EnvironmentConfig(num_envs=copies, view="services")
    return BatchedResourceAllocation(config, bank, options, 0)


def measure_plain_nodes() -> list[Speed]:
    """Measure a dict-per-agent loop that earns the same rewards."""
    check_plain_nodes(make_nodes(20.0, 1, episodes=4))
    plain = PlainNodes(make_nodes(5.0, 1, episodes=1).bank.scenarios, 0)
    drawn = np.random.default_rng(0).random((10, 4))
    actions = {f"node_{number}": row for number, row in enumerate(drawn)}
    return [measure("dict-per-agent loop", 1, lambda: plain.step(actions))]


def make_serial_inventory(copies: int) -> BatchedInventory:
    """Build OR-Gym's chain.

    Args:
        copies: How many.
    """
    bank = ScenarioBank(inv_management_demand(), BankConfig(), 0)
    config = inv_management(lost_sales=False)
    return BatchedInventory(config, bank, InventoryOptions(num_envs=copies), 0)


def measure_dict_trading() -> list[Speed]:
    """Measure a dict-per-agent loop of the trading world that earns the same rewards."""
    check_plain_trading(0)
    return [measure_plain_trading()]


def make_node_supply(copies: int, agents: int) -> BatchedSupplyNetwork:
    """Build a vehicle maker's network in which agents order for their nodes.

    Args:
        copies: How many.
        agents: 1 to 128; fewer than four share the four nodes of the smallest network.
    """
    names = tuple(f"agent_{number}" for number in range(agents))
    preset = five_product(max(4, agents), agents=names)
    bank = ScenarioBank(preset.source, BankConfig(num_episodes=4), 0)
    return BatchedSupplyNetwork(
        preset.config, bank, SupplyOptions(num_envs=copies, view="nodes"), 0
    )


WORLDS: dict[str, World] = {
    "shared_services": World(
        make=lambda copies: plain_allocation.make_core(copies, 0),
        bar=150_000,
        peers=(measure_plain_allocation, measure_sync_vector),
    ),
    "service_agents": World(
        make=lambda copies: make_services(copies, plain_allocation.SERVICES),
        bar=150_000,
        peers=(),
        scale=make_services,
    ),
    "service_market": World(
        make=lambda copies: plain_services.make_core(copies, 0),
        bar=150_000,
        peers=(measure_plain_services,),
        scale=lambda copies, agents: plain_services.make_core(copies, 0, agents),
    ),
    "distributed_nodes": World(
        make=lambda copies: make_nodes(5.0, copies, episodes=256),
        bar=500_000,
        peers=(measure_plain_nodes, lambda: run_peer("mpe2", "mpe2_speed.py")),
        scale=lambda copies, agents: make_nodes(5.0, copies, episodes=64, num_nodes=agents),
    ),
    "serial_inventory": World(
        make=make_serial_inventory,
        bar=1_000_000,
        peers=(lambda: run_peer("or_gym", "or_gym_speed.py"),),
    ),
    "serial_supply": World(
        make=make_serial,
        bar=1_000_000,
        peers=(lambda: run_peer("gym_invmgmt", "gym_invmgmt_speed.py", "Serial-v0"),),
    ),
    "multi_echelon": World(
        make=make_multi_echelon,
        bar=100_000,
        peers=(lambda: run_peer("gym_invmgmt", "gym_invmgmt_speed.py", "MultiEchelon-v0"),),
        scale=make_node_supply,
    ),
    "trading": World(
        make=lambda copies: make_trading(copies, 0),
        bar=150_000,
        peers=(measure_dict_trading, lambda: run_peer("mpe2", "mpe2_speed.py")),
        scale=lambda copies, agents: make_trading(copies, 0, num_agents=agents, episodes=64),
    ),
}
