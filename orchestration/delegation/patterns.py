"""The patterns of asking: side by side, a race, one after another, in council, from the top."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from orchestration.delegation.calls import (
    AnswerT,
    Ask,
    Call,
    CallOutcome,
    CallResult,
    CallRound,
    Deadline,
    Limits,
    RequestT,
    accept_all,
    describe_error,
)
from orchestration.delegation.combination import Combine
from utils.clock import Clock
from utils.errors import ConfigError

TopRequestT = TypeVar("TopRequestT")
TopAnswerT = TypeVar("TopAnswerT")


@dataclass(frozen=True, kw_only=True)
class Step(Generic[RequestT, AnswerT]):
    """One of several calls that follow each other."""

    name: str
    ask: Ask[RequestT, AnswerT]
    shape: Callable[[Sequence[AnswerT]], RequestT]
    """Forms the request from all answers so far, oldest first; none for the first step. Pure."""


@dataclass(frozen=True, kw_only=True)
class RaceResult(Generic[AnswerT]):
    """Who was fastest, and what became of the others."""

    winner: CallResult[AnswerT] | None
    """None if nobody gave an accepted answer."""
    results: tuple[CallResult[AnswerT], ...]


@dataclass(frozen=True, kw_only=True)
class ConsensusResult(Generic[AnswerT]):
    """What several answers come to."""

    answer: AnswerT | None
    """None if fewer answered than needed."""
    disagreement: float | None
    """Mean distance between two of the answers, as the way to combine defines it."""
    results: tuple[CallResult[AnswerT], ...]
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class HierarchyResult(Generic[TopAnswerT, AnswerT]):
    """The decision at the top and what was made of it below."""

    top: CallResult[TopAnswerT]
    below: tuple[CallResult[AnswerT], ...]
    """Empty if the top gave no answer."""


class Patterns:
    """Ways to ask; none of them raises for what an answerer does, each result says it."""

    def __init__(self, clock: Clock, limits: Limits | None = None) -> None:
        """Keep the parts.

        Args:
            clock: Measures deadlines.
            limits: Hold where a pattern is given none.
        """
        self._clock = clock
        self._limits = limits or Limits()

    async def parallel(
        self, calls: Sequence[Call[RequestT, AnswerT]], *, limits: Limits | None = None
    ) -> tuple[CallResult[AnswerT], ...]:
        """Make calls side by side.

        Args:
            calls: What to ask whom.
            limits: On this pattern.

        Returns:
            One result per call, in their order.
        """
        deadline, limits = self._begin(limits)
        return await CallRound(calls, deadline=deadline, limits=limits).make()

    async def first(
        self,
        calls: Sequence[Call[RequestT, AnswerT]],
        *,
        accept: Callable[[AnswerT], bool] = accept_all,
        limits: Limits | None = None,
    ) -> RaceResult[AnswerT]:
        """Let the fastest accepted answer win and cancel the other calls.

        Args:
            calls: What to ask whom.
            accept: Tells whether an answer is good enough to win. Pure.
            limits: On this pattern.
        """
        deadline, limits = self._begin(limits)
        race = CallRound(calls, deadline=deadline, limits=limits, accept=accept, stop_at_first=True)
        results = await race.make()
        return RaceResult(winner=race.winner, results=results)

    async def sequential(
        self, steps: Sequence[Step[RequestT, AnswerT]], *, limits: Limits | None = None
    ) -> tuple[CallResult[AnswerT], ...]:
        """Make calls one after another, each request formed from the answers before it.

        Args:
            steps: In their order; those after one without an answer are skipped.
            limits: On this pattern.

        Returns:
            One result per step, in their order.
        """
        deadline, limits = self._begin(limits)
        results: list[CallResult[AnswerT]] = []
        answers: list[AnswerT] = []
        for step in steps:
            if len(answers) < len(results):
                results.append(_skipped(step.name, f"{results[len(answers)].name} gave no answer"))
                continue
            result = await self._take(step, tuple(answers), deadline=deadline, limits=limits)
            results.append(result)
            answers += _answers([result])
        return tuple(results)

    async def consensus(
        self,
        calls: Sequence[Call[RequestT, AnswerT]],
        *,
        combine: Combine[AnswerT],
        quorum: int | None = None,
        limits: Limits | None = None,
    ) -> ConsensusResult[AnswerT]:
        """Ask several and make one answer of theirs, whatever order they are named in.

        Args:
            calls: What to ask whom; names are distinct.
            combine: Makes one answer of several.
            quorum: How many answers are needed; more than half of the calls if absent.
            limits: On this pattern.

        Raises:
            ConfigError: Two calls have the same name, or the quorum cannot be met.
        """
        twice = [name for name, count in Counter(c.name for c in calls).items() if count > 1]
        if twice:
            raise ConfigError(f"calls named {twice[0]!r} twice: give each voice a name of its own")
        needed = len(calls) // 2 + 1 if quorum is None else quorum
        if not 1 <= needed <= len(calls):
            raise ConfigError(f"quorum={needed} of {len(calls)} calls: choose 1 to all of them")
        results = await self.parallel(calls, limits=limits)
        answers = _answers(sorted(results, key=lambda result: result.name))
        if len(answers) < needed:
            error = f"{len(answers)} of {len(calls)} answered; {needed} are needed"
            return ConsensusResult(answer=None, disagreement=None, results=results, error=error)
        combined = combine(answers)
        return ConsensusResult(
            answer=combined.answer, disagreement=combined.disagreement, results=results
        )

    async def hierarchical(
        self,
        top: Call[TopRequestT, TopAnswerT],
        split: Callable[[TopAnswerT], Sequence[Call[RequestT, AnswerT]]],
        *,
        limits: Limits | None = None,
    ) -> HierarchyResult[TopAnswerT, AnswerT]:
        """Ask one, make the calls that its answer asks for.

        An `ask` below may be a hierarchy itself, which then has deadlines and bounds of its own.

        Args:
            top: The first call.
            split: Forms the calls below from its answer. Pure; what it raises is raised.
            limits: On this pattern, both levels together.
        """
        deadline, limits = self._begin(limits)
        (above,) = await CallRound([top], deadline=deadline, limits=limits).make()
        below: tuple[CallResult[AnswerT], ...] = ()
        for answer in _answers([above]):
            below = await CallRound(split(answer), deadline=deadline, limits=limits).make()
        return HierarchyResult(top=above, below=below)

    def _begin(self, limits: Limits | None) -> tuple[Deadline, Limits]:
        chosen = limits or self._limits
        return Deadline.after(self._clock, chosen.total_seconds), chosen

    async def _take(
        self,
        step: Step[RequestT, AnswerT],
        answers: Sequence[AnswerT],
        *,
        deadline: Deadline,
        limits: Limits,
    ) -> CallResult[AnswerT]:
        try:
            request = step.shape(answers)
        except Exception as error:  # noqa: BLE001  an odd answer above must not hide the others
            why = f"no request could be formed: {describe_error(error)}"
            return CallResult(name=step.name, outcome=CallOutcome.FAILED, error=why)
        call = Call(name=step.name, ask=step.ask, request=request)
        (result,) = await CallRound([call], deadline=deadline, limits=limits).make()
        return result


def _answers(results: Sequence[CallResult[AnswerT]]) -> list[AnswerT]:
    # cast by construction: an answered result holds an answer, which may be None itself
    return [result.answer for result in results if result.is_answered]  # type: ignore[misc]


def _skipped(name: str, why: str) -> CallResult[AnswerT]:
    return CallResult(name=name, outcome=CallOutcome.SKIPPED, error=why)
