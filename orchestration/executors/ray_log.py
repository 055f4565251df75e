"""What a child has said and nobody may have made durable yet, for readers that come and go."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from orchestration.executors.frames import FrameDecoder, FrameEncoder

LARGEST_LOG_BYTES: Final = 32 << 20
PIECE_BYTES: Final = 64 << 10
"""Ray sends answers of this size directly, without its object store."""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """Where a new reader begins."""

    hello: dict[str, Any] | None
    """The child's first frame, if it is no longer in the log."""
    after: int
    """Number of the last frame that is no longer in the log."""
    offset: int
    """Where the first frame of the log begins."""


class FrameLog:
    """Frames as bytes, from the last committed checkpoint on; any thread may call it.

    A reader names the offset it has read up to, so that a lost answer is asked for again. What was
    read stays until a checkpoint after it is committed, because metrics may still wait in the
    reader's memory; only beyond `LARGEST_LOG_BYTES` what was read goes earlier. A writer waits
    while there is no room.
    """

    def __init__(self, *, largest_bytes: int = LARGEST_LOG_BYTES) -> None:
        self._largest_bytes = largest_bytes
        self._changed = threading.Condition()
        self._bytes = bytearray()
        self._start = 0
        self._decoder = FrameDecoder()
        self._ends: deque[tuple[int, int]] = deque()
        self._hello: dict[str, Any] | None = None
        self._after = 0
        self._fed = 0
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether nothing follows."""
        return self._is_closed

    def append(self, piece: bytes) -> None:
        """Add bytes of the child; wait until there is room.

        Args:
            piece: As they came.

        Raises:
            FrameError: They are no frames; nothing of them was added.
        """
        with self._changed:
            self._changed.wait_for(self._has_room)
            for frame in self._decoder.feed(piece):
                packed = _pack(frame)
                self._hello = self._hello or frame
                self._bytes += packed
                self._fed += len(packed)
                self._ends.append((frame["seq"], self._fed))
            self._changed.notify_all()

    def close(self) -> None:
        """Say that nothing follows."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def open(self) -> Opening:
        """Return where a new reader begins."""
        with self._changed:
            hello = self._hello if self._after else None
            return Opening(hello=hello, after=self._after, offset=self._start)

    def read(self, offset: int, *, wait_seconds: float) -> tuple[bytes, bool]:
        """Return the next bytes and whether they are the last; waits a while for some.

        Args:
            offset: Up to where the reader has read.
            wait_seconds: How long it waits at most.

        Raises:
            ValueError: The offset lies outside the log.
        """
        with self._changed:
            if not self._start <= offset <= self._fed:
                raise ValueError(f"offset {offset} is not in {self._start}..{self._fed}")
            self._make_room(offset)
            self._changed.wait_for(
                lambda: self._fed > offset or self._is_closed, timeout=wait_seconds
            )
            begin = offset - self._start
            piece = bytes(self._bytes[begin : begin + PIECE_BYTES])
            return piece, self._is_closed and offset + len(piece) == self._fed

    def forget(self, seq: int) -> None:
        """Drop the frames up to one, because all that they told is durable.

        Args:
            seq: Its number.
        """
        with self._changed:
            while self._ends and self._ends[0][0] <= seq:
                self._drop_first()
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return len(self._bytes) < self._largest_bytes or self._is_closed

    def _make_room(self, offset: int) -> None:
        while len(self._bytes) > self._largest_bytes // 2 and self._ends[0][1] <= offset:
            self._drop_first()
        self._changed.notify_all()

    def _drop_first(self) -> None:
        self._after, end = self._ends.popleft()
        del self._bytes[: end - self._start]
        self._start = end


def _pack(frame: dict[str, Any]) -> bytes:
    """Pack a frame again with the number it has."""
    encoder = FrameEncoder(after=frame["seq"] - 1)
    fields = {name: value for name, value in frame.items() if name not in {"v", "seq", "type"}}
    return encoder.encode(frame["type"], fields)[1]
