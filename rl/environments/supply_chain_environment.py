"""The promised supply chain, spoken to in dicts: a vehicle maker's chain with disruptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum

from data.scenario import BankConfig, ScenarioBank
from data.supply_demand import MeanDemand
from data.supply_disruptions import DisruptionLaw
from rl.domains.supply_business import PRODUCTS, TIERS, VEHICLES, five_product
from rl.domains.supply_chain import SupplyConfig
from rl.domains.supply_network import Network, Node, NodeType, Product
from rl.domains.supply_presets import SupplyPreset, make_source, multi_echelon, serial
from rl.environments.base_environment import AgentConfig, check_length
from rl.environments.faces import DictEnvironment
from rl.environments.supply_network_environment import BatchedSupplyNetwork, SupplyOptions
from utils.errors import ConfigError

__all__ = ["EventType", "NodeType", "SupplyChainEnvironment", "make_multi_echelon", "make_serial"]
EPISODES_HELD = 2
MOST_AGENTS = 128


class EventType(Enum):
    """What can go wrong; values are the kinds of `DisruptionLaw`."""

    DEMAND_SPIKE = "demand_spike"
    SUPPLIER_SHORTAGE = "supplier_shortage"
    LOGISTICS_DELAY = "logistics_delay"
    QUALITY_ISSUE = "quality_issue"
    REGULATORY_CHANGE = "regulation"


class SupplyChainEnvironment(DictEnvironment):
    """The preset `five_product`, or a network of one's own; see `BatchedSupplyNetwork`.

    Agents are in turn suppliers, manufacturers, distributors and retailers, 1 to 128 of them; a
    chain of four nodes is shared out among fewer. In a network of one's own every managed node has
    an agent, in its order, or one agent has all.
    """

    def __init__(
        self,
        agent_configs: Sequence[AgentConfig],
        products: Sequence[Product] | None = None,
        network_topology: Network | None = None,
        max_steps: int = 1000,
        *,
        disruption_probability: float = 0.1,
        seasonality_enabled: bool = True,
        seed: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Build the world; call `reset` before the first step.

        Args:
            agent_configs: One per agent; their names must differ.
            products: The five products with other perish rates or disposal costs.
            network_topology: Another network; its products are its own.
            max_steps: Length of an episode.
            disruption_probability: That something begins to go wrong in a step.
            seasonality_enabled: Whether demand has a yearly season.
            seed: Of the episodes; None is zero.
            render_mode: What `render` returns: text for `ansi`, a picture for `rgb_array`.

        Raises:
            ConfigError: Agents are missing, too many or named alike, or do not fit the network.
        """
        check_length(max_steps)
        names = tuple(config.agent_id for config in agent_configs)
        if not 1 <= len(names) <= MOST_AGENTS or len(set(names)) < len(names):
            raise ConfigError(f"give 1 to {MOST_AGENTS} agents with different names, not {names}")
        if network_topology is None:
            preset = five_product(
                max(len(TIERS), len(names)),
                agents=names,
                products=PRODUCTS if products is None else tuple(products),
                max_steps=max_steps,
                disruption_probability=disruption_probability,
                seasonality=seasonality_enabled,
            )
        elif products is not None:
            raise ConfigError("a network_topology names its own products; leave products out")
        else:
            preset = _on_network(
                _name_agents(network_topology, names),
                max_steps,
                disruption_probability,
                seasonality=seasonality_enabled,
            )
        sizes = BankConfig(num_episodes=EPISODES_HELD, refresh_every_episodes=EPISODES_HELD)
        bank = ScenarioBank(preset.source, sizes, seed or 0)
        options = SupplyOptions(num_envs=1, view="nodes")
        core = BatchedSupplyNetwork(preset.config, bank, options, seed or 0)
        super().__init__(core, render_mode)

    def get_supply_chain_metrics(self) -> dict[str, float]:
        """Return what was earned, asked for and delivered since the episode began.

        Sums of the metrics, and: `fill_rate` (sold over asked for), `mean_stock`, `bullwhip`
        (variance of all orders over that of all demand) and `mean_forecast_error`.
        """
        sums = self.get_performance_metrics()
        steps, demand = max(sums["steps"], 1.0), sums.get("demand", 0.0)

        def variance(name: str) -> float:
            mean = sums.get(name, 0.0) / steps
            return max(sums.get(f"{name}_squared", 0.0) / steps - mean * mean, 0.0)

        spread = variance("demand")
        return {
            **sums,
            "fill_rate": sums.get("sold_units", 0.0) / demand if demand else 1.0,
            "mean_stock": sums.get("stock_units", 0.0) / steps,
            "bullwhip": variance("ordered_units") / spread if spread else 0.0,
            "mean_forecast_error": sums.get("forecast_error", 0.0) / steps,
        }


def make_serial(num_envs: int = 4096, seed: int = 0) -> BatchedSupplyNetwork:
    """Return copies of gym-invmgmt's Serial-v0.

    Args:
        num_envs: How many.
        seed: Of scenarios and their choice.
    """
    return _make(serial(), num_envs, seed)


def make_multi_echelon(num_envs: int = 4096, seed: int = 0) -> BatchedSupplyNetwork:
    """Return copies of gym-invmgmt's MultiEchelon-v0.

    Args:
        num_envs: How many.
        seed: Of scenarios and their choice.
    """
    return _make(multi_echelon(), num_envs, seed)


def _make(preset: SupplyPreset, num_envs: int, seed: int) -> BatchedSupplyNetwork:
    bank = ScenarioBank(preset.source, BankConfig(), seed)
    return BatchedSupplyNetwork(preset.config, bank, SupplyOptions(num_envs=num_envs), seed)


def _name_agents(network: Network, names: tuple[str, ...]) -> Network:
    """Give the managed nodes of a network to agents."""
    managed = [node.name for node in network.managed_nodes()]
    if len(names) not in {1, len(managed)}:
        raise ConfigError(
            f"the network has {len(managed)} nodes that order; give 1 or {len(managed)} agents, "
            f"not {len(names)}"
        )
    agent = dict(zip(managed, names * len(managed), strict=False))

    def renamed(node: Node) -> Node:
        return replace(node, agent=agent.get(node.name, ""))

    return replace(network, nodes=tuple(renamed(node) for node in network.nodes))


def _on_network(
    network: Network, max_steps: int, disruption_probability: float, *, seasonality: bool
) -> SupplyPreset:
    config = SupplyConfig(network=network, max_steps=max_steps, disruptions=True, max_delay=5)
    season = 0.2 if seasonality else 0.0
    law = MeanDemand(base=VEHICLES, season=season, period=365.0)
    markets = (law,) * len(network.markets)
    law_of_disruptions = DisruptionLaw(probability=disruption_probability)
    return SupplyPreset(config=config, source=make_source(config, markets, law_of_disruptions))
