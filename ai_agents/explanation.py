"""Why a decision is as it is: what bound it, what the expert says, which fields it hangs on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from rl.artifacts import PolicyArtifact
from rl.deployment.attribution import Blend, attribute

MOST_FIELDS = 64


@dataclass(frozen=True, kw_only=True)
class Trace:
    """How a policy sees a request, field by field, between a reference and itself."""

    fields: tuple[str, ...]
    """In the words of the request."""
    blend: Blend
    answer: Blend | None = None
    """What the numbers of the answer are, `[row, number]`; those of the policy's action if absent,
    for domains that make something else of it."""
    unit: str
    """What one of these numbers is, such as `share of a capacity`."""
    reference: str
    """What the fields are compared with, in a sentence."""


class FieldInfluence(BaseModel):
    """How much of the answer hangs on one field."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    field: str
    moved: float = Field(
        description="Mean change of the answer's numbers if this field alone were at its reference."
    )
    contributed: float | None = Field(
        description="Mean size of what the field contributes to the policy's raw output on the "
        "way from the reference to the request (integrated gradients); none where the domain does "
        "not say how its policy observes a field."
    )


@dataclass(frozen=True, kw_only=True)
class Influences:
    """On which fields an answer hangs."""

    fields: list[FieldInfluence]
    """Strongest first."""
    unit: str
    reference: str
    gap: float | None
    """None where there are no contributions."""


class Explanation(BaseModel):
    """Why the decision is as it is."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    bound: list[str] = Field(description="Constraints that the wish was cut to.")
    expert: str = Field(description="Whose answer stands beside the decision, as `expert`.")
    fields: list[FieldInfluence] = Field(
        description="Fields of the request, strongest first; none where the policy did not answer "
        "or its domain does not tell them apart."
    )
    unit: str = Field(description="What one number of the answer is.")
    reference: str = Field(description="What the fields are compared with.")
    gap: float | None = Field(
        description="How far the contributions miss the output that they add up to; near 0."
    )


def trace_influences(artifact: PolicyArtifact, trace: Trace) -> Influences:
    """Say how much the answer hangs on each field, where it is known how the policy sees them.

    Args:
        artifact: The policy.
        trace: How it sees the request.
    """
    found = attribute(artifact, trace.blend, trace.fields, answer=trace.answer)
    return Influences(
        fields=[FieldInfluence(**vars(one)) for one in found.effects[:MOST_FIELDS]],
        unit=trace.unit,
        reference=trace.reference,
        gap=found.gap,
    )


def explain(influences: Influences | None, *, bound: Sequence[str], expert: str) -> Explanation:
    """Explain a decision.

    Args:
        influences: What it hangs on; None where the policy was not followed.
        bound: Constraints that its wish was cut to.
        expert: Name of the expert.
    """
    known = influences or Influences(fields=[], unit="", reference="", gap=None)
    return Explanation(
        bound=list(bound),
        expert=expert,
        fields=known.fields,
        unit=known.unit,
        reference=known.reference,
        gap=known.gap,
    )
