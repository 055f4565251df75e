"""The domain of distributed nodes, as an agent needs it: offers, exact fit, words."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_agents.base_agent import Header, RequestError
from ai_agents.node_checks import find_problems
from ai_agents.node_schema import (
    ExpertPlacements,
    NodeDecision,
    NodeOffer,
    NodeRequest,
    WorkloadPlacement,
    example_of,
)
from ai_agents.policy_checks import range_warning
from ai_agents.view_plans import ViewPlans, ViewSituation
from ai_agents.wishes import read_placements, refuse
from rl.artifacts import PolicyArtifact
from rl.deployment.guardrails import find_out_of_range
from rl.deployment.view_policy import ViewPolicy
from rl.domains.nodes import NodeConfig, NodeView

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class NodeSituation(ViewSituation):
    """Nodes and workloads in arrays, in their units."""

    nodes: tuple[str, ...]
    workloads: tuple[str, ...]
    capacity: Floats
    """`[node, resource]`"""
    in_use: Floats
    """`[node, resource]`"""
    need: Floats
    """`[workload, resource]`"""


class NodeDecisions(ViewPlans[NodeRequest, NodeDecision, NodeSituation]):
    """Which node takes which workload, by what the nodes offer."""

    title = "Node workload agent"
    tags = ("scheduling", "workloads")
    request_type = NodeRequest
    decision_type = NodeDecision

    def __init__(self, artifact: PolicyArtifact) -> None:
        """Read the world from the artifact.

        Args:
            artifact: As `export_view_policy` made it.

        Raises:
            ConfigError: The world is not known, or the network does not fit it.
        """
        self._policy = ViewPolicy(artifact)
        self._rules = self._policy.domain
        self.config: NodeConfig = self._rules.config
        self._valid = artifact.card.validated_for
        self.expert_name = self._policy.expert_name

    def describe(self) -> str:
        """Say what is placed where."""
        return (
            f"Places workloads on {self.config.num_nodes} nodes: every node offers a share of the "
            f"{', '.join(self.config.resources)} it has free, and the best fitting offer wins."
        )

    def example_request(self) -> NodeRequest:
        """Return a request with the agent's number of nodes."""
        return NodeRequest.model_validate(example_of(self.config.num_nodes, self.config.resources))

    def read(self, request: NodeRequest) -> NodeSituation:
        """Match names and sizes.

        Args:
            request: Well formed, but perhaps about another world.

        Raises:
            RequestError: Names or sizes do not fit; each problem names its field.
        """
        problems = find_problems(request, self.config)
        if problems:
            raise RequestError(problems)
        resources = self.config.resources

        def table(rows: Sequence[dict[str, float]]) -> Floats:
            return np.asarray([[row.get(name, 0.0) for name in resources] for row in rows])

        in_use = table([node.in_use for node in request.nodes])
        capacity = table([node.capacity for node in request.nodes])
        usage = in_use / capacity
        outside = find_out_of_range({"usage": usage.ravel().tolist()}, self._valid)
        return NodeSituation(
            outside=outside,
            warnings=tuple(map(range_warning, outside)),
            view=NodeView(usage=usage[None]),
            nodes=tuple(node.name for node in request.nodes),
            workloads=tuple(workload.name for workload in request.workloads),
            capacity=capacity,
            in_use=in_use,
            need=table([workload.need for workload in request.workloads]),
        )

    def decide(
        self,
        situation: NodeSituation,
        action: NDArray[np.float32],
        *,
        header: Header,
        expert: NDArray[np.float32] | None,
    ) -> NodeDecision:
        """Place the workloads, one after the other, where offers cover them and units suffice.

        Args:
            situation: What it is about.
            action: Shares of what is free, `[node, resource]`.
            header: What the decision says about itself.
            expert: The expert's shares, if the answer shall show them.
        """
        placements, cut = self._place(situation, action)
        compared = None
        if expert is not None:
            theirs, _ = self._place(situation, expert)
            compared = ExpertPlacements(name=self.expert_name, placements=theirs)
        return NodeDecision(
            **header,
            placements=placements,
            offers=self._word_offers(situation, action),
            guardrails=[] if header["fallback_used"] else [f"capacity.{name}" for name in cut],
            expert=compared,
        )

    def amounts(self, decision: NodeDecision) -> Mapping[Hashable, float]:
        """Return one for the node of each workload.

        Args:
            decision: Of policy, expert or person.
        """
        return {(one.workload, one.node): 1.0 for one in decision.placements}

    def worth(
        self,
        situation: NodeSituation,  # noqa: ARG002
        decision: NodeDecision,
        came: Any | None,  # noqa: ARG002
    ) -> float:
        """Return how many workloads found a node; nothing more is known later.

        Args:
            situation: What it was about.
            decision: Of policy, expert or person.
            came: Always absent.
        """
        return float(sum(one.node is not None for one in decision.placements))

    def override(
        self, situation: NodeSituation, wish: Mapping[str, Any], *, header: Header
    ) -> NodeDecision:
        """Word where a person puts the workloads, as if every node offered all it has free.

        Args:
            situation: What it is about.
            wish: `placements`, each with `workload` and `node`, as in a decision.
            header: What the decision says about itself.

        Raises:
            RequestError: It is malformed, or a node has no room for what it gets.
        """
        wanted = read_placements(wish, situation.workloads, situation.nodes)
        everything = np.ones_like(situation.capacity, np.float32)
        in_use, placements = situation.in_use.copy(), []
        for row, (name, node) in enumerate(zip(situation.workloads, wanted, strict=True)):
            need, capacity = situation.need[row], situation.capacity
            room = capacity - in_use - need
            if node is not None and (in_use + need > capacity)[node].any():
                where = situation.nodes[node]
                raise refuse(f"placements.{name}", f"{where} has no room left for it")
            placements.append(
                WorkloadPlacement(
                    workload=name,
                    node=None if node is None else situation.nodes[node],
                    covering_nodes=int((in_use + need <= capacity).all(-1).sum()),
                    spare_share=None
                    if node is None
                    else max(float((room / capacity)[node].mean()), 0.0),
                    reason=f"Decided by {header['decided_by']}.",
                )
            )
            if node is not None:
                in_use[node] += need
        return NodeDecision(
            **header,
            placements=placements,
            offers=self._word_offers(situation, everything),
            guardrails=[],
            expert=None,
        )

    def _word_offers(
        self, situation: NodeSituation, action: NDArray[np.float32]
    ) -> list[NodeOffer]:
        free = situation.capacity - situation.in_use
        offered = np.clip(action.astype(np.float64), 0.0, 1.0) * free
        return [
            NodeOffer(node=name, offered=self._by_resource(row))
            for name, row in zip(situation.nodes, offered.tolist(), strict=True)
        ]

    def _place(
        self, situation: NodeSituation, action: NDArray[np.float32]
    ) -> tuple[list[WorkloadPlacement], list[str]]:
        """Return where workloads go, and the nodes that would have been filled beyond capacity."""
        in_use, capacity = situation.in_use.copy(), situation.capacity
        placements, cut = [], []
        for name, need in zip(situation.workloads, situation.need, strict=True):
            with np.errstate(over="ignore"):
                share = need / capacity
            view = NodeView(usage=in_use / capacity)
            offer = self._rules.project(action.astype(np.float64), view)
            waste = self._rules.waste(offer, share)
            has_room = (in_use + need <= capacity).all(-1)
            covers = np.isfinite(waste)
            cut += [situation.nodes[node] for node in np.flatnonzero(covers & ~has_room)]
            waste = np.where(has_room, waste, np.inf)
            lacking = offer < share
            node = int(waste.argmin())
            is_placed = bool(np.isfinite(waste[node]))
            if is_placed:
                in_use[node] += need
            placements.append(
                WorkloadPlacement(
                    workload=name,
                    node=situation.nodes[node] if is_placed else None,
                    covering_nodes=int(np.isfinite(waste).sum()),
                    spare_share=max(float(waste[node]), 0.0) if is_placed else None,
                    reason=self._explain(situation.nodes[node], waste, lacking, has_room),
                )
            )
        return placements, sorted(set(cut))

    def _explain(
        self,
        best: str,
        waste: Floats,
        lacking: NDArray[np.bool_],
        has_room: NDArray[np.bool_],
    ) -> str:
        covering, total = int(np.isfinite(waste).sum()), len(waste)
        if covering:
            return (
                f"{best} takes it: {covering} of {total} offers cover it, and its own exceeds the "
                f"need least, by {max(waste.min(), 0.0):.1%} of its capacity."
            )
        short = lacking.sum(0)
        worst = int(short.argmax())
        text = (
            f"No node takes it: {short[worst]} of {total} offer too little "
            f"{self.config.resources[worst]}"
        )
        held = int(has_room.sum())
        return f"{text}; {held} have room for it, but hold back." if held else f"{text}."

    def _by_resource(self, row: Sequence[float]) -> dict[str, float]:
        return dict(zip(self.config.resources, row, strict=True))
