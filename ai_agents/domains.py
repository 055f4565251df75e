"""Which domains there are agents for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ai_agents.allocation_domain import AllocationDecisions
from ai_agents.decision_domain import DecisionDomain
from ai_agents.execution_domain import ExecutionDecisions
from ai_agents.placement_domain import PlacementDecisions
from ai_agents.portfolio_domain import PortfolioDecisions
from ai_agents.replenishment_domain import ReplenishmentDecisions
from ai_agents.view_domain import ViewDecisions
from rl.artifacts import PolicyArtifact
from rl.deployment.execution_exporter import EXECUTION
from rl.deployment.exporters import RESOURCE_ALLOCATION
from rl.deployment.inventory_exporter import SERIAL_INVENTORY
from rl.deployment.placement_exporter import CLUSTER_PLACEMENT
from rl.deployment.portfolio_exporter import PORTFOLIO
from rl.deployment.supply_exporter import SUPPLY_CHAIN
from rl.deployment.trading_exporter import ORDER_DESKS
from rl.domains.view_worlds import VIEW_WORLDS

AnyDomain = DecisionDomain[Any, Any, Any]
DOMAINS: Mapping[str, Callable[[PolicyArtifact], AnyDomain]] = {
    RESOURCE_ALLOCATION: AllocationDecisions,
    SUPPLY_CHAIN: ReplenishmentDecisions,
    SERIAL_INVENTORY: ReplenishmentDecisions,
    ORDER_DESKS: ExecutionDecisions,
    EXECUTION: ExecutionDecisions,
    PORTFOLIO: PortfolioDecisions,
    CLUSTER_PLACEMENT: PlacementDecisions,
    **dict.fromkeys(VIEW_WORLDS, ViewDecisions),
}
"""Makers by `PolicyArtifact.domain`; each raises ConfigError for what it cannot serve."""
