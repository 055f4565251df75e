"""The circuit breaker against a plain model of it, and in front of an agent that keeps failing."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
)

from orchestration.decision_ports import Verdict
from orchestration.delegation.circuit_breaker import BreakerConfig, CircuitBreakers, Phase
from rl.monitoring.serving_metrics import ServingMetrics
from utils.clock import ManualClock
from utils.errors import ConfigError
from utils.observability import make_registry

CONFIG = BreakerConfig(max_failures=3, window_seconds=10, open_seconds=6)


class BreakerMachine(RuleBasedStateMachine):
    """Remembers every verdict and derives from them what the breaker must do."""

    tellers = Bundle("tellers")

    def __init__(self):
        super().__init__()
        self.clock = ManualClock()
        self.breakers = CircuitBreakers(self.clock, CONFIG)
        self.failures = []  # since it closed
        self.opened_at = None  # None while closed
        self.trial = None  # the valid trial's number while half open
        self.trial_at = None
        self.number = 0
        self.epoch = 0

    @rule(seconds=st.sampled_from([0.5, 1, 3, 6, 10]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @rule(target=tellers)
    def ask(self):
        now = self.clock.monotonic()
        tell = self.breakers.admit("a", "1")
        if self.opened_at is None:
            assert tell is not None
            return (tell, ("closed", self.epoch))
        pause_from = self.opened_at if self.trial_at is None else self.trial_at
        if now - pause_from < CONFIG.open_seconds:
            assert tell is None
            return multiple()
        assert tell is not None
        self.number += 1
        self.trial, self.trial_at = self.number, now
        return (tell, ("trial", self.number))

    @rule(asked=tellers, verdict=st.sampled_from(list(Verdict)))
    def hear(self, asked, verdict):
        tell, (kind, number) = asked
        tell(verdict)
        now = self.clock.monotonic()
        if kind == "closed":
            if self.opened_at is None and number == self.epoch and verdict is Verdict.FAILED:
                self.failures.append(now)
                recent = [at for at in self.failures if now - at < CONFIG.window_seconds]
                if len(recent) >= CONFIG.max_failures:
                    self.open(now)
        elif number == self.trial:
            if verdict is Verdict.SOUND:
                self.opened_at = self.trial = self.trial_at = None
                self.failures, self.epoch = [], self.epoch + 1
            elif verdict is Verdict.FAILED:
                self.open(now)
            else:
                self.trial_at = -CONFIG.open_seconds - 1  # the next one may try at once

    def open(self, now):
        self.opened_at, self.trial, self.trial_at = now, None, None

    @invariant()
    def phases_agree(self):
        phase = self.breakers.phase("a", "1")
        if self.opened_at is None:
            assert phase is Phase.CLOSED
        else:
            assert phase is (Phase.OPEN if self.trial_at is None else Phase.HALF_OPEN)
        assert self.breakers.phase("a", "2") is Phase.CLOSED

    @precondition(lambda self: self.opened_at is None)
    @rule()
    def it_opens(self):
        while self.opened_at is None:
            self.hear(self.ask(), Verdict.FAILED)

    @precondition(lambda self: self.opened_at is not None)
    @rule(verdict=st.sampled_from(list(Verdict)))
    def it_is_tried(self, verdict):
        self.clock.advance(CONFIG.open_seconds)
        self.hear(self.ask(), verdict)

    @precondition(lambda self: self.opened_at is not None)
    @rule()
    def it_always_recovers(self):
        self.clock.advance(CONFIG.open_seconds)
        self.hear(self.ask(), Verdict.SOUND)
        assert self.breakers.phase("a", "1") is Phase.CLOSED


BreakerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBreaker = BreakerMachine.TestCase


def fail(breakers, times=1, verdict=Verdict.FAILED):
    for _ in range(times):
        breakers.admit("a", "1")(verdict)


def test_failures_far_apart_do_not_open_it():
    clock = ManualClock()
    breakers = CircuitBreakers(clock, CONFIG)
    for _ in range(20):
        fail(breakers)
        clock.advance(5)
    assert breakers.phase("a", "1") is Phase.CLOSED
    fail(breakers, 2)
    assert breakers.phase("a", "1") is Phase.OPEN


def test_only_one_tries_and_the_others_wait_for_its_verdict():
    clock = ManualClock()
    breakers = CircuitBreakers(clock, CONFIG)
    fail(breakers, 3)
    assert breakers.admit("a", "1") is None
    assert breakers.admit("a", "2") is not None
    clock.advance(6)
    trial = breakers.admit("a", "1")
    assert breakers.admit("a", "1") is None
    trial(Verdict.FAILED)
    clock.advance(5.9)
    assert breakers.admit("a", "1") is None
    clock.advance(0.1)
    breakers.admit("a", "1")(Verdict.SOUND)
    assert breakers.phase("a", "1") is Phase.CLOSED


def test_what_was_asked_before_it_opened_is_not_heard_after():
    clock = ManualClock()
    breakers = CircuitBreakers(clock, CONFIG)
    early = breakers.admit("a", "1")
    fail(breakers, 3)
    early(Verdict.SOUND)
    assert breakers.phase("a", "1") is Phase.OPEN
    clock.advance(6)
    trial = breakers.admit("a", "1")
    early(Verdict.SOUND)
    assert breakers.phase("a", "1") is Phase.HALF_OPEN
    clock.advance(6)
    second = breakers.admit("a", "1")
    trial(Verdict.SOUND)  # given up, its time was over
    assert breakers.phase("a", "1") is Phase.HALF_OPEN
    second(Verdict.SOUND)
    early(Verdict.FAILED)
    fail(breakers, 2)
    assert breakers.phase("a", "1") is Phase.CLOSED


def test_a_gauge_shows_whose_policy_is_left_alone():
    clock, registry = ManualClock(), make_registry()
    breakers = CircuitBreakers(clock, CONFIG, tell=ServingMetrics(registry).circuit_changed)

    def shown(version="1"):
        labels = {"agent": "a", "version": version}
        return registry.get_sample_value("agent_circuit_open", labels)

    assert shown() is None
    fail(breakers, 2)
    assert shown() == 0
    fail(breakers)
    breakers.admit("a", "2")
    assert (shown(), shown("2")) == (1, 0)
    clock.advance(6)
    trial = breakers.admit("a", "1")
    assert shown() == 1
    trial(Verdict.SOUND)
    assert shown() == 0


@pytest.mark.parametrize(
    "wrong", [{"max_failures": 0}, {"window_seconds": 0}, {"open_seconds": float("nan")}]
)
def test_settings_are_checked(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        BreakerConfig(**wrong)
