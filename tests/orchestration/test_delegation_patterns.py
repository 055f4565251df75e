"""Patterns of asking: bounds hold, deadlines hold, losers stop, each call gets its result."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.delegation.calls import Call, CallOutcome, Limits
from orchestration.delegation.combination import Combination, average, mean_distance, vote
from orchestration.delegation.patterns import Patterns, Step
from utils.clock import ManualClock
from utils.errors import ConfigError

pytestmark = pytest.mark.anyio
LIMITS = Limits(max_at_once=2, call_seconds=5, total_seconds=12)


class Stage:
    """Answerers on a clock that a test turns."""

    def __init__(self, limits=LIMITS):
        self.clock = ManualClock()
        self.patterns = Patterns(self.clock, limits)
        self.now_at_work, self.most_at_work = 0, 0
        self.begun, self.cancelled = [], []

    def call(self, name, *, seconds=0.0, answer=None, error=None, deadline=None):
        async def ask(request):
            self.begun.append(name)
            self.now_at_work += 1
            self.most_at_work = max(self.most_at_work, self.now_at_work)
            try:
                await self.clock.sleep(seconds)
                await anyio.lowlevel.checkpoint()
            except anyio.get_cancelled_exc_class():
                self.cancelled.append(name)
                raise
            finally:
                self.now_at_work -= 1
            if error is not None:
                raise error
            return request if answer is None else answer

        return Call(name=name, ask=ask, request=f"to {name}", deadline_seconds=deadline)

    async def play(self, work, *, step=1.0):
        """Run some work while time passes step by step; say when it ended."""
        ended = []

        async def carry():
            ended.append(await work())

        async with anyio.create_task_group() as group:
            group.start_soon(carry)
            for _ in range(1000):
                await settle()
                if ended:
                    break
                self.clock.advance(step)
            group.cancel_scope.cancel()
        (result,) = ended
        return result, self.clock.monotonic()


async def settle():
    """Let all others go on until they wait; those that are being cancelled try for ever."""
    for _ in range(100):
        await anyio.lowlevel.checkpoint()
        if not asyncio.get_running_loop()._ready:
            return


def outcomes(results):
    return [result.outcome.value for result in results]


async def test_failures_stand_beside_answers_in_the_order_of_the_calls():
    stage = Stage()
    calls = [
        stage.call("a", seconds=3),
        stage.call("b", error=ValueError("no such service")),
        stage.call("c", seconds=99),
        stage.call("d", seconds=1),
    ]
    results, at = await stage.play(lambda: stage.patterns.parallel(calls))
    assert [result.name for result in results] == ["a", "b", "c", "d"]
    assert outcomes(results) == ["answered", "failed", "timed_out", "answered"]
    assert [result.answer for result in results] == ["to a", None, None, "to d"]
    assert results[1].error == "ValueError: no such service"
    assert results[2].error == "no answer in time"
    assert [result.duration_seconds for result in results] == [3, 0, 5, 1]
    assert (at, stage.cancelled) == (5, ["c"])


async def test_an_answer_may_be_none():
    async def ask(request):
        return None

    stage = Stage()
    calls = [Call(name="a", ask=ask, request=1)]
    (result,), _ = await stage.play(lambda: stage.patterns.parallel(calls))
    assert (result.is_answered, result.answer) == (True, None)


async def test_signed_answers_say_their_version():
    class Answer:
        version = "7"

    stage = Stage()
    calls = [stage.call("a", answer=Answer()), stage.call("b")]
    results, _ = await stage.play(lambda: stage.patterns.parallel(calls))
    assert [result.version for result in results] == ["7", None]


async def test_no_calls_give_no_results():
    stage = Stage()
    assert (await stage.play(lambda: stage.patterns.parallel([])))[0] == ()
    race, _ = await stage.play(lambda: stage.patterns.first([]))
    assert (race.winner, race.results) == (None, ())


@settings(max_examples=60, deadline=None)
@given(
    times=st.lists(st.integers(0, 9), max_size=12),
    at_once=st.integers(1, 5),
    call_seconds=st.integers(1, 8),
    total_seconds=st.integers(1, 20),
)
def test_bounds_and_deadlines_hold_whatever_the_calls_take(
    times, at_once, call_seconds, total_seconds
):
    limits = Limits(
        max_at_once=at_once, call_seconds=call_seconds + 0.5, total_seconds=total_seconds + 0.25
    )
    stage = Stage(limits)
    calls = [stage.call(str(i), seconds=seconds) for i, seconds in enumerate(times)]
    results, at = anyio.run(lambda: stage.play(lambda: stage.patterns.parallel(calls), step=0.25))
    assert stage.most_at_work == min(at_once, len(times))
    assert stage.now_at_work == 0
    assert at <= limits.total_seconds
    assert len(results) == len(calls)
    for seconds, result in zip(times, results, strict=True):
        assert result.duration_seconds <= limits.call_seconds
        if result.is_answered:
            assert result.duration_seconds == seconds
        else:
            assert result.outcome is CallOutcome.TIMED_OUT
    not_started = [result for result in results if result.error == "not started in time"]
    assert len(stage.begun) == len(calls) - len(not_started)
    assert not not_started or at == limits.total_seconds


async def test_the_call_s_own_deadline_goes_before_that_of_the_limits():
    stage = Stage()
    calls = [stage.call("a", seconds=7, deadline=8), stage.call("b", seconds=7, deadline=2)]
    results, at = await stage.play(lambda: stage.patterns.parallel(calls))
    assert outcomes(results) == ["answered", "timed_out"]
    assert at == 7


async def test_a_late_answer_of_one_that_cannot_be_stopped_does_not_count():
    stage = Stage()

    async def ask(request):
        with anyio.CancelScope(shield=True):
            await stage.clock.sleep(7)
        return "late"

    calls = [Call(name="stubborn", ask=ask, request=0)]
    (result,), at = await stage.play(lambda: stage.patterns.parallel(calls))
    assert (result.outcome, result.answer, at) == (CallOutcome.TIMED_OUT, None, 7)


async def test_the_fastest_accepted_answer_wins_and_the_losers_are_cancelled():
    stage = Stage(Limits(max_at_once=5))
    calls = [
        stage.call("slow", seconds=4),
        stage.call("broken", error=OSError("gone")),
        stage.call("poor", seconds=1, answer=-1),
        stage.call("good", seconds=2, answer=5),
        stage.call("other", seconds=3, answer=9),
    ]
    race, at = await stage.play(
        lambda: stage.patterns.first(calls, accept=lambda answer: answer != -1)
    )
    assert (race.winner.name, race.winner.answer, at) == ("good", 5, 2)
    assert outcomes(race.results) == ["cancelled", "failed", "refused", "answered", "cancelled"]
    assert sorted(stage.cancelled) == ["other", "slow"]
    assert race.results[2].answer is None


async def test_calls_that_wait_for_their_turn_are_not_made_once_there_is_a_winner():
    stage = Stage(Limits(max_at_once=1))
    calls = [stage.call("a", seconds=1), stage.call("b")]
    race, _ = await stage.play(lambda: stage.patterns.first(calls))
    assert (race.winner.name, stage.begun) == ("a", ["a"])
    assert race.results[1].error == "not started before another one won"


async def test_a_race_that_nobody_wins_says_so():
    stage = Stage()
    calls = [stage.call("a", seconds=99), stage.call("b", answer=-1)]
    race, at = await stage.play(
        lambda: stage.patterns.first(calls, accept=lambda answer: answer > 0)
    )
    assert (race.winner, at) == (None, 5)
    assert outcomes(race.results) == ["timed_out", "refused"]


async def test_a_cancelled_asker_takes_its_calls_along():
    stage = Stage()

    async with anyio.create_task_group() as group:
        group.start_soon(stage.patterns.parallel, [stage.call("a", seconds=3)])
        await settle()
        group.cancel_scope.cancel()
    assert (stage.cancelled, stage.now_at_work) == (["a"], 0)


async def test_each_answer_shapes_the_next_request():
    async def add_one(number):
        return number + 1

    steps = [
        Step(name="a", ask=add_one, shape=lambda answers: 10),
        Step(name="b", ask=add_one, shape=lambda answers: answers[-1] * 2),
        Step(name="c", ask=add_one, shape=sum),
    ]
    stage = Stage()
    results, _ = await stage.play(lambda: stage.patterns.sequential(steps))
    assert [result.answer for result in results] == [11, 23, 35]


async def test_nothing_follows_a_step_without_an_answer():
    stage = Stage()
    first, second = stage.call("a", answer=1), stage.call("b", seconds=99)
    steps = [
        Step(name="a", ask=first.ask, shape=lambda answers: 0),
        Step(name="b", ask=second.ask, shape=lambda answers: 0),
        Step(name="c", ask=first.ask, shape=lambda answers: 0),
    ]
    results, _ = await stage.play(lambda: stage.patterns.sequential(steps))
    assert outcomes(results) == ["answered", "timed_out", "skipped"]
    assert (results[2].error, stage.begun) == ("b gave no answer", ["a", "b"])
    odd = [steps[0], Step(name="x", ask=first.ask, shape=lambda answers: answers[5])]
    results, _ = await stage.play(lambda: stage.patterns.sequential(odd))
    assert outcomes(results) == ["answered", "failed"]
    assert results[1].error.startswith("no request could be formed: IndexError")


async def test_steps_share_one_deadline():
    stage = Stage(Limits(call_seconds=5, total_seconds=7))
    slow = stage.call("a", seconds=4)
    steps = [Step(name=str(i), ask=slow.ask, shape=lambda answers: 0) for i in range(3)]
    results, at = await stage.play(lambda: stage.patterns.sequential(steps))
    assert outcomes(results) == ["answered", "timed_out", "skipped"]
    assert at == 7


async def test_a_decision_becomes_the_requests_below():
    stage = Stage()
    top = stage.call("budget", seconds=1, answer={"north": 30, "south": 10})

    def split(shares):
        return [
            Call(name=name, ask=stage.call(name, seconds=2).ask, request=share)
            for name, share in shares.items()
        ]

    result, at = await stage.play(lambda: stage.patterns.hierarchical(top, split))
    assert [(one.name, one.answer) for one in result.below] == [("north", 30), ("south", 10)]
    assert (result.top.answer, at) == ({"north": 30, "south": 10}, 3)
    broken = stage.call("budget", error=OSError("gone"))
    result, _ = await stage.play(lambda: stage.patterns.hierarchical(broken, split))
    assert (result.top.outcome, result.below) == (CallOutcome.FAILED, ())


async def test_both_levels_share_one_deadline():
    stage = Stage(Limits(call_seconds=5, total_seconds=6))
    top = stage.call("top", seconds=4, answer=["x"])

    def split(names):
        return [stage.call(name, seconds=3) for name in names]

    result, at = await stage.play(lambda: stage.patterns.hierarchical(top, split))
    assert (outcomes(result.below), at) == (["timed_out"], 6)


async def test_most_votes_win_and_the_rest_is_disagreement():
    stage = Stage()
    calls = [stage.call(name, answer=answer) for name, answer in zip("abcd", "xyxx", strict=True)]
    council, _ = await stage.play(lambda: stage.patterns.consensus(calls, combine=vote(str)))
    assert council.answer == "x"
    assert council.disagreement == 3 / 6  # of six pairs three differ


async def test_fewer_answers_than_needed_are_no_consensus():
    stage = Stage()
    calls = [stage.call("a", answer="x"), stage.call("b", error=OSError("gone"))]
    council, _ = await stage.play(lambda: stage.patterns.consensus(calls, combine=vote(str)))
    assert (council.answer, council.disagreement) == (None, None)
    assert council.error == "1 of 2 answered; 2 are needed"
    assert outcomes(council.results) == ["answered", "failed"]
    council, _ = await stage.play(
        lambda: stage.patterns.consensus(calls, combine=vote(str), quorum=1)
    )
    assert (council.answer, council.disagreement, council.error) == ("x", None, None)


async def test_a_council_is_checked_before_anybody_is_asked():
    stage = Stage()
    twins, pair = [stage.call("a"), stage.call("a")], [stage.call("a"), stage.call("b")]
    with pytest.raises(ConfigError, match="'a' twice"):
        await stage.patterns.consensus(twins, combine=vote(str))
    with pytest.raises(ConfigError, match="quorum=3 of 2"):
        await stage.patterns.consensus(pair, combine=vote(str), quorum=3)
    with pytest.raises(ConfigError, match="quorum=1 of 0"):
        await stage.patterns.consensus([], combine=vote(str))
    assert stage.begun == []


def mean_of_tuples():
    return average(
        lambda answer: answer,
        lambda mean, answers: tuple(mean.tolist()),
        distance=lambda one, other: float(abs(one - other).mean()),
    )


numbers = st.floats(-1e6, 1e6, allow_subnormal=False)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_consensus_does_not_depend_on_the_order_of_the_calls(data):
    answers = data.draw(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=6))
    order = data.draw(st.permutations(range(len(answers))))
    how = data.draw(st.sampled_from([vote(repr), mean_of_tuples()]))
    named = {str(i): answer for i, answer in enumerate(answers)}
    shuffled = {str(i): answers[i] for i in order}
    renamed = {str(i): answers[j] for i, j in enumerate(order)}
    councils = [anyio.run(hold_council, these, how) for these in (named, shuffled, renamed)]
    assert len({(one.answer, one.disagreement) for one in councils}) == 1
    first = [anyio.run(hold_council, these, take_the_first) for these in (named, shuffled)]
    assert first[0].answer == first[1].answer == answers[0]


def take_the_first(answers):
    return Combination(answer=answers[0], disagreement=None)


async def hold_council(answers, how):
    stage = Stage()
    calls = [stage.call(name, answer=answer) for name, answer in answers.items()]
    return (await stage.play(lambda: stage.patterns.consensus(calls, combine=how)))[0]


def test_means_are_element_by_element():
    combined = mean_of_tuples()([(1.0, 2.0), (3.0, 8.0), (5.0, 2.0), (3.0, 8.0)])
    distances = [4, 2, 4, 4, 0, 4]
    assert combined == Combination(
        answer=(3.0, 5.0), disagreement=pytest.approx(sum(distances) / 6)
    )
    assert mean_of_tuples()([(1.0, 2.0)]).disagreement is None


def test_answers_without_a_mean_are_refused():
    with pytest.raises(ConfigError, match="shapes"):
        mean_of_tuples()([(1.0, 2.0), (1.0,)])
    with pytest.raises(ConfigError, match="NaN"):
        mean_of_tuples()([(1.0, float("nan"))])


def test_votes_that_tie_are_broken_by_the_key():
    assert vote(str)(["b", "a"]).answer == "a"
    assert mean_distance([], lambda one, other: 1.0) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_at_once": 0},
        {"call_seconds": 0},
        {"call_seconds": float("nan")},
        {"total_seconds": float("inf")},
    ],
)
def test_limits_are_checked(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Limits(**wrong)
    with pytest.raises(ConfigError, match="deadline_seconds"):
        Stage().call("a", deadline=-1)
