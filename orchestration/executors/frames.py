"""What a supervisor and its child say to each other: u32 length, then one JSON object.

Each side numbers its frames from 1; a gap, a bad length or bad JSON ends the conversation.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from utils.errors import QuartermasterError

VERSION = 1
MAX_FRAME_BYTES = 1 << 20
_LENGTH = struct.Struct(">I")


class FrameError(QuartermasterError):
    """What was read or shall be written is no frame."""


class FrameEncoder:
    """Numbers and packs the frames of one direction."""

    def __init__(self, *, after: int = 0) -> None:
        """Begin to count.

        Args:
            after: Number of the last frame, if some went before.
        """
        self._seq = after

    def encode(self, type_: str, fields: Mapping[str, Any]) -> tuple[int, bytes]:
        """Pack one frame and return its number with it.

        Args:
            type_: What it says.
            fields: Plain JSON.

        Raises:
            FrameError: It is over 1 MiB or not JSON; nothing was numbered.
        """
        seq = self._seq + 1
        try:
            body = json.dumps({**fields, "v": VERSION, "seq": seq, "type": type_}).encode()
        except (TypeError, ValueError) as error:
            raise FrameError(f"{type_}: {error}; frames carry plain JSON only") from error
        if len(body) > MAX_FRAME_BYTES:
            raise FrameError(
                f"{type_} has {len(body)} bytes, over {MAX_FRAME_BYTES}: put it in a file"
            )
        self._seq = seq
        return seq, _LENGTH.pack(len(body)) + body


class FrameDecoder:
    """Unpacks the frames of one direction from pieces of any size."""

    def __init__(self, *, after: int = 0) -> None:
        """Begin to count.

        Args:
            after: Number of the last frame, if some went before.
        """
        self._seq = after
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> Iterator[dict[str, Any]]:
        """Yield the frames that a piece completes.

        Args:
            piece: The next bytes, as they came.

        Raises:
            FrameError: The bytes are no frames; read no further.
        """
        self._buffer += piece
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if not 2 <= length <= MAX_FRAME_BYTES:
                raise FrameError(f"a frame of {length} bytes cannot be: the stream is broken")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield self._parse(body)

    def _parse(self, body: bytes) -> dict[str, Any]:
        try:
            frame = json.loads(body)
        except ValueError as error:
            raise FrameError(f"a frame is not JSON: {error}") from error
        if not isinstance(frame, dict) or frame.get("v") != VERSION:
            raise FrameError(f"a frame is not an object of version {VERSION}: {body[:80]!r}")
        if not isinstance(frame.get("type"), str):
            raise FrameError(f"a frame has no type: {body[:80]!r}")
        if frame.get("seq") != self._seq + 1:
            raise FrameError(f"frame {frame.get('seq')} came after {self._seq}: some are missing")
        self._seq += 1
        return frame
