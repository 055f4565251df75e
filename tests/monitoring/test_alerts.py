"""Every alert fires when it should and only then, as promtool plays it; each has a runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from orchestration.cli.commands import cli

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = [PROMETHEUS / "rules" / name for name in ("recording.yml", "alerts.yml")]
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
RUN = {"run": "r1", "environment": "trading", "algorithm": "ppo"}
OF_RUN = '{run="r1",environment="trading",algorithm="ppo"}'
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load(RULES[1].read_text())["groups"]
    for rule in group["rules"]
}
GROUPS = [group["name"] for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
"""Recorded first: an alert of the same moment then sees what was recorded in it."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Series, and what is fired at one moment."""

    alert: str
    series: dict[str, str]
    """By name, in promtool's notation, one value each half minute."""
    at: str
    summary: str | None
    """None if nothing shall fire."""
    labels: dict[str, str] = field(default_factory=dict)


def of_run(name: str) -> str:
    return name + OF_RUN


def fires(alert: str, series: dict[str, str], at: str, *, summary: str, **labels: str) -> Case:
    return Case(alert=alert, series=series, at=at, summary=summary, labels=labels)


def is_quiet(alert: str, series: dict[str, str], at: str) -> Case:
    return Case(alert=alert, series=series, at=at, summary=None)


def answers(outcomes: dict[str, str], *, slow: str = "0x400") -> dict[str, str]:
    total = {f'agent_requests_total{{agent="a",outcome="{o}"}}': v for o, v in outcomes.items()}
    return total | {
        'agent_decision_seconds_count{agent="a"}': "0+100x400",
        'agent_decision_seconds_bucket{agent="a",le="0.01"}': slow,
    }


CASES = [
    fires(
        "TrainingStalled",
        {of_run("rl_heartbeat_timestamp_seconds"): "0+30x4 120x20"},
        "6m",
        summary="Run r1 has not reported for 4m 0s",
        **RUN,
    ),
    is_quiet("TrainingStalled", {of_run("rl_heartbeat_timestamp_seconds"): "0+30x40"}, "6m"),
    is_quiet("TrainingStalled", {of_run("rl_heartbeat_timestamp_seconds"): "0+30x4 stale"}, "6m"),
    fires(
        "TrainingNotFinite",
        {of_run("rl_not_finite_total"): "0x8 1x20"},
        "6m",
        summary="Run r1 has losses or figures that are not finite",
        **RUN,
    ),
    fires(
        "TrainingNotFinite",
        {of_run("rl_rollbacks"): "0x8 1x20"},
        "6m",
        summary="Run r1 has losses or figures that are not finite",
        **RUN,
    ),
    is_quiet("TrainingNotFinite", {of_run("rl_not_finite_total"): "3x40"}, "8m"),
    fires(
        "ReturnCollapsed",
        {of_run("rl_episode_return"): "100x60 10x60"},
        "55m",
        summary="Return of run r1 is less than half of its best",
        **RUN,
    ),
    is_quiet("ReturnCollapsed", {of_run("rl_episode_return"): "100x60 80x60"}, "55m"),
    is_quiet("ReturnCollapsed", {of_run("rl_episode_return"): "-100x60 -300x60"}, "55m"),
    fires(
        "EntropyCollapsed",
        {of_run("rl_policy_entropy"): "0-1x80"},
        "35m",
        summary="Policy of run r1 has stopped exploring",
        **RUN,
    ),
    is_quiet("EntropyCollapsed", {of_run("rl_policy_entropy"): "-12x80"}, "35m"),
    fires(
        "KLTooHigh",
        {of_run("rl_kl_divergence"): "0.5x40"},
        "12m",
        summary="Updates of run r1 move the policy by 500m nats",
        **RUN,
    ),
    is_quiet("KLTooHigh", {of_run("rl_kl_divergence"): "0.01x19 0.5 0.01x20"}, "12m"),
    fires(
        "CheckpointStale",
        {of_run("rl_checkpoint_timestamp_seconds"): "0x180"},
        "70m",
        summary="Newest checkpoint of run r1 is 1h 10m 0s old",
        **RUN,
    ),
    is_quiet("CheckpointStale", {of_run("rl_checkpoint_timestamp_seconds"): "600x180"}, "70m"),
    fires(
        "CurriculumStuck",
        {
            of_run("rl_stage_env_steps"): "3000000x80",
            of_run("rl_env_steps_total"): "4000000x80",
            of_run("rl_stage_number"): "1x80",
            of_run("rl_stages"): "3x80",
        },
        "35m",
        summary="Run r1 has played one stage for 3M steps",
        **RUN,
    ),
    is_quiet(
        "CurriculumStuck",
        {
            of_run("rl_stage_env_steps"): "3000000x80",
            of_run("rl_env_steps_total"): "4000000x80",
            of_run("rl_stage_number"): "3x80",
            of_run("rl_stages"): "3x80",
        },
        "35m",
    ),
    fires(
        "AgentErrorRatioHigh",
        answers({"decision": "0+90x400", "error": "0+10x400"}),
        "20m",
        summary="Agent a cannot answer 10% of its requests",
        agent="a",
    ),
    is_quiet("AgentErrorRatioHigh", answers({"decision": "0+100x400"}), "20m"),
    is_quiet("AgentErrorRatioHigh", answers({"decision": "5x400", "error": "5x400"}), "20m"),
    fires(
        "AgentLatencyBurn",
        answers({"decision": "0+100x400"}, slow="0+50x400"),
        "70m",
        summary="Agent a: 50% of decisions take longer than 10 ms",
        agent="a",
    ),
    is_quiet("AgentLatencyBurn", answers({"decision": "0+100x400"}, slow="0+99x400"), "70m"),
    is_quiet(  # a short burst that is over: the hour still burns, the five minutes do not
        "AgentLatencyBurn",
        answers({"decision": "0+100x400"}, slow="0+100x60 6000x40 6100+100x300"),
        "70m",
    ),
    fires(
        "FallbackRatioHigh",
        answers({"decision": "0+50x400", "fallback": "0+50x400"}),
        "30m",
        summary="The expert answers 50% of the requests to a",
        agent="a",
    ),
    is_quiet("FallbackRatioHigh", answers({"decision": "0+90x400", "fallback": "0+10x400"}), "30m"),
    fires(
        "ConstraintViolations",
        answers({"decision": "0+100x400"})
        | {'agent_guardrail_total{agent="a",constraint="capacity.cpu"}': "0+80x400"},
        "30m",
        summary="80% of the decisions of a had to be cut",
        agent="a",
    ),
    is_quiet("ConstraintViolations", answers({"decision": "0+100x400"}), "30m"),
    fires(
        "CircuitOpen",
        {'agent_circuit_open{agent="a",version="3"}': "0x4 1x40"},
        "10m",
        summary="The policy of a 3 is left alone",
        agent="a",
        version="3",
    ),
    is_quiet("CircuitOpen", {'agent_circuit_open{agent="a",version="3"}': "0x4 1x2 0x40"}, "10m"),
    fires(
        "AgentRolledBack",
        {'agent_rollbacks_total{agent="a",rule="latency"}': "0x4 1x40"},
        "8m",
        summary="A challenger of a was rolled back: latency",
        agent="a",
        rule="latency",
    ),
    fires(  # the first rollback of a server: the series begins with it
        "AgentRolledBack",
        {'agent_rollbacks_total{agent="a",rule="latency"}': "_x60 1x40"},
        "35m",
        summary="A challenger of a was rolled back: latency",
        agent="a",
        rule="latency",
    ),
    is_quiet("AgentRolledBack", {'agent_rollbacks_total{agent="a",rule="latency"}': "2x80"}, "30m"),
    fires(
        "DriftDetected",
        {'agent_drift_score{agent="a"}': "0.1x4 0.5x60"},
        "20m",
        summary="Requests to a have drifted: 500m",
        agent="a",
    ),
    is_quiet("DriftDetected", {'agent_drift_score{agent="a"}': "0.2x60"}, "20m"),
    fires(
        "RegretHigh",
        {'agent_regret_mean{agent="a"}': "2x120"},
        "40m",
        summary="The expert would have done better than a by 2 a decision",
        agent="a",
    ),
    is_quiet("RegretHigh", {'agent_regret_mean{agent="a"}': "-2x120"}, "40m"),
    fires(
        "DecisionRecordsDropped",
        {"agent_decision_records_dropped_total": "0x8 7x40"},
        "6m",
        summary="Records of decisions are being lost",
    ),
    is_quiet("DecisionRecordsDropped", {"agent_decision_records_dropped_total": "7x60"}, "20m"),
    fires(
        "QueueStuck",
        {"job_oldest_waiting_seconds": "0+30x100"},
        "20m",
        summary="A job has waited for 20m 0s",
    ),
    is_quiet("QueueStuck", {"job_oldest_waiting_seconds": "0+30x10 0x100"}, "20m"),
    fires(
        "WorkersLost",
        {'job_lost_total{kind="train"}': "0x10 1x40"},
        "8m",
        summary="A worker has vanished",
        kind="train",
    ),
    fires(
        "WorkersLost",
        {"job_lease_remaining_seconds": "30x4 20 10 0 -10 -20 -30x40"},
        "8m",
        summary="A worker has vanished",
    ),
    is_quiet(
        "WorkersLost",
        {"job_lease_remaining_seconds": "25x60", 'job_lost_total{kind="train"}': "4x60"},
        "20m",
    ),
    fires(
        "JobsDead",
        {'job_jobs{kind="train",state="dead"}': "0x20 2x60"},
        "15m",
        summary="2 jobs of kind train were given up",
        kind="train",
        state="dead",
    ),
    is_quiet("JobsDead", {'job_jobs{kind="train",state="dead"}': "2x80"}, "20m"),
    fires(
        "JobFiguresStale",
        {"job_snapshot_timestamp_seconds": "0x40"},
        "8m",
        summary="Figures of jobs are 8m 0s old",
    ),
    is_quiet("JobFiguresStale", {"job_snapshot_timestamp_seconds": "0+30x40"}, "8m"),
    fires(
        "ScrapeDown",
        {'up{job="quartermaster",instance="127.0.0.1:8321"}': "1x4 0x20"},
        "6m",
        summary="127.0.0.1:8321 does not answer",
        job="quartermaster",
        instance="127.0.0.1:8321",
    ),
    is_quiet("ScrapeDown", {'up{job="quartermaster",instance="127.0.0.1:8321"}': "1x40"}, "6m"),
]


def play(cases: list[Case], folder: Path, rules: list[Path] = RULES) -> str:
    """Return what promtool says of some cases; nothing if all is well."""
    document = {
        "rule_files": [str(path) for path in rules],
        "evaluation_interval": "30s",
        "group_eval_order": GROUPS,
        "tests": [written(case) for case in cases],
    }
    file = folder / "cases.yml"
    file.write_text(yaml.safe_dump(document))
    assert PROMTOOL is not None
    ended = subprocess.run(
        [PROMTOOL, "test", "rules", file], capture_output=True, text=True, check=False
    )
    return "" if ended.returncode == 0 else ended.stdout + ended.stderr


def written(case: Case) -> dict[str, object]:
    rule = ALERTS[case.alert]
    expected = {
        "exp_labels": {**case.labels, **rule["labels"]},
        "exp_annotations": {**rule["annotations"], "summary": case.summary},
    }
    return {
        "interval": "30s",
        "input_series": [{"series": name, "values": one} for name, one in case.series.items()],
        "alert_rule_test": [
            {
                "eval_time": case.at,
                "alertname": case.alert,
                "exp_alerts": [] if case.summary is None else [expected],
            }
        ],
    }


@needs_promtool
def test_alerts_fire_when_they_should_and_only_then(tmp_path):
    assert play(CASES, tmp_path) == ""


@needs_promtool
def test_a_threshold_that_is_off_would_be_seen(tmp_path):
    blunt = tmp_path / "alerts.yml"
    blunt.write_text(RULES[1].read_text().replace("age:seconds > 120", "age:seconds > 1e9"))
    stalled = [case for case in CASES if case.alert == "TrainingStalled"]
    assert "TrainingStalled" in play(stalled, tmp_path, [RULES[0], blunt])


@needs_promtool
def test_the_configuration_is_sound():
    assert PROMTOOL is not None
    command = [PROMTOOL, "check", "config", PROMETHEUS / "prometheus.yml"]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_tested_both_ways_and_explained(alert):
    told = [case.summary is not None for case in CASES if case.alert == alert]
    assert set(told) == {True, False}
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    runbook = ROOT / rule["annotations"]["runbook_url"]
    assert runbook.name == f"{alert}.md"
    text = runbook.read_text()
    assert text.startswith(f"# {alert}\n")
    for heading in ("## What it means", "## Look", "## Do"):
        assert heading in text


def test_rules_speak_of_what_is_exposed():
    page = (ROOT / "docs" / "metrics.md").read_text()
    exposed = set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE))
    rules = [
        rule
        for path in RULES
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]
    used = {name for rule in rules for name in re.findall(r"\b(?:rl|agent|job)_\w+", rule["expr"])}
    plain = {re.sub(r"_(bucket|count|sum)$", "", name) for name in used}
    assert plain <= exposed, plain - exposed
    recorded = {rule["record"] for rule in rules if "record" in rule}
    spoken = {
        name for rule in rules for name in re.findall(r"\b(?:run|agent|job):[\w:]+", rule["expr"])
    }
    assert spoken <= recorded, spoken - recorded


def test_runbooks_name_commands_that_exist():
    known = {one.name or one.callback.__name__ for one in cli.registered_commands if one.callback}
    known |= {one.name for one in cli.registered_groups if one.name}
    pages = [path.read_text() for path in (ROOT / "docs" / "runbooks").glob("*.md")]
    told = {name for page in pages for name in re.findall(r"python -m orchestration (\w+)", page)}
    assert told
    assert told <= known, told - known
