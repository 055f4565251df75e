"""Which version a key meets, and when a challenger must go: pure rules."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.rollout.judge import Rule, Sample, Window, judge, lower_bound, slowest_but_few
from orchestration.rollout.plan import CanaryLimits, CanaryPlan, check_share, place_of
from utils.errors import ConfigError
from utils.persistence.rollout_log import CanaryState

AT = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = CanaryLimits()
PLAN = CanaryPlan(
    agent="a", revision=1, version=2, share=0.1, state=CanaryState.RUNNING, since=AT, changed_at=AT
)
SOUND = Sample(outcome="decision", seconds=0.001)
FELL = Sample(outcome="fallback", seconds=0.001)
BROKE = Sample(outcome="error", seconds=0.001)
SLOW = Sample(outcome="decision", seconds=0.5)
FIGURES = [0.229041, 0.749155, 0.455454]  # of the keys k0, k1, k2: the same everywhere, for good


# Routing


def test_places_are_the_same_in_every_process():
    assert [place_of("a", f"k{n}") for n in range(3)] == pytest.approx(FIGURES, abs=1e-6)
    code = "from orchestration.rollout.plan import place_of; print(place_of('a', 'k0'))"
    command = [sys.executable, "-c", code]
    said = {
        subprocess.run(
            command, env={"PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2")
    }
    assert said == {f"{place_of('a', 'k0')!r}\n".encode()}


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_share_reaches_as_many_keys(share):
    plan = replace(PLAN, share=share)
    reached = sum(plan.reaches(f"customer {n}") for n in range(4000))
    assert reached / 4000 == pytest.approx(share, abs=0.03)


@given(key=st.text(), low=st.floats(0, 1), high=st.floats(0, 1))
def test_who_is_reached_stays_so_when_the_share_grows(key, low, high):
    low, high = sorted((low, high))
    if replace(PLAN, share=low).reaches(key):
        assert replace(PLAN, share=high).reaches(key)
    assert replace(PLAN, share=1.0).reaches(key)
    assert not replace(PLAN, share=0.0).reaches(key)


@pytest.mark.parametrize("state", [state for state in CanaryState if state != "running"])
def test_an_ended_trial_reaches_nobody(state):
    assert not replace(PLAN, share=1.0, state=state).reaches("k")


def test_agents_draw_their_keys_apart():
    both = sum(place_of("a", f"{n}") < 0.5 and place_of("b", f"{n}") < 0.5 for n in range(2000))
    assert both / 2000 == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": 0},
        {"fewest": 0},
        {"fewest": 201},
        {"window": 10**6},
        {"most_errors": -0.1},
        {"most_fallbacks": 1.0},
        {"most_regret": float("nan")},
        {"most_slowdown": 0.5},
        {"most_slowdown": float("inf")},
        {"slack_seconds": float("nan")},
    ],
)
def test_limits_that_limit_nothing_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        CanaryLimits(**wrong)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_are_shares(share):
    with pytest.raises(ConfigError, match="share="):
        check_share(share)


# The judge


def test_a_challenger_like_the_champion_is_kept():
    assert judge(Window(), LIMITS) is None
    assert judge(Window(challenger=[SOUND] * 200, champion=[SOUND] * 200), LIMITS) is None
    both = [SOUND] * 100 + [FELL] * 100
    assert judge(Window(challenger=both, champion=both, regrets=[0.0] * 200), LIMITS) is None


@pytest.mark.parametrize(
    ("bad", "rule"), [(BROKE, Rule.ERRORS), (FELL, Rule.FALLBACKS), (SLOW, Rule.LATENCY)]
)
def test_a_bad_one_is_caught_after_the_fewest_and_not_before(bad, rule):
    champion = [SOUND] * 200
    few = Window(challenger=[bad] * (LIMITS.fewest - 1), champion=champion)
    assert judge(few, LIMITS) is None
    found = judge(Window(challenger=[bad] * LIMITS.fewest, champion=champion), LIMITS)
    assert found is not None
    assert (found.rule, found.samples) == (rule, LIMITS.fewest)
    assert found.figure > found.limit


def test_one_that_fails_a_little_too_often_is_caught_within_the_window():
    window = [SOUND] * 168 + [FELL] * 32
    assert judge(Window(challenger=window), LIMITS) is not None
    assert judge(Window(challenger=[SOUND] * 186 + [FELL] * 14), LIMITS) is None


def test_bad_luck_once_is_no_reason():
    assert judge(Window(challenger=[SOUND] * 29 + [FELL]), LIMITS) is None
    assert judge(Window(challenger=[SOUND] * 29 + [BROKE]), LIMITS) is None


def test_what_befalls_the_champion_too_is_not_held_against_the_challenger():
    half = [SOUND, FELL] * 50
    assert judge(Window(challenger=half), LIMITS) is not None
    assert judge(Window(challenger=half, champion=half), LIMITS) is None
    slow = [SLOW] * 50
    assert judge(Window(challenger=slow, champion=slow), LIMITS) is None
    assert judge(Window(challenger=slow), LIMITS) is None  # nothing to compare with


def test_slowness_within_the_slack_is_let_pass():
    quick = [Sample(outcome="decision", seconds=0.0001)] * 50
    ten_times = [Sample(outcome="decision", seconds=0.001)] * 50
    assert judge(Window(challenger=ten_times, champion=quick), LIMITS) is None
    strict = replace(LIMITS, slack_seconds=0.0)
    found = judge(Window(challenger=ten_times, champion=quick), strict)
    assert found is not None
    assert "up to 1 ms, 0.2 ms are allowed" in found.reason


def test_regret_counts_when_it_is_beyond_doubt():
    found = judge(Window(regrets=[0.1, 0.12] * 10), LIMITS)
    assert found is not None
    assert (found.rule, found.samples) == (Rule.REGRET, 20)
    assert "11.0% more value over 20 requests, 2.0% are allowed" in found.reason
    assert judge(Window(regrets=[0.1, 0.12] * 9), LIMITS) is None
    assert judge(Window(regrets=[0.5, -0.4] * 10), LIMITS) is None  # mean 0.05, but who knows
    assert judge(Window(regrets=[-0.5] * 100), LIMITS) is None


def test_bounds_and_percentiles_by_hand():
    assert lower_bound(20, 20) == pytest.approx(20 / 29)
    assert lower_bound(0, 50) == 0.0
    assert slowest_but_few([float(n) for n in range(1, 101)]) == 95.0
    assert slowest_but_few([3.0]) == 3.0


samples = st.builds(
    Sample, outcome=st.sampled_from(["decision", "fallback", "error"]), seconds=st.floats(0, 10)
)


@settings(max_examples=50)
@given(window=st.lists(samples, max_size=60), regrets=st.lists(st.floats(-2, 2), max_size=60))
def test_nobody_is_worse_than_himself(window, regrets):
    assert judge(Window(challenger=window, champion=window), LIMITS) is None
    found = judge(Window(challenger=window, regrets=regrets), LIMITS)
    assert found is None or found.figure > found.limit
