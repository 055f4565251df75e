"""What an agent says about itself: lineage, proof, limits, and how to call it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ai_agents.policy_agent import PolicyAgent
from utils.config import to_json

P99_SECONDS = 0.01


class CardModel(BaseModel):
    """Base of what a card holds."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class Hints(CardModel):
    """What asking does, in the words of the Model Context Protocol's tool annotations."""

    read_only: bool = Field(default=True, description="Asking changes nothing in the world.")
    idempotent: bool = Field(default=True, description="The same request gets the same answer.")
    open_world: bool = Field(default=False, description="Answering asks nobody else.")


class ServiceLevel(CardModel):
    """What is aimed at, and what happens where it is missed."""

    p99_seconds: float = Field(
        default=P99_SECONDS,
        description="An aim: 99 of 100 decisions of the example's size are computed within this "
        "time. `seconds_per_decision` is measured.",
    )
    late_policy: str = Field(
        default="fallback_expert",
        description="Who answers where the policy misses the caller's deadline.",
    )


class AgentCard(CardModel):
    """All that a caller, human or program, needs before trusting an answer."""

    name: str
    version: str
    title: str
    description: str
    domain: str
    tags: list[str] = Field(description="Words to find it by.")
    artifact_sha256: str = Field(description="Address of the policy artifact.")
    precision: str = Field(
        description="How its weights are stored: float32 as trained, or rounded to float16 or int8."
    )
    model: dict[str, Any] = Field(
        description="Lineage and proof, as the training run wrote it: run_id, checkpoint_sha256, "
        "commit, data, evaluation with 95 % interval, baseline, bound, validated_for, limits."
    )
    gap_closed_fraction: float | None = Field(
        description="Share of the gap between the baseline and the bound that the policy closes."
    )
    hints: Hints
    service_level: ServiceLevel
    seconds_per_decision: float | None = Field(
        description="What its example took on this machine when it was set up; the cost of asking."
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
        tags=[agent.artifact.domain, *domain.tags],
        artifact_sha256=agent.artifact.sha256,
        precision=agent.artifact.precision,
        model=to_json(card),
        gap_closed_fraction=card.gap_closed_fraction,
        hints=Hints(),
        service_level=ServiceLevel(),
        seconds_per_decision=agent.seconds_per_decision,
        fallback_expert=domain.expert_name,
        request_schema=agent.request_type.model_json_schema(),
        decision_schema=agent.decision_type.model_json_schema(mode="serialization"),
        examples=[domain.example_request().model_dump(mode="json")],
    )
