"""What is wrong with a request to the node workload agent, field by field."""

from __future__ import annotations

from collections.abc import Sequence

from ai_agents.base_agent import FieldProblem
from ai_agents.node_schema import NodeRequest
from ai_agents.policy_checks import find_repeated, problem_of
from rl.domains.nodes import NodeConfig


def find_problems(request: NodeRequest, config: NodeConfig) -> list[FieldProblem]:
    """Return what does not fit an agent: names, sizes, resources, use beyond capacity.

    Args:
        request: Well formed.
        config: The nodes that the agent knows.
    """
    known = config.resources
    problems = [
        *find_repeated("nodes[{}].name", [node.name for node in request.nodes]),
        *find_repeated("workloads[{}].name", [workload.name for workload in request.workloads]),
    ]
    if len(request.nodes) != config.num_nodes:
        held = f"{len(request.nodes)} nodes; the agent knows {config.num_nodes}"
        problems.append(problem_of("nodes", held))
    for place, node in enumerate(request.nodes):
        where = f"nodes[{place}]"
        problems += _resource_problems(f"{where}.capacity", node.capacity, known, is_full=True)
        problems += _resource_problems(f"{where}.in_use", node.in_use, known, is_full=False)
        for name, amount in node.capacity.items():
            if amount == 0:
                problems.append(problem_of(f"{where}.capacity.{name}", "must be above 0"))
            elif node.in_use.get(name, 0.0) > amount:
                problems.append(problem_of(f"{where}.in_use.{name}", "more than the capacity"))
    for place, workload in enumerate(request.workloads):
        where = f"workloads[{place}].need"
        problems += _resource_problems(where, workload.need, known, is_full=True)
    return problems


def _resource_problems(
    where: str, named: dict[str, float], known: Sequence[str], *, is_full: bool
) -> list[FieldProblem]:
    missing = [name for name in known if name not in named] if is_full else []
    unknown = [name for name in named if name not in known]
    return [
        *(problem_of(f"{where}.{name}", "missing") for name in missing),
        *(
            problem_of(f"{where}.{name}", f"unknown resource; known: {', '.join(known)}")
            for name in unknown
        ),
    ]
