"""Routes of logs: what the process of an attempt wrote, by bytes and live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, Field
from starlette.responses import StreamingResponse

from orchestration.endpoints.event_routes import LastEventId
from orchestration.endpoints.parts import ApiParts, Parts
from orchestration.endpoints.security import Trainer
from orchestration.endpoints.shapes import LARGEST_OFFSET, JobId, may_fail
from orchestration.endpoints.streams import STREAM_ANSWER, Piece

LARGEST_PIECE = 1 << 20
USUAL_PIECE = 64 << 10
router = APIRouter(
    prefix="/v1/jobs/{job_id}/logs",
    tags=["training"],
    dependencies=[Trainer],
    responses=may_fail(404, 429),
)
Fence = Annotated[
    int | None,
    Query(alias="attempt", ge=1, le=2**31 - 1, description="Its fence; the newest if absent."),
]


class LogPage(BaseModel):
    """Some of what an attempt wrote."""

    attempt: int = Field(description="The attempt's fence.")
    offset: int = Field(description="Where the text begins, in bytes.")
    next: int = Field(description="`offset` of what comes after it.")
    size: int = Field(description="Bytes so far.")
    text: str = Field(description="Bytes that are no UTF-8 are replaced.")


@dataclass(frozen=True, kw_only=True)
class LogPiece:
    """Bytes of a log."""

    offset: int
    content: bytes
    size: int


@router.get("")
async def read_logs(
    job_id: JobId,
    parts: Parts,
    *,
    attempt: Fence = None,
    offset: Annotated[int | None, Query(ge=0, le=LARGEST_OFFSET)] = None,
    limit: Annotated[int, Query(ge=4, le=LARGEST_PIECE, description="Bytes.")] = USUAL_PIECE,
) -> LogPage:
    """Return text from an offset on; without one, the end of the log."""
    fence = await _find_attempt(parts, job_id, attempt)
    piece = await anyio.to_thread.run_sync(read_piece, _log_of(parts, job_id, fence), offset, limit)
    return LogPage(
        attempt=fence,
        offset=piece.offset,
        next=piece.offset + len(piece.content),
        size=piece.size,
        text=piece.content.decode(errors="replace"),
    )


@router.get("/stream", response_class=StreamingResponse, responses=STREAM_ANSWER)
async def follow_logs(
    job_id: JobId,
    parts: Parts,
    *,
    attempt: Fence = None,
    offset: Annotated[int, Query(ge=0, le=LARGEST_OFFSET)] = 0,
    last_event_id: LastEventId = 0,
) -> StreamingResponse:
    """Follow what an attempt writes; ids are offsets, and `event: end` comes after its end."""
    fence = await _find_attempt(parts, job_id, attempt)
    path = _log_of(parts, job_id, fence)

    async def source(after: int) -> tuple[Sequence[Piece], bool]:
        job = await parts.store.get(job_id)  # before its log, or its last lines might be missed
        piece = await anyio.to_thread.run_sync(read_piece, path, after, USUAL_PIECE)
        is_over = job.fence != fence or not job.state.is_live
        if not piece.content:
            return [], is_over
        end = piece.offset + len(piece.content)
        data = {"attempt": fence, "text": piece.content.decode(errors="replace")}
        return [Piece(id=end, type="log", data=data)], is_over and end >= piece.size

    return parts.streams.answer(source, last_event_id or offset)


async def _find_attempt(parts: ApiParts, job_id: str, fence: int | None) -> int:
    job = await parts.store.get(job_id)
    if job.fence == 0 or (fence is not None and fence > job.fence):
        detail = f"job {job.id} has had {job.fence} attempts; list them to see their fences"
        raise HTTPException(HTTPStatus.NOT_FOUND, detail)
    return fence or job.fence


def _log_of(parts: ApiParts, job_id: str, fence: int) -> Path:
    return parts.output_dir / "work" / job_id / f"attempt-{fence}.log"


def read_piece(path: Path, offset: int | None, limit: int) -> LogPiece:
    """Read some of a log; one that is not there has nothing in it.

    A character that is cut at the end is left for the next piece.

    Args:
        path: The file.
        offset: Where to begin; None reads the end.
        limit: At most so many bytes.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start = max(size - limit, 0) if offset is None else min(offset, size)
            file.seek(start)
            content = file.read(limit)
    except FileNotFoundError:
        return LogPiece(offset=0, content=b"", size=0)
    return LogPiece(offset=start, content=_whole_characters(content), size=size)


def _whole_characters(content: bytes) -> bytes:
    for length in range(1, min(4, len(content)) + 1):
        byte = content[-length]
        if byte < 0x80:
            return content
        if byte >= 0xC0:
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return content[:-length] if wanted > length and len(content) > length else content
    return content
