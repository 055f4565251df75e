"""The one reward that a team learns from."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl.algorithms.normalization import SMALLEST_STD, RunningMoments
from rl.algorithms.qmix_config import Share


class TeamReward(nn.Module):
    """Adds or averages the agents' rewards, and may standardise the result by all seen so far."""

    def __init__(self, share: Share, *, standardize: bool) -> None:
        """Start with nothing seen.

        Args:
            share: Sum or mean over the agents.
            standardize: Shift and scale to mean 0 and deviation 1.
        """
        super().__init__()
        self.share: Share = share
        self.standardize = standardize
        self.moments = RunningMoments(1)

    def of_team(self, reward: Float[Tensor, "*batch agent"]) -> Float[Tensor, "*batch"]:
        """Return what the team is paid, as it is.

        Args:
            reward: Of each agent; zero where absent.
        """
        return reward.sum(-1) if self.share == "sum" else reward.mean(-1)

    @torch.no_grad()
    def observe(self, reward: Float[Tensor, "env agent"]) -> None:
        """Take note of the rewards of a step.

        Args:
            reward: Of each agent.
        """
        if self.standardize:
            self.moments.update(self.of_team(reward).unsqueeze(-1))

    def forward(self, reward: Float[Tensor, "*batch agent"]) -> Float[Tensor, "*batch"]:
        """Return what the team learns from.

        Args:
            reward: Of each agent.
        """
        team = self.of_team(reward)
        if not self.standardize:
            return team
        std = self.moments.variance.sqrt().clamp_min(SMALLEST_STD)
        return ((team - self.moments.mean) / std).to(team.dtype)
