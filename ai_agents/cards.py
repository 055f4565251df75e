"""What an agent says about itself: lineage, proof, limits, and how to call it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ai_agents.policy_agent import PolicyAgent
from utils.config import to_json


class AgentCard(BaseModel):
    """All that a caller, human or program, needs before trusting an answer."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    name: str
    version: str
    title: str
    description: str
    domain: str
    artifact_sha256: str = Field(description="Address of the policy artifact.")
    model: dict[str, Any] = Field(
        description="Lineage and proof, as the training run wrote it: run_id, checkpoint_sha256, "
        "commit, data, evaluation with 95 % interval, baseline, bound, validated_for, limits."
    )
    gap_closed_fraction: float | None = Field(
        description="Share of the gap between the baseline and the bound that the policy closes."
    )
    fallback_expert: str = Field(description="Who answers where the policy must not or cannot.")
    request_schema: dict[str, Any] = Field(description="JSON schema of a request.")
    decision_schema: dict[str, Any] = Field(description="JSON schema of a decision.")
    examples: list[dict[str, Any]] = Field(description="Requests that this version answers.")


def describe(agent: PolicyAgent[Any, Any, Any]) -> AgentCard:
    """Write the card of an agent.

    Args:
        agent: Set up or not.
    """
    card, domain = agent.artifact.card, agent.domain
    return AgentCard(
        name=agent.name,
        version=agent.version,
        title=domain.title,
        description=domain.describe(),
        domain=agent.artifact.domain,
        artifact_sha256=agent.artifact.sha256,
        model=to_json(card),
        gap_closed_fraction=card.gap_closed_fraction,
        fallback_expert=domain.expert_name,
        request_schema=agent.request_type.model_json_schema(),
        decision_schema=agent.decision_type.model_json_schema(mode="serialization"),
        examples=[domain.example_request().model_dump(mode="json")],
    )
