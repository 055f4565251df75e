"""What an exported policy's answer hangs on: occlusion and integrated gradients, in NumPy.

Both compare a request with a reference, field by field. *Occlusion* puts one field at its reference
and looks how far the answer moves. *Integrated gradients* follow the straight line from the
reference to the request and add up what each field contributes on the way; over all fields that is
exactly what the last layer's output differs by (completeness), which is checked at each use.

How a request with some fields nearer to their references looks to the policy is the caller's to
say, as a `Blend`; so the answer is in the fields of a request, however the policy observes them.
"""

from __future__ import annotations

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
FIRST_PARTS = 8
MOST_NUMBERS = 4_000_000
"""Of observations that are looked at together."""
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
        elif artifact.activation == "silu":
            gate = 1.0 / (1.0 + np.exp(-x))
            slopes.append(gate * (1.0 + x * (1.0 - gate)))
            x = x * gate
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
    at_once = max(1, MOST_NUMBERS // (NODES * num_fields * artifact.observation_size))
    edges = np.linspace(0.0, 1.0, FIRST_PARTS + 1)
    waiting, cuts = np.stack([edges[:-1], edges[1:]], axis=1), 0
    while len(waiting):
        again = []
        for first in range(0, len(waiting), at_once):
            parts = waiting[first : first + at_once]
            found = _integrate(artifact, blend, num_fields, parts)
            outputs = _outputs_at(artifact, blend, num_fields, parts)
            missed = found.sum(-1) - (outputs[:, 1] - outputs[:, 0])
            scale = np.maximum(1.0, np.abs(outputs).max((1, 2)))
            is_rough = (np.abs(missed).max(-1) > TOLERANCE * scale) & (cuts < MOST_CUTS)
            total += found[~is_rough].sum(0)
            gap += missed[~is_rough].sum(0)
            again.append(_halve(parts[is_rough]))
        waiting, cuts = np.concatenate(again), cuts + 1
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


def _integrate(artifact: PolicyArtifact, blend: Blend, num_fields: int, parts: Array64) -> Array64:
    """Add up gradients along parts of the line, by Gauss and Legendre: `[part, out, field]`."""
    low, high = parts[:, :1], parts[:, 1:]
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    places = (low + 0.5 * (1.0 + nodes) * (high - low)).reshape(-1, 1)
    line = np.repeat(places, num_fields, axis=1)
    _, gradient = output_gradient(artifact, blend(line))
    nudges = NUDGE * np.eye(num_fields)
    ahead = blend((line[:, None] + nudges).reshape(-1, num_fields))
    behind = blend((line[:, None] - nudges).reshape(-1, num_fields))
    slope = ((ahead - behind) / (2 * NUDGE)).reshape(len(line), num_fields, -1)
    each = gradient @ slope.swapaxes(1, 2)
    each = each.reshape(len(parts), NODES, *each.shape[1:])
    total: Array64 = np.einsum("sn,snof->sof", 0.5 * (high - low) * weights, each)
    return total


def _outputs_at(artifact: PolicyArtifact, blend: Blend, num_fields: int, parts: Array64) -> Array64:
    """Return the last layer's output at both ends of parts, `[part, 2, out]`."""
    ends = np.repeat(parts.reshape(-1, 1), num_fields, axis=1)
    output, _ = output_gradient(artifact, blend(ends))
    return output.reshape(len(parts), 2, -1)


def _halve(parts: Array64) -> Array64:
    middle = parts.mean(-1)
    return np.concatenate(
        [np.stack([parts[:, 0], middle], axis=1), np.stack([middle, parts[:, 1]], axis=1)]
    )
