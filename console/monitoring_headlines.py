"""The server's own figures in headlines, for where no Prometheus watches it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


def samples_of(text: str) -> Iterator[Sample]:
    """Yield all samples of an exposition.

    Args:
        text: What `GET /metrics` returned.
    """
    for family in text_string_to_metric_families(text):
        yield from family.samples


def labelled_values(text: str, name: str, *, agent: str) -> dict[str, float]:
    """Return the values of an agent's counter by what else labels it.

    Args:
        text: What `GET /metrics` returned.
        name: Of the samples, such as `agent_guardrail_total`.
        agent: Its name.
    """
    found = {}
    for sample in samples_of(text):
        if sample.name == name and sample.labels.get("agent") == agent:
            others = [value for label, value in sample.labels.items() if label != "agent"]
            found[" ".join(others)] = sample.value
    return found


def headlines(text: str) -> list[dict[str, Any]]:
    """Return the figures that one asks for first.

    Args:
        text: What `GET /metrics` returned.
    """
    found = list(samples_of(text))
    requests = _sum(found, "agent_requests_total")
    errors = _sum(found, "agent_requests_total", {"outcome": "error"})
    fallbacks = _sum(found, "agent_requests_total", {"outcome": "fallback"})
    seconds = _sum(found, "agent_decision_seconds_sum")
    timed = _sum(found, "agent_decision_seconds_count")
    runs = sum(one.name == "rl_heartbeat_timestamp_seconds" for one in found)
    memory = _sum(found, "process_resident_memory_bytes")
    waiting = _sum(found, "job_jobs", {"state": "queued"})
    return [
        {"figure": "Live runs", "value": f"{runs}"},
        {"figure": "Jobs queued", "value": f"{waiting:.0f}"},
        {"figure": "Requests", "value": f"{requests:,.0f}"},
        {"figure": "Errors", "value": _share(errors, requests)},
        {"figure": "Fallbacks", "value": _share(fallbacks, requests)},
        {
            "figure": "Mean decision time",
            "value": f"{seconds / timed * 1e3:.3g} ms" if timed else "none yet",
        },
        {"figure": "Steps trained", "value": f"{_sum(found, 'rl_env_steps_total'):,.0f}"},
        {"figure": "Memory", "value": f"{memory / 2**20:,.0f} MiB"},
    ]


def _sum(samples: list[Sample], name: str, labels: Mapping[str, str] | None = None) -> float:
    wanted = (labels or {}).items()
    return sum(one.value for one in samples if one.name == name and wanted <= one.labels.items())


def _share(count: float, of: float) -> str:
    return f"{count / of:.1%}" if of else "none yet"
