"""The forward pass of an exported policy in NumPy; equal to torch's deterministic action."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rl.artifacts import PolicyArtifact
from utils.errors import QuartermasterError


class ObservationError(QuartermasterError, ValueError):
    """An observation has the wrong length."""


def _tanh(x: NDArray[np.float32]) -> None:
    np.tanh(x, out=x)


def _relu(x: NDArray[np.float32]) -> None:
    np.maximum(x, 0.0, out=x)


def _silu(x: NDArray[np.float32]) -> None:
    x /= 1.0 + np.exp(-x)


ACTIVATIONS = {"tanh": _tanh, "relu": _relu, "silu": _silu}
"""Change an array in place."""


class PolicyRuntime:
    """Turns observations into actions; holds no state between calls, so threads may share it."""

    def __init__(self, artifact: PolicyArtifact) -> None:
        """Prepare the arrays.

        Args:
            artifact: The policy.
        """
        self.observation_size = artifact.observation_size
        self.action = artifact.action
        mean, std, clip = artifact.normalizer
        self._shift, self._scale, self._clip = mean, (1.0 / std).astype(np.float32), clip
        self._hidden = artifact.layers[:-1]
        self._last = artifact.layers[-1]
        self._activate = ACTIVATIONS[artifact.activation]

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.float32] | NDArray[np.int64]:
        """Choose the likeliest action.

        Args:
            observation: `[..., obs]`.

        Returns:
            `[..., act]` in [low, high] of the action spec, or the choice `[...]` if discrete.

        Raises:
            ObservationError: The last axis has another length than the policy observes.
        """
        return self.choose(self.output(observation))

    def output(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the last layer's output: mean action before clip or tanh, or logits.

        Args:
            observation: `[..., obs]`.

        Raises:
            ObservationError: The last axis has another length than the policy observes.
        """
        if observation.shape[-1] != self.observation_size:
            raise ObservationError(
                f"observation of {observation.shape[-1]} numbers, the policy takes "
                f"{self.observation_size}: encode it with the config in the artifact"
            )
        with np.errstate(all="ignore"):
            x = np.subtract(observation, self._shift, dtype=np.float32)
            x *= self._scale
            np.maximum(x, -self._clip, out=x)
            np.minimum(x, self._clip, out=x)
            for weight, bias in self._hidden:
                x = x @ weight
                x += bias
                self._activate(x)
            x = x @ self._last.weight
            x += self._last.bias
        return x

    def choose(self, output: NDArray[np.float32]) -> NDArray[np.float32] | NDArray[np.int64]:
        """Turn the last layer's output into the action.

        Args:
            output: `[..., act]`, finite; see `rl.deployment.guardrails.finite_rows`.

        Returns:
            As `act` does.
        """
        if self.action.kind == "discrete":
            choice: NDArray[np.int64] = output.argmax(-1)
            return choice
        low, high = self.action.low, self.action.high
        if self.action.kind == "squashed":
            centre, half = np.float32(0.5 * (high + low)), np.float32(0.5 * (high - low))
            output = centre + half * np.tanh(output)
        return np.minimum(np.maximum(output, low), high)
