"""Families of training runs: values arrive, counters survive resumes, retired runs leave."""

from __future__ import annotations

import math
import re
from collections import deque

import pytest
from prometheus_client import CollectorRegistry

from rl.algorithms.ppo_agent import STEP_METRICS
from rl.monitoring.training_metrics import (
    EVALUATION_SCORES,
    MOST_FIGURES,
    REPORTED_VALUES,
    RunLabels,
    TrainingMetrics,
)
from rl.training.training_events import (
    CheckpointWritten,
    Evaluated,
    MetricsExporter,
    MetricsReported,
    RunEnded,
    RunInfo,
    RunStarted,
    TrainingEvents,
)
from utils.clock import ManualClock
from utils.errors import ConfigError
from utils.observability import exposition
from utils.persistence.run_log import RunState

RUN = RunLabels(environment="resource_allocation", algorithm="ppo", run="r1")
ENDS = (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED)
OTHER = RunLabels(environment="resource_allocation", algorithm="ppo", run="r2")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry(auto_describe=True)


def sample(registry: CollectorRegistry, name: str, run: RunLabels = RUN) -> float | None:
    labels = {"environment": run.environment, "algorithm": run.algorithm, "run": run.run}
    return registry.get_sample_value(name, labels)


def series_of(registry: CollectorRegistry, run: RunLabels) -> set[str]:
    samples = (one for family in registry.collect() for one in family.samples)
    return {one.name for one in samples if one.labels["run"] == run.run}


def report_everything(metrics: TrainingMetrics, run: RunLabels) -> None:
    values = dict.fromkeys(REPORTED_VALUES, 0.5) | {"episodes": 3.0, "not_finite": 2.0}
    values["environment/lost_work"] = 7.0
    metrics.observe(run, {}, env_steps=50, now=999.0)
    metrics.observe(run, values, env_steps=100, now=1000.0)
    metrics.evaluated(run, dict.fromkeys(EVALUATION_SCORES, 2.0), now=1001.0)
    metrics.checkpoint_written(run, size_bytes=4096, now=1002.0)


def test_every_reported_value_is_exposed(registry):
    report_everything(TrainingMetrics(registry), RUN)
    for name, (family, _) in REPORTED_VALUES.items():
        assert sample(registry, family) == (-0.5 if name == "entropy_loss" else 0.5)
    for family, _ in EVALUATION_SCORES.values():
        assert sample(registry, family) == 2.0
    assert sample(registry, "rl_env_steps_total") == 100
    assert sample(registry, "rl_episodes_total") == 3
    assert sample(registry, "rl_not_finite_total") == 2
    labels = {"environment": RUN.environment, "algorithm": RUN.algorithm, "run": RUN.run}
    lost = registry.get_sample_value("rl_environment_figure", labels | {"figure": "lost_work"})
    assert lost == 7.0
    assert sample(registry, "rl_checkpoint_size_bytes") == 4096
    assert sample(registry, "rl_checkpoint_timestamp_seconds") == 1002.0
    assert sample(registry, "rl_heartbeat_timestamp_seconds") == 1002.0


def test_a_run_begins_with_no_rollback_so_that_the_first_one_is_a_rise(registry):
    metrics = TrainingMetrics(registry)
    metrics.observe(RUN, {}, env_steps=1, now=0.0)
    assert sample(registry, "rl_rollbacks") == 0
    metrics.observe(RUN, {"rollbacks": 1.0}, env_steps=2, now=1.0)
    assert sample(registry, "rl_rollbacks") == 1


def test_values_without_a_family_are_left_out(registry):
    TrainingMetrics(registry).observe(RUN, {"reward_holding": -1.0}, env_steps=1, now=0.0)
    assert not any("holding" in family.name for family in registry.collect())


def test_a_loss_that_is_not_finite_is_shown_as_such(registry):
    TrainingMetrics(registry).observe(RUN, {"policy_loss": math.nan}, env_steps=1, now=0.0)
    value = sample(registry, "rl_policy_loss")
    assert value is not None
    assert math.isnan(value)


def test_steps_repeated_after_a_resume_are_counted_once(registry):
    metrics = TrainingMetrics(registry)
    for env_steps in (100, 200, 150, 200, 260):
        metrics.observe(RUN, {}, env_steps=env_steps, now=0.0)
    assert sample(registry, "rl_env_steps_total") == 260


def test_speed_is_measured_between_reports(registry):
    metrics = TrainingMetrics(registry)
    metrics.observe(RUN, {}, env_steps=5_000, now=10.0)
    assert sample(registry, "rl_env_steps_per_second") is None
    metrics.observe(RUN, {}, env_steps=6_000, now=14.0)
    metrics.observe(RUN, {}, env_steps=6_000, now=14.0)
    assert sample(registry, "rl_env_steps_per_second") == 250.0


def test_what_ppo_reports_has_a_family():
    reported = {"explained_variance", "learning_rate", *STEP_METRICS}
    assert reported <= set(REPORTED_VALUES)


def test_retiring_removes_every_series_of_that_run_only(registry):
    metrics = TrainingMetrics(registry)
    report_everything(metrics, RUN)
    report_everything(metrics, OTHER)
    kept = series_of(registry, OTHER)
    metrics.retire(RUN)
    metrics.retire(RUN)  # the second time there is nothing left to do
    assert series_of(registry, RUN) == set()
    assert series_of(registry, OTHER) == kept


def test_the_longest_silent_run_leaves_when_full(registry):
    metrics = TrainingMetrics(registry, max_runs=2)
    third = RunLabels(environment="resource_allocation", algorithm="ppo", run="r3")
    for run in (RUN, OTHER, RUN, third):
        metrics.observe(run, {}, env_steps=1, now=0.0)
    assert series_of(registry, OTHER) == set()
    assert series_of(registry, RUN)
    assert series_of(registry, third)


def test_room_for_no_run_is_refused(registry):
    with pytest.raises(ConfigError, match="at least one run"):
        TrainingMetrics(registry, max_runs=0)


def test_other_words_for_the_same_thing_share_a_family(registry):
    metrics = TrainingMetrics(registry)
    metrics.observe(
        RUN, {"actor_loss": 3.0, "critic_loss": 4.0, "entropy": 1.5}, env_steps=1, now=0.0
    )
    assert sample(registry, "rl_policy_loss") == 3.0
    assert sample(registry, "rl_value_loss") == 4.0
    assert sample(registry, "rl_policy_entropy") == 1.5


def test_a_world_has_so_many_figures_and_no_more(registry):
    metrics = TrainingMetrics(registry)
    names = [f"environment/figure_{number}" for number in range(2 * MOST_FIGURES)]
    metrics.observe(RUN, dict.fromkeys(names, 1.0), env_steps=1, now=0.0)
    metrics.observe(RUN, {names[0]: 5.0, names[-1]: 5.0}, env_steps=2, now=1.0)
    shown = {
        one.labels["figure"]: one.value
        for family in registry.collect()
        for one in family.samples
        if one.name == "rl_environment_figure"
    }
    assert len(shown) == MOST_FIGURES
    assert shown["figure_0"] == 5.0


def test_two_hundred_runs_leave_nothing_behind(registry):
    metrics = TrainingMetrics(registry)
    bare = exposition(registry)
    for number in range(200):
        run = RunLabels(environment="trading", algorithm="ppo", run=f"r{number}")
        report_everything(metrics, run)
        assert series_of(registry, run)
        assert f'run="r{number}"'.encode() in exposition(registry)
        metrics.retire(run)
    assert exposition(registry) == bare
    assert not any(family.samples for family in registry.collect())


def test_runs_that_start_and_end_in_any_way_are_gone_while_others_go_on(registry):
    events, clock = TrainingEvents(), ManualClock()
    events.subscribe(MetricsExporter(TrainingMetrics(registry), clock))
    live: deque[RunInfo] = deque()
    values = dict.fromkeys(REPORTED_VALUES, 0.5) | {"environment/lost_work": 7.0}
    for number in range(200):
        run = RunInfo(
            run_id=f"r{number}", environment="trading", algorithm="ppo", total_env_steps=9
        )
        live.append(run)
        events.publish(RunStarted(run=run))
        events.publish(MetricsReported(run=run, env_steps=1, values=values))
        events.publish(Evaluated(run=run, env_steps=1, scores={"kpi": 1.0}))
        events.publish(CheckpointWritten(run=run, env_steps=1, size_bytes=1))
        if len(live) > 50:
            events.publish(RunEnded(run=live.popleft(), state=ENDS[number % len(ENDS)]))
    shown = set(re.findall(r'run="(\w+)"', exposition(registry).decode()))
    assert shown == {run.run_id for run in live}
    for run in live:
        events.publish(RunEnded(run=run, state=RunState.CANCELLED))
    assert b"run=" not in exposition(registry)
