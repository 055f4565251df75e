"""Making one answer of several, and saying how far they were apart.

Disagreement has one definition everywhere: the mean distance between two different answers, over
all pairs. It is 0 if all are the same; what 1 means, the distance says.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError

AnswerT = TypeVar("AnswerT")
Array64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Combination(Generic[AnswerT]):
    """What several answers come to."""

    answer: AnswerT
    disagreement: float | None
    """Mean distance between two of the answers; None if there is only one."""


Combine = Callable[[Sequence[AnswerT]], Combination[AnswerT]]
"""Makes one answer of at least one."""


def vote(key: Callable[[AnswerT], str]) -> Combine[AnswerT]:
    """Let the most frequent answer win; of equally frequent ones that with the smallest key.

    The distance of two answers is 0 if their keys are the same, else 1: disagreement is the chance
    that two answers drawn at random differ.

    Args:
        key: Says in words what an answer comes to; answers with the same key are the same vote.
    """

    def combine(answers: Sequence[AnswerT]) -> Combination[AnswerT]:
        keys = [key(answer) for answer in answers]
        votes = Counter(keys)
        winner = min(votes, key=lambda one: (-votes[one], one))
        return Combination(
            answer=answers[keys.index(winner)],
            disagreement=mean_distance(keys, lambda one, other: float(one != other)),
        )

    return combine


def average(
    to_array: Callable[[AnswerT], Array64],
    from_array: Callable[[Array64, Sequence[AnswerT]], AnswerT],
    *,
    distance: Callable[[Array64, Array64], float],
) -> Combine[AnswerT]:
    """Average answers element by element.

    Args:
        to_array: Writes an answer as numbers.
        from_array: Makes an answer of their mean and the answers behind it; makes it feasible.
        distance: Of two answers in numbers.
    """

    def combine(answers: Sequence[AnswerT]) -> Combination[AnswerT]:
        arrays = [np.asarray(to_array(answer), np.float64) for answer in answers]
        shapes = {array.shape for array in arrays}
        if len(shapes) > 1:
            raise ConfigError(f"answers of shapes {sorted(shapes)} have no mean; ask alike agents")
        stack = np.stack(arrays)
        if not np.isfinite(stack).all():
            raise ConfigError("an answer holds NaN or infinity and has no mean; leave it out")
        mean = np.sort(stack, axis=0).mean(axis=0)  # sorted, so that their order changes no digit
        return Combination(
            answer=from_array(mean, answers), disagreement=mean_distance(arrays, distance)
        )

    return combine


KeyT = TypeVar("KeyT")


def mean_distance(keys: Sequence[KeyT], distance: Callable[[KeyT, KeyT], float]) -> float | None:
    """Return the mean distance over all pairs; None if there is no pair.

    Args:
        keys: What the answers are compared by.
        distance: Of two of them, symmetric.
    """
    distances = [distance(one, other) for one, other in itertools.combinations(keys, 2)]
    return math.fsum(distances) / len(distances) if distances else None
