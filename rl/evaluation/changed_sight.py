"""Policies that see something else than is there: with noise, or without some features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rl.algorithms.base_algorithm import Policy
from rl.algorithms.heads import ActionSample
from rl.algorithms.normalization import RunningMoments
from rl.algorithms.policy_state import TensorDict
from utils.errors import ConfigError

Sight = Callable[[Tensor], Tensor]
"""From what there is to what is seen, `[env, agent, obs]`."""


class ChangedSight:
    """A `Policy` that acts on a changed observation; everything else is the policy's own."""

    def __init__(self, policy: Policy, sight: Sight) -> None:
        """Put something before its eyes.

        Args:
            policy: Who acts.
            sight: What it sees instead.
        """
        self._policy = policy
        self._sight = sight

    def act(
        self,
        observation: Float[Tensor, "env agent obs"],
        action_mask: Bool[Tensor, "env agent act"] | None,
        *,
        deterministic: bool,
    ) -> ActionSample:
        """Choose an action for what is seen.

        Args:
            observation: As the environment gave it.
            action_mask: True where a dimension or choice is in use.
            deterministic: Take the likeliest action.
        """
        seen = self._sight(observation)
        return self._policy.act(seen, action_mask, deterministic=deterministic)

    def policy_state(self) -> TensorDict:
        """Return that of the policy."""
        return self._policy.policy_state()

    def load_policy_state(self, state: Mapping[str, Tensor]) -> None:
        """Load it into the policy.

        Args:
            state: What `policy_state` returned.
        """
        self._policy.load_policy_state(state)

    def state_dict(self) -> TensorDict:
        """Return that of the policy."""
        return self._policy.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load it into the policy.

        Args:
            state: What `state_dict` returned.
        """
        self._policy.load_state_dict(state)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Of every feature of every agent, `[agent, obs]`."""

    mean: Tensor
    deviation: Tensor


class ClearSight:
    """Changes nothing, and learns how far every feature of every agent spreads."""

    def __init__(self) -> None:
        """Begin without having seen anything."""
        self._moments: RunningMoments | None = None
        self._shape = torch.Size()

    def __call__(self, observation: Tensor) -> Tensor:
        """Return what there is.

        Args:
            observation: `[env, agent, obs]`.
        """
        rows = observation.flatten(1)
        if self._moments is None:
            self._shape = observation.shape[1:]
            self._moments = RunningMoments(rows.shape[1])
        self._moments.update(rows.cpu())
        return observation

    def spread(self) -> Spread:
        """Return how far every feature spread over all steps and episodes.

        Raises:
            ConfigError: Nothing was seen yet.
        """
        if self._moments is None:
            raise ConfigError("nothing was seen yet; let a policy play with this sight first")
        mean, variance = self._moments.mean, self._moments.variance
        return Spread(
            mean=mean.view(self._shape).float(), deviation=variance.sqrt().view(self._shape).float()
        )


class NoisySight:
    """Adds normal noise, in shares of each feature's own spread."""

    def __init__(self, level: float, spread: Spread, generator: np.random.Generator) -> None:
        """Keep how much.

        Args:
            level: Deviation of the noise over that of the feature.
            spread: Of what was seen without noise.
            generator: The only source of chance.
        """
        self._size = level * spread.deviation
        self._generator = generator

    def __call__(self, observation: Tensor) -> Tensor:
        """Return it with noise.

        Args:
            observation: `[env, agent, obs]`.
        """
        drawn = self._generator.standard_normal(observation.shape, np.float32)
        return observation + (self._size * torch.from_numpy(drawn)).to(observation.device)


class DroppedSight:
    """Shows the mean of some features in place of what they are; a sensor that is gone."""

    def __init__(self, share: float, spread: Spread, generator: np.random.Generator) -> None:
        """Choose the features, the same for all agents, among those that vary.

        Args:
            share: Of the features that vary; at least one is dropped.
            spread: Of what was seen of the same episodes.
            generator: The only source of chance.
        """
        varying = np.flatnonzero((spread.deviation > 0).any(0).numpy())
        count = min(len(varying), max(1, round(share * len(varying))))
        self.features = tuple(sorted(int(f) for f in generator.permutation(varying)[:count]))
        self._mean = spread.mean

    def __call__(self, observation: Tensor) -> Tensor:
        """Return it without the dropped features.

        Args:
            observation: `[env, agent, obs]`.
        """
        seen = observation.clone()
        columns = list(self.features)
        seen[..., columns] = self._mean[:, columns].to(observation.device, observation.dtype)
        return seen
