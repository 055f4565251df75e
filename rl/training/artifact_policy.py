"""Lets exported policies play a world again, as the server would run them."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from rl.algorithms.base_algorithm import Policy
from rl.algorithms.heads import ActionSample
from rl.artifacts import PolicyArtifact
from rl.deployment.policy_runtime import PolicyRuntime


class _Frozen:
    def __init__(self, artifact: PolicyArtifact) -> None:
        self._runtime = PolicyRuntime(artifact)

    def act(
        self, observation: Tensor, action_mask: Tensor | None, *, deterministic: bool
    ) -> ActionSample:
        del action_mask, deterministic
        action = torch.from_numpy(self._runtime.act(observation.cpu().numpy()))
        nothing = torch.zeros(observation.shape[:-1])
        return ActionSample(action.to(observation.device), nothing.to(observation.device))


def artifact_policy(artifact: PolicyArtifact) -> Policy:
    """Return a policy that acts as an artifact does; it has no state to keep and cannot learn.

    Args:
        artifact: Exported from training.
    """
    return cast("Policy", _Frozen(artifact))
