"""What a scraper reads: sound names and help texts, no creation times, this process's use."""

from __future__ import annotations

import math
import shutil
import subprocess

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.parser import text_string_to_metric_families

from rl.monitoring.serving_metrics import ServingMetrics
from rl.monitoring.training_metrics import (
    EVALUATION_SCORES,
    REPORTED_VALUES,
    RunLabels,
    TrainingMetrics,
)
from utils.observability import exposition, make_registry

RUN = RunLabels(environment="resource_allocation", algorithm="ppo", run="r1")
PROMTOOL = shutil.which("promtool")
UNIT_OF_TYPE = {"counter": ("_total",), "histogram": ("_seconds", "_bytes")}


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = make_registry()
    training = TrainingMetrics(registry)
    for now in (1.0, 2.0):
        training.observe(RUN, dict.fromkeys(REPORTED_VALUES, 0.5), env_steps=1, now=now)
    training.evaluated(RUN, dict.fromkeys(EVALUATION_SCORES, 1.0), now=1.0)
    training.checkpoint_written(RUN, size_bytes=1, now=1.0)
    serving = ServingMetrics(registry)
    serving.answered("allocator", "1", outcome="decision", seconds=0.001)
    serving.fell_back("allocator", reason="out_of_range")
    serving.guardrail_applied("allocator", constraint="capacity")
    serving.serving("allocator", "1", artifact="0123456789abcdef")
    return registry


def check_with_promtool(text: bytes) -> subprocess.CompletedProcess[bytes]:
    assert PROMTOOL is not None
    command = [PROMTOOL, "check", "metrics"]
    return subprocess.run(command, input=text, capture_output=True, check=False)


def test_names_say_their_owner_and_end_in_their_kind(registry):
    kinds = {
        line.split()[2]: line.split()[3]
        for line in exposition(registry).decode().splitlines()
        if line.startswith("# TYPE ") and not line.startswith("# TYPE process_")
    }
    assert len(kinds) > 20
    for name, kind in kinds.items():
        assert name.startswith(("rl_", "agent_")), name
        assert name.endswith(UNIT_OF_TYPE.get(kind, "")), name
        assert kind == "counter" or not name.endswith("_total"), name


def test_series_have_no_creation_times(registry):
    assert b"_created" not in exposition(registry)


def test_the_process_itself_is_watched(registry):
    assert b"\nprocess_resident_memory_bytes " in exposition(registry)


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_say(registry):
    report = check_with_promtool(exposition(registry))
    assert (report.returncode, report.stdout, report.stderr) == (0, b"", b"")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_would_object(registry):
    Gauge("rl_latency_ms", "", registry=registry)
    assert check_with_promtool(exposition(registry)).returncode == 3


@pytest.mark.parametrize(
    "value", [0, -0.0, 1, 2.5, 1e300, 5e-324, 123456789012345.0, math.inf, -math.inf, math.nan]
)
@pytest.mark.parametrize("word", ["plain", 'a "quote"', "back\\slash", "two\nlines", "déjà vu", ""])
def test_written_series_read_as_the_library_writes_them(word, value):
    registry = CollectorRegistry()
    text, labels = "Size of the newest checkpoint", ("environment", "algorithm", "run")
    gauge = Gauge("rl_checkpoint_size_bytes", text, labels, registry=registry)
    gauge.labels(word, "ppo", "r").set(value)
    (expected,) = text_string_to_metric_families(exposition(registry).decode())
    registry = CollectorRegistry()
    run = RunLabels(environment=word, algorithm="ppo", run="r")
    TrainingMetrics(registry).checkpoint_written(run, size_bytes=value, now=1.0)
    found = text_string_to_metric_families(exposition(registry).decode())
    (read,) = (one for one in found if one.name == "rl_checkpoint_size_bytes")
    assert (read.type, read.documentation) == (expected.type, expected.documentation)
    (ours,), (theirs,) = read.samples, expected.samples
    assert (ours.name, ours.labels) == (theirs.name, theirs.labels)
    assert repr(ours.value) == repr(theirs.value)  # so that NaN equals NaN


def test_what_is_written_and_what_is_collected_are_the_same(registry):
    parsed = text_string_to_metric_families(exposition(registry).decode())
    written = {(s.name, *sorted(s.labels.items()), s.value) for f in parsed for s in f.samples}
    collected = {
        (s.name, *sorted(s.labels.items()), float(s.value))
        for f in registry.collect()
        for s in f.samples
        if not s.name.startswith("process_")  # they change from one look to the next
    }
    assert collected <= written
    assert len(collected) > 50
