"""What the jobs of a storm do: wait a little, work in steps, and leave one effect outside."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from tests.orchestration.targets import load, save


def leave_effect(path, key, fence):
    """Append a line unless the key has one: what a careful receiver of requests does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        known = {line.split()[0] for line in Path(path).read_text().splitlines()}
        if key not in known:
            os.write(descriptor, f"{key} {fence}\n".encode())  # one write: whole or absent
    finally:
        os.close(descriptor)


def wait(seconds, context):
    """Sleep, and say whether to go on."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if context.should_stop():
            return False
        time.sleep(0.02)
    return True


def quick(spec, context):
    """Wait and leave the effect; the inputs, if any, must have come."""
    assert set(context.inputs) == set(spec["needs"]), context.inputs
    if not wait(spec["seconds"], context):
        return {}
    leave_effect(spec["effects"], context.job_id, context.fence)
    return {"n": spec["n"]}


def stepwise(spec, context):
    """Add up 1..steps with a checkpoint after each, then leave the effect."""
    step, total = load(context)
    while step < spec["steps"]:
        if not wait(spec["seconds"], context):
            return {}
        step += 1
        total += step
        context.progress(step, spec["steps"])
        save(context, step, total)
    leave_effect(spec["effects"], context.job_id, context.fence)
    assert total == spec["steps"] * (spec["steps"] + 1) // 2
    return {"n": spec["n"]}
