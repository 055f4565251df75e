"""Whether a challenger may go on: a pure rule over the last requests that it answered.

A ratio counts as exceeded when it is so beyond doubt: the lower bound of its 99.7 % interval lies
above the limit. So a challenger that always fails is caught after `fewest` requests, one that fails
a little too often after more, and one that had bad luck once is not.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from orchestration.rollout.plan import CanaryLimits

SIGMAS = 3.0
SLOW_SHARE = 0.95


class Rule(StrEnum):
    """What a rollback is about."""

    ERRORS = "errors"
    FALLBACKS = "fallbacks"
    LATENCY = "latency"
    REGRET = "regret"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What became of one request; those that were refused as malformed say nothing."""

    outcome: Literal["decision", "fallback", "error"]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Window:
    """The last requests of a trial."""

    challenger: Sequence[Sample] = ()
    champion: Sequence[Sample] = ()
    regrets: Sequence[float] = ()
    """See `orchestration.rollout.comparison`; above zero where the champion does better."""


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """Why a challenger must not go on."""

    rule: Rule
    reason: str
    """In words, with the figures."""
    figure: float
    """What was measured."""
    limit: float
    samples: int


def judge(window: Window, limits: CanaryLimits) -> Rollback | None:
    """Return why the challenger must be rolled back; None keeps it.

    Args:
        window: Its last requests.
        limits: What it must not exceed.
    """
    return (
        _judge_ratio(window, limits, rule=Rule.ERRORS)
        or _judge_ratio(window, limits, rule=Rule.FALLBACKS)
        or _judge_latency(window, limits)
        or _judge_regret(window, limits)
    )


def _judge_ratio(window: Window, limits: CanaryLimits, *, rule: Rule) -> Rollback | None:
    is_errors = rule is Rule.ERRORS
    outcome = "error" if is_errors else "fallback"
    most = limits.most_errors if is_errors else limits.most_fallbacks
    number = len(window.challenger)
    if number < limits.fewest:
        return None
    count = sum(sample.outcome == outcome for sample in window.challenger)
    usual = _ratio(sum(one.outcome == outcome for one in window.champion), len(window.champion))
    limit = usual + most
    if lower_bound(count, number) <= limit:
        return None
    words = f"{count} of {number} requests ended in {outcome}"
    return Rollback(
        rule=rule,
        reason=f"{words}, {limit:.1%} are allowed (the champion's {usual:.1%} and {most:.1%})",
        figure=count / number,
        limit=limit,
        samples=number,
    )


def _judge_latency(window: Window, limits: CanaryLimits) -> Rollback | None:
    number = min(len(window.challenger), len(window.champion))
    if number < limits.fewest:
        return None
    own, usual = (
        slowest_but_few([sample.seconds for sample in samples])
        for samples in (window.challenger, window.champion)
    )
    limit = limits.most_slowdown * usual + limits.slack_seconds
    if own <= limit:
        return None
    return Rollback(
        rule=Rule.LATENCY,
        reason=f"95 % of its requests take up to {own * 1e3:.3g} ms, {limit * 1e3:.3g} ms are "
        f"allowed (the champion's {usual * 1e3:.3g} ms times {limits.most_slowdown:g} and "
        f"{limits.slack_seconds * 1e3:g} ms)",
        figure=own,
        limit=limit,
        samples=number,
    )


def _judge_regret(window: Window, limits: CanaryLimits) -> Rollback | None:
    number = len(window.regrets)
    if number < max(limits.fewest, 2):
        return None
    mean = statistics.fmean(window.regrets)
    error = statistics.stdev(window.regrets, mean) / math.sqrt(number)
    if mean - SIGMAS * error <= limits.most_regret:
        return None
    return Rollback(
        rule=Rule.REGRET,
        reason=f"the champion expects {mean:.1%} more value over {number} requests, "
        f"{limits.most_regret:.1%} are allowed",
        figure=mean,
        limit=limits.most_regret,
        samples=number,
    )


def lower_bound(count: int, number: int) -> float:
    """Return the smallest ratio that a count leaves plausible (Wilson's interval, 3 sigmas).

    Args:
        count: How many.
        number: Of how many, at least one.
    """
    square = SIGMAS**2
    ratio = count / number
    spread = SIGMAS * math.sqrt(ratio * (1 - ratio) / number + square / (4 * number**2))
    return max(0.0, (ratio + square / (2 * number) - spread) / (1 + square / number))


def slowest_but_few(seconds: Sequence[float]) -> float:
    """Return the 95th percentile: the time that 95 % do not exceed.

    Args:
        seconds: At least one.
    """
    ordered = sorted(seconds)
    return ordered[math.ceil(SLOW_SHARE * len(ordered)) - 1]


def _ratio(count: int, number: int) -> float:
    return count / number if number else 0.0
