"""Which domains there are agents for; a domain's code is loaded when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pkgutil import resolve_name
from typing import Any

from ai_agents.decision_domain import DecisionDomain
from rl.artifacts import PolicyArtifact

AnyDomain = DecisionDomain[Any, Any, Any]
Maker = Callable[[PolicyArtifact], AnyDomain]
PLACES = {
    "resource_allocation": "ai_agents.allocation_domain:AllocationDecisions",
    "supply_chain": "ai_agents.replenishment_domain:ReplenishmentDecisions",
    "serial_inventory": "ai_agents.replenishment_domain:ReplenishmentDecisions",
    "order_desks": "ai_agents.execution_domain:ExecutionDecisions",
    "execution": "ai_agents.execution_domain:ExecutionDecisions",
    "portfolio": "ai_agents.portfolio_domain:PortfolioDecisions",
    "cluster_placement": "ai_agents.placement_domain:PlacementDecisions",
    "distributed_nodes": "ai_agents.node_domain:NodeDecisions",
    "distributed_nodes_deadlines": "ai_agents.node_domain:NodeDecisions",
    "network_planner": "ai_agents.network_orders_domain:NetworkOrdersDecisions",
    "workforce": "ai_agents.workforce_domain:WorkforceDecisions",
    **dict.fromkeys(
        (
            *("constrained_allocation", "traffic_shares", "job_scheduling"),
            *("capacity_planning", "market_making"),
        ),
        "ai_agents.view_domain:ViewDecisions",
    ),
}
"""Of the maker of each domain."""


class Domains(Mapping[str, Maker]):
    """Makers by `PolicyArtifact.domain`; each raises ConfigError for what it cannot serve."""

    def __getitem__(self, name: str) -> Maker:
        """Load a domain, unless it is.

        Args:
            name: Of the domain.

        Raises:
            KeyError: There is no agent for it.
        """
        maker: Maker = resolve_name(PLACES[name])
        return maker

    def __contains__(self, name: object) -> bool:
        """Tell whether there is an agent for a domain, without loading it."""
        return name in PLACES

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(PLACES)

    def __len__(self) -> int:
        """Count the domains."""
        return len(PLACES)


DOMAINS = Domains()
