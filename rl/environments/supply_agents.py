"""Who orders for which node of a supply network: a planner, or every node for itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rl.domains.supply_chain import SupplyDomain
from rl.domains.supply_observation import SupplyObserver
from rl.environments.base_environment import ActionSpec, AgentGroup

PLANNER = "planner"
OBSERVATION_LIMIT = 1e6
"""In multiples of `unit_scale`; far beyond what orders can pile up, so nothing is clipped."""


@dataclass(frozen=True, kw_only=True)
class SupplyAgents:
    """Names, kinds and the places of their orders."""

    ids: tuple[str, ...]
    groups: tuple[AgentGroup, ...]
    of_node: Mapping[int, int]
    """Agent of each managed node."""
    flow_column: list[list[int]]
    """`[agent, act]`: flow behind each dimension of an action; the number of flows is padding."""
    action_column: list[int]
    """`[flow]`: where the order of a flow is in all actions, flat."""
    is_planner: bool

    @classmethod
    def of(cls, domain: SupplyDomain, observer: SupplyObserver, view: str) -> SupplyAgents:
        """Give the managed nodes to a planner, or to their agents.

        Args:
            domain: The network.
            observer: Of it.
            view: planner or nodes.
        """
        index = domain.index
        is_planner = view == PLANNER
        agents = {PLANNER: list(index.managed)} if is_planner else index.agents
        of_node = {node: agent for agent, nodes in enumerate(agents.values()) for node in nodes}
        owned: list[list[int]] = [[] for _ in range(max(of_node.values()) + 1)]
        for number, flow in enumerate(index.flows):
            owned[of_node[flow.buyer]].append(number)
        width = max(len(flows) for flows in owned)
        column = {f: a * width + i for a, flows in enumerate(owned) for i, f in enumerate(flows)}
        nodes = domain.config.network.nodes
        sizes = (observer.observation_size,) if is_planner else observer.agent_sizes()
        kinds = [PLANNER if is_planner else nodes[n[0]].type.value for n in agents.values()]
        groups = []
        for kind in dict.fromkeys(kinds):
            members = tuple(number for number, one in enumerate(kinds) if one == kind)
            most = max(len(owned[member]) for member in members)
            groups.append(
                AgentGroup(
                    name=kind,
                    members=members,
                    observation_size=max(sizes[member] for member in members),
                    action=ActionSpec(kind="continuous", size=max(most, 1)),
                    observation_low=0.0,
                    observation_high=OBSERVATION_LIMIT,
                )
            )
        padding = len(index.flows)
        return cls(
            ids=tuple(agents),
            groups=tuple(groups),
            of_node=of_node,
            flow_column=[[*flows, *[padding] * (width - len(flows))] for flows in owned],
            action_column=[column[number] for number in range(padding)],
            is_planner=is_planner,
        )
