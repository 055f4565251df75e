"""What SAC and TD3 have beside networks and equations: replay, chance, counters, settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rl.algorithms.action_noise import unit_noise
from rl.algorithms.experience_config import ExperienceConfig
from rl.algorithms.losses import require_finite
from rl.algorithms.policy_state import TensorDict, take_tensor, under_prefix, with_prefix
from rl.algorithms.replay_buffer import ReplayBuffer, Step, TransitionBatch
from rl.algorithms.replay_steps import without_state
from rl.algorithms.step_writer import StepWriter


class Experience:
    """Remembers steps, counts them, and draws all the chance that an agent needs."""

    def __init__(
        self, config: ExperienceConfig, action_dim: int, *, seed: int, device: torch.device
    ) -> None:
        """Begin with nothing seen.

        Args:
            config: Of the agent.
            action_dim: Continuous dimensions.
            seed: Of actions and batches.
            device: Where transitions lie.
        """
        self.env_steps = 0
        self.generator = torch.Generator(device).manual_seed(seed)
        self.replay = ReplayBuffer(capacity=config.buffer_size, gamma=config.gamma, device=device)
        self._config = config
        self._noise = unit_noise(config.noise_correlation)
        self._writer = StepWriter(action_dim, device, discrete=False)

    @property
    def has_begun(self) -> bool:
        """Whether enough was seen to learn from, and to act by what was learnt."""
        return self.env_steps >= self._config.learning_starts

    @property
    def is_due(self) -> bool:
        """Whether an update is due by the number of steps remembered."""
        due = self.env_steps % self._config.train_frequency == 0
        return due and self.has_begun and len(self.replay) > 0

    def exploration(self, like: Tensor) -> Tensor:
        """Draw the noise of the next action, standard normal and correlated as configured.

        Args:
            like: Of the shape wanted.
        """
        return self._noise(torch.zeros_like(like), self.generator)

    def normal(self, like: Tensor) -> Tensor:
        """Draw independent standard normal noise.

        Args:
            like: Of the shape wanted.
        """
        return torch.empty_like(like).normal_(generator=self.generator)

    def observe(self, step: Step) -> None:
        """Remember a step of all copies.

        Args:
            step: What was seen, done and received.

        Raises:
            DivergenceError: An observation or a reward is not finite.
        """
        require_finite(
            {
                "observation": step.observation,
                "final_observation": step.final_observation,
                "reward": step.reward,
            }
        )
        self.replay.add(without_state(step))
        self.env_steps += len(step.reward)

    def store(
        self, state: Any, action: Any, *, reward: float, done: bool, info: Mapping[str, Any]
    ) -> None:
        """Take note of one step of the only copy; see `StepWriter.write`.

        Args:
            state: `[obs]` that was acted on.
            action: `[act]`.
            reward: What it brought.
            done: True where the episode terminated.
            info: `truncated` where the episode was cut, with its `final_observation`.
        """
        step = self._writer.write(state, action, reward=reward, done=done, info=info)
        if step is not None:
            self.observe(step)

    def improve(
        self, learn: Callable[[TransitionBatch], TensorDict], *, measure: bool = True
    ) -> TensorDict:
        """Take the configured optimiser steps, or none before learning starts.

        Args:
            learn: Takes one and returns its metrics.
            measure: Return the metrics; they are looked at in any case.

        Returns:
            The mean of every metric over the steps that have it.

        Raises:
            DivergenceError: A metric is not finite.
        """
        if not self.has_begun or len(self.replay) == 0:
            return {}
        size, steps = self._config.batch_size, self._config.gradient_steps
        history = [learn(self.replay.sample(size, self.generator)) for _ in range(steps)]
        metrics = history[0] if len(history) == 1 else _mean(history)
        if not torch.isfinite(torch.stack(list(metrics.values()))).all():
            require_finite(metrics)
        return metrics | {"replay_fill": torch.tensor(self.replay.fill)} if measure else {}

    def state_dict(self) -> TensorDict:
        """Return copies of everything."""
        return {
            **with_prefix("replay", self.replay.state_dict()),
            **with_prefix("noise", self._noise.state_dict()),
            **with_prefix("held", self._writer.held),
            "generator": self.generator.get_state(),
            "env_steps": torch.tensor(self.env_steps),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        self.replay.load_state_dict(under_prefix("replay", state))
        self._noise.load_state_dict(under_prefix("noise", state))
        self._writer.load(under_prefix("held", state))
        self.generator.set_state(take_tensor(state, "generator").cpu())
        self.env_steps = int(take_tensor(state, "env_steps"))


def _mean(history: list[TensorDict]) -> TensorDict:
    names = {name: None for metrics in history for name in metrics}
    return {n: torch.stack([one[n] for one in history if n in one]).mean(0) for n in names}


def as_row(state: Any, device: torch.device) -> Tensor:
    """Return one observation as that of the only agent of the only copy, `[1, 1, obs]`.

    Args:
        state: `[obs]`, in any kind of array.
        device: Where it is wanted.
    """
    return torch.tensor(np.asarray(state, np.float32), device=device)[None, None]


def to_array(row: Tensor) -> NDArray[np.float32]:
    """Return what belongs to the only agent of the only copy.

    Args:
        row: `[1, 1, ...]`.
    """
    values: NDArray[np.float32] = row[0, 0].cpu().numpy()
    return values
