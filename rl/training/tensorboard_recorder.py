"""TensorBoard event files as an option, without TensorBoard.

Written by hand because it is little: a file of records (length, checksum, bytes, checksum), each
one protocol buffer with a time, a step and named scalars. `torch.utils.tensorboard` needs the
tensorboard package, which brings grpcio, protobuf, markdown, werkzeug and others; tensorboardX
needs protobuf. Neither would be used for more than these scalars. The bytes are cross-checked with
what the tensorboard package reads (tests/training/test_tensorboard_recorder.py says how).

Sources: tensorflow/core/lib/io/record_writer.h, tensorflow/core/util/event.proto and
tensorflow/core/framework/summary.proto, RFC 3720 for CRC-32C.
"""

from __future__ import annotations

import itertools
import math
import os
import socket
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Self

from rl.training.forwarding_recorder import ForwardingRecorder
from rl.training.recorder import EvaluationRecord, Recorder
from utils.clock import Clock
from utils.errors import QuartermasterError

FILE_VERSION: Final = "brain.Event:2"
CASTAGNOLI: Final = 0x82F63B78
LARGEST: Final = 3.4028234e38
"""What single precision can hold; beyond it is infinite."""
_MASK_DELTA: Final = 0xA282EAD8
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DT_STRING: Final = 7
_SESSION_START: Final = 1
_serial = itertools.count()


class EventFileError(QuartermasterError, OSError):
    """An event file cannot be written."""


class TensorboardRecorder(ForwardingRecorder):
    """Passes everything on, and writes metrics, scores and stages for TensorBoard.

    Metrics keep their names, scores become `evaluation/NAME`, stages are texts. One file per
    attempt: the first metrics of a later attempt tell TensorBoard to forget what the earlier one
    had reported from that step on.
    """

    def __init__(self, recorder: Recorder, folder: Path, *, clock: Clock) -> None:
        """Open a new file.

        Args:
            recorder: Hears everything.
            folder: What `tensorboard --logdir` is given; made if absent.
            clock: Tells when things happened.

        Raises:
            EventFileError: The folder is not writable.
        """
        super().__init__(recorder)
        self._clock = clock
        self._has_begun = False
        name = f"events.out.tfevents.{int(clock.now().timestamp())}.{socket.gethostname()}"
        self._path = folder / f"{name}.{os.getpid()}.{next(_serial)}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("xb")
        except OSError as error:
            raise self._failed(error) from error
        self._write(_text(3, FILE_VERSION))

    def metrics(self, env_steps: int, values: Mapping[str, float]) -> None:
        """Pass figures on and write them.

        Args:
            env_steps: Transitions so far.
            values: By name.
        """
        super().metrics(env_steps, values)
        if not self._has_begun:
            self._has_begun = True
            self._write(_integer(2, env_steps) + _message(7, _integer(1, _SESSION_START)))
        self._write_summary(env_steps, [_scalar(name, value) for name, value in values.items()])

    def evaluated(self, evaluation: EvaluationRecord) -> None:
        """Pass scores on and write them, with all that was written before, to the disk.

        Args:
            evaluation: What was measured.
        """
        super().evaluated(evaluation)
        scores = [_scalar(f"evaluation/{n}", value) for n, value in evaluation.scores.items()]
        self._write_summary(evaluation.env_steps, scores)
        self.flush()

    def stage_changed(self, env_steps: int, stage: str) -> None:
        """Pass the stage on and write it as a text.

        Args:
            env_steps: Transitions so far.
            stage: Its name.
        """
        super().stage_changed(env_steps, stage)
        self._write_summary(env_steps, [_note("stage", stage)])
        self.flush()

    def flush(self) -> None:
        """Hand what is waiting to the system, so that TensorBoard sees it.

        Raises:
            EventFileError: The disk is full.
        """
        try:
            self._file.flush()
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Flush and close; nothing can be recorded afterwards.

        Raises:
            EventFileError: The disk is full.
        """
        try:
            self._file.close()
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> Self:
        """Return this recorder."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _write_summary(self, env_steps: int, values: Iterable[bytes]) -> None:
        summary = b"".join(_message(1, value) for value in values)
        self._write(_integer(2, env_steps) + _message(5, summary))

    def _write(self, event: bytes) -> None:
        time = _key(1, _FIXED64) + struct.pack("<d", self._clock.now().timestamp())
        try:
            self._file.write(frame(time + event))
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> EventFileError:
        return EventFileError(
            f"{self._path} cannot be written ({error.strerror}): free space, choose another "
            "folder, or train without TensorBoard files"
        )


def frame(content: bytes) -> bytes:
    """Wrap a record as TensorFlow's record files have it.

    Args:
        content: Any bytes.
    """
    length = struct.pack("<Q", len(content))
    checks = [struct.pack("<I", _masked(crc32c(part))) for part in (length, content)]
    return length + checks[0] + content + checks[1]


def crc32c(content: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of some bytes; zlib's crc32 has another polynomial.

    Args:
        content: Any bytes.
    """
    value = 0xFFFFFFFF
    for byte in content:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def _table() -> tuple[int, ...]:
    entries = list(range(256))
    for _ in range(8):
        entries = [(entry >> 1) ^ (CASTAGNOLI if entry & 1 else 0) for entry in entries]
    return tuple(entries)


_TABLE: Final = _table()


def _masked(value: int) -> int:
    return ((value >> 15 | value << 17) + _MASK_DELTA) & 0xFFFFFFFF


def _scalar(tag: str, value: float) -> bytes:
    """Encode a `Summary.Value` with `simple_value`, which is of single precision."""
    value = math.copysign(math.inf, value) if abs(value) > LARGEST else value
    return _text(1, tag) + _key(2, _FIXED32) + struct.pack("<f", value)


def _note(tag: str, text: str) -> bytes:
    """Encode a `Summary.Value` for the text plugin: a string tensor of one element."""
    plugin = _message(9, _message(1, _text(1, "text")))
    shape = _message(2, _message(2, _integer(1, 1)))
    return _text(1, tag) + plugin + _message(8, _integer(1, _DT_STRING) + shape + _text(8, text))


def _message(field: int, content: bytes) -> bytes:
    return _key(field, _BYTES) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _integer(field: int, value: int) -> bytes:
    return _key(field, _VARINT) + _varint(value)


def _key(field: int, wire: int) -> bytes:
    return _varint(field << 3 | wire)


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
