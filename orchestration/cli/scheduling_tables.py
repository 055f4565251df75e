"""Decisions about pods, workloads, shifts and any other view, for people."""

from __future__ import annotations

import json

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ai_agents.node_schema import NodeDecision
from ai_agents.placement_schema import PlacementDecision, RankedNode
from ai_agents.view_schema import ViewDecision
from ai_agents.workforce_schema import WorkforceDecision
from orchestration.cli.tables import make_table


def placement_table(decision: PlacementDecision) -> RenderableType:
    """Draw where a pod goes, the next best places and the expert's.

    Args:
        decision: Of a placement agent.
    """
    table = make_table("who", "node", "GPUs", "score")
    _add_place(table, "the agent", decision.placement)
    for place in decision.alternatives:
        _add_place(table, Text("next best", style="dim"), place)
    if decision.expert is not None:
        _add_place(table, decision.expert.name, decision.expert.placement)
    return Group(table, Text(decision.reason, style="dim"))


def node_table(decision: NodeDecision) -> RenderableType:
    """Draw who takes which workload.

    Args:
        decision: Of a node workload agent.
    """
    expert = decision.expert
    table = make_table("workload", "node", *(["the expert"] if expert else []), "why")
    theirs = expert.placements if expert else decision.placements
    for ours, other in zip(decision.placements, theirs, strict=True):
        nodes = [ours.node or "none", *([other.node or "none"] if expert else [])]
        table.add_row(ours.workload, *nodes, Text(ours.reason, style="dim"))
    return table


def workforce_table(decision: WorkforceDecision) -> RenderableType:
    """Draw who is called for which skill.

    Args:
        decision: Of a workforce agent.
    """
    expert = decision.expert
    table = make_table("skill", "called", *(["the expert calls"] if expert else []), "why")
    theirs = expert.staffing if expert else decision.staffing
    for ours, other in zip(decision.staffing, theirs, strict=True):
        called = [ours.called, *([other.called] if expert else [])]
        names = [", ".join(one) or "nobody" for one in called]
        table.add_row(ours.skill, *names, Text(ours.reason, style="dim"))
    words = f"Wages {decision.wages:,.2f}, {decision.overtime_hours:g} hours of overtime."
    return Group(table, Text(words, style="dim"))


def view_table(decision: ViewDecision) -> RenderableType:
    """Draw an action as it is, and what it means.

    Args:
        decision: Of an agent that is asked by a view.
    """
    table = make_table("who", "action")
    table.add_row("the agent", json.dumps(decision.action))
    if decision.expert is not None:
        table.add_row(decision.expert.name, json.dumps(decision.expert.action))
    return Group(table, Text(f"{decision.meaning}\n{decision.reason}", style="dim"))


def _add_place(table: Table, who: str | Text, place: RankedNode | None) -> None:
    if place is None:
        table.add_row(who, "none", "", "")
        return
    gpus = ", ".join(str(gpu) for gpu in place.gpus)
    table.add_row(who, place.node, gpus, f"{place.score:g}")
