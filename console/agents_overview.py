"""All agents in a table: versions, health, and whether they keep what their cards promise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestration.endpoints.standing_routes import AgentStanding
from orchestration.orchestrator import AgentSummary
from utils.persistence.decisions import DecisionRecord

NOBODY = "none"
OBJECTIVE_SECONDS = 0.01
"""99 of 100 decisions are computed within it; the cards say so too."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """What the page shows of all agents."""

    agents: Sequence[AgentSummary]
    standings: Mapping[str, AgentStanding]
    recent: Sequence[DecisionRecord]


@dataclass(frozen=True, kw_only=True)
class Service:
    """How decisions went of late."""

    requests: int
    errors: int
    fallbacks: int
    p50_seconds: float | None
    p99_seconds: float | None

    @property
    def verdict(self) -> str:
        """Whether the objective is kept, in a word or two."""
        if self.p99_seconds is None:
            return "not asked"
        return "kept" if self.p99_seconds <= OBJECTIVE_SECONDS else "missed"


def service_of(records: Sequence[DecisionRecord]) -> Service:
    """Put the decisions of late in figures.

    Args:
        records: Of one agent.
    """
    answered = sorted(one.latency_seconds for one in records if one.outcome != "refused")
    return Service(
        requests=len(records),
        errors=sum(one.outcome == "error" for one in records),
        fallbacks=sum(one.outcome == "fallback" for one in records),
        p50_seconds=_quantile(answered, 0.5),
        p99_seconds=_quantile(answered, 0.99),
    )


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None


def agent_rows(found: Overview) -> list[dict[str, Any]]:
    """Return a row for each agent.

    Args:
        found: What the server said.
    """
    return [_row(agent, found) for agent in found.agents]


def _row(agent: AgentSummary, found: Overview) -> dict[str, Any]:
    service = service_of([one for one in found.recent if one.agent == agent.name])
    return {
        "agent": agent.name,
        "champion": str(agent.aliases.get("champion", NOBODY)),
        "challenger": str(agent.aliases.get("challenger", NOBODY)),
        "shadow": str(agent.aliases.get("shadow", NOBODY)),
        "versions": len(agent.versions),
        "health": health_of(found.standings[agent.name], agent.champion),
        "requests": service.requests,
        "errors": service.errors,
        "fallbacks": service.fallbacks,
        "p99 ms": None if service.p99_seconds is None else round(service.p99_seconds * 1e3, 2),
        f"p99 within {OBJECTIVE_SECONDS * 1e3:g} ms": service.verdict,
    }


def health_of(standing: AgentStanding, version: int | None) -> str:
    """Say how a version does.

    Args:
        standing: Of its agent.
        version: Which one; None where there is no champion.
    """
    one = next((one for one in standing.versions if one.version == version), None)
    if one is None:
        return "no champion"
    said = one.health or ("not loaded here" if one.phase != "loading" else "loading")
    words = [f"{said}: {one.reason}" if one.reason else said]
    if one.circuit != "closed":
        words.append(f"circuit {one.circuit}")
    if one.has_drifted:
        words.append("requests have drifted")
    return ", ".join(words)
