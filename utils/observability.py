"""The registry of metric families that a process exposes; families are declared by their owners."""

from __future__ import annotations

import prometheus_client
from prometheus_client import CollectorRegistry, ProcessCollector

EXPOSITION_CONTENT_TYPE = prometheus_client.exposition.CONTENT_TYPE_PLAIN_0_0_4


def make_registry() -> CollectorRegistry:
    """Return a registry with this process's memory, CPU, start time and open files.

    Children report to their supervisor over a pipe, so one registry holds all that is scraped.
    """
    # A creation time per series would double the exposition and answers no question we ask.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """Render all families as Prometheus text; send with `EXPOSITION_CONTENT_TYPE`.

    A thousand series take about 0.1 s, so call it in a thread when an event loop is running.

    Args:
        registry: What to render.
    """
    return prometheus_client.generate_latest(registry)
