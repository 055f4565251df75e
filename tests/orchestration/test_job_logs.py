"""Logs of attempts: nothing is lost at a crash, their space is bounded, offsets stay true."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration import job_logs
from orchestration.job_logs import MIB, LogKeeper, LogLimits, LogMissingError, LogPlace
from utils.clock import ManualClock
from utils.errors import ConfigError

pytestmark = pytest.mark.anyio
KEPT = MIB


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "job"


def write(folder, content, attempt=1):
    folder.mkdir(parents=True, exist_ok=True)
    with job_logs.log_path(folder, attempt).open("ab", buffering=0) as file:
        file.write(content)
    return job_logs.log_path(folder, attempt)


def flood(folder, lines, *, attempt=1, keep=KEPT):
    """Print numbered lines, trimming as a child does."""
    folder.mkdir(parents=True, exist_ok=True)
    path = job_logs.log_path(folder, attempt)
    with path.open("ab", buffering=0) as file:
        keeper = LogKeeper(file.fileno(), keep)
        for first in range(0, lines, 1000):
            count = min(1000, lines - first)
            file.write(b"".join(b"line %08d\n" % (first + one) for one in range(count)))
            assert keeper.trim()
    return path


def read_all(folder, place, limit=job_logs.PIECE_BYTES):
    text = ""
    while (piece := job_logs.read(folder, place, limit=limit)).text:
        text += piece.text
        place = piece.end
    return text


def test_a_log_takes_bounded_space_and_keeps_its_newest_lines(folder):
    lines = 400_000
    path = flood(folder, lines)
    assert path.stat().st_size == 14 * lines
    assert path.stat().st_blocks * 512 <= KEPT + 2 * 65536
    kept = read_all(folder, LogPlace(attempt=1)).splitlines()
    assert len(kept) * 14 >= KEPT - 65536
    assert kept == [f"line {one:08d}" for one in range(lines - len(kept), lines)]


def test_offsets_stay_true_while_the_front_is_freed(folder):
    flood(folder, 10_000)
    place = LogPlace(attempt=1, offset=14 * 9_000)
    before = job_logs.read(folder, place)
    assert before.text.startswith("line 00009000\n")
    with job_logs.log_path(folder, 1).open("ab", buffering=0) as file:
        file.write(b"x" * 13 * 65536 + b"\n")
        LogKeeper(file.fileno(), KEPT).trim()
    assert job_logs.read(folder, place).text.startswith("line 00009000\n")
    gone = job_logs.read(folder, LogPlace(attempt=1, offset=0))
    assert gone.start.offset >= 0
    assert gone.text.startswith("line ")


def test_a_reader_that_comes_too_late_goes_on_with_the_oldest_whole_line(folder):
    flood(folder, 400_000)
    piece = job_logs.read(folder, LogPlace(attempt=1, offset=14))
    assert piece.start.offset > 14
    assert piece.start.offset % 14 == 0
    assert piece.text.startswith("line ")


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=200), limit=st.integers(4, 40))
def test_pieces_join_to_what_was_written(tmp_path_factory, text, limit):
    folder = tmp_path_factory.mktemp("pieces")
    write(folder, text.encode())
    assert read_all(folder, LogPlace(attempt=1), limit=limit) == text


def test_bytes_that_are_no_text_are_shown_and_an_unfinished_character_waits(folder):
    write(folder, b"a\xffb\xe2\x82")
    piece = job_logs.read(folder, LogPlace(attempt=1))
    assert (piece.text, piece.end.offset) == ("a\ufffdb", 3)
    write(folder, b"\xac")
    assert job_logs.read(folder, piece.end).text == "\u20ac"


@pytest.mark.parametrize(
    ("content", "lines", "tail"),
    [
        ("a\nb\nc\n", 2, "b\nc\n"),
        ("a\nb\nc", 2, "b\nc"),
        ("a\nb\n", 9, "a\nb\n"),
        ("a\nb\n", 0, ""),
        ("", 3, ""),
        ("\n\n\n", 2, "\n\n"),
        ("x" * 200_000 + "\nlast\n", 1, "last\n"),
        ("x" * 65535 + "\nlast\n", 1, "last\n"),
    ],
)
def test_tails(folder, content, lines, tail):
    write(folder, content.encode())
    assert read_all(folder, job_logs.find_tail(folder, 1, lines)) == tail


def test_a_tail_does_not_reach_into_what_was_freed(folder):
    flood(folder, 400_000)
    text = read_all(folder, job_logs.find_tail(folder, 1, 10**9))
    assert text.startswith("line ")
    assert text.count("\n") * 14 == len(text) >= KEPT - 65536


def test_what_is_not_there_says_so(folder):
    assert job_logs.list_attempts(folder) == []
    with pytest.raises(LogMissingError, match="attempt 7 has no log"):
        job_logs.read(folder, LogPlace(attempt=7))
    write(folder, b"short")
    beyond = job_logs.read(folder, LogPlace(attempt=1, offset=10**12))
    assert (beyond.text, beyond.end.offset) == ("", 5)
    with pytest.raises(ConfigError, match="at least 4 bytes"):
        job_logs.read(folder, LogPlace(attempt=1), limit=3)


@pytest.mark.parametrize("text", ["", "1", "1:", "-1:0", "a:b", "1:1:1", "1:" + "9" * 30, "../1:0"])
def test_places_are_checked(text):
    with pytest.raises(ConfigError, match="ATTEMPT:OFFSET"):
        LogPlace.parse(text)


def test_places_are_read_back():
    assert LogPlace.parse(str(LogPlace(attempt=3, offset=9))) == LogPlace(attempt=3, offset=9)


@pytest.mark.parametrize("limits", [{"max_bytes": 1}, {"attempts": 0}])
def test_limits_are_checked(limits):
    with pytest.raises(ConfigError, match="at least"):
        LogLimits(**limits)


def test_older_attempts_go(folder):
    for attempt in (1, 2, 10, 11):
        write(folder, b"x", attempt)
    (folder / "attempt-9.log.bak").write_text("not ours")
    job_logs.drop_old(folder, LogLimits(attempts=2))
    assert job_logs.list_attempts(folder) == [10, 11]
    assert (folder / "attempt-9.log.bak").exists()


CRASHES = {
    "kill": "os.kill(os.getpid(), 9)",
    "segfault": "import ctypes; ctypes.string_at(0)",
    "_exit": "os._exit(3)",
    "abort": "os.abort()",
}


@pytest.mark.parametrize("crash", CRASHES)
def test_no_last_word_is_lost_at_a_crash(folder, crash):
    """While another thread trims, and a process that the child started prints as well."""
    folder.mkdir()
    program = f"""
import faulthandler, os, subprocess, sys, threading
from orchestration.job_logs import LogKeeper
with open({str(job_logs.log_path(folder, 1))!r}, "ab", buffering=0) as file:
    for stream in (sys.stdout, sys.stderr):
        os.dup2(file.fileno(), stream.fileno())
faulthandler.enable()
keeper = LogKeeper(2, 1 << 20)
done = threading.Event()
def trim():
    while not done.wait(0.001):
        keeper.trim()
threading.Thread(target=trim, daemon=True).start()
for number in range(5000):
    print(f"{{number:06d}}" + "x" * 400, flush=True)
subprocess.run([sys.executable, "-c", "print('from a grandchild')"])
print("last words", end="", flush=True)
{CRASHES[crash]}
"""
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=False)
    kept = read_all(folder, job_logs.find_tail(folder, 1, 10_000))
    assert "from a grandchild\nlast words" in kept
    if crash in {"segfault", "abort"}:
        assert "Fatal Python error" in kept
    numbers = [int(line[:6]) for line in kept.splitlines() if line.endswith("xxx")]
    assert numbers[-1000:] == list(range(4000, 5000))


class Script:
    """Writes something before each look of a follower."""

    def __init__(self, *steps):
        self.steps = list(steps)

    async def is_over(self):
        if not self.steps:
            return True
        self.steps.pop(0)()
        return False


class HastyClock(ManualClock):
    async def sleep(self, seconds):
        self.advance(seconds)


async def test_a_follower_sees_every_attempt_in_order(folder):
    script = Script(
        lambda: None,
        lambda: write(folder, b"one "),
        lambda: write(folder, b"two\n"),
        lambda: (write(folder, b"late\n"), write(folder, b"three\n", 2)),
        lambda: None,
    )
    pieces = [
        piece async for piece in job_logs.follow(folder, clock=HastyClock(), is_over=script.is_over)
    ]
    assert [(piece.start.attempt, piece.text) for piece in pieces] == [
        (1, "one "),
        (1, "two\n"),
        (1, "late\n"),
        (2, "three\n"),
    ]
    again = [
        piece.text
        async for piece in job_logs.follow(
            folder, clock=HastyClock(), is_over=Script().is_over, place=pieces[1].end
        )
    ]
    assert again == ["late\n", "three\n"]


async def test_a_follower_outlives_the_removal_of_a_log(folder):
    path = write(folder, b"one\n")
    script = Script(lambda: None, path.unlink, lambda: write(folder, b"two\n", 2))
    texts = [
        piece.text
        async for piece in job_logs.follow(folder, clock=HastyClock(), is_over=script.is_over)
    ]
    assert texts == ["one\n", "two\n"]


def test_old_logs_go_and_then_the_oldest_until_they_fit(tmp_path):
    now = datetime(2026, 6, 1, tzinfo=UTC)
    for name in ("old", "middle", "new", "busy"):
        write(tmp_path / name, b"x" * 100_000)
    (tmp_path / "old" / "kept.txt").write_text("of the task")
    finished = {name: now - timedelta(days=days) for name, days in
                (("old", 40), ("middle", 20), ("new", 1), ("gone", 50))}  # fmt: skip
    limit = {"older_than": now - timedelta(days=30), "max_bytes": MIB}
    done = job_logs.collect(tmp_path, finished, **limit)
    assert done.jobs == 1
    assert done.size_bytes >= 100_000
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["attempt-1.log"] * 3 + [
        "kept.txt"
    ]
    assert job_logs.collect(tmp_path, finished, **{**limit, "max_bytes": 150_000}).jobs == 1
    assert not (tmp_path / "middle").exists()
    assert job_logs.collect(tmp_path, finished, **{**limit, "max_bytes": 0}).jobs == 1
    assert [path.parent.name for path in tmp_path.rglob("*.log")] == ["busy"]


def test_a_file_system_without_holes_is_told(folder, monkeypatch):
    path = write(folder, b"x" * 10 * MIB)
    monkeypatch.setattr(job_logs, "_fallocate", lambda *_: -1)
    descriptor = os.open(path, os.O_WRONLY)
    assert not LogKeeper(descriptor, KEPT).trim()
    os.close(descriptor)
