"""Small policies of the supply and trading domains with cards, made up for tests of what serves."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np

from rl.artifacts import (
    ActionSpec,
    Baseline,
    Figure,
    Layer,
    Normalizer,
    PolicyArtifact,
    ValidRange,
)
from rl.deployment.execution_exporter import EXECUTION, SHARE_OF_REST
from rl.deployment.inventory_exporter import ORDERS, SERIAL_INVENTORY, ServedInventory
from rl.deployment.planner_exporter import NETWORK_PLANNER, SOFT_ORDERS
from rl.deployment.portfolio_exporter import DAILY_RETURN, PORTFOLIO, PRICES, SYMBOLS
from rl.deployment.supply_exporter import LEVELS, SUPPLY_CHAIN
from rl.deployment.trading_exporter import ORDER_DESKS
from rl.domains import execution, order_desks
from rl.domains.echelon_levels import EchelonLevels
from rl.domains.execution import ExecutionConfig, almgren_chriss
from rl.domains.inventory import InventoryConfig, InventoryDomain, inv_management
from rl.domains.network_planner import ACTION_LIMIT, NetworkPlanner, PlannerConfig
from rl.domains.order_desks import OrderDesksConfig
from rl.domains.planner_experts import EXPERT
from rl.domains.portfolio import PortfolioConfig
from rl.domains.retail_chain import retail_chain
from rl.domains.supply_chain import SupplyConfig, SupplyDomain
from rl.domains.supply_presets import multi_echelon
from tests.cards import make_card as make_bare_card
from tests.serving import make_card
from utils.config import to_json

CHAIN = retail_chain(3)
WAITING_CHAIN = replace(CHAIN, backlog=True, disruptions=False, max_delay=0)
SERIAL = inv_management(lost_sales=False)
DESKS = OrderDesksConfig(num_desks=2, num_steps=20)
ORDER = almgren_chriss()
TASK = PortfolioConfig(num_steps=20, action="rebalancing")
NUM_SYMBOLS, NUM_PRICES = 4, 30


def chain_policy(config: SupplyConfig = CHAIN, seed: int = 0) -> PolicyArtifact:
    levels = EchelonLevels(SupplyDomain(config))
    shelves = config.network.shelves
    covers = [Figure(name=f"cover_days_{one.node}", value=6.0 + 4.0 * n) for n, one in
              enumerate(shelves)]  # fmt: skip
    trust = (Figure(name="trust", value=0.5), Figure(name="gap_days", value=0.0))
    ranges = [ValidRange(field="demand.customers.product", low=0.0, high=200.0)]
    ranges += [
        ValidRange(field=f"{kind}.{one.node}.product", low=0.0, high=900.0)
        for kind in ("stock", "on_the_way")
        for one in shelves
    ]
    ranges += [
        ValidRange(field=kind, low=0.0, high=high)
        for kind, high in {"shortage": 0.6, "capacity_loss": 0.6, "delay": 3.0}.items()
    ]
    return policy(
        (SUPPLY_CHAIN, LEVELS, to_json(config)),
        (levels.observation_size, len(shelves)),
        Baseline(expert="base_stock", parameters=(*trust, *covers), kpi=0.0),
        tuple(ranges),
        seed=seed,
    )


def serial_policy(config: InventoryConfig = SERIAL, seed: int = 0) -> PolicyArtifact:
    served = ServedInventory(chain=config, base_stock_levels=(91.0, 211.0, 415.0))
    names = [f"stage_{number}" for number in range(config.num_stages)]
    kinds = ("stock", "on_the_way", "waiting_orders")
    ranges = [ValidRange(field=f"{k}.{n}", low=0.0, high=900.0) for k in kinds for n in names]
    ranges += [ValidRange(field=k, low=0.0, high=60.0) for k in ("demand", "waiting")]
    return policy(
        (SERIAL_INVENTORY, ORDERS, to_json(served)),
        (InventoryDomain(config).observation_size, config.num_stages),
        Baseline(expert="shrinking_horizon", parameters=(), kpi=0.0),
        tuple(ranges),
        seed=seed,
    )


def desk_policy(config: OrderDesksConfig = DESKS, seed: int = 0) -> PolicyArtifact:
    ends = {
        "moves": (-15.0, 15.0),
        "price_change": (-5.0, 5.0),
        "volatility": (100.0, 400.0),
        "impact": (100.0, 1200.0),
        "risk_aversion": (6e-5, 1.4e-2),
    }
    return policy(
        (ORDER_DESKS, "pace", to_json(config)),
        (order_desks.OBSERVATION_SIZE, 1),
        Baseline(expert="almgren_chriss", parameters=(), kpi=0.0),
        tuple(ValidRange(field=f"order.{k}", low=v[0], high=v[1]) for k, v in ends.items()),
        seed=seed,
    )


def seller_policy(config: ExecutionConfig = ORDER, seed: int = 0) -> PolicyArtifact:
    fields = ("order.price_change", "order.last_move")
    return policy(
        (EXECUTION, SHARE_OF_REST, to_json(config)),
        (execution.OBSERVATION_SIZE, 1),
        Baseline(expert="almgren_chriss", parameters=(), kpi=0.0),
        tuple(ValidRange(field=field, low=-10.0, high=10.0) for field in fields),
        seed=seed,
    )


def investor_policy(
    config: PortfolioConfig = TASK, seed: int = 0, expert: str = "equal"
) -> PolicyArtifact:
    ranges = (
        ValidRange(field=PRICES, low=float(NUM_PRICES), high=float(NUM_PRICES)),
        ValidRange(field=SYMBOLS, low=float(NUM_SYMBOLS), high=float(NUM_SYMBOLS)),
        ValidRange(field=DAILY_RETURN, low=-0.3, high=0.3),
    )
    return policy(
        (PORTFOLIO, config.action, to_json(config)),
        (8 * NUM_SYMBOLS + 2, NUM_SYMBOLS),
        Baseline(expert=expert, parameters=(), kpi=0.0),
        ranges,
        seed=seed,
    )


def policy(
    world: tuple[str, str, Any],
    sizes: tuple[int, int],
    baseline: Baseline,
    ranges: tuple[ValidRange, ...],
    *,
    seed: int,
) -> PolicyArtifact:
    """Random weights; world: domain, meaning of the action, config as JSON."""
    generator = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return (generator.standard_normal(shape) * 0.3).astype(np.float32)

    pairs = itertools.pairwise((sizes[0], 16, 16, sizes[1]))
    layers = [Layer(draw(i, o), draw(o)) for i, o in pairs]
    layers[-1] = Layer(layers[-1].weight, layers[-1].bias + np.float32(0.4))
    std = (0.5 + generator.random(sizes[0])).astype(np.float32)
    domain, meaning, config = world
    return PolicyArtifact(
        layers=tuple(layers),
        activation="tanh",
        normalizer=Normalizer(draw(sizes[0]), std, 10.0),
        action=ActionSpec(kind="continuous", size=sizes[1], meaning=meaning),
        domain=domain,
        domain_config=json.dumps(config, sort_keys=True),
        card=replace(make_card(), agent=domain, baseline=baseline, validated_for=ranges),
    )


def broken(artifact: PolicyArtifact) -> PolicyArtifact:
    """Finite weights whose product is not."""
    last = artifact.layers[-1]
    layers = (*artifact.layers[:-1], Layer(np.full_like(last.weight, 3e38), last.bias))
    return replace(artifact, layers=layers)


NETWORK_RANGES = (
    ValidRange(field="stock", low=0.0, high=900.0),
    ValidRange(field="expected_demand", low=5.0, high=80.0),
    ValidRange(field="recent_demand", low=0.0, high=160.0),
)


def network_policy(build=multi_echelon, horizon=22, *, bias=0.0, meaning=SOFT_ORDERS):
    """Weights at random, so that every part of the observation counts."""
    config = PlannerConfig(network=build().config.network, horizon=horizon)
    planner = NetworkPlanner(config)
    generator = np.random.default_rng(0)
    size, links = planner.observation_size, len(planner.index.flows)
    weight = (0.05 * generator.standard_normal((size, links))).astype(np.float32)
    return PolicyArtifact(
        layers=(Layer(weight, np.full(links, bias, np.float32)),),
        activation="silu",
        normalizer=Normalizer(np.zeros(size, np.float32), np.ones(size, np.float32), 1e4),
        action=ActionSpec(
            kind="continuous", size=links, low=-ACTION_LIMIT, high=ACTION_LIMIT, meaning=meaning
        ),
        domain=NETWORK_PLANNER,
        domain_config=json.dumps(to_json(config)),
        card=make_bare_card(agent="network", expert=EXPERT, valid=NETWORK_RANGES),
    )
