"""The domain of cluster placement, as an agent needs it: value, expert FGD, exact fit, words."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_agents.base_agent import Header
from ai_agents.decision_domain import DecisionDomain, Plan
from ai_agents.placement_schema import (
    EXAMPLE_REQUEST,
    ExpertPlacement,
    PlacementDecision,
    PlacementRequest,
    RankedNode,
)
from ai_agents.placement_translation import (
    WORDS,
    PlacementSituation,
    PlacementTranslator,
    broken_needs,
    count_unmet,
    taken_gpus,
)
from ai_agents.wishes import NodeWish, read_wish, refuse
from data.cluster_trace import GPU_MILLI
from rl.artifacts import PolicyArtifact
from rl.deployment.placement_exporter import CLUSTER_PLACEMENT, NODE_VALUE
from rl.domains.cluster import ClusterConfig, ClusterDomain, DeviceRule, Nodes, Task, fgd_score
from rl.domains.cluster_value import FEATURES, ClusterPrices, ClusterValue
from utils.config import from_json
from utils.errors import ConfigError

Ranking = NDArray[np.float64]
RANKED = 6
"""Places that are ranked: the one taken and five more."""
NOTHING = -1.0
EXPERT = "fgd"


class PlacementDecisions(DecisionDomain[PlacementRequest, PlacementDecision, PlacementSituation]):
    """Which node, and which of its GPUs, takes a pod."""

    title = "Cluster placement agent"
    tags = ("kubernetes", "gpu", "scheduling")
    request_type = PlacementRequest
    decision_type = PlacementDecision
    expert_name = EXPERT

    def __init__(self, artifact: PolicyArtifact) -> None:
        """Read the prices and the weights from the artifact.

        Args:
            artifact: The rule and its card.

        Raises:
            ConfigError: The artifact is for another domain, its expert is unknown, or its layer
                does not weigh the features of a node.
        """
        if artifact.domain != CLUSTER_PLACEMENT:
            raise ConfigError(f"this agent serves {CLUSTER_PLACEMENT}, not {artifact.domain}")
        if artifact.card.baseline.expert != EXPERT:
            raise ConfigError(f"expert {artifact.card.baseline.expert!r}; known: {EXPERT}")
        shapes = [layer.weight.shape for layer in artifact.layers]
        if shapes != [(len(FEATURES), 1)] or artifact.action.meaning != NODE_VALUE:
            raise ConfigError(
                f"layers {shapes} that give {artifact.action.meaning!r}: this agent wants one over "
                f"{', '.join(FEATURES)} that gives {NODE_VALUE}"
            )
        self.prices = from_json(ClusterPrices, json.loads(artifact.domain_config))
        self.value = ClusterValue(self.prices, artifact.layers[0].weight[:, 0])
        self.translator = PlacementTranslator(self.prices.models, artifact.card.validated_for)
        self._rules = ClusterDomain(ClusterConfig(device_rule=DeviceRule.FRAGMENTATION))

    def describe(self) -> str:
        """Say what is placed where, and what for."""
        return (
            f"Places a pod on a node of a GPU cluster ({', '.join(self.prices.models)}) and, for a "
            "part of a GPU, on one of its GPUs, so that as much GPU as can be is in use when "
            "demand exceeds the cluster."
        )

    def example_request(self) -> PlacementRequest:
        """Return the usual example, with GPU models that this agent knows."""
        models = self.prices.models
        nodes = [
            {**node, "model": models[number % len(models)]}
            for number, node in enumerate(EXAMPLE_REQUEST["nodes"])
        ]
        return PlacementRequest.model_validate({"pod": EXAMPLE_REQUEST["pod"], "nodes": nodes})

    def read(self, request: PlacementRequest) -> PlacementSituation:
        """Match names and sizes.

        Args:
            request: Well formed, but perhaps about another cluster.

        Raises:
            RequestError: Names or sizes do not fit; each problem names its field.
        """
        return self.translator.read(request)

    def plan(self, situations: Sequence[PlacementSituation]) -> Plan:
        """Rank the nodes by the value that the cluster keeps.

        Args:
            situations: At least one.

        Returns:
            `[row, rank, 3]`: node, GPU and score, best first; -1 where there are no more.
        """
        ranked = np.stack([_rank(one, *self._judge(one)) for one in situations])
        return Plan(ranked, np.asarray(np.isfinite(ranked).all((1, 2))))

    def ask_expert(self, situations: Sequence[PlacementSituation]) -> Ranking:
        """Rank the nodes by the growth of fragmentation (FGD).

        Args:
            situations: At least one.

        Returns:
            As `plan` does.
        """
        return np.stack([_rank(one, *self._judge_as_fgd(one)) for one in situations])

    def decide(
        self,
        situation: PlacementSituation,
        action: Ranking,
        *,
        header: Header,
        expert: Ranking | None,
    ) -> PlacementDecision:
        """Keep the places where the pod fits, to the last unit, and give reasons.

        Args:
            situation: What it is about.
            action: A ranking `[rank, 3]`.
            header: What the decision says about itself.
            expert: The expert's ranking, if the answer shall show it.
        """
        kept, broken = _keep_fitting(situation, action)
        compared = None
        if expert is not None:
            theirs, _ = _keep_fitting(situation, expert)
            compared = ExpertPlacement(name=EXPERT, placement=theirs[0] if theirs else None)
        return PlacementDecision(
            **header,
            placement=kept[0] if kept else None,
            alternatives=kept[1:],
            fitting_nodes=len(situation.fitting),
            unmet=count_unmet(situation.needs),
            reason=_explain(situation, kept, by_policy=not header["fallback_used"]),
            guardrails=[] if header["fallback_used"] else broken,
            expert=compared,
        )

    def comparable(self, actions: Ranking) -> NDArray[np.int64]:  # type: ignore[override]
        """Return node and GPU of the best place; positions are names, not amounts.

        Args:
            actions: Rankings, `[row, rank, 3]`.
        """
        return actions[:, 0, :2].astype(np.int64)

    def amounts(self, decision: PlacementDecision) -> Mapping[Hashable, float]:
        """Return one for the place that the pod gets.

        Args:
            decision: Of policy, expert or person.
        """
        chosen = decision.placement
        return {None if chosen is None else (chosen.node, *chosen.gpus): 1.0}

    def to_action(self, situation: PlacementSituation, wish: Mapping[str, Any]) -> Ranking:
        """Return a ranking of the one node that a person names.

        Args:
            situation: What it is about.
            wish: `node`, and `gpu` for a part of one.

        Raises:
            RequestError: There is no such node, or the pod does not fit there.
        """
        wanted, cluster = read_wish(NodeWish, wish), situation.cluster
        names = [cluster.name(position) for position in range(len(cluster.model))]
        if names.count(wanted.node) != 1:
            raise refuse("node", f"{names.count(wanted.node)} nodes are called {wanted.node}")
        node = names.index(wanted.node)
        chosen = dict(
            zip(situation.fitting.tolist(), self._judge(situation)[1].tolist(), strict=True)
        )
        device = chosen.get(node, 0) if wanted.gpu is None else wanted.gpu
        lacking = broken_needs(situation, node, device)
        if lacking:
            raise refuse("node", f"the pod does not fit on {wanted.node}: {', '.join(lacking)}")
        return np.asarray([[node, device, 0.0]])

    def _judge(self, situation: PlacementSituation) -> tuple[Ranking, NDArray[np.int64]]:
        """Return a score and a GPU for each node where the pod fits."""
        rows = situation.fitting
        return self.value.score(
            _nodes_at(situation, rows), situation.task, situation.cluster.model[rows]
        )

    def _judge_as_fgd(self, situation: PlacementSituation) -> tuple[Ranking, NDArray[np.int64]]:
        rows = situation.fitting
        nodes, task = _nodes_at(situation, rows), situation.task
        here = Task(**{**vars(task), "accepted": task.accepted[rows]})
        typical = self.prices.typical(situation.cluster.model[rows])
        growth = self._rules.grow_fragments(nodes, here, typical) / typical.total
        device = self._rules.pick_device(nodes, here, growth)
        return fgd_score(np.take_along_axis(growth, device[:, None], -1)[:, 0]), device


def _nodes_at(situation: PlacementSituation, rows: NDArray[np.int64]) -> Nodes:
    nodes = situation.cluster.nodes
    return Nodes(cpu=nodes.cpu[rows], memory=nodes.memory[rows], devices=nodes.devices[rows])


def _rank(situation: PlacementSituation, score: Ranking, device: NDArray[np.int64]) -> Ranking:
    """Return the best places, `[rank, 3]`; of equal nodes the first."""
    ranked = np.full((RANKED, 3), NOTHING)
    order = np.argsort(-score, kind="stable")[:RANKED]
    ranked[: len(order)] = np.stack([situation.fitting, device, score], axis=1)[order]
    return ranked


def _keep_fitting(
    situation: PlacementSituation, ranking: Ranking
) -> tuple[list[RankedNode], list[str]]:
    """Return the ranked places where the pod fits, and the needs that ruled others out."""
    kept, broken = [], []
    for place, gpu, score in ranking.tolist():
        node, device = int(place), int(gpu)
        if not 0 <= node < len(situation.cluster.model):
            continue
        lacking = broken_needs(situation, node, device)
        broken += lacking
        if not lacking:
            kept.append(
                RankedNode(
                    node=situation.cluster.name(node),
                    position=node,
                    gpus=taken_gpus(situation, node, device),
                    score=score,
                )
            )
    return kept, sorted(set(broken))


def _explain(situation: PlacementSituation, kept: list[RankedNode], *, by_policy: bool) -> str:
    total = len(situation.cluster.model)
    if not kept:
        worst = count_unmet(situation.needs)
        lack = (
            f"{worst[0].nodes} of {total} lack {WORDS[worst[0].need]}" if worst else "none ranked"
        )
        return f"No node fits: {lack}."
    best, task = kept[0], situation.task
    part = f"{best.node} takes it, one of {len(situation.fitting)} of {total} nodes where it fits: "
    why = (
        "there the pods to come lose least of what they could still use"
        if by_policy
        else "there fragmentation grows least"
    )
    if task.gpus[0] == 1 and task.milli[0] < GPU_MILLI:
        rest = int(situation.cluster.nodes.devices[best.position, best.gpus[0]] - task.milli[0])
        return f"{part}{why}; GPU {best.gpus[0]} keeps {rest} of {GPU_MILLI} thousandths."
    return f"{part}{why}."
