"""The state machine of jobs: what each event does, and what no sequence of events can do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.events import (
    Announce,
    Claimed,
    CloseAttempt,
    Completed,
    Failed,
    Lost,
    OpenAttempt,
    Renewed,
    Requested,
    Started,
    Stopped,
    decide,
)
from orchestration.jobs import Desired, Job, JobState, JobTransitionError, LeaseLostError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=30)


def make_job(**fields):
    return Job(**{"id": "j", "kind": "k", "run_at": NOW, "created_at": NOW, **fields})


def running(**fields):
    live = {"state": JobState.RUNNING, "attempt": 1, "fence": 1, "lease_until": LATER}
    return make_job(**{**live, **fields})


FAILED = Failed(fence=1, error_class="crashed", error="signal 9", retry_at=LATER)
HOPELESS = Failed(fence=1, error_class="user", error="ValueError", retry_at=None)
LOST = Lost(fence=1, reason="lease ran out", retry_at=NOW)


@pytest.mark.parametrize(
    ("job", "event", "state"),
    [
        (make_job(), Claimed(worker_id="w", lease_until=LATER), JobState.LEASED),
        (make_job(), Requested(desired=Desired.CANCEL), JobState.CANCELLED),
        (make_job(), Requested(desired=Desired.PAUSE), JobState.PAUSED),
        (make_job(state=JobState.PAUSED), Requested(desired=Desired.RUN), JobState.PAUSED),
        (
            make_job(state=JobState.PAUSED, desired=Desired.PAUSE),
            Requested(desired=Desired.RUN),
            JobState.QUEUED,
        ),
        (running(state=JobState.LEASED), Started(fence=1, pid=7), JobState.RUNNING),
        (running(), Requested(desired=Desired.CANCEL), JobState.CANCELLING),
        (running(), Requested(desired=Desired.PAUSE), JobState.RUNNING),
        (running(), Completed(fence=1, result={}), JobState.SUCCEEDED),
        (running(), Stopped(fence=1), JobState.QUEUED),
        (running(desired=Desired.PAUSE), Stopped(fence=1), JobState.PAUSED),
        (running(desired=Desired.CANCEL), Stopped(fence=1), JobState.CANCELLED),
        (running(), FAILED, JobState.RETRY_WAIT),
        (running(), HOPELESS, JobState.FAILED),
        (running(attempt=3), FAILED, JobState.DEAD),
        (running(desired=Desired.CANCEL), FAILED, JobState.CANCELLED),
        (running(desired=Desired.PAUSE), FAILED, JobState.PAUSED),
        (running(), LOST, JobState.RETRY_WAIT),
        (running(lost=10), LOST, JobState.DEAD),
        (running(desired=Desired.CANCEL), LOST, JobState.CANCELLED),
    ],
)
def test_event_leads_to_state(job, event, state):
    assert decide(job, event, NOW)[0].state is state


def test_claim_counts_the_attempt_and_raises_the_fence():
    job, effects = decide(make_job(fence=4), Claimed(worker_id="w", lease_until=LATER), NOW)
    assert (job.attempt, job.fence, job.lease_owner, job.lease_until) == (1, 5, "w", LATER)
    assert OpenAttempt(worker_id="w") in effects


def test_job_not_due_is_not_claimed():
    with pytest.raises(JobTransitionError):
        decide(make_job(run_at=LATER), Claimed(worker_id="w", lease_until=LATER), NOW)


def test_stop_and_loss_cost_no_attempt():
    assert decide(running(), Stopped(fence=1), NOW)[0].attempt == 0
    lost = decide(running(), LOST, NOW)[0]
    assert (lost.attempt, lost.lost) == (0, 1)


@pytest.mark.parametrize("desired", [Desired.RUN, Desired.PAUSE])
def test_nothing_takes_a_cancel_back(desired):
    asked = running(state=JobState.CANCELLING, desired=Desired.CANCEL)
    assert decide(asked, Requested(desired=desired), NOW) == (asked, ())


def test_end_closes_the_attempt_and_tells():
    job, effects = decide(running(), HOPELESS, NOW)
    assert job.finished_at == NOW
    assert effects == (
        CloseAttempt(outcome="failed", error_class="user", error="ValueError"),
        Announce(type="job_failed", payload={"error": "ValueError"}),
    )


@pytest.mark.parametrize("event", [Completed(fence=1, result={}), LOST, Started(fence=1, pid=1)])
@pytest.mark.parametrize("job", [running(fence=2), make_job(fence=1)])
def test_an_attempt_that_does_not_own_the_job_is_refused(job, event):
    with pytest.raises(LeaseLostError):
        decide(job, event, NOW)


fences = st.integers(0, 6)
moments = st.integers(0, 60).map(lambda seconds: NOW + timedelta(seconds=seconds))
events = st.one_of(
    st.builds(Claimed, worker_id=st.just("w"), lease_until=moments),
    st.builds(Started, fence=fences, pid=st.just(1)),
    st.builds(Renewed, fence=fences, lease_until=moments, progress=st.just((1, 2))),
    st.builds(Completed, fence=fences, result=st.just({})),
    st.builds(Stopped, fence=fences),
    st.builds(
        Failed,
        fence=fences,
        error_class=st.just("crashed"),
        error=st.just("e"),
        retry_at=st.one_of(st.none(), moments),
    ),
    st.builds(Lost, fence=fences, reason=st.just("r"), retry_at=moments),
    st.builds(Requested, desired=st.sampled_from(Desired)),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(events, min_size=10, max_size=40), st.booleans())
def test_no_sequence_of_events_breaks_the_promises(sequence, follow_fence):
    job = make_job(max_attempts=2, max_lost=2)
    now = NOW
    for drawn in sequence:
        event = drawn
        if follow_fence and hasattr(drawn, "fence"):
            event = replace(drawn, fence=job.fence)
        now += timedelta(seconds=10)
        try:
            after, effects = decide(job, event, now)
        except (LeaseLostError, JobTransitionError):
            continue
        if job.state.is_terminal:
            assert (after, effects) == (job, ())
        assert after.fence >= job.fence
        assert 0 <= after.attempt <= after.max_attempts
        assert after.lost <= after.max_lost + 1
        assert after.state.is_live == (after.lease_until is not None)
        assert after.state.is_terminal == (after.finished_at is not None)
        if job.desired is Desired.CANCEL:
            assert after.desired is Desired.CANCEL
            assert after.state in {
                JobState.CANCELLING,
                JobState.CANCELLED,
                JobState.SUCCEEDED,  # the work was done before the stop arrived
                JobState.FAILED,
                JobState.DEAD,
            }
            if not job.state.is_terminal:
                assert after.state not in {JobState.FAILED, JobState.DEAD}
        job = after
