"""Policies that are bad on purpose, each in another way, made of a good one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rl.artifacts import Layer, PolicyArtifact

SMALL = np.float32(1e-3)
"""Inputs this much smaller pass a tanh unchanged."""


def overflowing(artifact: PolicyArtifact) -> PolicyArtifact:
    """Return a policy whose weights are finite, but not what comes of them: experts stand in."""
    *hidden, (weight, bias) = artifact.layers
    sign = np.where(np.arange(len(weight)) % 2 == 0, 1, -1)[:, None]
    huge = (sign * np.full_like(weight, 3e38)).astype(np.float32)
    return replace(artifact, layers=(*hidden, Layer(huge, bias)))


def stingy(artifact: PolicyArtifact) -> PolicyArtifact:
    """Return a policy that gives nobody anything: sound numbers, poor decisions."""
    *hidden, (weight, bias) = artifact.layers
    return replace(
        artifact, layers=(*hidden, Layer(np.zeros_like(weight), np.full_like(bias, -50.0)))
    )


def slow(artifact: PolicyArtifact, *, width: int = 1500, depth: int = 6) -> PolicyArtifact:
    """Return the same policy behind layers that do nothing but take time."""
    weight, bias = artifact.layers[0]
    size = artifact.observation_size

    def idle(rows: int, scale: np.float32) -> Layer:
        return Layer(scale * np.eye(rows, width, dtype=np.float32), np.zeros(width, np.float32))

    whole = np.zeros((width, weight.shape[1]), np.float32)
    whole[:size] = weight / SMALL
    layers = [idle(size, SMALL), *(idle(width, np.float32(1)) for _ in range(depth))]
    return replace(artifact, layers=(*layers, Layer(whole, bias), *artifact.layers[1:]))
