"""What the engine carries when its speed is measured."""

from __future__ import annotations

import queue
import time
from collections.abc import Mapping
from typing import Any

from orchestration.executors.child import TaskContext

STARTED: queue.SimpleQueue[float] = queue.SimpleQueue()
"""When thread jobs of this process began, by `time.perf_counter`."""
CALLED: queue.SimpleQueue[None] = queue.SimpleQueue()
"""One for each no-op job that this process has carried."""


def do_nothing(spec: Mapping[str, Any], context: TaskContext) -> dict[str, Any]:  # noqa: ARG001
    """Return at once.

    Args:
        spec: Unused.
        context: Unused.
    """
    CALLED.put(None)
    return {}


def tell_start(spec: Mapping[str, Any], context: TaskContext) -> dict[str, Any]:  # noqa: ARG001
    """Tell when it began; the clock is the same in all processes of a machine.

    Args:
        spec: Unused.
        context: Unused.
    """
    now = time.perf_counter()
    STARTED.put(now)
    return {"started": now}


def report_metrics(spec: Mapping[str, Any], context: TaskContext) -> dict[str, Any]:
    """Report numbers as fast as it can.

    Args:
        spec: How many steps, and figures a step.
        context: Takes them.
    """
    began = time.perf_counter()
    names = [f"figure_{number}" for number in range(spec["figures"])]
    for step in range(spec["steps"]):
        context.metrics(step, dict.fromkeys(names, step / 3))
    return {"began": began}
