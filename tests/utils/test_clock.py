"""Clocks and the ids made with them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from utils.clock import ManualClock, SystemClock, new_id


def test_system_clock_is_aware_and_monotonic_never_falls():
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    readings = [clock.monotonic() for _ in range(100)]
    assert readings == sorted(readings)


def test_manual_clock_moves_only_when_told():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    clock = ManualClock(start)
    clock.advance(1.5)
    assert clock.now() == start + timedelta(seconds=1.5)
    assert clock.monotonic() == 1.5
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)


def test_sleepers_wake_in_the_order_they_are_due():
    clock = ManualClock()
    woken = []

    async def sleep(seconds):
        await clock.sleep(seconds)
        woken.append(seconds)

    async def main():
        async with anyio.create_task_group() as group:
            for seconds in (3, 1, 2):
                group.start_soon(sleep, seconds)
            await anyio.wait_all_tasks_blocked()
            assert woken == []
            for _ in range(3):
                clock.advance(1)
                await anyio.wait_all_tasks_blocked()
            assert woken == [1, 2, 3]

    anyio.run(main)


def test_ids_are_valid_unique_and_sort_by_time():
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    ids = []
    for _ in range(50):
        ids.append(new_id(clock))
        if len(ids) % 3 == 0:  # several in one millisecond
            clock.advance(0.001)
    assert ids == sorted(set(ids))
    parsed = uuid.UUID(ids[0])
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
