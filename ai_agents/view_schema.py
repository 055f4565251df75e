"""Requests and decisions of worlds that are asked by their view: made from its fields and docs."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from ai_agents.base_agent import Decision, DecisionRequest, RequestModel
from rl.deployment.view_exporter import ViewField
from rl.domains.view_worlds import ViewWorld
from utils.field_docs import field_docs

LARGEST = 1e9
MOST_ENTRIES = 4096
Numbers = float | list[float] | list[list[float]] | list[list[list[float]]]
"""Nested as the axes are."""
Amount = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
Row = Annotated[list[Amount], Field(max_length=MOST_ENTRIES)]
Amounts = Amount | Row | Annotated[list[Row], Field(max_length=MOST_ENTRIES)]


class ExpertAction(BaseModel):
    """What the expert would have done."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    name: str
    action: Numbers = Field(description="As in the decision.")


class ActionWish(RequestModel):
    """What a person wants done."""

    action: Amounts = Field(description="Axes and unit as in the decision.")


class ViewDecision(Decision):
    """The feasible action, as an array."""

    action: Numbers = Field(description="What is to be done; axes and unit as `meaning` says.")
    meaning: str = Field(description="Axes and unit of the action.")
    reason: str = Field(description="Who decided on what, in a sentence.")
    expert: ExpertAction | None = Field(description="The expert's answer, if asked for.")


def make_request_type(
    name: str, world: ViewWorld, fields: tuple[ViewField, ...]
) -> type[DecisionRequest]:
    """Make the request model of a world.

    Args:
        name: Of the world.
        world: Its view says what each field is.
        fields: Shapes; every list must have exactly these lengths.
    """
    docs = field_docs(world.view)
    described: dict[str, Any] = {}
    for one in fields:
        shape = f"Shape {list(one.shape)}." if one.shape else "One number."
        text = docs.get(one.name, "").replace("[..., ", "[").replace("`[...]`", "").lstrip(": ,")
        described[one.name] = (_kind_of(one, world), Field(description=f"{text} {shape}".strip()))
    words = "".join(part.title() for part in name.split("_"))
    model: type[DecisionRequest] = create_model(
        f"{words}Request", __base__=DecisionRequest, __doc__=world.about, **described
    )
    return model


def _kind_of(one: ViewField, world: ViewWorld) -> Any:
    """Return nested lists of bounded numbers, outermost axis last made."""
    low = -LARGEST if one.name in world.signed else 0.0
    high = 1.0 if one.name in world.flags else LARGEST
    kind: Any
    if one.kind == "whole" or one.name in world.flags:
        kind = Annotated[int, Field(ge=int(low), le=int(high))]
    else:
        kind = Annotated[float, Field(ge=low, le=high)]
    for length in reversed(one.shape):
        kind = Annotated[list[kind], Field(min_length=length, max_length=length)]
    return kind
