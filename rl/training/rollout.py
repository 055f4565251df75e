"""Steps an environment with an agent and hands over what it saw, block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rl.algorithms.policy_state import TensorDict, take_tensor
from rl.algorithms.ppo_agent import PPOAgent
from rl.algorithms.returns import episode_sums
from rl.algorithms.rollout_buffer import Rollout
from rl.environments.base_environment import BatchedEnvironment, StepRecord
from utils.seeding import derive_seed


@dataclass(frozen=True, kw_only=True)
class RolloutSummary:
    """What happened in one block, apart from what is learnt from it."""

    env_steps: int
    """Transitions, over all copies."""
    episodes: int
    """How many ended."""
    mean_return: float | None
    """Undiscounted, summed over agents, of the episodes that ended; None if none did."""
    mean_length: float | None
    metrics: Mapping[str, float]
    """The environment's own figures, averaged over steps and copies."""


class Collector:
    """Keeps an environment going between blocks, and can be saved in the middle of an episode."""

    def __init__(
        self,
        environment: BatchedEnvironment,
        agent: PPOAgent,
        *,
        rollout_steps: int,
        seed: int,
    ) -> None:
        """Reset the environment.

        Args:
            environment: Stepped by nobody else while collecting.
            agent: Acts; also estimates the values of what was seen.
            rollout_steps: Steps per copy and block.
            seed: Of the environment's episodes.
        """
        self._environment = environment
        self._agent = agent
        self._seed = seed
        self._record = environment.reset(seed)
        self._rollout = Rollout.allocate(
            rollout_steps,
            self._record.observation,
            self._record.action_mask,
            discrete=agent.discrete,
        )
        self._episode_ended = torch.zeros_like(self._rollout.ended[:, :, 0])
        self._sums = torch.zeros(2, environment.num_envs, dtype=torch.float64).to(
            environment.device
        )
        self.env_steps = 0

    def collect(self) -> tuple[Rollout, RolloutSummary]:
        """Act for one block.

        Returns:
            The block, whose tensors the next call overwrites, and its summary.
        """
        rollout = self._rollout
        truncations: list[tuple[int, Tensor, Tensor]] = []
        metrics: list[Mapping[str, Tensor]] = []
        for time in range(len(rollout.reward)):
            following = self._step(time)
            cut = following.truncated & ~following.terminated
            if cut.any():
                truncations.append((time, cut, following.final_observation[cut]))
            metrics.append(following.metrics)
            self._record = following
        self._estimate_values(truncations)
        return rollout, self._summarise(metrics)

    def _step(self, time: int) -> StepRecord:
        """Take one step and write it down, before the environment can reuse its tensors."""
        rollout, record = self._rollout, self._record
        alive = record.agent_alive
        sample = self._agent.act(record.observation, record.action_mask)
        rollout.observation[time] = record.observation
        rollout.action_mask[time] = record.action_mask
        rollout.alive[time] = alive
        rollout.action[time] = sample.action
        rollout.log_prob[time] = sample.log_prob

        following = self._environment.step(sample.action)
        ended = (following.terminated | following.truncated).unsqueeze(-1)
        has_left = rollout.alive[time] & ~following.agent_alive & ~ended
        is_over = following.terminated.unsqueeze(-1) | has_left
        rollout.reward[time] = following.reward
        self._episode_ended[time] = ended.squeeze(-1)
        rollout.ended[time] = ended | has_left
        rollout.discount[time] = torch.where(is_over, 0.0, self._agent.config.gamma)
        return following

    def _estimate_values(self, truncations: list[tuple[int, Tensor, Tensor]]) -> None:
        """Fill in the values of all states in one pass of the critic."""
        rollout = self._rollout
        rollout.value.copy_(self._agent.value(rollout.observation))
        rollout.next_value[:-1] = rollout.value[1:]
        rollout.next_value[-1] = self._agent.value(self._record.observation)
        for time, cut, final_observation in truncations:
            rollout.next_value[time, cut] = self._agent.value(final_observation)

    def _summarise(self, metrics: list[Mapping[str, Tensor]]) -> RolloutSummary:
        reward = self._rollout.reward.sum(-1)
        self.env_steps += reward.numel()
        summary, self._sums = summarise(reward, self._episode_ended, self._sums, metrics)
        return summary

    def state_dict(self) -> TensorDict:
        """Return copies of what is needed to go on in the middle of an episode."""
        return {
            "observation": self._record.observation.clone(),
            "action_mask": self._record.action_mask.clone(),
            "agent_alive": self._record.agent_alive.clone(),
            "episode_sums": self._sums.clone(),
            "env_steps": torch.tensor(self.env_steps),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a saved state; the environment's own state is loaded before, by its owner.

        An environment that cannot be restored (its attribute `resume` says "approximate") begins
        episodes that it has not shown before.

        Args:
            state: What `state_dict` returned, with the same number of copies.

        Raises:
            StateMismatchError: It was saved with other sizes.
        """
        current = self._record
        self.env_steps = int(take_tensor(state, "env_steps"))
        if getattr(self._environment, "resume", "exact") == "approximate":
            self._record = self._environment.reset(
                derive_seed(self._seed, "resume", self.env_steps)
            )
            self._sums.zero_()
            return
        self._record = replace(
            current,
            observation=restored(state, "observation", current.observation),
            action_mask=restored(state, "action_mask", current.action_mask),
            agent_alive=restored(state, "agent_alive", current.agent_alive),
        )
        self._sums = restored(state, "episode_sums", self._sums)


def summarise(
    reward: Float[Tensor, "time env"],
    ended: Bool[Tensor, "time env"],
    sums: Float[Tensor, "2 env"],
    metrics: Sequence[Mapping[str, Tensor]],
) -> tuple[RolloutSummary, Float[Tensor, "2 env"]]:
    """Say what happened in a block of steps.

    Args:
        reward: Of each step, over all agents.
        ended: True where the step was the last of its episode.
        sums: Return and length so far of the episodes under way before the block.
        metrics: The environment's own figures, one mapping per step.

    Returns:
        The summary, and the sums of the episodes under way after the block.
    """
    returns, running_return = episode_sums(reward, ended, sums[0])
    lengths, running_length = episode_sums(torch.ones_like(reward), ended, sums[1])
    summary = RolloutSummary(
        env_steps=reward.numel(),
        episodes=len(returns),
        mean_return=float(returns.mean()) if len(returns) else None,
        mean_length=float(lengths.mean()) if len(lengths) else None,
        metrics={
            name: float(torch.stack([step[name] for step in metrics]).float().mean())
            for name in metrics[0]
        },
    )
    return summary, torch.stack((running_return, running_length))


def restored(state: Mapping[str, Tensor], name: str, like: Tensor) -> Tensor:
    """Return a copy of one saved tensor, on the device of the present one.

    Args:
        state: By name.
        name: Which.
        like: The present one.

    Raises:
        StateMismatchError: It is absent or was saved with another shape or type.
    """
    return take_tensor(state, name, like).to(like.device, copy=True)
