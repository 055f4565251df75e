"""Running statistics that learning divides by, saved with the state of the learner."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rl.algorithms.policy_state import load_module_state, take_tensor
from rl.algorithms.returns import discounted_sums

SMALLEST_STD = 1e-4
UNVARIED_STD = 1e-8
"""Below this, rewards were all alike and are left as they are."""


class RunningMoments(nn.Module):
    """Mean and variance of everything seen so far, merged batch by batch in double precision."""

    count: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, size: int) -> None:
        """Start with nothing seen: mean 0, variance 1.

        Args:
            size: Number of quantities followed.
        """
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(size, dtype=torch.float64))

    @torch.no_grad()
    def update(self, rows: Float[Tensor, "batch size"]) -> None:
        """Merge a batch; an empty one changes nothing.

        Args:
            rows: One observation of all quantities per row.
        """
        if len(rows) == 0:
            return
        rows = rows.to(torch.float64)
        mean, variance = rows.mean(0), rows.var(0, correction=0)
        share = len(rows) / (self.count + len(rows))
        step = mean - self.mean
        self.variance.lerp_(variance, share).add_(share * (1.0 - share) * step.square())
        self.mean.add_(share * step)
        self.count.add_(len(rows))


class ObservationNormalizer(nn.Module):
    """Shifts and scales observations to mean 0 and deviation 1, then clips.

    A quantity that has not varied is shifted but not scaled. Nothing changes except in `update`, so
    evaluation and serving see frozen statistics.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, size: int, *, clip: float) -> None:
        """Start as the identity, apart from the clip.

        Args:
            size: Length of an observation.
            clip: Largest magnitude let through.
        """
        super().__init__()
        self.clip = clip
        self.moments = RunningMoments(size)
        self.register_buffer("shift", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def forward(self, observation: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        """Normalise by the statistics as they stand.

        Args:
            observation: As the environment gave it.
        """
        return ((observation - self.shift) * self.scale).clamp_(-self.clip, self.clip)

    @torch.no_grad()
    def update(self, observation: Float[Tensor, "batch size"]) -> None:
        """Learn from observations of live agents.

        Args:
            observation: One per row.
        """
        self.moments.update(observation)
        std = self.moments.variance.sqrt()
        self.shift.copy_(self.moments.mean)
        self.scale.copy_(torch.where(std < SMALLEST_STD, 1.0, 1.0 / std))


class RewardScaler(nn.Module):
    """Divides rewards by the running deviation of the discounted return, without shifting them."""

    trace: Tensor

    def __init__(self, gamma: float) -> None:
        """Start with nothing seen.

        Args:
            gamma: Discount of the return.
        """
        super().__init__()
        self.gamma = gamma
        self.moments = RunningMoments(1)
        self.register_buffer("trace", torch.zeros(0))

    @torch.no_grad()
    def forward(
        self,
        reward: Float[Tensor, "time env agent"],
        ended: Bool[Tensor, "time env agent"],
        alive: Bool[Tensor, "time env agent"],
    ) -> Float[Tensor, "time env agent"]:
        """Learn from a block of rewards and return it scaled.

        Args:
            reward: As the environment gave it.
            ended: True where the step was the last of its episode.
            alive: False where the agent was absent; such entries are not learnt from.
        """
        if self.trace.shape != reward.shape[1:]:
            self.trace = reward.new_zeros(reward.shape[1:])
        sums, self.trace = discounted_sums(reward, ended, self.trace, gamma=self.gamma)
        self.moments.update(sums[alive].unsqueeze(-1))
        std = self.moments.variance.sqrt()
        scale = torch.where(std < UNVARIED_STD, 1.0, std.clamp_min(SMALLEST_STD))
        return reward / scale.to(reward.dtype)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from saved statistics, whatever the number of copies was.

        Args:
            state: Saved parameters and buffers.

        Raises:
            StateMismatchError: Something is absent.
        """
        self.trace = take_tensor(state, "trace").to(self.trace.device, copy=True)
        load_module_state(self, state)
