"""The agent that splits capacities among services: a trained planner behind a business face."""

from __future__ import annotations

from ai_agents.allocation_domain import AllocationDecisions
from ai_agents.allocation_schema import AllocationDecision, AllocationRequest
from ai_agents.allocation_translation import AllocationSituation
from ai_agents.policy_agent import PolicyAgent
from rl.artifacts import PolicyArtifact
from utils.clock import Clock


class ResourceAllocationAgent(
    PolicyAgent[AllocationRequest, AllocationDecision, AllocationSituation]
):
    """Answers who gets how much of each resource in the coming step."""

    domain: AllocationDecisions

    def __init__(
        self,
        artifact: PolicyArtifact,
        *,
        name: str | None = None,
        version: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Read the world and the expert from the artifact.

        Args:
            artifact: The policy and its card.
            name: How callers name the agent; the card's by default.
            version: What decisions call this policy; the start of its sha256 by default.
            clock: Measures durations.

        Raises:
            ConfigError: The artifact is for another domain, its expert is unknown, or the network
                does not fit its world.
        """
        domain = AllocationDecisions(artifact)
        super().__init__(artifact, domain, name=name, version=version, clock=clock)
