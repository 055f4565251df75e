"""What attempts print: one file each, bounded while it is written, read and followed by offset.

An attempt and all that it starts write straight to its file, so that a crash loses no word. The
file is bounded from its front: the oldest blocks go back to the file system as a hole. That moves
no byte, so writers need not know, and an offset means the same place for ever.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import errno
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from utils.errors import ConfigError, QuartermasterError

if TYPE_CHECKING:
    from utils.clock import Clock

MIB = 1 << 20
PIECE_BYTES = 1 << 16
FOLLOW_SECONDS = 0.25
_NAME = re.compile(r"attempt-(\d+)\.log")
_BLOCK = 1 << 16  # holes begin and end here; a multiple of every block size
_KEEP_SIZE_PUNCH_HOLE = 3
_fallocate = ctypes.CDLL(None, use_errno=True).fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class LogMissingError(QuartermasterError, LookupError):
    """No such attempt has printed anything, or its log was removed."""


@dataclass(frozen=True, kw_only=True)
class LogLimits:
    """What is kept of what the attempts of one job print."""

    max_bytes: int = 16 * MIB
    """Of each attempt, the newest."""
    attempts: int = 5
    """Of so many attempts, the newest."""

    def __post_init__(self) -> None:
        """Refuse limits under which nothing could be read.

        Raises:
            ConfigError: A limit is too small.
        """
        if self.max_bytes < 2 * _BLOCK:
            raise ConfigError(f"max_bytes={self.max_bytes}: at least {2 * _BLOCK}")
        if self.attempts < 1:
            raise ConfigError(f"attempts={self.attempts}: at least one")


@dataclass(frozen=True, kw_only=True)
class LogPlace:
    """A place in the logs of a job; its text form is what a reader goes on from."""

    attempt: int
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.attempt}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> LogPlace:
        """Read the text form.

        Args:
            text: Such as `2:4096`.

        Raises:
            ConfigError: It is something else.
        """
        found = re.fullmatch(r"(\d{1,18}):(\d{1,18})", text)
        if found is None:
            raise ConfigError(f"place {text!r} in a log: write ATTEMPT:OFFSET, such as 2:4096")
        return cls(attempt=int(found[1]), offset=int(found[2]))


@dataclass(frozen=True, kw_only=True)
class LogPiece:
    """Some of a log."""

    start: LogPlace
    """Where it begins; later than asked for if that is no longer kept."""
    end: LogPlace
    """Where to go on."""
    text: str
    """Empty at the end of what there is."""


class LogKeeper:
    """Keeps an open log file within its limit; call `trim` now and then, from any thread."""

    def __init__(self, descriptor: int, max_bytes: int) -> None:
        """Remember the file.

        Args:
            descriptor: Open for writing; not closed here.
            max_bytes: How many of its newest bytes to keep.
        """
        self._descriptor = descriptor
        self._max_bytes = max_bytes
        self._freed = 0

    def trim(self) -> bool:
        """Give the blocks of the oldest words back, a block or more at a time.

        Returns:
            Whether the file is within its limit; False if its file system cannot do that.
        """
        end = (os.fstat(self._descriptor).st_size - self._max_bytes) // _BLOCK * _BLOCK
        if end <= self._freed:
            return True
        length = end - self._freed
        if _fallocate(self._descriptor, _KEEP_SIZE_PUNCH_HOLE, self._freed, length) != 0:
            return False
        self._freed = end
        return True


def can_trim(descriptor: int) -> bool:
    """Say whether a file system can free the front of a file.

    Args:
        descriptor: Of an empty file there, open for writing; it has a block afterwards.
    """
    os.pwrite(descriptor, bytes(_BLOCK), 0)
    return bool(_fallocate(descriptor, _KEEP_SIZE_PUNCH_HOLE, 0, _BLOCK) == 0)


def log_path(folder: Path, attempt: int) -> Path:
    """Return where an attempt prints to.

    Args:
        folder: The job's work folder.
        attempt: Its fence.
    """
    return folder / f"attempt-{attempt}.log"


def list_attempts(folder: Path) -> list[int]:
    """Return the attempts whose logs are there, oldest first.

    Args:
        folder: The job's work folder.
    """
    if not folder.is_dir():
        return []
    names = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(name[1]) for name in names if name)


def drop_old(folder: Path, limits: LogLimits) -> None:
    """Remove the logs of older attempts than are kept.

    Args:
        folder: The job's work folder.
        limits: How many stay.
    """
    for attempt in list_attempts(folder)[: -limits.attempts]:
        log_path(folder, attempt).unlink(missing_ok=True)


def read(folder: Path, place: LogPlace, *, limit: int = PIECE_BYTES) -> LogPiece:
    """Read some of an attempt's log.

    Args:
        folder: The job's work folder.
        place: Where to begin; if that is no longer kept, with the oldest whole line there is.
        limit: At most so many bytes.

    Raises:
        LogMissingError: There is no such log.
        ConfigError: The limit holds not even one character.
    """
    if limit < 4:
        raise ConfigError(f"limit={limit}: at least 4 bytes, the longest character")
    with _opened(folder, place.attempt) as descriptor:
        start, content = _read_kept(descriptor, place.offset, limit)
    if start > place.offset:  # the rest of a line whose beginning is gone
        start, content = _whole_lines(start, content)
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text = decoder.decode(content)
    end = start + len(content) - len(decoder.getstate()[0])
    return LogPiece(
        start=LogPlace(attempt=place.attempt, offset=start),
        end=LogPlace(attempt=place.attempt, offset=end),
        text=text,
    )


def find_tail(folder: Path, attempt: int, lines: int) -> LogPlace:
    """Return where the last lines of an attempt's log begin.

    Args:
        folder: The job's work folder.
        attempt: Its fence.
        lines: How many; an unfinished one counts.

    Raises:
        LogMissingError: There is no such log.
    """
    with _opened(folder, attempt) as descriptor:
        end = os.fstat(descriptor).st_size
        first = _first_kept(descriptor, 0)
        if lines < 1:
            return LogPlace(attempt=attempt, offset=end)
        position, found = end, 0
        while position > first:
            begin = max(first, position - PIECE_BYTES)
            block = os.pread(descriptor, position - begin, begin)
            cut = len(block) - (position == end and block.endswith(b"\n"))
            while (cut := block.rfind(b"\n", 0, cut)) >= 0:
                found += 1
                if found == lines:
                    return LogPlace(attempt=attempt, offset=begin + cut + 1)
            position = begin
    return LogPlace(attempt=attempt)


async def follow(
    folder: Path,
    *,
    clock: Clock,
    is_over: Callable[[], Awaitable[bool]],
    place: LogPlace | None = None,
) -> AsyncIterator[LogPiece]:
    """Give what a job prints as it comes, attempt after attempt.

    Args:
        folder: The job's work folder; it may come later.
        clock: Waits between looks.
        is_over: Whether the job will print nothing more; asked before each look.
        place: Where to go on; the beginning of the oldest log if left out.
    """
    while True:
        over = await is_over()
        for attempt in await anyio.to_thread.run_sync(list_attempts, folder):
            if place is None or attempt > place.attempt:
                place = LogPlace(attempt=attempt)
            while attempt == place.attempt:
                try:
                    piece = await anyio.to_thread.run_sync(read, folder, place)
                except LogMissingError:  # removed in this moment
                    break
                if not piece.text:
                    break
                place = piece.end
                yield piece
        if over:
            return
        await clock.sleep(FOLLOW_SECONDS)


@dataclass(frozen=True, kw_only=True)
class RemovedLogs:
    """What a collection of old logs came to."""

    jobs: int
    size_bytes: int


def collect(
    root: Path,
    finished: Mapping[str, datetime | None],
    *,
    older_than: datetime,
    max_bytes: int,
) -> RemovedLogs:
    """Remove logs of finished jobs: the old ones, then the oldest while all take too much space.

    Args:
        root: The folder of the jobs' work folders.
        finished: When which jobs finished; None takes the time of the newest log. No log of a job
            that is not named here is touched.
        older_than: Logs of jobs that finished before go.
        max_bytes: How much the remaining ones may take on disk.
    """
    found = []
    there = {path.name for path in root.iterdir()} if root.is_dir() else set()
    for job_id, finished_at in ((one, finished[one]) for one in there & set(finished)):
        logs = [log_path(root / job_id, one) for one in list_attempts(root / job_id)]
        if not logs:
            continue
        facts = [log.stat() for log in logs]
        newest = datetime.fromtimestamp(max(fact.st_mtime for fact in facts), UTC)
        size = sum(fact.st_blocks for fact in facts) * 512
        found.append((finished_at or newest, size, logs))
    kept = sum(size for _, size, _ in found)
    jobs = removed = 0
    for moment, size, logs in sorted(found, key=lambda one: one[0]):
        if moment >= older_than and kept - removed <= max_bytes:
            break
        for log in logs:
            log.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the task left files of its own there
            logs[0].parent.rmdir()
        jobs, removed = jobs + 1, removed + size
    return RemovedLogs(jobs=jobs, size_bytes=removed)


@contextlib.contextmanager
def _opened(folder: Path, attempt: int) -> Iterator[int]:
    path = log_path(folder, attempt)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise LogMissingError(
            f"{path}: attempt {attempt} has no log; it printed nothing yet, or `gc` removed it"
        ) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read_kept(descriptor: int, offset: int, limit: int) -> tuple[int, bytes]:
    while True:
        start = _first_kept(descriptor, offset)
        content = os.pread(descriptor, limit, start)
        if _first_kept(descriptor, start) == start:  # else it became a hole in this moment
            return start, content


def _first_kept(descriptor: int, offset: int) -> int:
    """Return the first place from here on that is no hole; the end if there is none."""
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return os.lseek(descriptor, 0, os.SEEK_END)


def _whole_lines(start: int, content: bytes) -> tuple[int, bytes]:
    cut = content.find(b"\n") + 1
    return start + cut, content[cut:]
