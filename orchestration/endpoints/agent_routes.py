"""Routes of agents: who there is, what they say of themselves, what they decide."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.convertors import StringConvertor, register_url_convertor

from ai_agents.allocation_schema import AllocationDecision, AllocationRequest
from ai_agents.cards import AgentCard
from ai_agents.registry import CHAMPION
from ai_agents.registry_store import ArtifactRecord
from orchestration.endpoints.parts import Conductor, Parts
from orchestration.endpoints.security import Admin, Anyone, Invoker, Unaudited
from orchestration.endpoints.shapes import (
    LARGEST_SEQ,
    SCHEMAS,
    TEXT_PATTERN,
    AgentName,
    Limit,
    may_fail,
    to_whole,
)
from orchestration.orchestrator import AgentSummary
from utils.persistence.engine_queries import AliasMove, list_alias_moves

LARGEST_VERSION = 10**6
ALIAS_PATTERN = r"^[A-Za-z0-9_.-]{1,60}$"


class Word(StringConvertor):
    """A part of a path that ends before a colon, so that `{name}:verb` is another path."""

    regex = "[^/:]+"


register_url_convertor("word", Word())
router = APIRouter(prefix="/v1", tags=["agents"], responses=may_fail(404))
Alias = Annotated[str, Query(pattern=ALIAS_PATTERN)]
Version = Annotated[
    int | None, Query(ge=1, le=LARGEST_VERSION, description="By number, rather than by alias.")
]
INVOCATION: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": f"{SCHEMAS}{AllocationRequest.__name__}"}}
        },
    }
}


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


@router.post(
    "/agents/{name:word}:invoke",
    dependencies=[Invoker, Unaudited],
    openapi_extra=INVOCATION,
    response_model=AllocationDecision,
)
async def invoke(
    name: AgentName,
    request: Request,
    orchestrator: Conductor,
    *,
    alias: Alias = CHAMPION,
    version: Version = None,
    deadline_seconds: Annotated[float | None, Query(gt=0, le=60, allow_inf_nan=False)] = None,
    request_id: Annotated[str | None, Header(alias="X-Request-Id", max_length=100)] = None,
) -> Response:
    """Ask an agent for a decision."""
    decision = await orchestrator.invoke(
        name,
        await request.body(),
        alias=alias,
        version=version,
        request_id=request_id,
        deadline_seconds=deadline_seconds,
    )
    return Response(decision.model_dump_json(), media_type="application/json")


@router.post("/agents/{name:word}/promote", dependencies=[Admin])
async def promote(name: AgentName, promotion: Promotion, orchestrator: Conductor) -> ArtifactRecord:
    """Let callers of an alias meet another version."""
    return await orchestrator.promote(
        name, promotion.version or "latest", alias=promotion.alias, reason=promotion.reason
    )
