"""How each kind of agent turns an environment into one improvement; the trainer knows no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from rl.algorithms.apg_agent import APGAgent
from rl.algorithms.base_algorithm import Policy
from rl.algorithms.policy_state import TensorDict, take_tensor
from rl.algorithms.ppo_agent import PPOAgent
from rl.environments.base_environment import BatchedEnvironment, StepRecord
from rl.training.replay_learner import ENV_STEPS_PER_CALL, OffPolicyAgent, ReplayLearner
from rl.training.rollout import Collector, RolloutAgent, RolloutSummary
from rl.training.sharded_collection import ShardedLearner, ShardedWorlds
from utils.errors import ConfigError


class Learner(Protocol):
    """An agent and its environment, improved step by step."""

    @property
    def env_steps(self) -> int:
        """Transitions so far, over all copies."""
        ...

    def learn(self, total_env_steps: int) -> tuple[RolloutSummary, TensorDict]:
        """Play some steps and improve once; returns what happened and the learning figures."""
        ...

    def take_record(self, record: StepRecord) -> None:
        """Go on with new episodes that begin with a record; those under way are left."""
        ...

    def begin_again(self, seed: int) -> None:
        """Leave the episodes under way and go on with others, which a seed chooses."""
        ...

    def state_dict(self) -> TensorDict:
        """Return what is needed beside the agent's and the environment's own states."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state."""
        ...


class RolloutLearner:
    """On-policy: collect a block of steps, then update from it."""

    def __init__(
        self, environment: BatchedEnvironment, agent: RolloutAgent, *, rollout_steps: int, seed: int
    ) -> None:
        """Reset the environment.

        Args:
            environment: Stepped by nobody else.
            agent: Learns.
            rollout_steps: Steps per copy and update.
            seed: Of the environment's episodes.
        """
        self._ppo, self._environment = agent, environment
        self._collector = Collector(environment, agent, rollout_steps=rollout_steps, seed=seed)

    @property
    def env_steps(self) -> int:
        """Transitions so far, over all copies."""
        return self._collector.env_steps

    def learn(self, total_env_steps: int) -> tuple[RolloutSummary, TensorDict]:
        """Collect one block and update.

        Args:
            total_env_steps: Where training ends, for settings that decay.
        """
        rollout, summary = self._collector.collect()
        progress = min(self.env_steps / total_env_steps, 1.0)
        return summary, self._ppo.update(rollout, progress=progress)

    def take_record(self, record: StepRecord) -> None:
        """Go on with new episodes; those under way are left and count for nothing.

        Args:
            record: The first one of the new episodes.
        """
        self._collector.take_record(record)

    def begin_again(self, seed: int) -> None:
        """Leave the episodes under way and go on with others.

        Args:
            seed: Chooses them.
        """
        self.take_record(self._environment.reset(seed))

    def state_dict(self) -> TensorDict:
        """Return copies of what is needed to go on in the middle of an episode."""
        return self._collector.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned.
        """
        self._collector.load_state_dict(state)


class EpisodeLearner:
    """Analytic: play one whole episode in every copy with gradients, then update."""

    def __init__(self, environment: BatchedEnvironment, agent: APGAgent, *, seed: int) -> None:
        """Reset the environment.

        Args:
            environment: Differentiable, with episodes that all copies begin and end together.
            agent: Learns.
            seed: Of the environment's episodes.

        Raises:
            ConfigError: The environment has no gradient.
        """
        if not getattr(environment, "is_differentiable", False):
            raise ConfigError(
                "analytic policy gradients need a differentiable environment such as "
                "resource_allocation; choose algorithm=ppo for this one"
            )
        self.env_steps = 0
        self._apg = agent
        self._environment = environment
        self._range = environment.groups[0].action
        self._record: StepRecord = environment.reset(seed)

    def learn(self, total_env_steps: int) -> tuple[RolloutSummary, TensorDict]:
        """Play one episode in every copy and update.

        Args:
            total_env_steps: Where training ends, for settings that decay.
        """
        rewards, overshoots, seen = [], [], []
        metrics: list[Mapping[str, Tensor]] = []
        ended = False
        while not ended:
            observation = self._record.observation
            action = self._apg.decide(observation)
            self._record = self._environment.step(action)
            beyond = action - action.clamp(self._range.low, self._range.high)
            overshoots.append(beyond.square().mean())
            rewards.append(self._record.reward.sum(-1))
            seen.append(observation.detach().flatten(0, -2))
            metrics.append(self._record.metrics)
            ended = bool((self._record.terminated | self._record.truncated).all())
        returns = torch.stack(rewards).sum(0)
        steps = len(rewards) * self._environment.num_envs
        self.env_steps += steps
        learning = self._apg.update(
            returns,
            torch.stack(overshoots).mean(),
            torch.cat(seen),
            progress=min(self.env_steps / total_env_steps, 1.0),
        )
        summary = RolloutSummary(
            env_steps=steps,
            episodes=self._environment.num_envs,
            mean_return=float(returns.detach().mean()),
            mean_length=float(len(rewards)),
            metrics={
                name: float(torch.stack([step[name].detach() for step in metrics]).mean())
                for name in metrics[0]
            },
        )
        return summary, learning

    def take_record(self, record: StepRecord) -> None:
        """Go on with new episodes.

        Args:
            record: The first one of them.
        """
        self._record = record

    def begin_again(self, seed: int) -> None:
        """Leave the episodes under way and go on with others.

        Args:
            seed: Chooses them.
        """
        self.take_record(self._environment.reset(seed))

    def state_dict(self) -> TensorDict:
        """Return copies of what is needed to begin the next episode."""
        return {
            "observation": self._record.observation.detach().clone(),
            "env_steps": torch.tensor(self.env_steps),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state; the environment's own is loaded before, by its owner.

        Args:
            state: What `state_dict` returned.
        """
        observation = take_tensor(state, "observation", self._record.observation)
        self._record = _with_observation(self._record, observation)
        self.env_steps = int(take_tensor(state, "env_steps"))


def _with_observation(record: StepRecord, observation: Tensor) -> StepRecord:
    return replace(record, observation=observation.to(record.observation.device, copy=True))


def make_learner(
    environment: BatchedEnvironment | ShardedWorlds,
    agent: Policy,
    *,
    rollout_steps: int,
    seed: int,
) -> Learner:
    """Pair an agent with the way it learns.

    Args:
        environment: Stepped by nobody else.
        agent: PPO, analytic policy gradient, or any that learns from a replay.
        rollout_steps: Steps per copy and update, for agents that learn from blocks; one that learns
            from a replay has its own `train_frequency`.
        seed: Of the environment's episodes.

    Raises:
        ConfigError: The agent cannot learn in this environment.
    """
    if isinstance(environment, ShardedWorlds):
        if not isinstance(agent, PPOAgent):
            raise ConfigError(f"{type(agent).__name__} collects in one piece: train a PPOAgent")
        return ShardedLearner(environment, agent)
    if isinstance(agent, APGAgent):
        return EpisodeLearner(environment, agent, seed=seed)
    if isinstance(agent, RolloutAgent):
        return RolloutLearner(environment, agent, rollout_steps=rollout_steps, seed=seed)
    if isinstance(agent, OffPolicyAgent):
        return ReplayLearner(environment, agent, seed=seed, min_env_steps=ENV_STEPS_PER_CALL)
    raise ConfigError(f"no learner for {type(agent).__name__}")
