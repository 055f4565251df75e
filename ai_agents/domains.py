"""Which domains there are agents for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ai_agents.allocation_domain import AllocationDecisions
from ai_agents.decision_domain import DecisionDomain
from rl.artifacts import PolicyArtifact
from rl.deployment.exporters import RESOURCE_ALLOCATION

AnyDomain = DecisionDomain[Any, Any, Any]
DOMAINS: Mapping[str, Callable[[PolicyArtifact], AnyDomain]] = {
    RESOURCE_ALLOCATION: AllocationDecisions,
}
"""Makers by `PolicyArtifact.domain`; each raises ConfigError for what it cannot serve."""
