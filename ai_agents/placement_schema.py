"""Request and decision of the placement agent: a pod, the nodes of a GPU cluster, one of them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ai_agents.base_agent import Decision, DecisionRequest, RequestModel
from data.cluster_trace import GPU_MILLI, LARGEST_NUMBER, MAX_DEVICES

MOST_NODES = 5000
MOST_MODELS = 64

Name = Annotated[str, Field(min_length=1, max_length=100)]
Amount = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]
Rest = Annotated[int, Field(ge=0, le=GPU_MILLI)]
Rests = Annotated[list[Rest], Field(max_length=MAX_DEVICES)]
Place = Annotated[int, Field(ge=0, lt=MOST_MODELS)]

EXAMPLE_REQUEST: dict[str, Any] = {
    "pod": {"cpu_milli": 3152, "memory_mib": 5600, "gpus": 1, "gpu_milli": 810},
    "nodes": [
        {
            "name": "node-a",
            "model": "T4",
            "free_cpu_milli": 61_000,
            "free_memory_mib": 400_000,
            "free_gpu_milli": [1000, 450],
        },
        {
            "name": "node-b",
            "model": "G2",
            "free_cpu_milli": 20_000,
            "free_memory_mib": 150_000,
            "free_gpu_milli": [0, 0, 0, 0, 0, 1000, 1000, 820],
        },
        {
            "name": "node-c",
            "model": "P100",
            "free_cpu_milli": 2000,
            "free_memory_mib": 90_000,
            "free_gpu_milli": [1000, 1000],
        },
    ],
    "compare": True,
}


class Pod(RequestModel):
    """What asks for a place."""

    cpu_milli: Amount = Field(description="Thousandths of a CPU core.")
    memory_mib: Amount = Field(description="MiB of memory.")
    gpus: int = Field(default=0, ge=0, le=MAX_DEVICES, description="GPUs; 0 for none.")
    gpu_milli: int | None = Field(
        default=None,
        ge=1,
        le=GPU_MILLI,
        description="Thousandths of the GPU, where one is asked for; whole GPUs if absent. Several "
        "GPUs are always whole.",
    )
    gpu_models: list[Name] = Field(
        default=[],
        max_length=MOST_MODELS,
        description="GPU models that will do; any if empty. Not looked at for pods without GPU.",
    )


class NodeState(RequestModel):
    """What one node has left."""

    name: Name = Field(description="Of the node.")
    model: Name = Field(description="Its GPU model, one the agent knows.")
    free_cpu_milli: Amount = Field(description="Thousandths of a CPU core that are free.")
    free_memory_mib: Amount = Field(description="MiB of memory that are free.")
    free_gpu_milli: Rests = Field(
        description="Thousandths that are free on each of its GPUs, in their order."
    )


class ClusterSnapshot(RequestModel):
    """The same of a whole cluster in columns, one entry per node: about a third of the size."""

    models: list[Name] = Field(
        min_length=1, max_length=MOST_MODELS, description="GPU models, named once."
    )
    model: list[Place] = Field(
        min_length=1, max_length=MOST_NODES, description="Of each node: position in `models`."
    )
    free_cpu_milli: list[Amount] = Field(
        max_length=MOST_NODES, description="Of each node: thousandths of a CPU core free."
    )
    free_memory_mib: list[Amount] = Field(
        max_length=MOST_NODES, description="Of each node: MiB of memory free."
    )
    free_gpu_milli: list[Rests] = Field(
        max_length=MOST_NODES, description="Of each node: thousandths free on each of its GPUs."
    )
    names: list[Name] = Field(
        default=[],
        max_length=MOST_NODES,
        description="Of each node; where they are left out, a node is called by its position.",
    )


class PlacementRequest(DecisionRequest):
    """A pod and the cluster it shall be placed in: `nodes` or `snapshot`, one of them."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_REQUEST]})

    pod: Pod
    nodes: list[NodeState] = Field(
        default=[],
        max_length=MOST_NODES,
        description="What every node has left; of equally good ones the first is taken.",
    )
    snapshot: ClusterSnapshot | None = Field(
        default=None, description="The same in columns, for clusters of hundreds of nodes."
    )


class RankedNode(BaseModel):
    """One place where the pod fits."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    node: str
    position: int = Field(ge=0, description="Of the node in the request.")
    gpus: list[int] = Field(description="Positions of the GPUs the pod would get on the node.")
    score: float = Field(
        description="Higher is better; whole numbers, comparable within one decision only."
    )


class UnmetNeed(BaseModel):
    """How many nodes lack something the pod needs; a node may lack several things."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    need: str = Field(description="`gpu_model`, `gpu`, `cpu` or `memory`.")
    nodes: int = Field(ge=1, description="Nodes that lack it.")


class ExpertPlacement(BaseModel):
    """Where the expert would have placed the pod."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    name: str
    placement: RankedNode | None = Field(description="None if the pod fits nowhere.")


class PlacementDecision(Decision):
    """The node that takes the pod, or why none can."""

    placement: RankedNode | None = Field(description="None if the pod fits nowhere.")
    alternatives: list[RankedNode] = Field(description="The next best nodes, best first.")
    fitting_nodes: int = Field(ge=0, description="Nodes where the pod fits.")
    unmet: list[UnmetNeed] = Field(description="What other nodes lack, the commonest first.")
    reason: str = Field(description="Why this node, or why none, in a sentence.")
    expert: ExpertPlacement | None = Field(description="The expert's answer, if asked for.")
