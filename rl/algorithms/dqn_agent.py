"""Deep Q-learning (Mnih et al. 2015): double, dueling, prioritised, n-step; masks everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from rl.algorithms import td_losses
from rl.algorithms.dqn_config import DQNConfig
from rl.algorithms.exploration import epsilon_greedy, linear_schedule
from rl.algorithms.heads import ActionSample
from rl.algorithms.networks import PolicyLayers
from rl.algorithms.policy_state import (
    TensorDict,
    load_module_state,
    module_state,
    take_tensor,
    under_prefix,
    with_prefix,
)
from rl.algorithms.q_learning import QLearning, QStep, step_metrics
from rl.algorithms.q_network import QNetwork
from rl.algorithms.replay_buffer import ReplayBuffer, Step
from rl.algorithms.replay_steps import without_state
from rl.algorithms.setting_checks import check_sizes
from rl.algorithms.step_writer import StepWriter


class DQNAgent:
    """Chooses by learnt values, remembers every step, and can be continued bit for bit."""

    def __init__(
        self,
        agent_id: str,
        state_dim: int,
        action_dim: int,
        config: DQNConfig,
        *,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        """Draw initial weights.

        Args:
            agent_id: Name of the learner.
            state_dim: Length of an observation.
            action_dim: Number of choices.
            config: Settings.
            seed: Of the weights, the exploration and the sampling.
            device: Where weights and memory live.
        """
        check_sizes(state_dim, action_dim)
        self.agent_id = agent_id
        self.config = config
        self.device = torch.device(device)
        self.network = QNetwork(
            (state_dim, *config.hidden_dims),
            action_dim,
            dueling=config.dueling,
            activation=config.activation,
            generator=torch.Generator().manual_seed(seed),
        ).to(self.device)
        self.learning = QLearning(self.network, config)
        self.replay = ReplayBuffer(
            capacity=config.buffer_size,
            gamma=config.gamma,
            n_step=config.n_step,
            priority=config.priority,
            device=self.device,
        )
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.env_steps = 0
        self._writer = StepWriter(action_dim, self.device, discrete=True)

    @property
    def epsilon(self) -> float:
        """Share of random actions at present."""
        progress = self.env_steps / self.config.epsilon_decay_steps
        return linear_schedule(self.config.epsilon_start, self.config.epsilon_end, progress)

    def act(
        self,
        observation: Float[Tensor, "*batch obs"],
        action_mask: Bool[Tensor, "*batch act"] | None,
        *,
        deterministic: bool = False,
    ) -> ActionSample:
        """Choose for every agent of every copy.

        Args:
            observation: As the environment gave it.
            action_mask: True where a choice may be taken; None where all may.
            deterministic: Take the best choice and leave the generator alone.

        Returns:
            The choices; nothing learns from their log-probability, which is not a number.
        """
        q = self.network(observation)
        if deterministic:
            action = td_losses.greedy_choice(q, action_mask)
        else:
            action = epsilon_greedy(q, action_mask, self.epsilon, self.generator)
        return ActionSample(action, q.new_full(action.shape, torch.nan))

    def select_action(self, state: NDArray[Any], evaluation: bool = False) -> int:  # noqa: FBT001, FBT002  # promised
        """Choose for one observation, for people who write their own loop.

        Args:
            state: `[obs]`.
            evaluation: Take the best choice.
        """
        observation = torch.as_tensor(state, dtype=torch.float32, device=self.device)
        return int(self.act(observation, None, deterministic=evaluation).action)

    def select_action_with_info(self, state: NDArray[Any]) -> tuple[int, dict[str, float]]:
        """Choose for one observation and say what the choice is thought to be worth.

        Args:
            state: `[obs]`.
        """
        q = self.network(torch.as_tensor(state, dtype=torch.float32, device=self.device))
        action = int(epsilon_greedy(q, None, self.epsilon, self.generator))
        return action, {"value": float(q[action]), "epsilon": self.epsilon}

    def store_experience(  # noqa: PLR0917  # promised
        self,
        state: NDArray[Any],
        action: int,
        reward: float,
        done: bool,  # noqa: FBT001
        info: Mapping[str, Any],
    ) -> None:
        """Remember a step of one's own loop; it counts once the next one shows where it led to.

        Args:
            state: What the agent saw, `[obs]`.
            action: What it chose.
            reward: What it got.
            done: True where the episode terminated.
            info: `truncated` where it was cut; then `final_observation` is what it saw last.

        Raises:
            ConfigError: A truncated episode comes without its last observation.
        """
        step = self._writer.write(state, action, reward=reward, done=done, info=info)
        if step is not None:
            self.observe(step)

    def should_update(self) -> bool:
        """Tell whether an update is due by the number of steps remembered."""
        return self._can_learn() and self.env_steps % self.config.train_frequency == 0

    def _can_learn(self) -> bool:
        return self.env_steps >= self.config.learning_starts and len(self.replay) > 0

    def observe(self, step: Step) -> None:
        """Remember one step of all copies.

        Args:
            step: What came before and what followed.
        """
        self.replay.add(without_state(step))
        self.env_steps += len(step.reward)

    @torch.no_grad()
    def update(self, *, progress: float = 0.0, measure: bool = True) -> TensorDict:
        """Take `gradient_steps` optimiser steps.

        Args:
            progress: Share of training done; no setting depends on it.
            measure: Work out the metrics, and see whether they are finite.

        Returns:
            Means over the steps, not yet read from the device; nothing before `learning_starts`.

        Raises:
            DivergenceError: An observation, a reward or the loss is not finite, and it measures.
        """
        del progress
        if not self._can_learn():
            return {}
        history = [self._improve() for _ in range(self.config.gradient_steps)]
        if not measure:
            return {}
        explored = {"epsilon": self.epsilon, "replay_fill": self.replay.fill}
        return step_metrics(history) | {name: torch.tensor(one) for name, one in explored.items()}

    def _improve(self) -> QStep:
        """Take one optimiser step on a batch drawn from memory."""
        batch = self.replay.sample(self.config.batch_size, self.generator)
        step = self.learning.step(batch)
        if self.config.priority is not None:
            self.replay.update_priorities(batch.index, step.surprise())
        return step

    def policy_state(self) -> TensorDict:
        """Return copies of the weights: all that acting without exploring needs."""
        return module_state(self.network)

    def load_policy_state(self, state: Mapping[str, Tensor]) -> None:
        """Choose from now on as the saved policy did; what learning needs is left alone.

        Args:
            state: What `policy_state` returned.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        load_module_state(self.network, state)

    def state_dict(self) -> TensorDict:
        """Return copies of everything that learning needs to go on bit for bit."""
        return {
            **with_prefix("learning", self.learning.state_dict()),
            **with_prefix("replay", self.replay.state_dict()),
            **with_prefix("held", self._writer.held),
            "generator": self.generator.get_state(),
            "env_steps": torch.tensor(self.env_steps),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned, of an agent with the same configuration.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        self.learning.load_state_dict(under_prefix("learning", state))
        self.replay.load_state_dict(under_prefix("replay", state))
        self._writer.load(under_prefix("held", state))
        self.generator.set_state(take_tensor(state, "generator").cpu())
        self.env_steps = int(take_tensor(state, "env_steps"))

    def export_layers(self) -> PolicyLayers:
        """Return the values of the choices as NumPy arrays, for a runtime without torch."""
        return self.network.export_layers()
