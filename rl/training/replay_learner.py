"""Plays an environment for an agent that learns from a replay, a few steps at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from rl.algorithms.heads import ActionSample
from rl.algorithms.losses import require_finite
from rl.algorithms.policy_state import TensorDict, take_tensor
from rl.algorithms.replay_buffer import Step
from rl.environments.base_environment import BatchedEnvironment, StepRecord
from rl.training.rollout import RolloutSummary, restored, summarise
from utils.seeding import derive_seed

ENV_STEPS_PER_CALL = 64
"""What `make_learner` has a call of `learn` cover at least: agents with few copies would else spend
more time on reports than on learning."""


class ReplayConfig(Protocol):
    """What playing needs of an agent's settings."""

    @property
    def train_frequency(self) -> int:
        """Steps of every copy between two updates."""
        ...


@runtime_checkable
class OffPolicyAgent(Protocol):
    """An agent that is shown every step and learns from what it remembers."""

    @property
    def config(self) -> ReplayConfig:
        """Its settings."""
        ...

    def act(
        self, observation: Tensor, action_mask: Tensor | None, *, deterministic: bool = False
    ) -> ActionSample:
        """Choose an action for every agent of every copy."""
        ...

    def observe(self, step: Step) -> None:
        """Remember one step of all copies, and count it."""
        ...

    def update(self, *, progress: float = 0.0, measure: bool = True) -> TensorDict:
        """Take the configured optimiser steps; no metrics if unasked for or nothing was learnt."""
        ...


@runtime_checkable
class RemembersEpisodes(Protocol):
    """An agent with a memory of the episodes under way."""

    def begin_episodes(self, ended: Tensor, *, deterministic: bool = False) -> None:
        """Forget the episodes of some copies."""
        ...


class ReplayLearner:
    """Off-policy: play a few steps, show each to the agent, let it update."""

    def __init__(
        self,
        environment: BatchedEnvironment,
        agent: OffPolicyAgent,
        *,
        seed: int,
        min_env_steps: int = 1,
    ) -> None:
        """Reset the environment.

        Args:
            environment: Stepped by nobody else.
            agent: Learns; its `config.train_frequency` is the steps per copy and update.
            seed: Of the environment's episodes.
            min_env_steps: Fewest transitions of a call of `learn`; it plays and updates as often
                as that takes.
        """
        self.env_steps = 0
        self._min_env_steps = min_env_steps
        self._environment = environment
        self._agent = agent
        self._seed = seed
        self._record = environment.reset(seed)
        self._sums = torch.zeros(2, environment.num_envs, dtype=torch.float64).to(
            environment.device
        )

    def learn(self, total_env_steps: int) -> tuple[RolloutSummary, TensorDict]:
        """Play the steps of one update, then update; again and again for `min_env_steps`.

        Args:
            total_env_steps: Where training ends: no further update is begun there, and settings
                that decay have done so.

        Returns:
            What happened in all steps, and the metrics of the last update.

        Raises:
            DivergenceError: A reward, an observation or a loss is not finite.
        """
        played: list[StepRecord] = []
        copies = self._environment.num_envs
        while True:
            played += [self._step() for _ in range(self._agent.config.train_frequency)]
            self.env_steps += self._agent.config.train_frequency * copies
            is_done = self.env_steps >= total_env_steps
            progress = min(self.env_steps / total_env_steps, 1.0)
            if is_done or len(played) * copies >= self._min_env_steps:
                # The summary first, so that what the environment did wrong is blamed on it.
                summary = self._summary(played)
                return summary, self._agent.update(progress=progress)
            self._agent.update(progress=progress, measure=False)

    def _summary(self, played: list[StepRecord]) -> RolloutSummary:
        """Say what happened in some steps, which must have brought finite numbers."""
        reward = torch.stack([record.reward for record in played]).sum(-1)
        terminated = torch.stack([record.terminated for record in played])
        ended = terminated | torch.stack([record.truncated for record in played])
        seen = torch.stack([record.final_observation for record in played])
        require_finite({"observation": seen, "reward": reward})
        metrics = [record.metrics for record in played]
        summary, self._sums = summarise(reward, ended, self._sums, metrics)
        return summary

    def _step(self) -> StepRecord:
        """Take one step and show it to the agent."""
        record = self._record
        # Copies, because an environment may reuse its tensors for the next step.
        observation, action_mask = record.observation.clone(), record.action_mask.clone()
        alive, state = record.agent_alive.clone(), record.global_state.clone()
        action = self._agent.act(observation, action_mask).action
        following = self._environment.step(action)
        self._agent.observe(
            Step(
                observation=observation,
                action_mask=action_mask,
                alive=alive,
                action=action,
                reward=following.reward,
                terminated=following.terminated,
                truncated=following.truncated,
                next_observation=following.observation,
                next_action_mask=following.action_mask,
                next_alive=following.agent_alive,
                final_observation=following.final_observation,
                state=state,
                next_state=following.global_state,
                final_state=following.final_global_state,
            )
        )
        self._record = following
        return following

    def take_record(self, record: StepRecord) -> None:
        """Go on with new episodes; those under way are left, which the replay sees by itself.

        Args:
            record: The first one of the new episodes.
        """
        self._record = record
        self._sums.zero_()
        if isinstance(self._agent, RemembersEpisodes):
            self._agent.begin_episodes(torch.ones_like(record.terminated))

    def begin_again(self, seed: int) -> None:
        """Leave the episodes under way and go on with others.

        Args:
            seed: Chooses them.
        """
        self.take_record(self._environment.reset(seed))

    def state_dict(self) -> TensorDict:
        """Return copies of what is needed to go on in the middle of an episode."""
        record = self._record
        return {
            "observation": record.observation.clone(),
            "action_mask": record.action_mask.clone(),
            "agent_alive": record.agent_alive.clone(),
            "global_state": record.global_state.clone(),
            "episode_sums": self._sums.clone(),
            "env_steps": torch.tensor(self.env_steps),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a saved state; the environment's and the agent's are loaded by their owners.

        An environment that cannot be restored (its attribute `resume` says "approximate") begins
        episodes that it has not shown before.

        Args:
            state: What `state_dict` returned, with the same number of copies.

        Raises:
            StateMismatchError: It was saved with other sizes.
        """
        self.env_steps = int(take_tensor(state, "env_steps"))
        if getattr(self._environment, "resume", "exact") == "approximate":
            self.take_record(
                self._environment.reset(derive_seed(self._seed, "resume", self.env_steps))
            )
            return
        current = self._record
        self._record = replace(
            current,
            observation=restored(state, "observation", current.observation),
            action_mask=restored(state, "action_mask", current.action_mask),
            agent_alive=restored(state, "agent_alive", current.agent_alive),
            global_state=restored(state, "global_state", current.global_state),
        )
        self._sums = restored(state, "episode_sums", self._sums)
