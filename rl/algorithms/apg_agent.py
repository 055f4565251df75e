"""Analytic policy gradient: back-propagate the reward of whole episodes through the simulation.

No critic and no noise: where nature is smooth, the gradient of the return is exact for each drawn
episode (Clavera et al., arXiv:2005.08068, with the true model; Hwangbo et al., Freeman et al.).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rl.algorithms.apg_config import APGConfig
from rl.algorithms.heads import ActionSample
from rl.algorithms.losses import require_finite
from rl.algorithms.networks import (
    PolicyLayers,
    export_policy,
    multilayer_perceptron,
)
from rl.algorithms.normalization import ObservationNormalizer
from rl.algorithms.policy_state import (
    TensorDict,
    load_module_state,
    load_optimizer_state,
    module_state,
    optimizer_state,
    take_tensor,
    under_prefix,
    with_prefix,
)
from rl.algorithms.setting_checks import check_sizes

OUTPUT_GAIN = 0.01


class APGAgent:
    """A deterministic policy that learns through a differentiable environment."""

    discrete = False

    def __init__(
        self,
        agent_id: str,
        state_dim: int,
        action_dim: int,
        config: APGConfig,
        *,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        """Draw initial weights.

        Args:
            agent_id: Name of the learner.
            state_dim: Length of an observation.
            action_dim: Continuous dimensions.
            config: Settings.
            seed: Of the weights; nothing else is left to chance.
            device: Where weights live.
        """
        check_sizes(state_dim, action_dim)
        self.agent_id = agent_id
        self.config = config
        self.device = torch.device(device)
        generator = torch.Generator().manual_seed(seed)
        self.normalizer = ObservationNormalizer(state_dim, clip=config.observation_clip)
        self.normalizer.to(self.device)
        self.policy = self._make_policy(state_dim, action_dim, generator)
        self.averaged = self._make_policy(state_dim, action_dim, generator)
        self.averaged.load_state_dict(self.policy.state_dict())
        self.parameters = list(self.policy.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, lr=config.learning_rate, fused=True)
        self._updates = 0

    def decide(self, observation: Float[Tensor, "env agent obs"]) -> Float[Tensor, "env agent act"]:
        """Return the action being learnt, with its gradient.

        Args:
            observation: As the environment gave it.
        """
        action: Tensor = self.policy(self.normalizer(observation))
        return action

    @torch.no_grad()
    def act(
        self,
        observation: Float[Tensor, "*batch obs"],
        action_mask: Bool[Tensor, "*batch act"] | None,
        *,
        deterministic: bool = True,
    ) -> ActionSample:
        """Choose an action by the averaged weights.

        Args:
            observation: As the environment gave it.
            action_mask: True where a dimension is in use; None where all are.
            deterministic: Always so.
        """
        del deterministic
        action = self.averaged(self.normalizer(observation))
        if action_mask is not None:
            action = torch.where(action_mask, action, 0.0)
        return ActionSample(action, torch.zeros_like(action[..., 0]))

    def update(
        self,
        episode_return: Float[Tensor, " env"],
        overshoot: Float[Tensor, ""],
        observation: Float[Tensor, "row obs"],
        *,
        progress: float,
    ) -> TensorDict:
        """Take one step along the gradient of the mean return.

        Args:
            episode_return: Of one whole episode per copy, with its gradient.
            overshoot: Mean squared distance of the actions from their range, with its gradient.
            observation: What was seen, for the normaliser.
            progress: Share of training done, in [0, 1].

        Raises:
            DivergenceError: A return or the gradient is not finite.
        """
        scale = episode_return.detach().abs().mean().clamp(min=1e-6)
        loss = self.config.range_penalty * overshoot - episode_return.mean() / scale
        require_finite({"return": episode_return.detach(), "loss": loss.detach()})
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
        require_finite({"gradient_norm": norm})
        rate = self._learning_rate(progress)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self._updates += 1
        self._average()
        if self._updates <= self.config.normalizer_updates:
            self.normalizer.update(observation)
        return {
            "gradient_norm": norm.detach(),
            "learning_rate": torch.tensor(rate),
            "overshoot": overshoot.detach(),
        }

    def policy_state(self) -> TensorDict:
        """Return copies of all that acting needs."""
        return {
            **with_prefix("averaged", module_state(self.averaged)),
            **with_prefix("normalizer", module_state(self.normalizer)),
        }

    def load_policy_state(self, state: Mapping[str, Tensor]) -> None:
        """Act from now on as the saved policy did; what is being learnt is left alone.

        Args:
            state: What `policy_state` returned.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        load_module_state(self.averaged, under_prefix("averaged", state))
        load_module_state(self.normalizer, under_prefix("normalizer", state))

    def state_dict(self) -> TensorDict:
        """Return copies of everything that learning needs to go on bit for bit."""
        return {
            **self.policy_state(),
            **with_prefix("policy", module_state(self.policy)),
            **with_prefix("optimizer", optimizer_state(self.optimizer)),
            "updates": torch.tensor(self._updates),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned, of an agent with the same configuration.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        self.load_policy_state(state)
        load_module_state(self.policy, under_prefix("policy", state))
        load_optimizer_state(self.optimizer, under_prefix("optimizer", state))
        self._updates = int(take_tensor(state, "updates"))

    def export_layers(self) -> PolicyLayers:
        """Return the averaged policy as NumPy arrays, for a runtime without torch."""
        return export_policy(self.averaged, self.config.activation, self.normalizer)

    def _make_policy(
        self, state_dim: int, action_dim: int, generator: torch.Generator
    ) -> nn.Sequential:
        policy = multilayer_perceptron(
            (state_dim, *self.config.hidden_dims, action_dim),
            activation=self.config.activation,
            output_gain=OUTPUT_GAIN,
            generator=generator,
        )
        last = policy[-1]
        if isinstance(last, nn.Linear):
            nn.init.constant_(last.bias, self.config.initial_action_mean)
        return policy.to(self.device)

    def _learning_rate(self, progress: float) -> float:
        warmup = min(1.0, (self._updates + 1) / self.config.warmup_updates)
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
        return self.config.learning_rate * warmup * (0.02 + 0.98 * cosine)

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(self.config.averaging, self._updates / (self._updates + 10))
        for average, weight in zip(self.averaged.parameters(), self.parameters, strict=True):
            average.lerp_(weight, 1.0 - keep)
