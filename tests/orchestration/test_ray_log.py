"""What the log of an actor keeps: all that may not be durable, in bounded room."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.executors.frames import FrameDecoder, FrameEncoder, FrameError
from orchestration.executors.ray_log import PIECE_BYTES, FrameLog


class Speaker:
    """A log with somebody who fills it."""

    def __init__(self, **options):
        self.log = FrameLog(**options)
        self.encoder = FrameEncoder()

    def say(self, type_, **fields):
        seq, packed = self.encoder.encode(type_, fields)
        self.log.append(packed)
        return seq


def read_on(log, offset, decoder):
    frames = []
    while True:
        piece, is_last = log.read(offset, wait_seconds=0)
        if not piece:
            return offset, frames, is_last
        offset += len(piece)
        frames += decoder.feed(piece)


def read_all(log):
    opening = log.open()
    hello = [] if opening.hello is None else [opening.hello]
    decoder = FrameDecoder(after=opening.after)
    _, frames, is_last = read_on(log, opening.offset, decoder)
    return hello + frames, is_last


def test_every_reader_hears_hello_and_what_followed_the_last_committed_checkpoint():
    speaker = Speaker()
    speaker.say("hello", pid=7)
    speaker.say("metrics", rows=[[1, {"a": 0.1}]])
    assert [one["type"] for one in read_all(speaker.log)[0]] == ["hello", "metrics"]
    seq = speaker.say("checkpoint", step=1)
    speaker.say("metrics", rows=[[2, {"a": 0.2}]])
    speaker.log.forget(seq)
    frames, is_last = read_all(speaker.log)
    assert [(one["type"], one["seq"]) for one in frames] == [("hello", 1), ("metrics", 4)]
    assert frames[0]["pid"] == 7
    assert not is_last
    speaker.log.close()
    assert read_all(speaker.log)[1]


@given(st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=30), st.integers(1, 500))
def test_a_reader_that_follows_misses_nothing(said, piece_bytes):
    """Whatever is forgotten meanwhile and however the bytes are cut."""
    log, encoder, decoder = FrameLog(), FrameEncoder(), FrameDecoder()
    heard, offset = [], 0
    for length, is_durable in said:
        seq, packed = encoder.encode("event", {"text": "x" * length})
        for begin in range(0, len(packed), piece_bytes):
            log.append(packed[begin : begin + piece_bytes])
        offset, frames, _ = read_on(log, offset, decoder)
        heard += frames
        if is_durable:
            log.forget(seq)
    assert [len(one["text"]) for one in heard] == [length for length, _ in said]
    assert [one["seq"] for one in heard] == list(range(1, len(said) + 1))


def test_large_frames_come_in_pieces_that_ray_sends_directly():
    speaker = Speaker()
    speaker.say("event", text="x" * (3 * PIECE_BYTES))
    assert len(speaker.log.read(0, wait_seconds=0)[0]) == PIECE_BYTES
    (frame,), _ = read_all(speaker.log)
    assert len(frame["text"]) == 3 * PIECE_BYTES


def test_what_was_read_makes_room_and_what_was_not_makes_the_writer_wait():
    speaker = Speaker(largest_bytes=2000)
    while len(speaker.log._bytes) < 2000:
        speaker.say("event", text="x" * 100)
    said = threading.Event()

    def say_more():
        speaker.say("event", text="more")
        said.set()

    thread = threading.Thread(target=say_more)
    thread.start()
    assert not said.wait(0.05)
    piece, _ = speaker.log.read(0, wait_seconds=0)
    speaker.log.read(len(piece), wait_seconds=5)  # has read all before
    assert said.wait(5)
    thread.join()
    frames, _ = read_all(speaker.log)
    assert frames[-1]["text"] == "more"
    assert len(speaker.log._bytes) < 1500


def test_a_read_waits_for_news():
    speaker = Speaker()
    threading.Timer(0.05, speaker.say, args=["hello"]).start()
    piece, is_last = speaker.log.read(0, wait_seconds=30)
    assert piece
    assert not is_last


def test_offsets_outside_and_bytes_that_are_no_frames_are_refused():
    speaker = Speaker()
    seq = speaker.say("hello")
    speaker.log.forget(seq)
    for offset in (0, 10_000):
        with pytest.raises(ValueError, match="is not in"):
            speaker.log.read(offset, wait_seconds=0)
    with pytest.raises(FrameError):
        speaker.log.append(b"\xff\xff\xff\xff")
