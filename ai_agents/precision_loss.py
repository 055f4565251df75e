"""What a policy loses when its weights are stored in fewer bits: bytes and nearness of actions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ai_agents.domains import DOMAINS
from ai_agents.request_sampling import draw_situations
from rl.artifacts import PolicyArtifact
from rl.deployment.policy_runtime import PolicyRuntime

OBSERVATIONS, REQUESTS = 4096, 512
SPREAD = 2.0
"""Observations are drawn so many deviations around what was seen in training."""


@dataclass(frozen=True, kw_only=True)
class ActionDifference:
    """Between two policies that are asked the same."""

    asked: int
    largest: float
    """Over all questions and numbers of an action; of choices, 1 if any differs."""
    mean: float
    """Of choices, the share that differs."""


@dataclass(frozen=True, kw_only=True)
class PrecisionLoss:
    """What is saved and what it costs."""

    bytes_before: int
    bytes_after: int
    observations: ActionDifference
    """On observations around those of training."""
    requests: ActionDifference | None
    """On requests inside the validated ranges; None where no agent speaks for the domain."""


def measure_loss(whole: PolicyArtifact, reduced: PolicyArtifact) -> PrecisionLoss:
    """Ask both policies the same.

    Args:
        whole: As it was trained.
        reduced: With rounded weights.
    """
    return PrecisionLoss(
        bytes_before=len(whole.to_bytes()),
        bytes_after=len(reduced.to_bytes()),
        observations=_on_observations(whole, reduced),
        requests=_on_requests(whole, reduced),
    )


def note_loss(reduced: PolicyArtifact, loss: PrecisionLoss) -> PolicyArtifact:
    """Return the policy with a sentence about its loss among the limits of its card.

    Args:
        reduced: With rounded weights.
        loss: As measured.
    """
    worst = max(one.largest for one in (loss.observations, loss.requests) if one is not None)
    sentence = (
        f"Weights stored as {reduced.precision}; actions differ from those of the policy that was "
        f"evaluated by at most {worst:.2g} where this was tried."
    )
    card = replace(reduced.card, limits=(*reduced.card.limits, sentence))
    return reduced.with_card(card)


def _on_observations(whole: PolicyArtifact, reduced: PolicyArtifact) -> ActionDifference:
    mean, std, clip = whole.normalizer
    draws = SPREAD * np.random.default_rng(0).standard_normal((OBSERVATIONS, mean.size))
    observation = (mean + std * draws.clip(-clip, clip)).astype(np.float32)
    return _differ(PolicyRuntime(whole).act(observation), PolicyRuntime(reduced).act(observation))


def _on_requests(whole: PolicyArtifact, reduced: PolicyArtifact) -> ActionDifference | None:
    if whole.domain not in DOMAINS:
        return None
    make = DOMAINS[whole.domain]
    domain = make(whole)
    situations = draw_situations(domain, whole, count=REQUESTS)
    situations.append(domain.read(domain.example_request()))
    plans = [one.plan(situations).actions for one in (domain, make(reduced))]
    return _differ(*map(domain.comparable, plans))


def _differ(before: NDArray[np.generic], after: NDArray[np.generic]) -> ActionDifference:
    if np.issubdtype(before.dtype, np.integer):
        distance = (before != after).reshape(len(before), -1).any(-1).astype(np.float64)
    else:
        distance = np.abs(before.astype(np.float64) - after.astype(np.float64))
    return ActionDifference(
        asked=len(before), largest=float(distance.max()), mean=float(distance.mean())
    )
