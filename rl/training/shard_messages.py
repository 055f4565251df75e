"""What a run and its shards say to each other: a few words and some tensors, as bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from rl.algorithms.policy_state import TensorDict, load_tensors, save_tensors

_LENGTH_BYTES = 8


class Message(NamedTuple):
    """One question or answer."""

    words: dict[str, Any]
    """JSON values."""
    tensors: TensorDict


def pack(words: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """Return a message as bytes, which runs no code when it is read.

    Args:
        words: JSON values.
        tensors: By name, from any device.
    """
    head = json.dumps(words).encode()
    return len(head).to_bytes(_LENGTH_BYTES, "little") + head + save_tensors(tensors)


def unpack(content: bytes) -> Message:
    """Return the message, its tensors on the CPU.

    Args:
        content: What `pack` made.

    Raises:
        TensorBytesError: The tensors are cut.
    """
    begin = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    return Message(json.loads(content[_LENGTH_BYTES:begin]), load_tensors(content[begin:]))
