"""Request and decision of the node workload agent: nodes, workloads, and who takes which."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ai_agents.base_agent import Decision, DecisionRequest, RequestModel

MOST_NODES = 256
MOST_WORKLOADS = 64
LARGEST_AMOUNT = 1e15
"""Bytes of the largest disks are less."""

Name = Annotated[str, Field(min_length=1, max_length=100)]
Amount = Annotated[float, Field(ge=0, le=LARGEST_AMOUNT)]
Amounts = Annotated[dict[Name, Amount], Field(max_length=64)]


class NodeUse(RequestModel):
    """One node."""

    name: Name = Field(description="Of the node; no two alike.")
    capacity: Amounts = Field(
        description="Units it has in all, by resource; above 0, in any unit that workloads use too."
    )
    in_use: Amounts = Field(
        default={}, description="Units in use, by resource; none where one is not named."
    )


class Workload(RequestModel):
    """What wants to run."""

    name: Name = Field(description="Of the workload; no two alike.")
    need: Amounts = Field(description="Units it needs, by resource; all of them.")
    priority: Amount = Field(default=1.0, description="Worth of placing it; for the record only.")


class NodeRequest(DecisionRequest):
    """Nodes, and workloads in the order in which they came."""

    nodes: list[NodeUse] = Field(
        min_length=1, max_length=MOST_NODES, description="As many as the agent was trained for."
    )
    workloads: list[Workload] = Field(
        min_length=1, max_length=MOST_WORKLOADS, description="Placed one after the other."
    )


class NodeOffer(BaseModel):
    """What a node offers to the first workload."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    node: str
    offered: dict[str, float] = Field(description="Units, by resource; never more than is free.")


class WorkloadPlacement(BaseModel):
    """Who takes a workload."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    workload: str
    node: str | None = Field(description="None if no node takes it.")
    covering_nodes: int = Field(ge=0, description="Nodes whose offer covers all it needs.")
    spare_share: float | None = Field(
        description="Of the node's capacity: what its offer exceeds the need by, mean of resources."
    )
    reason: str = Field(description="Why this node, or why none, in a sentence.")


class ExpertPlacements(BaseModel):
    """What would happen if the nodes offered as the expert says."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    name: str
    placements: list[WorkloadPlacement]


class NodeDecision(Decision):
    """Who takes which workload."""

    placements: list[WorkloadPlacement] = Field(description="In the order of the request.")
    offers: list[NodeOffer] = Field(description="In the order of the request.")
    expert: ExpertPlacements | None = Field(description="The expert's answer, if asked for.")


def example_of(num_nodes: int, resources: tuple[str, ...]) -> dict[str, Any]:
    """Return a request for so many nodes.

    Args:
        num_nodes: How many.
        resources: Their names.
    """
    return {
        "nodes": [
            {
                "name": f"node-{number}",
                "capacity": dict.fromkeys(resources, 100.0),
                "in_use": dict.fromkeys(resources, float(10 * (number % 8))),
            }
            for number in range(num_nodes)
        ],
        "workloads": [
            {"name": "import", "need": dict.fromkeys(resources, 8.0), "priority": 3.0},
            {"name": "report", "need": dict.fromkeys(resources, 90.0)},
        ],
    }
