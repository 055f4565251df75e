"""Caring for the worst episodes: conditional value at risk as a change of the rewards.

CVaR_a(R) = max_v v + E[min(R, v) - v] / a, where the best v is the a-quantile of the episode's
return R (Rockafellar and Uryasev 2000; as policy gradients: arXiv:1404.3862, arXiv:1512.01629).
For a fixed v its gradient is that of E[min(R, v)] / a. So any policy-gradient learner climbs it
once a reward counts only while the episode's return so far is below v.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rl.algorithms.policy_state import TensorDict, take_tensor
from rl.algorithms.returns import discounted_sums

WINDOW = 1024
"""Returns of the latest episodes, of which v is a quantile."""
FALLING_FOR = 0.5
"""Share of training in which the risk level falls from 1, the mean, to what is wanted."""


def tail_mean(returns: Float[Tensor, " episode"], tail_share: float) -> Float[Tensor, ""]:
    """Return CVaR, the mean of the worst share of some returns; a part of one counts as a part.

    Args:
        returns: One per episode.
        tail_share: a in (0, 1]; 1 is the plain mean.
    """
    worst = returns.sort().values
    count = tail_share * len(worst)
    weight = (count - torch.arange(len(worst), device=worst.device)).clamp(0.0, 1.0)
    return (worst * weight.to(worst.dtype)).sum() / count


def tail_rewards(
    reward: Float[Tensor, "time env agent"],
    returns_so_far: Float[Tensor, "time env agent"],
    threshold: Float[Tensor, ""],
) -> Float[Tensor, "time env agent"]:
    """Return min(G_t, v) - min(G_{t-1}, v), over an episode min(R, v) - min(0, v).

    Args:
        reward: Received after each step.
        returns_so_far: G_t, the episode's rewards up to and with this one.
        threshold: v.
    """
    before = returns_so_far - reward
    return torch.minimum(returns_so_far, threshold) - torch.minimum(before, threshold)


def risk_level(tail_share: float, progress: float) -> float:
    """Return the share of episodes that counts now: 1 at first, then less, then `tail_share`.

    A policy that knows nothing learns little from its worst episodes alone (arXiv:2205.05138).

    Args:
        tail_share: Share at the end.
        progress: Share of training done.
    """
    return max(tail_share, 1.0 - (1.0 - tail_share) * progress / FALLING_FOR)


class TailRewards:
    """Changes a learner's rewards so that it raises the mean of its worst episodes."""

    def __init__(self, tail_share: float, device: torch.device) -> None:
        """Begin without any episode.

        Args:
            tail_share: a, the share of episodes that is the tail, in (0, 1].
            device: Of the rewards.
        """
        self.tail_share = tail_share
        self._carry = torch.zeros(0, 0, device=device)
        self._recent = torch.zeros(0, device=device)

    def __call__(
        self,
        reward: Float[Tensor, "time env agent"],
        ended: Bool[Tensor, "time env agent"],
        alive: Bool[Tensor, "time env agent"],
        *,
        progress: float,
    ) -> tuple[Float[Tensor, "time env agent"], TensorDict]:
        """Return the rewards to learn from, and what the latest episodes came to.

        Args:
            reward: As the environment gave it.
            ended: True where the step was the last of its episode.
            alive: False where the agent was absent; what ends there is no episode.
            progress: Share of training done.
        """
        if self._carry.shape != reward.shape[1:]:
            self._carry = reward.new_zeros(reward.shape[1:])
        returns, self._carry = discounted_sums(reward, ended, self._carry, gamma=1.0)
        self._recent = torch.cat((self._recent, returns[ended & alive]))[-WINDOW:]
        if not len(self._recent):
            return reward, {}
        threshold = self._recent.quantile(risk_level(self.tail_share, progress))
        metrics = {
            "value_at_risk": self._recent.quantile(self.tail_share),
            "tail_mean": tail_mean(self._recent, self.tail_share),
        }
        return tail_rewards(reward, returns, threshold), metrics

    def begin_episodes(self) -> None:
        """Forget the rewards of episodes that will not be finished."""
        self._carry.zero_()

    def state_dict(self) -> TensorDict:
        """Return copies of all that is needed to go on in the middle of an episode."""
        return {"carry": self._carry.clone(), "recent": self._recent.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state, whatever the number of copies was.

        Args:
            state: What `state_dict` returned.

        Raises:
            StateMismatchError: Something is absent.
        """
        self._carry = take_tensor(state, "carry").to(self._carry.device, copy=True)
        self._recent = take_tensor(state, "recent").to(self._recent.device, copy=True)
