"""Routes of artifacts: whole files by their hash, for workers on other machines."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, HTTPException, Path, Request, Response
from fastapi.responses import FileResponse
from starlette.requests import ClientDisconnect

from orchestration.endpoints.parts import Artifacts
from orchestration.endpoints.security import Trainer, Unaudited
from orchestration.endpoints.shapes import SHA256_PATTERN, may_fail
from utils.persistence.artifact_store import DirectoryArtifactStore
from utils.persistence.errors import ArtifactCorruptError, ArtifactMissingError
from utils.persistence.http_artifact_store import LARGEST_ARTIFACT_BYTES

router = APIRouter(
    prefix="/v1/artifacts", tags=["artifacts"], dependencies=[Trainer], responses=may_fail(404)
)
BYTES = "application/octet-stream"
_SPOOLED_BYTES = 1 << 20
Sha256 = Annotated[str, Path(pattern=SHA256_PATTERN, description="Of the whole content.")]
_CONTENT = {"content": {BYTES: {"schema": {"type": "string", "format": "binary"}}}}


@router.head("/{sha256}", response_class=Response, responses={200: _CONTENT})
async def has_artifact(sha256: Sha256, artifacts: Artifacts) -> Response:
    """Tell whether an artifact is there and whole; 404 if it is not."""
    if not await anyio.to_thread.run_sync(artifacts.renew, sha256):
        raise HTTPException(HTTPStatus.NOT_FOUND)
    size = artifacts.path(sha256).stat().st_size
    return Response(headers={"content-length": str(size), "content-type": BYTES})


@router.get("/{sha256}", response_class=FileResponse, responses={200: _CONTENT})
async def get_artifact(sha256: Sha256, artifacts: Artifacts) -> FileResponse:
    """Download a file by its hash; whoever gets it can prove that it is whole."""
    try:
        path = await anyio.to_thread.run_sync(artifacts.path, sha256)
    except ArtifactMissingError as error:
        detail = f"no artifact {sha256}; a run's artifacts are listed with it"
        raise HTTPException(HTTPStatus.NOT_FOUND, detail) from error
    headers = {"ETag": f'"{sha256}"', "X-Content-Type-Options": "nosniff"}
    return FileResponse(path, media_type=BYTES, headers=headers)


@router.put(
    "/{sha256}",
    status_code=HTTPStatus.CREATED,
    dependencies=[Unaudited],
    responses=may_fail(400, 413, 507),
    openapi_extra={"requestBody": {"required": True, **_CONTENT}},
)
async def put_artifact(sha256: Sha256, request: Request, artifacts: Artifacts) -> dict[str, str]:
    """Keep an artifact; it appears once it is whole and has the hash of its name."""
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > LARGEST_ARTIFACT_BYTES:
        raise _too_large()
    try:
        await _receive(sha256, request, artifacts)
    except ArtifactCorruptError as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
    except ClientDisconnect as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the sender left before the end") from error
    except OSError as error:
        detail = f"it could not be stored: {error.strerror}; free some space, then send it again"
        raise HTTPException(HTTPStatus.INSUFFICIENT_STORAGE, detail) from error
    return {"sha256": sha256}


async def _receive(sha256: str, request: Request, artifacts: DirectoryArtifactStore) -> None:
    size = 0
    waiting = bytearray()
    upload = await anyio.to_thread.run_sync(artifacts.receive, sha256)
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > LARGEST_ARTIFACT_BYTES:
                raise _too_large()
            waiting += piece
            if len(waiting) >= _SPOOLED_BYTES:
                await anyio.to_thread.run_sync(partial(upload.write, bytes(waiting)))
                waiting.clear()
        await anyio.to_thread.run_sync(partial(upload.write, bytes(waiting)))
        await anyio.to_thread.run_sync(upload.keep)
    finally:
        upload.discard()


def _too_large() -> HTTPException:
    detail = f"an artifact may have {LARGEST_ARTIFACT_BYTES} bytes; this one has more"
    return HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
