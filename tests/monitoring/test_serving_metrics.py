"""Families of business agents: counts, latency buckets, bounded labels, retired versions."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from rl.monitoring.serving_metrics import DECISION_SECONDS_BUCKETS, ServingMetrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry(auto_describe=True)


def test_requests_are_counted_by_outcome(registry):
    metrics = ServingMetrics(registry)
    for outcome in ("decision", "decision", "refused"):
        metrics.answered("allocator", "1", outcome=outcome, seconds=0.0003)
    labels = {"agent": "allocator", "version": "1"}
    count = registry.get_sample_value("agent_requests_total", labels | {"outcome": "decision"})
    assert count == 2
    assert registry.get_sample_value("agent_decision_seconds_count", labels) == 3
    assert registry.get_sample_value("agent_decision_seconds_sum", labels) == pytest.approx(0.0009)


def test_latency_buckets_resolve_a_fast_policy(registry):
    ServingMetrics(registry).answered("allocator", "1", outcome="decision", seconds=0.0003)
    labels = {"agent": "allocator", "version": "1"}
    below = {
        edge: registry.get_sample_value("agent_decision_seconds_bucket", labels | {"le": str(edge)})
        for edge in DECISION_SECONDS_BUCKETS
    }
    assert [edge for edge, count in below.items() if count == 0] == [0.0001, 0.00025]
    assert max(below) == 1.0


def test_fallbacks_and_guardrails_are_counted(registry):
    metrics = ServingMetrics(registry)
    metrics.fell_back("allocator", reason="out_of_range")
    metrics.guardrail_applied("allocator", constraint="capacity")
    fallback = {"agent": "allocator", "reason": "out_of_range"}
    guardrail = {"agent": "allocator", "constraint": "capacity"}
    assert registry.get_sample_value("agent_fallback_total", fallback) == 1
    assert registry.get_sample_value("agent_guardrail_total", guardrail) == 1


def test_retiring_a_version_removes_its_series_only(registry):
    metrics = ServingMetrics(registry)
    for version in ("1", "2"):
        metrics.serving("allocator", version, artifact="0123456789abcdef")
        metrics.answered("allocator", version, outcome="decision", seconds=0.001)
    metrics.retire("allocator", "1")
    families = [one for one in registry.collect() if "_records_" not in one.name]
    samples = [one for family in families for one in family.samples]
    assert {one.labels["version"] for one in samples} == {"2"}
    assert {one.labels.get("artifact") for one in samples} == {None, "0123456789ab"}


def test_a_flood_of_label_values_is_counted_together(registry):
    metrics = ServingMetrics(registry, max_label_values=2)
    for reason in ("a", "b", "c", "d", "a"):
        metrics.fell_back("allocator", reason=reason)
    counts = {
        one.labels["reason"]: one.value
        for family in registry.collect()
        for one in family.samples
        if one.name == "agent_fallback_total"
    }
    assert counts == {"a": 2, "b": 1, "other": 2}
