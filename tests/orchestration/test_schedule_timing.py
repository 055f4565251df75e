"""When schedules fire: clocks that change, look after look, and two of them at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.scheduler.plan import GRACE, Misfire, plan_fires
from orchestration.scheduler.timing import (
    Cron,
    Interval,
    Once,
    OnEvent,
    read_moment,
    timing_from_json,
    timing_to_json,
)
from utils.errors import ConfigError

START = datetime(2026, 3, 28, 12, tzinfo=UTC)
BERLIN = "Europe/Berlin"
NIGHTLY = Cron(expression="30 2 * * *", zone=BERLIN)


def utc(*numbers):
    return datetime(*numbers, tzinfo=UTC)


def fires_after(timing, moment, count):
    found = []
    for _ in range(count):
        moment = timing.after(moment)
        found.append(moment)
    return found


def test_an_hour_that_is_left_out_fires_right_after_the_gap():
    # On 2026-03-29 Berlin goes from 02:00 to 03:00.
    assert fires_after(NIGHTLY, utc(2026, 3, 28, 12), 2) == [
        utc(2026, 3, 29, 1),  # 03:00 summer time
        utc(2026, 3, 30, 0, 30),
    ]


def test_an_hour_that_comes_twice_fires_once():
    # On 2026-10-25 Berlin goes back from 03:00 to 02:00; 02:30 comes at 00:30 and 01:30 UTC.
    first, second = utc(2026, 10, 25, 0, 30), utc(2026, 10, 26, 1, 30)
    assert fires_after(NIGHTLY, utc(2026, 10, 24, 12), 2) == [first, second]
    # Asked within the repeated hour it does not go back.
    assert NIGHTLY.after(utc(2026, 10, 25, 1, 10)) == second


def test_every_half_hour_goes_on_through_both_changes():
    often = Cron(expression="*/30 * * * *", zone=BERLIN)
    for day in (utc(2026, 3, 28, 23), utc(2026, 10, 24, 23)):
        expected = [day + timedelta(minutes=30 * n) for n in range(1, 9)]
        assert fires_after(often, day, 8) == expected


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Cron(expression="* * * *"), "five fields"),
        (lambda: Cron(expression="@daily"), "five fields"),
        (lambda: Cron(expression="99 * * * *"), "minute"),
        (lambda: Cron(expression="0 0 31 2 *"), "day-of-month"),
        (lambda: Cron(expression="0 0 * * *", zone="Mars/Base"), "Mars/Base"),
        (lambda: Cron(expression="0 0 * * *", zone="../../etc/passwd"), "IANA"),
        (lambda: Interval(seconds=0.5, start=START), "every=0.5"),
        (lambda: Interval(seconds=float("nan"), start=START), "every=nan"),
        (lambda: Interval(seconds=60, start=datetime(2026, 1, 1)), "offset"),  # noqa: DTZ001
        (lambda: Once(at=datetime(2026, 1, 1)), "offset"),  # noqa: DTZ001
        (lambda: read_moment("tomorrow"), "no moment"),
        (lambda: read_moment("2026-12-24T18:00"), "offset"),
        (lambda: OnEvent(type=" "), "event's type"),
        (lambda: OnEvent(type="drift", cooldown_seconds=-1), "cooldown"),
        (lambda: timing_from_json({"kind": "moon"}), "moon"),
        (lambda: timing_from_json({"kind": "cron", "expression": "0 0 * * *", "x": 1}), "x"),
    ],
)
def test_what_cannot_be_is_refused(make, word):
    with pytest.raises(ConfigError, match=word):
        make()


@pytest.mark.parametrize(
    "timing",
    [
        NIGHTLY,
        Interval(seconds=90, start=START),
        Once(at=START),
        OnEvent(type="drift_detected", where={"agent": "a"}, cooldown_seconds=5),
    ],
)
def test_timings_survive_json(timing):
    assert timing_from_json(timing_to_json(timing)) == timing


def test_events_match_by_type_and_equal_fields():
    timing = OnEvent(type="drift", where={"agent": "a", "level": None})
    assert timing.matches("drift", {"agent": "a", "level": None, "more": 1})
    assert not timing.matches("drift", {"agent": "b", "level": None})
    assert not timing.matches("drift", {"agent": "a"})  # absent is not null
    assert not timing.matches("other", {"agent": "a", "level": None})


TIMINGS = st.one_of(
    st.builds(
        Cron,
        expression=st.sampled_from(
            ["* * * * *", "*/20 * * * *", "30 2 * * *", "15 1,2 * * *", "0 */2 * * *", "59 1 * * 0"]
        ),
        zone=st.sampled_from([BERLIN, "UTC", "Australia/Lord_Howe", "America/New_York"]),
    ),
    st.builds(
        Interval,
        seconds=st.sampled_from([1, 45, 61.5, 3600, 86_400]),
        start=st.just(START - timedelta(seconds=7)),
    ),
    st.builds(Once, at=st.just(START + timedelta(hours=20))),
)
DAYS = st.sampled_from([utc(2026, 3, 28, 12), utc(2026, 10, 24, 12), utc(2026, 4, 4, 3)])


@settings(max_examples=200, deadline=None)
@given(timing=TIMINGS, day=DAYS, minutes=st.integers(0, 2000), most=st.integers(1, 9))
def test_the_newest_fires_of_a_span_are_the_last_ones_of_all(timing, day, minutes, most):
    until = day + timedelta(minutes=minutes)
    after = max(day, until - timedelta(hours=5))
    every, moment = [], timing.after(after)
    while moment is not None and moment <= until:
        every.append(moment)
        moment = timing.after(moment)
    assert timing.newest(after, until, most) == every[-most:]


LOOKS = st.lists(
    st.tuples(st.integers(0, 1), st.floats(-300, 5000), st.booleans()), min_size=1, max_size=30
)


@settings(max_examples=200, deadline=None)
@given(
    timing=TIMINGS,
    misfire=st.sampled_from(list(Misfire)),
    looks=LOOKS,
    skew=st.floats(-20, 20),
)
def test_two_schedulers_and_a_jumping_clock_lose_nothing_and_double_nothing(
    timing, misfire, looks, skew
):
    """Each look: who looks, by how much the clock moved, and whether it dies before its commit."""
    rows, launched = set(), []
    state = START
    now, latest, earliest = START, START, START
    for who, moved, dies in looks:
        now += timedelta(seconds=moved)
        seen = now + timedelta(seconds=skew * who)  # the second machine's clock is off
        due = plan_fires(timing, misfire, 1000, handled_until=state, now=seen)
        earliest = min(earliest, seen)  # a clock that is set back makes earlier times due again
        assert all(earliest < time <= seen for time in due.times)
        assert list(due.times) == sorted(set(due.times))
        if dies:
            continue
        for time in due.times:
            if time not in rows:  # the primary key
                rows.add(time)
                launched.append(time)
        state, latest = due.handled_until, max(latest, seen)
        if misfire is not Misfire.CATCH_UP:
            continue
        # All that was due up to this look has been fired, but for what lies far back.
        expected = timing.newest(START, min(seen, latest), 50)
        assert set(expected[-50:]) <= rows
    assert len(launched) == len(set(launched))


@settings(max_examples=100, deadline=None)
@given(timing=TIMINGS, steps=st.lists(st.integers(1, 55), min_size=5, max_size=40))
def test_whoever_looks_often_enough_misses_nothing_under_any_policy(timing, steps):
    for misfire in Misfire:
        state = now = START + timedelta(hours=12)
        found = []
        for step in steps:
            now += timedelta(seconds=step)
            due = plan_fires(timing, misfire, 1, handled_until=state, now=now)
            assert due.missed_since is None
            assert due.next_time == timing.after(now)
            found += due.times
            state = due.handled_until
        assert found == timing.newest(START + timedelta(hours=12), now, 10_000)


def test_late_fires_follow_the_policy():
    every_minute = Cron(expression="* * * * *")
    now = START + timedelta(minutes=30)
    on_time = [now]

    def due(misfire, catch_up=3, timing=every_minute):
        return plan_fires(timing, misfire, catch_up, handled_until=START, now=now)

    line = now - GRACE
    assert list(due(Misfire.SKIP).times) == on_time
    assert list(due(Misfire.ONCE).times) == on_time
    rare = Cron(expression="*/7 * * * *")
    assert list(due(Misfire.ONCE, timing=rare).times) == [START + timedelta(minutes=28)]
    late = [line - timedelta(minutes=n) for n in (2, 1, 0)]
    assert list(due(Misfire.CATCH_UP).times) == [*late, *on_time]
    assert due(Misfire.CATCH_UP, 1000).missed_since is None
    assert due(Misfire.CATCH_UP).missed_since == START + timedelta(minutes=1)


def test_a_clock_that_was_far_ahead_does_not_silence_a_schedule():
    hourly = Cron(expression="0 * * * *")
    ahead = plan_fires(
        hourly, Misfire.SKIP, 1, handled_until=START, now=START + timedelta(days=365)
    )
    back = START + timedelta(minutes=10)
    again = plan_fires(hourly, Misfire.SKIP, 1, handled_until=ahead.handled_until, now=back)
    assert again.next_time == START + timedelta(hours=1)
    assert again.times == ()
