"""Routes of logs: what the process of an attempt wrote, by bytes, by lines and live."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, NamedTuple

import anyio.to_thread
from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, Field
from starlette.responses import StreamingResponse

from orchestration.endpoints.event_routes import LastEventId
from orchestration.endpoints.parts import ApiParts, Parts
from orchestration.endpoints.security import Trainer
from orchestration.endpoints.shapes import LARGEST_OFFSET, JobId, may_fail
from orchestration.endpoints.streams import STREAM_ANSWER, Piece
from orchestration.job_logs import LogMissingError, LogPiece, LogPlace, find_tail, read

LARGEST_PIECE = 1 << 20
USUAL_PIECE = 64 << 10
USUAL_LINES = 100
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
    offset: int = Field(
        description="Where the text begins, in bytes; later than asked for where no longer kept."
    )
    next: int = Field(description="`offset` of what comes after it.")
    text: str = Field(description="Empty at the end; bytes that are no UTF-8 are replaced.")


class _Wish(NamedTuple):
    """What to read of a log: from an offset on, or the last lines."""

    offset: int | None
    tail: int = 0
    limit: int = USUAL_PIECE


@router.get("")
async def read_logs(
    job_id: JobId,
    parts: Parts,
    *,
    attempt: Fence = None,
    offset: Annotated[int | None, Query(ge=0, le=LARGEST_OFFSET, description="Bytes.")] = None,
    tail: Annotated[int, Query(ge=0, le=10_000, description="Lines.")] = USUAL_LINES,
    limit: Annotated[int, Query(ge=4, le=LARGEST_PIECE, description="Bytes.")] = USUAL_PIECE,
) -> LogPage:
    """Return text from an offset on; without one, the last lines."""
    folder, fence = await _find_attempt(parts, job_id, attempt)
    piece = await anyio.to_thread.run_sync(_read, folder, fence, _Wish(offset, tail, limit))
    return LogPage(attempt=fence, offset=piece.start.offset, next=piece.end.offset, text=piece.text)


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
    folder, fence = await _find_attempt(parts, job_id, attempt)

    async def source(after: int) -> tuple[Sequence[Piece], bool]:
        job = await parts.store.get(job_id)  # before its log, or its last lines might be missed
        piece = await anyio.to_thread.run_sync(_read, folder, fence, _Wish(after))
        if not piece.text:
            return [], job.fence != fence or not job.state.is_live
        data = {"attempt": fence, "text": piece.text}
        return [Piece(id=piece.end.offset, type="log", data=data)], False

    return parts.streams.answer(source, last_event_id or offset)


async def _find_attempt(parts: ApiParts, job_id: str, fence: int | None) -> tuple[Path, int]:
    job = await parts.store.get(job_id)
    if job.fence == 0 or (fence is not None and fence > job.fence):
        detail = f"job {job.id} has had {job.fence} attempts; list them to see their fences"
        raise HTTPException(HTTPStatus.NOT_FOUND, detail)
    return parts.output_dir / "work" / job.id, fence or job.fence


def _read(folder: Path, fence: int, wish: _Wish) -> LogPiece:
    try:
        if wish.offset is None:
            place = find_tail(folder, fence, wish.tail)
        else:
            place = LogPlace(attempt=fence, offset=wish.offset)
        return read(folder, place, limit=wish.limit)
    except LogMissingError:  # it has printed nothing yet
        nowhere = LogPlace(attempt=fence, offset=wish.offset or 0)
        return LogPiece(start=nowhere, end=nowhere, text="")
