"""Policies from outside: a file becomes the next version of the agent on its card, or nothing."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, HTTPException, Query, Request
from starlette.requests import ClientDisconnect

from ai_agents.registry_store import ArtifactRecord
from orchestration.endpoints.parts import Conductor
from orchestration.endpoints.security import Admin
from orchestration.endpoints.shapes import AGENT_PATTERN, check_values, may_fail
from rl.artifacts import PolicyArtifact, PolicyCard
from utils.config import to_json
from utils.errors import ConfigError
from utils.persistence.errors import ArtifactCorruptError

router = APIRouter(prefix="/v1/policies", tags=["versions"], responses=may_fail())
LARGEST_POLICY_BYTES = 16 << 20
LONGEST_NAME = 100
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
ForAgent = Annotated[
    str | None,
    Query(
        max_length=LONGEST_NAME,
        pattern=AGENT_PATTERN,
        description="Refuse a policy of any other agent.",
    ),
]


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    dependencies=[Admin],
    responses=may_fail(507),
    openapi_extra={"requestBody": {"required": True, "content": _BYTES}},
)
async def register_policy(
    request: Request, orchestrator: Conductor, agent: ForAgent = None
) -> ArtifactRecord:
    """Take a policy file in as the next version of its agent; no alias moves.

    The same file again is the version that it was. One that is cut, altered or no policy, or of
    which no agent can be made, is refused, and nothing is kept of it.
    """
    try:
        content = await _receive(request)
        artifact = await anyio.to_thread.run_sync(PolicyArtifact.from_bytes, content)
        _check_card(artifact.card, agent)
        return await orchestrator.registry.register(content)
    except ArtifactCorruptError as error:  # what was sent is wrong, not what is stored here
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
    except OSError as error:
        detail = f"it could not be stored: {error.strerror}; free some space, then send it again"
        raise HTTPException(HTTPStatus.INSUFFICIENT_STORAGE, detail) from error


async def _receive(request: Request) -> bytes:
    content = bytearray()
    try:
        async for piece in request.stream():
            content += piece
            if len(content) > LARGEST_POLICY_BYTES:
                detail = (
                    f"a policy may have {LARGEST_POLICY_BYTES} bytes; this file has more: send the "
                    "artifact that a run exported"
                )
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    except ClientDisconnect as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the sender left before the end") from error
    return bytes(content)


def _check_card(card: PolicyCard, agent: str | None) -> None:
    if len(card.agent) > LONGEST_NAME or not re.match(AGENT_PATTERN, card.agent):
        raise ConfigError(
            f"the card names the agent {card.agent[:LONGEST_NAME]!r}: export it under a name of up "
            f"to {LONGEST_NAME} letters, digits, dots, dashes and underscores"
        )
    if agent not in {None, card.agent}:
        raise ConfigError(f"this policy is for agent {card.agent!r}, not for {agent!r}")
    try:
        json.dumps(check_values(to_json(card)), allow_nan=False)
    except ValueError as error:
        raise ConfigError(
            f"the card holds what cannot be kept ({error}): export it anew"
        ) from error
