"""What an exported policy's answer hangs on: occlusion and integrated gradients, in NumPy.

Both compare a request with a reference, field by field. *Occlusion* puts one field at its reference
and looks how far the answer moves. *Integrated gradients* follow the straight line from the
reference to the request and add up what each field contributes on the way; over all fields that is
exactly what the last layer's output differs by (completeness), which is checked at each use.

How a request with some fields nearer to their references looks to the policy is the caller's to
say, as a `Blend`; so the answer is in the fields of a request, however the policy observes them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rl.artifacts import PolicyArtifact
from rl.deployment.policy_runtime import PolicyRuntime

Array64 = NDArray[np.float64]
Blend = Callable[[Array64], Array64]
"""From `[row, field]`, 0 for a field at its reference and 1 as requested, to `[row, obs]`."""
NODES = 4
FIRST_SEGMENTS = 8
MOST_CUTS = 20
TOLERANCE = 1e-6
"""Relative; a part of the line is cut in two until its contributions add up so exactly, so that
kinks (of ReLU, of clipping) are boxed in where they are."""
NUDGE = 1e-5
"""Share of the way by which a field is moved to see how the observation changes."""


@dataclass(frozen=True, kw_only=True)
class FieldEffect:
    """How much of an answer hangs on one field of the request."""

    field: str
    moved: float
    """Mean change of the answer's numbers if the field alone were at its reference."""
    contributed: float
    """Mean size of what the field contributes to the numbers of the last layer."""


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """Of one answer."""

    effects: tuple[FieldEffect, ...]
    """Strongest first."""
    gap: float
    """How far the contributions miss what they must add up to, in the largest number of the last
    layer's output; near 0."""


def output_gradient(artifact: PolicyArtifact, observation: Array64) -> tuple[Array64, Array64]:
    """Return the last layer's output and its derivative, in double precision.

    Args:
        artifact: The policy.
        observation: `[row, obs]`.

    Returns:
        `[row, out]` and `[row, out, obs]`; the derivative is 0 where the normaliser clips.
    """
    mean, std, clip = artifact.normalizer
    scaled = (np.asarray(observation, np.float64) - mean) / std
    x = np.clip(scaled, -clip, clip)
    slopes = [np.where(np.abs(scaled) < clip, 1.0 / std, 0.0)]
    *hidden, last = artifact.layers
    for weight, bias in hidden:
        x = x @ np.asarray(weight, np.float64) + bias
        if artifact.activation == "tanh":
            x = np.tanh(x)
            slopes.append(1.0 - x * x)
        else:
            slopes.append((x > 0).astype(np.float64))
            x = np.maximum(x, 0.0)
    output = x @ np.asarray(last.weight, np.float64) + last.bias
    gradient = np.broadcast_to(last.weight.T.astype(np.float64), (len(x), *last.weight.T.shape))
    gradient = gradient * slopes[-1][:, None, :]
    for (weight, _), slope in zip(reversed(hidden), reversed(slopes[:-1]), strict=True):
        gradient = (gradient @ np.asarray(weight, np.float64).T) * slope[:, None, :]
    return output, gradient


def integrate_gradients(
    artifact: PolicyArtifact, blend: Blend, num_fields: int
) -> tuple[Array64, float]:
    """Return what each field contributes to each number of the last layer's output.

    Args:
        artifact: The policy.
        blend: How the policy observes the request between its reference and itself.
        num_fields: How many fields there are.

    Returns:
        `[out, field]`, and by how much the worst sum over fields misses what it must be.
    """
    total: Array64 = np.zeros((artifact.action.size, num_fields))
    gap: Array64 = np.zeros(artifact.action.size)
    edges = np.linspace(0.0, 1.0, FIRST_SEGMENTS + 1)
    waiting = [(low, high, 0) for low, high in itertools.pairwise(edges.tolist())]
    while waiting:
        low, high, depth = waiting.pop()
        found = _integrate(artifact, blend, num_fields, (low, high))
        ends = np.repeat([[low], [high]], num_fields, axis=1)
        output, _ = output_gradient(artifact, blend(ends))
        missed = found.sum(-1) - (output[1] - output[0])
        scale = max(1.0, float(np.abs(output).max()))
        if np.abs(missed).max() > TOLERANCE * scale and depth < MOST_CUTS:
            middle = 0.5 * (low + high)
            waiting += [(low, middle, depth + 1), (middle, high, depth + 1)]
            continue
        total += found
        gap += missed
    return total, float(np.abs(gap).max())


def occlude(answer: Blend, num_fields: int) -> Array64:
    """Return how far each number of an answer is from what it is with a field at its reference.

    Args:
        answer: The numbers of the answer between the reference and the request.
        num_fields: How many fields there are.

    Returns:
        `[number, field]`: the answer as requested minus that without the field.
    """
    numbers = answer(np.concatenate([np.ones((1, num_fields)), 1.0 - np.eye(num_fields)]))
    difference: Array64 = (numbers[0] - numbers[1:]).T
    return difference


def answer_of(artifact: PolicyArtifact, blend: Blend) -> Blend:
    """Return the policy's action between the reference and the request.

    Args:
        artifact: The policy.
        blend: How it observes them.

    Returns:
        Gives `[row, number]`; for a discrete policy the numbers are its choices' probabilities.
    """
    runtime = PolicyRuntime(artifact)

    def answer(shares: Array64) -> Array64:
        output = runtime.output(blend(shares).astype(np.float32))
        if artifact.action.kind != "discrete":
            return runtime.choose(output).astype(np.float64)
        odds = np.exp(output - output.max(-1, keepdims=True), dtype=np.float64)
        return np.asarray(odds / odds.sum(-1, keepdims=True))

    return answer


def attribute(
    artifact: PolicyArtifact, blend: Blend, fields: Sequence[str], *, answer: Blend | None = None
) -> Attribution:
    """Say on which fields of a request the policy's answer hangs.

    Args:
        artifact: The policy.
        blend: How the policy observes the request between its reference and itself.
        fields: Names of the fields, in the order of `blend`.
        answer: What its answer is between them; its action if absent.
    """
    moved = np.abs(occlude(answer or answer_of(artifact, blend), len(fields))).mean(0)
    contributions, gap = integrate_gradients(artifact, blend, len(fields))
    contributed = np.abs(contributions).mean(0)
    effects = [
        FieldEffect(field=field, moved=float(m), contributed=float(c))
        for field, m, c in zip(fields, moved, contributed, strict=True)
    ]
    effects.sort(key=lambda one: (-one.moved, -one.contributed, one.field))
    return Attribution(effects=tuple(effects), gap=gap)


def blend_columns(
    observation: Array64, reference: Array64, groups: Sequence[Sequence[int]]
) -> Blend:
    """Return the blend of a policy that observes each field in columns of its own.

    Args:
        observation: `[obs]`, as requested.
        reference: `[obs]`, all fields at their references.
        groups: Columns of each field.
    """

    def blend(shares: Array64) -> Array64:
        mixed = np.repeat(observation[None].astype(np.float64), len(shares), axis=0)
        for number, columns in enumerate(groups):
            index = list(columns)
            step = observation[index] - reference[index]
            mixed[:, index] = reference[index] + shares[:, number, None] * step
        return mixed

    return blend


def _integrate(
    artifact: PolicyArtifact, blend: Blend, num_fields: int, part: tuple[float, float]
) -> Array64:
    """Add up gradients along a part of the line, by Gauss and Legendre."""
    low, high = part
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    line = np.repeat((low + 0.5 * (1.0 + nodes) * (high - low))[:, None], num_fields, axis=1)
    _, gradient = output_gradient(artifact, blend(line))
    nudges = NUDGE * np.eye(num_fields)
    ahead = blend((line[:, None] + nudges).reshape(-1, num_fields))
    behind = blend((line[:, None] - nudges).reshape(-1, num_fields))
    slope = ((ahead - behind) / (2 * NUDGE)).reshape(NODES, num_fields, -1)
    parts = gradient @ slope.swapaxes(1, 2)
    total: Array64 = np.einsum("n,nof->of", 0.5 * (high - low) * weights, parts)
    return total
