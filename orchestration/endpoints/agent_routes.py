"""Routes of agents: who there is, what they say of themselves, and which version callers meet."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ai_agents.cards import AgentCard
from ai_agents.registry import CHAMPION
from ai_agents.registry_store import ArtifactRecord
from orchestration.endpoints.parts import Conductor, Parts
from orchestration.endpoints.reception import ALIAS_PATTERN, LARGEST_VERSION
from orchestration.endpoints.security import Admin, Anyone
from orchestration.endpoints.shapes import (
    LARGEST_SEQ,
    TEXT_PATTERN,
    AgentName,
    Limit,
    may_fail,
    to_whole,
)
from orchestration.orchestrator import AgentSummary
from utils.persistence.engine_queries import AliasMove, list_alias_moves

router = APIRouter(prefix="/v1", tags=["agents"], responses=may_fail(404))
Alias = Annotated[str, Query(pattern=ALIAS_PATTERN)]
Version = Annotated[
    int | None, Query(ge=1, le=LARGEST_VERSION, description="By number, rather than by alias.")
]


class Promotion(BaseModel):
    """Which version an alias shall mean."""

    model_config = ConfigDict(strict=True, extra="forbid")

    version: Annotated[int, Field(ge=1, le=LARGEST_VERSION), BeforeValidator(to_whole)] | None = (
        Field(default=None, description="The newest if absent.")
    )
    alias: str = Field(default=CHAMPION, pattern=ALIAS_PATTERN)
    reason: str = Field(
        default="", max_length=1000, pattern=TEXT_PATTERN, description="For the history."
    )


@router.get("/agents", dependencies=[Anyone])
async def list_agents(orchestrator: Conductor) -> list[AgentSummary]:
    """List agents with their versions and aliases."""
    return await orchestrator.agents()


@router.get("/agents/{name:word}", dependencies=[Anyone])
async def get_card(
    name: AgentName, orchestrator: Conductor, alias: Alias = CHAMPION, version: Version = None
) -> AgentCard:
    """Return an agent's card: lineage, proof, limits, schemas, examples."""
    return await orchestrator.card(name, alias=alias, version=version)


@router.get("/agents/{name:word}/history", dependencies=[Anyone])
async def get_history(
    name: AgentName,
    parts: Parts,
    before: Annotated[int | None, Query(ge=1, le=LARGEST_SEQ, description="Older `seq`s.")] = None,
    limit: Limit = 100,
) -> list[AliasMove]:
    """List which versions the aliases of an agent have meant and why, newest first."""
    await parts.orchestrator.agent(name)
    async with parts.database.read() as connection:
        return await list_alias_moves(connection, name, before=before, limit=limit)


@router.post("/agents/{name:word}/promote", dependencies=[Admin])
async def promote(name: AgentName, promotion: Promotion, orchestrator: Conductor) -> ArtifactRecord:
    """Let callers of an alias meet another version."""
    return await orchestrator.promote(
        name, promotion.version or "latest", alias=promotion.alias, reason=promotion.reason
    )
