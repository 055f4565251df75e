"""Frames survive any cut of the stream, and nothing else passes."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.executors.frames import (
    MAX_FRAME_BYTES,
    FrameDecoder,
    FrameEncoder,
    FrameError,
)


def pack(body):
    return struct.pack(">I", len(body)) + body


values = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=20), max_size=3)


@given(st.lists(values, min_size=1, max_size=5), st.lists(st.integers(1, 40), min_size=1))
def test_frames_come_out_as_they_went_in(payloads, cuts):
    encoder, decoder = FrameEncoder(), FrameDecoder()
    stream = b"".join(encoder.encode("event", {"payload": p})[1] for p in payloads)
    frames, position = [], 0
    while position < len(stream):
        size = cuts[len(frames) % len(cuts)]
        frames += decoder.feed(stream[position : position + size])
        position += size
    assert [frame["payload"] for frame in frames] == payloads
    assert [frame["seq"] for frame in frames] == list(range(1, len(payloads) + 1))


GOOD = {"v": 1, "seq": 1, "type": "hello"}


@pytest.mark.parametrize(
    ("stream", "complaint"),
    [
        (struct.pack(">I", MAX_FRAME_BYTES + 1), "bytes cannot be"),
        (struct.pack(">I", 0), "bytes cannot be"),
        (pack(b"{nope"), "not JSON"),
        (pack(b"\xff\xff"), "not JSON"),
        (pack(b"[1]"), "not an object"),
        (pack(json.dumps({**GOOD, "v": 2}).encode()), "version"),
        (pack(json.dumps({"v": 1, "seq": 1}).encode()), "no type"),
        (pack(json.dumps({**GOOD, "seq": 2}).encode()), "missing"),
        (pack(json.dumps(GOOD).encode()) * 2, "missing"),
    ],
)
def test_anything_else_is_refused(stream, complaint):
    with pytest.raises(FrameError, match=complaint):
        list(FrameDecoder().feed(stream))


def test_too_much_is_refused_before_it_is_sent_and_leaves_no_gap():
    encoder = FrameEncoder()
    with pytest.raises(FrameError, match="put it in a file"):
        encoder.encode("event", {"data": "x" * MAX_FRAME_BYTES})
    with pytest.raises(FrameError, match="plain JSON"):
        encoder.encode("event", {"data": object()})
    assert encoder.encode("event", {})[0] == 1
