"""Lets exported policies play a world again, as the server would run them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from rl.algorithms.base_algorithm import Policy
from rl.algorithms.heads import ActionSample
from rl.artifacts import PolicyArtifact
from rl.deployment.policy_runtime import PolicyRuntime
from rl.deployment.view_policy import SMALLEST, ViewPolicy, scores_choices
from rl.environments.base_environment import StepRecord
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.players import Player, policy_player
from utils.errors import ConfigError


class _Frozen:
    def __init__(self, artifact: PolicyArtifact) -> None:
        self._runtime = PolicyRuntime(artifact)

    def act(
        self, observation: Tensor, action_mask: Tensor | None, *, deterministic: bool
    ) -> ActionSample:
        del deterministic
        output = self._runtime.output(observation.cpu().numpy())
        if action_mask is not None and self._runtime.action.kind == "discrete":
            output = np.where(action_mask.cpu().numpy(), output, SMALLEST)
        action = torch.from_numpy(self._runtime.choose(output))
        nothing = torch.zeros(observation.shape[:-1])
        return ActionSample(action.to(observation.device), nothing.to(observation.device))


def artifact_policy(artifact: PolicyArtifact) -> Policy:
    """Return a policy that acts as an artifact does; it has no state to keep and cannot learn.

    Args:
        artifact: Exported from training; it turns an observation into an action.
    """
    return cast("Policy", _Frozen(artifact))


def artifact_player(
    artifact: PolicyArtifact, plays: Callable[[Policy], Player] = policy_player
) -> Player:
    """Return who plays as an artifact does, be it asked for an action or for every choice apart.

    Args:
        artifact: Of the world that is played.
        plays: How a policy plays there; see `Contest.policy_player`.
    """
    if not scores_choices(artifact):
        return plays(artifact_policy(artifact))
    policy = ViewPolicy(artifact)

    def act(environment: Any, record: StepRecord) -> Tensor:
        if environment.config != policy.domain.config:
            raise ConfigError(
                f"the policy scores choices of another {artifact.domain}: play it with the sizes "
                "that it was trained for"
            )
        choice, _ = policy.act(view_to_numpy(environment.view))
        return torch.from_numpy(choice)[:, None].to(record.observation.device)

    return act
