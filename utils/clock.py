"""Time as an argument: the real clock, one that tests turn by hand, and ids that sort by time."""

from __future__ import annotations

import itertools
import os
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

import anyio

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What the shell may ask about time."""

    def now(self) -> datetime:
        """Return the wall time, aware and in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait.

        Args:
            seconds: How long by this clock.
        """
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """Return the wall time, aware and in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait.

        Args:
            seconds: How long.
        """
        await anyio.sleep(seconds)


class ManualClock:
    """A clock that stands still until a test advances it."""

    def __init__(self, start: datetime = EPOCH) -> None:
        self._start = start
        self._elapsed = 0.0
        self._advanced = anyio.Event()

    def now(self) -> datetime:
        """Return the start plus all that was advanced."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Return the seconds that were advanced."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Let time pass and wake the sleepers that are due.

        Args:
            seconds: How long; not negative.
        """
        if seconds < 0:
            raise ValueError(f"seconds={seconds}: time does not go back")
        self._elapsed += seconds
        self._advanced.set()
        self._advanced = anyio.Event()

    async def sleep(self, seconds: float) -> None:
        """Wait until somebody has advanced the clock far enough.

        Args:
            seconds: How long by this clock.
        """
        due = self._elapsed + seconds
        while self._elapsed < due:
            await self._advanced.wait()


_made = itertools.count()
_COUNTER_BITS, _CHANCE_BITS = 26, 48
MILLISECOND = timedelta(milliseconds=1)


def new_id(clock: Clock) -> str:
    """Return an identifier (UUID version 7) that sorts by the time it was made.

    Of one process it sorts by the order of calls as well, within one millisecond too.

    Args:
        clock: Tells that time.
    """
    milliseconds = (clock.now() - EPOCH) // MILLISECOND & (1 << 48) - 1
    counter = next(_made) & (1 << _COUNTER_BITS) - 1
    high, low = counter >> 14, counter & (1 << 14) - 1
    chance = int.from_bytes(os.urandom(_CHANCE_BITS // 8), "big")
    value = milliseconds << 80 | 0x7 << 76 | high << 64 | 0x2 << 62 | low << 48 | chance
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
