"""TensorBoard's files: the bytes that the real package was seen to read, and what goes wrong.

What tensorboard 2.21.0, which no requirement names, read from `write_two_attempts` (the repeated
step 192 is the second attempt's, and the score of the first one there is forgotten):

    return: [64, 16.0], [128, 32.0], [192, 1192.0], [256, 1256.0]
    loss/ü: [64, -0.1], [128, -0.1]    evaluation/kpi: []    stage: [0, training], [128, second]

`READ_BY_TENSORBOARD` is the hash of those bytes. To read anew:

    python -c "import pathlib, tests.training.test_tensorboard_recorder as t; \\
        t.write_two_attempts(pathlib.Path('/tmp/events'))"
    python -m venv /tmp/peers/tensorboard && /tmp/peers/tensorboard/bin/pip install tensorboard
    /tmp/peers/tensorboard/bin/python tests/training/read_events.py /tmp/events
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.training.recorder import CheckpointRecord, EvaluationRecord, NullRecorder, StopReason
from rl.training.tensorboard_recorder import (
    EventFileError,
    TensorboardRecorder,
    crc32c,
    frame,
)
from utils.clock import ManualClock
from utils.errors import QuartermasterError

FIRST_FRAME = "1800000000000000a37f4b220900004069cd55da411a0d627261696e2e4576656e743a323a55afd8"
"""`Event(wall_time=..., file_version="brain.Event:2")` by tensorboard's own RecordWriter."""
READ_BY_TENSORBOARD = "883b27602fb2a2f3abc6e749948569f19b08a2423741ca564ff2c18b9993687d"
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def events_of(path):
    """Take the frames of a file apart, checking every sum."""
    content, place, events = path.read_bytes(), 0, []
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        whole = content[place : place + 12 + length + 4]
        event = whole[12:-4]
        assert frame(event) == whole
        events.append(event)
        place += len(whole)
    return events


def only_file(folder):
    (path,) = folder.iterdir()
    return path


class Ear(NullRecorder):
    def __init__(self):
        self.heard = []

    def metrics(self, env_steps, values):
        self.heard.append(("metrics", env_steps, values))

    def progress(self, env_steps, total_env_steps):
        self.heard.append(("progress", env_steps, total_env_steps))

    def checkpoint_written(self, checkpoint):
        self.heard.append(("checkpoint", checkpoint))

    def evaluated(self, evaluation):
        self.heard.append(("evaluated", evaluation))

    def stage_changed(self, env_steps, stage):
        self.heard.append(("stage", env_steps, stage))

    def should_stop(self):
        return StopReason.PAUSE


def open_recorder(folder, inner=None):
    return TensorboardRecorder(inner or NullRecorder(), folder, clock=ManualClock(START))


def test_the_checksum_is_castagnolis():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(bytes(range(32))) == 0x46DD794E


def test_the_first_frame_is_the_one_that_tensorboard_writes(tmp_path):
    open_recorder(tmp_path).close()
    assert only_file(tmp_path).read_bytes().hex() == FIRST_FRAME


def write_two_attempts(folder):
    clock = ManualClock(START)
    with TensorboardRecorder(NullRecorder(), folder, clock=clock) as recorder:
        recorder.stage_changed(0, "training")
        for step in (64, 128, 192):
            clock.advance(1)
            recorder.metrics(step, {"return": step / 4, "loss/ü": -0.1})
        recorder.evaluated(EvaluationRecord(env_steps=192, scores={"kpi": 7.25}))
    clock.advance(100)
    with TensorboardRecorder(NullRecorder(), folder, clock=clock) as recorder:
        recorder.stage_changed(128, "second")
        for step in (192, 256):
            clock.advance(1)
            recorder.metrics(step, {"return": 1000 + step})


def test_two_attempts_are_the_bytes_that_tensorboard_was_seen_to_read(tmp_path):
    write_two_attempts(tmp_path)
    content = b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert hashlib.sha256(content).hexdigest() == READ_BY_TENSORBOARD


def test_everything_is_passed_on_first(tmp_path):
    ear = Ear()
    checkpoint = CheckpointRecord(path="p", sha256="s", env_steps=4, size_bytes=1)
    evaluation = EvaluationRecord(env_steps=4, scores={"kpi": 2.0})
    with open_recorder(tmp_path, ear) as recorder:
        recorder.progress(0, 9)
        recorder.stage_changed(0, "training")
        recorder.metrics(4, {"return": 1.0})
        recorder.evaluated(evaluation)
        recorder.checkpoint_written(checkpoint)
        assert recorder.should_stop() is StopReason.PAUSE
    assert ear.heard == [
        ("progress", 0, 9),
        ("stage", 0, "training"),
        ("metrics", 4, {"return": 1.0}),
        ("evaluated", evaluation),
        ("checkpoint", checkpoint),
    ]


def test_attempts_write_files_of_their_own(tmp_path):
    for _ in range(2):
        open_recorder(tmp_path).close()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_score_is_on_disk_before_the_file_is_closed(tmp_path):
    recorder = open_recorder(tmp_path)
    recorder.metrics(64, {"return": 1.5})
    recorder.evaluated(EvaluationRecord(env_steps=64, scores={"kpi": 7.0}))
    assert any(b"evaluation/kpi" in event for event in events_of(only_file(tmp_path)))
    recorder.close()


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**62),
            st.text(st.characters(codec="utf-8"), max_size=200),
            st.floats(width=64),
        ),
        max_size=5,
    )
)
def test_any_name_step_and_number_keeps_the_frames_whole(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("events")
    with open_recorder(folder) as recorder:
        for step, name, value in rows:
            recorder.metrics(step, {name: value})
    events = events_of(only_file(folder))
    assert len(events) == 1 + (1 if rows else 0) + len(rows)


def test_what_single_precision_cannot_hold_is_infinite(tmp_path):
    with open_recorder(tmp_path) as recorder:
        recorder.metrics(1, {"huge": -1e39, "none": math.nan})
    event = events_of(only_file(tmp_path))[-1]
    assert struct.pack("<f", -math.inf) in event
    assert struct.pack("<f", math.nan) in event


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(EventFileError, match="without TensorBoard") as failure:
        open_recorder(tmp_path / "taken" / "run")
    assert isinstance(failure.value, QuartermasterError)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_said(tmp_path):
    recorder = open_recorder(tmp_path)
    os.dup2(os.open("/dev/full", os.O_WRONLY), recorder._file.fileno())
    recorder._file.write(b"x")
    with pytest.raises(EventFileError, match="free space"):
        recorder.flush()
    with pytest.raises(EventFileError):
        recorder.close()


def test_no_tensorboard_is_needed():
    program = "import sys, rl.training.tensorboard_recorder; print('tensorboard' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
