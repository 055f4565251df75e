"""Worlds whose policies can be asked by anyone who knows the view: how to encode and project.

A world is here if its view is one dataclass of arrays, all that a policy observes is encoded from
it, and an expert can stand in without being tuned. `REFUSED` says why the others are not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl.domains import (
    capacity_experts,
    constrained_experts,
    job_experts,
    market_making_experts,
    node_experts,
    traffic_experts,
    workforce_experts,
)
from rl.domains.capacity_planning import CapacityConfig, CapacityDomain, CapacityView
from rl.domains.constrained_allocation import (
    ConstrainedConfig,
    ConstrainedDomain,
    ConstrainedView,
)
from rl.domains.job_priority import describe_choices, may_choose
from rl.domains.job_scheduling import JobSchedulingConfig, JobSchedulingDomain, JobView
from rl.domains.market_making import MarketMakingConfig, MarketMakingDomain, MarketMakingView
from rl.domains.nodes import NodeConfig, NodeDomain, NodeView
from rl.domains.traffic_shares import TrafficConfig, TrafficDomain, TrafficView
from rl.domains.workforce import WorkforceConfig, WorkforceDomain, WorkforceView

ROUNDING = 1e-12
"""More than sums of shares are off by rounding."""
Rule = Callable[[Any, Any], NDArray[Any]]
"""From a NumPy view and its domain to actions."""
Project = Callable[[Any, Any, Any], Any]
"""From a domain, actions and a view to what is feasible."""


@dataclass(frozen=True, kw_only=True)
class ViewWorld:
    """All that is needed to ask a policy of one world."""

    about: str
    """What is decided, in a sentence that begins with a verb."""
    decision: str
    """What the feasible action is: axes and unit."""
    config: type[Any]
    view: type[Any]
    make_domain: Callable[[Any], Any]
    """From a config; the domain has `encode`."""
    project: Project
    experts: Mapping[str, Rule]
    """The first stands in where the card names none of them."""
    allowed: Callable[[Any, Any], Any] | None = None
    """Which choices there are, from domain and view; None where actions are amounts."""
    describe: Callable[[Any, Any], Any] | None = None
    """Features of every choice, from domain and view, `[..., choice, feature]`: for policies that
    score all choices by the same weights; None where there are none such."""
    may_score: Callable[[Any, Any], Any] | None = None
    """Which choices such policies choose among."""
    signed: frozenset[str] = field(default_factory=frozenset)
    """Fields of the view that may be negative."""
    flags: frozenset[str] = field(default_factory=frozenset)
    """Fields of the view that are 1 or 0."""
    anything: frozenset[str] = field(default_factory=frozenset)
    """Flags of which at least one must be 1."""


def _project(domain: Any, action: Any, view: Any) -> Any:
    return domain.project(action, view)


def _without_chance(rules: Mapping[str, Any], *, by: str) -> dict[str, Rule]:
    """Take the rules that draw nothing, whatever they want beside the view."""

    def wrap(rule: Any) -> Rule:
        if by == "config":
            return lambda view, domain: rule(view, domain.config)
        unused = np.random.default_rng(0)
        if by == "config and chance":
            return lambda view, domain: rule(view, domain.config, unused)
        if by == "domain and chance":
            return lambda view, domain: rule(view, domain, unused)
        return lambda view, _: rule(view, unused)

    return {name: wrap(rule) for name, rule in rules.items() if name != "random"}


def _settle_shares(domain: TrafficDomain, choice: Any, view: TrafficView) -> NDArray[Any]:
    """Move shares, and take off what rounding leaves beyond one."""
    share = np.asarray(domain.project(choice, view))
    is_over = share.sum(-1, keepdims=True) > 1.0
    return np.where(is_over, share * (1.0 - ROUNDING), share)


_NODES = ViewWorld(
    about="Says which share of its free capacity every node offers to workloads.",
    decision="share of its capacity that every node offers, by resource: [node, resource]",
    config=NodeConfig,
    view=NodeView,
    make_domain=NodeDomain,
    project=_project,
    experts=_without_chance(node_experts.EXPERTS, by="chance"),
)
VIEW_WORLDS: Mapping[str, ViewWorld] = {
    "constrained_allocation": ViewWorld(
        about="Says how much of each resource every task gets.",
        decision="units allocated: [task, resource]",
        config=ConstrainedConfig,
        view=ConstrainedView,
        make_domain=ConstrainedDomain,
        project=_project,
        experts=_without_chance(constrained_experts.EXPERTS, by="config"),
        flags=frozenset({"task_active", "resource_active"}),
        anything=frozenset({"task_active", "resource_active"}),
    ),
    "traffic_shares": ViewWorld(
        about="Moves one share of a link by one step, or none.",
        decision="shares of the link after the choice: [resource]",
        config=TrafficConfig,
        view=TrafficView,
        make_domain=TrafficDomain,
        project=_settle_shares,
        experts=_without_chance(traffic_experts.EXPERTS, by="config"),
        allowed=lambda domain, view: domain.allowed(view),
        flags=frozenset({"resource_active"}),
        anything=frozenset({"resource_active"}),
    ),
    "distributed_nodes": _NODES,
    "distributed_nodes_deadlines": _NODES,
    "job_scheduling": ViewWorld(
        about="Says which waiting job starts as soon as it fits (DeepRM), or lets a step pass.",
        decision="position of the job that is booked; the number of slots lets a step pass: []",
        config=JobSchedulingConfig,
        view=JobView,
        make_domain=JobSchedulingDomain,
        project=lambda _, action, __: action,
        experts=_without_chance(job_experts.EXPERTS, by="domain and chance"),
        allowed=lambda domain, view: domain.feasible(domain.earliest_start(view)),
        describe=lambda domain, view: describe_choices(view, domain, np),
        may_score=lambda domain, view: may_choose(view, domain, np),
    ),
    "workforce": ViewWorld(
        about="Says how many people of each skill are called to the coming shift.",
        decision="people called: [skill]",
        config=WorkforceConfig,
        view=WorkforceView,
        make_domain=WorkforceDomain,
        project=_project,
        experts=_without_chance(workforce_experts.EXPERTS, by="config and chance"),
        flags=frozenset({"skills", "can_work"}),
    ),
    "capacity_planning": ViewWorld(
        about="Says how many lumps of capacity are built or removed in every region.",
        decision="lumps built, or removed where negative: [region]",
        config=CapacityConfig,
        view=CapacityView,
        make_domain=CapacityDomain,
        project=_project,
        experts=_without_chance(capacity_experts.EXPERTS, by="config and chance"),
        flags=frozenset({"active"}),
    ),
    "market_making": ViewWorld(
        about="Quotes a bid and an ask around the mid price.",
        decision="distances of (bid, ask) from the mid price, currency: [2]",
        config=MarketMakingConfig,
        view=MarketMakingView,
        make_domain=MarketMakingDomain,
        project=lambda domain, action, _: domain.project(action),
        experts=_without_chance(market_making_experts.EXPERTS, by="config"),
        signed=frozenset({"inventory", "price_change", "last_move"}),
    ),
}
_OTHER_AGENT = "it has an agent of its own"
_MANY_PARTS = "what its agents observe is put together from more than one view"
_UNTUNED = "its experts are rules with levels that must be tuned for the world first"
REFUSED: Mapping[str, str] = {
    "shared_services": f"{_OTHER_AGENT}: train resource_allocation, which is the same world",
    "service_agents": _MANY_PARTS,
    "service_market": _MANY_PARTS,
    "cluster_scheduling": f"its view holds other dataclasses; {_OTHER_AGENT}: cluster_placement",
    "serial_inventory": f"{_UNTUNED}; {_OTHER_AGENT}",
    "serial_inventory_lost_sales": f"{_UNTUNED}; {_OTHER_AGENT}",
    "newsvendor": _UNTUNED,
    "fixed_order_cost": _UNTUNED,
    "clark_scarf": _UNTUNED,
    "serial_supply": _MANY_PARTS,
    "multi_echelon": _MANY_PARTS,
    "five_product": _MANY_PARTS,
    "execution": f"{_OTHER_AGENT}",
    "trading": "its view holds other dataclasses, and its agents observe more than the view",
    "portfolio": f"{_OTHER_AGENT}",
}
"""Worlds of the catalogue that cannot be asked by their view, and why."""
