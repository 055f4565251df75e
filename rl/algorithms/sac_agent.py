"""Soft actor-critic (arXiv:1812.05905), one set of weights shared by all agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from rl.algorithms import actor_critic_losses as equations
from rl.algorithms.action_noise import uniform_sample
from rl.algorithms.experience import Experience, as_row, to_array
from rl.algorithms.heads import ActionSample, TanhNormal
from rl.algorithms.networks import PolicyLayers
from rl.algorithms.policy_state import (
    TensorDict,
    load_module_state,
    module_state,
    under_prefix,
    with_prefix,
)
from rl.algorithms.replay_buffer import Step, TransitionBatch
from rl.algorithms.sac_config import SACConfig
from rl.algorithms.setting_checks import check_sizes
from rl.algorithms.stacked_networks import StackedMLP
from rl.algorithms.td_losses import td_target
from rl.algorithms.temperature import Temperature
from rl.algorithms.trained_network import TrainedNetwork, export_squashed
from rl.algorithms.twin_critics import TwinCritics, as_rows

LOWEST_LOG_STD, HIGHEST_LOG_STD = -20.0, 2.0


class SACAgent:
    """Acts, learns from a replay, and can be saved and continued bit for bit."""

    discrete = False

    def __init__(
        self,
        agent_id: str,
        state_dim: int,
        action_dim: int,
        config: SACConfig,
        *,
        seed: int,
        action_low: float = -1.0,
        action_high: float = 1.0,
        device: torch.device | str = "cpu",
    ) -> None:
        """Draw initial weights.

        Args:
            agent_id: Name of the learner.
            state_dim: Length of an observation.
            action_dim: Continuous dimensions.
            config: Settings.
            seed: Of the weights, the actions and the choice of transitions.
            action_low: Smallest action.
            action_high: Largest action.
            device: Where weights and replay live.
        """
        check_sizes(state_dim, action_dim)
        self.agent_id = agent_id
        self.config = config
        self.device = torch.device(device)
        self._low, self._high = action_low, action_high
        self._action_dim = action_dim
        weights = torch.Generator().manual_seed(seed)
        sizes = (state_dim, *config.hidden_dims, 2 * action_dim)
        network = StackedMLP(sizes, init="uniform", generator=weights).to(self.device)
        self.actor = TrainedNetwork(network, config.learning_rate)
        self.critics = TwinCritics(
            (state_dim + action_dim, *config.hidden_dims),
            learning_rate=config.learning_rate,
            generator=weights,
            device=self.device,
        )
        self.temperature = Temperature(
            config.temperature,
            learning_rate=config.learning_rate,
            per_dimension=config.target_entropy,
            action_range=(action_low, action_high),
            device=self.device,
        )
        self.experience = Experience(config, action_dim, seed=seed, device=self.device)

    def policy(
        self,
        observation: Float[Tensor, "*batch obs"],
        mask: Bool[Tensor, "*batch act"] | None,
    ) -> TanhNormal:
        """Return the distribution over actions.

        Args:
            observation: As the environment gave it.
            mask: True where a dimension is in use; None where all are.
        """
        output = self.actor.network(observation.reshape(1, -1, observation.shape[-1]))
        mean, log_std = output.view(*observation.shape[:-1], -1).chunk(2, -1)
        log_std = log_std.clamp(LOWEST_LOG_STD, HIGHEST_LOG_STD)
        return TanhNormal(mean, log_std, mask, low=self._low, high=self._high)

    @torch.no_grad()
    def act(
        self,
        observation: Float[Tensor, "*batch obs"],
        action_mask: Bool[Tensor, "*batch act"] | None,
        *,
        deterministic: bool = False,
    ) -> ActionSample:
        """Choose an action for every agent of every copy; at random until learning starts.

        Args:
            observation: As the environment gave it.
            action_mask: True where a dimension is in use; None where all are.
            deterministic: Take the mean before the tanh and leave the generator alone.
        """
        policy = self.policy(observation, action_mask)
        if deterministic:
            return ActionSample(policy.mode(), policy.log_prob(policy.mean))
        noise = self.experience.exploration(policy.mean)
        if not self.experience.has_begun:
            return uniform_sample(noise, action_mask, low=self._low, high=self._high)
        return policy.rsample(noise)

    def observe(self, step: Step) -> None:
        """Remember a step of all copies; see `Experience.observe`.

        Args:
            step: What was seen, done and received.
        """
        self.experience.observe(step)

    def update(self, *, progress: float = 0.0, measure: bool = True) -> TensorDict:
        """Take the configured steps and return mean metrics; before learning starts, neither.

        Args:
            progress: Share of training done; nothing here depends on it.
            measure: Return the metrics.

        Raises:
            DivergenceError: A loss is not finite.
        """
        del progress
        return self.experience.improve(self.learn, measure=measure)

    def learn(self, batch: TransitionBatch) -> TensorDict:
        """Take one optimiser step of critics, policy and temperature.

        Args:
            batch: From the replay.
        """
        rows = as_rows(batch)
        temperature = self.temperature.value
        with torch.no_grad():
            following = self._draw(rows.next_observation, rows.next_mask)
            next_q = self.critics.target_value(rows.next_observation, following.action)
            next_value = equations.soft_value(next_q, following.log_prob, temperature)
            target = td_target(rows.reward, rows.discount, next_value)
        critic = self.critics.learn(rows, target)

        sample = self._draw(rows.observation, rows.mask)
        q_value = self.critics.value(rows.observation, sample.action)
        loss = equations.entropy_policy_loss(q_value, sample.log_prob, temperature, rows.weight)
        (gradient,) = torch.autograd.grad(loss, self.actor.network.vector)
        norm = self.actor.step(gradient)
        log_prob = sample.log_prob.detach()
        self.temperature.adjust(log_prob, rows.mask, rows.weight)
        self.critics.follow(self.config.tau)
        return {
            **critic,
            "actor_loss": loss.detach(),
            "temperature": temperature,
            "entropy": -equations.weighted_mean(log_prob, rows.weight),
            "actor_gradient_norm": norm,
        }

    def _draw(self, observation: Tensor, mask: Tensor) -> ActionSample:
        policy = self.policy(observation, mask)
        return policy.rsample(self.experience.normal(policy.mean))

    def policy_state(self) -> TensorDict:
        """Return copies of the policy's weights: all that acting needs."""
        return module_state(self.actor.network)

    def load_policy_state(self, state: Mapping[str, Tensor]) -> None:
        """Act from now on as the saved policy did; what is being learnt besides is left alone.

        Args:
            state: What `policy_state` returned.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        load_module_state(self.actor.network, state)

    def state_dict(self) -> TensorDict:
        """Return copies of everything that learning needs to go on bit for bit."""
        return {
            **with_prefix("actor", self.actor.state_dict()),
            **with_prefix("critics", self.critics.state_dict()),
            **with_prefix("temperature", self.temperature.state_dict()),
            **with_prefix("experience", self.experience.state_dict()),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned, of an agent with the same configuration.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        self.actor.load_state_dict(under_prefix("actor", state))
        self.critics.load_state_dict(under_prefix("critics", state))
        self.temperature.load_state_dict(under_prefix("temperature", state))
        self.experience.load_state_dict(under_prefix("experience", state))

    def export_layers(self) -> PolicyLayers:
        """Return the deterministic policy as NumPy arrays, for a runtime without torch."""
        return export_squashed(self.actor.network, self._action_dim)

    def select_action(
        self,
        state: Any,
        evaluation: bool = False,  # noqa: FBT001, FBT002  # promised
    ) -> NDArray[np.float32]:
        """Choose an action `[act]` for one observation `[obs]`; `evaluation` leaves out chance."""
        observation = as_row(state, self.device)
        return to_array(self.act(observation, None, deterministic=evaluation).action)

    def select_action_with_info(self, state: Any) -> tuple[NDArray[np.float32], dict[str, float]]:
        """Choose an action while training; the info tells how good and how likely it is."""
        observation = as_row(state, self.device)
        sample = self.act(observation, None)
        value = self.critics.value(observation[0], sample.action[0]).amin()
        return to_array(sample.action), {"value": float(value), "log_prob": float(sample.log_prob)}

    def store_experience(  # noqa: PLR0917  # promised
        self,
        state: Any,
        action: Any,
        reward: float,
        done: bool,  # noqa: FBT001
        info: Mapping[str, Any],
    ) -> None:
        """Remember one step of an own loop; `StepWriter.write` says what `info` must tell."""
        self.experience.store(state, action, reward=reward, done=done, info=info)

    def should_update(self) -> bool:
        """Whether an update is due by the number of steps remembered."""
        return self.experience.is_due
