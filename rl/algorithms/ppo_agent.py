"""Proximal policy optimisation (arXiv:1707.06347), one set of weights shared by all agents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rl.algorithms import losses
from rl.algorithms.heads import ActionSample
from rl.algorithms.networks import (
    OBSERVATION_CLIP,
    Activation,
    ActorCritic,
    PolicyLayers,
    join_parameters,
)
from rl.algorithms.normalization import RewardScaler
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
from rl.algorithms.returns import generalized_advantages
from rl.algorithms.rollout_buffer import Batch, Rollout
from utils.errors import ConfigError

LOSSES = ("policy_loss", "value_loss", "entropy_loss")
STEP_METRICS = (*LOSSES, "kl_divergence", "clipfrac", "gradient_norm")


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Settings of PPO; the defaults suit a few dozen copies and short rollouts."""

    hidden_dims: tuple[int, ...] = (64, 64)
    """Hidden layers of the actor, and of the critic."""
    activation: Activation = "tanh"
    learning_rate: float = 3e-4
    decay_learning_rate: bool = False
    """Fall linearly to zero at the end of training."""
    gamma: float = 0.99
    gae_lambda: float = 0.95
    epsilon_clip: float = 0.2
    decay_epsilon_clip: bool = False
    """Fall linearly to zero at the end of training."""
    value_clip: float | None = None
    """How far a value may move in one update, in units of (scaled) reward; None for no limit."""
    ppo_epochs: int = 4
    num_minibatches: int = 4
    entropy_coeff: float = 0.0
    value_loss_coeff: float = 0.5
    max_grad_norm: float = 0.5
    target_kl: float | None = None
    """End the update after an epoch whose mean KL divergence exceeds this."""
    normalize_advantages: bool = True
    normalize_observations: bool = True
    scale_rewards: bool = False
    """Divide by the running deviation of the discounted return."""
    initial_log_std: float = 0.0
    initial_action_mean: float = 0.0
    """What a new continuous policy does in every dimension, before noise."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            ConfigError: A field is out of range.
        """
        positive = ("learning_rate", "epsilon_clip", "max_grad_norm", "ppo_epochs")
        optional = [n for n in ("value_clip", "target_kl") if getattr(self, n) is not None]
        for name in ("gamma", "gae_lambda"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name}={getattr(self, name)}: choose a number in [0, 1]")
        for name in (*positive, *optional, "num_minibatches"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)}: choose a number above 0")
        if any(size < 1 for size in self.hidden_dims):
            raise ConfigError(f"hidden_dims={self.hidden_dims}: every layer needs a unit")


class PPOAgent:
    """Acts, learns from rollouts, and can be saved and continued bit for bit."""

    def __init__(
        self,
        agent_id: str,
        state_dim: int,
        action_dim: int,
        config: PPOConfig,
        *,
        discrete: bool,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        """Draw initial weights.

        Args:
            agent_id: Name of the learner.
            state_dim: Length of an observation.
            action_dim: Continuous dimensions, or number of choices.
            config: Settings.
            discrete: True for choices.
            seed: Of the weights, the actions and the order of minibatches.
            device: Where weights live and rollouts come from.
        """
        self.agent_id = agent_id
        self.config = config
        self.discrete = discrete
        self.device = torch.device(device)
        self.network = ActorCritic(
            (state_dim, *config.hidden_dims),
            action_dim,
            discrete=discrete,
            activation=config.activation,
            observation_clip=OBSERVATION_CLIP if config.normalize_observations else None,
            generator=torch.Generator().manual_seed(seed),
        )
        if self.network.log_std is not None:
            nn.init.constant_(self.network.log_std, config.initial_log_std)
            nn.init.constant_(self.network.actor_layers()[-1].bias, config.initial_action_mean)
        self.network.to(self.device)
        self.parameters = list(self.network.parameters())
        self._vector = join_parameters(self.parameters)
        self.optimizer = torch.optim.Adam(
            [self._vector], lr=config.learning_rate, eps=1e-5, fused=True
        )
        self.reward_scaler = RewardScaler(config.gamma).to(self.device)
        self.generator = torch.Generator(self.device).manual_seed(seed)

    @torch.no_grad()
    def act(
        self,
        observation: Float[Tensor, "*batch obs"],
        action_mask: Bool[Tensor, "*batch act"] | None,
        *,
        deterministic: bool = False,
    ) -> ActionSample:
        """Choose an action for every agent of every copy.

        Args:
            observation: As the environment gave it.
            action_mask: True where a dimension or choice is in use; None where all are.
            deterministic: Take the likeliest action and leave the generator alone.
        """
        normalized = self.network.normalizer(observation)
        policy = self.network.policy(normalized, action_mask)
        action = policy.mode() if deterministic else policy.sample(self.generator)
        return ActionSample(action, policy.log_prob(action))

    @torch.no_grad()
    def value(self, observation: Float[Tensor, "*batch obs"]) -> Float[Tensor, "*batch"]:
        """Estimate the return from here, in units of scaled reward if rewards are scaled.

        Args:
            observation: As the environment gave it.
        """
        return self.network.value(self.network.normalizer(observation))

    def update(self, rollout: Rollout, *, progress: float = 0.0) -> TensorDict:
        """Improve policy and critic by one block of experience.

        Args:
            rollout: Collected by the present policy.
            progress: Share of training done, in [0, 1], for settings that decay.

        Returns:
            Means over the minibatches; tensors, not yet read from the device.

        Raises:
            DivergenceError: An observation, a reward or a loss is not finite.
        """
        losses.require_finite({"observation": rollout.observation, "reward": rollout.reward})
        remaining = 1.0 - progress
        rate = self.config.learning_rate * (remaining if self.config.decay_learning_rate else 1.0)
        epsilon = self.config.epsilon_clip * (remaining if self.config.decay_epsilon_clip else 1.0)
        self.optimizer.param_groups[0]["lr"] = rate

        batch = self._flatten(rollout)
        history: list[Tensor] = []
        for _ in range(self.config.ppo_epochs):
            parts = batch.minibatches(self.config.num_minibatches, self.generator)
            epoch = [self._descend(part, epsilon) for part in parts]
            history += epoch
            if self._moved_too_far(epoch):
                break
        metrics = dict(zip(STEP_METRICS, torch.stack(history).mean(0), strict=True))
        losses.require_finite(metrics)
        if self.config.normalize_observations:
            self.network.normalizer.update(rollout.observation[rollout.alive])
        return metrics | {
            "explained_variance": losses.explained_variance(batch.value, batch.target),
            "learning_rate": torch.tensor(rate),
            "optimizer_steps": torch.tensor(float(len(history))),
        }

    def _flatten(self, rollout: Rollout) -> Batch:
        """Estimate advantages and keep the rows of live agents."""
        reward = rollout.reward
        if self.config.scale_rewards:
            reward = self.reward_scaler(reward, rollout.ended, rollout.alive)
        advantage = generalized_advantages(
            reward,
            rollout.discount,
            rollout.value,
            rollout.next_value,
            ended=rollout.ended,
            trace_decay=self.config.gae_lambda,
        )
        alive = rollout.alive
        if not alive.any():
            raise ConfigError("no agent is alive in this rollout: check agent_alive")
        return Batch(
            observation=self.network.normalizer(rollout.observation[alive]),
            mask=rollout.action_mask[alive],
            action=rollout.action[alive],
            log_prob=rollout.log_prob[alive],
            value=rollout.value[alive],
            advantage=advantage[alive],
            target=(advantage + rollout.value)[alive],
        )

    def _descend(self, batch: Batch, epsilon: float) -> Float[Tensor, " metric"]:
        """Take one optimiser step and return the `STEP_METRICS`."""
        policy = self.network.policy(batch.observation, batch.mask)
        value = self.network.value(batch.observation)
        log_ratio = policy.log_prob(batch.action) - batch.log_prob
        advantage = batch.advantage
        if self.config.normalize_advantages:
            advantage = losses.standardize(advantage)
        policy_loss = losses.clipped_surrogate(log_ratio, advantage, epsilon)
        value_loss = losses.value_error(value, batch.value, batch.target, self.config.value_clip)
        entropy_loss = -policy.entropy().mean()
        loss = policy_loss + self.config.value_loss_coeff * value_loss
        if self.config.entropy_coeff != 0.0:
            loss = loss + self.config.entropy_coeff * entropy_loss

        gradients = torch.autograd.grad(loss, self.parameters)
        self._vector.grad = torch.cat([gradient.flatten() for gradient in gradients])
        norm = nn.utils.clip_grad_norm_(self._vector, self.config.max_grad_norm)
        self.optimizer.step()
        with torch.no_grad():
            kl, clipped = losses.approximate_kl(log_ratio), losses.clip_fraction(log_ratio, epsilon)
            return torch.stack((policy_loss, value_loss, entropy_loss, kl, clipped, norm))

    def _moved_too_far(self, epoch: list[Tensor]) -> bool:
        if self.config.target_kl is None:
            return False
        kl = torch.stack(epoch)[:, STEP_METRICS.index("kl_divergence")].mean()
        return bool(kl > self.config.target_kl)

    def policy_state(self) -> TensorDict:
        """Return copies of the weights and normaliser: all that acting needs."""
        return module_state(self.network)

    def load_policy_state(self, state: Mapping[str, Tensor]) -> None:
        """Act from now on as the saved policy did; the optimiser is left alone.

        Args:
            state: What `policy_state` returned.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        load_module_state(self.network, state)

    def state_dict(self) -> TensorDict:
        """Return copies of everything that learning needs to go on bit for bit."""
        return {
            **with_prefix("network", self.policy_state()),
            **with_prefix("optimizer", optimizer_state(self.optimizer)),
            **with_prefix("reward_scaler", module_state(self.reward_scaler)),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned, of an agent with the same configuration.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        self.load_policy_state(under_prefix("network", state))
        load_optimizer_state(self.optimizer, under_prefix("optimizer", state))
        self.reward_scaler.load_state(under_prefix("reward_scaler", state))
        self.generator.set_state(take_tensor(state, "generator").cpu())

    def export_layers(self) -> PolicyLayers:
        """Return the deterministic policy as NumPy arrays, for a runtime without torch."""
        return self.network.export_layers()
