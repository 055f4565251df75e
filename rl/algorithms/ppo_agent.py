"""Proximal policy optimisation (arXiv:1707.06347), one set of weights shared by all agents."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rl.algorithms import losses
from rl.algorithms.heads import ActionSample
from rl.algorithms.networks import (
    OBSERVATION_CLIP,
    ActorCritic,
    PolicyLayers,
    join_parameters,
)
from rl.algorithms.objective import Objective, Worth
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
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.rollout_buffer import Batch, Rollout
from utils.errors import ConfigError

__all__ = ["PPOAgent", "PPOConfig"]

LOSSES = ("policy_loss", "value_loss", "entropy_loss")
STEP_METRICS = (*LOSSES, "kl_divergence", "clipfrac", "gradient_norm")


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

        Raises:
            ConfigError: The settings ask for a memory.
        """
        if config.memory_size:
            raise ConfigError(f"memory_size={config.memory_size}: take RecurrentPPOAgent, or 0")
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
        self.objective = Objective(
            state_dim, config, device=self.device, generator=torch.Generator().manual_seed(seed)
        )
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

    @torch.no_grad()
    def cost_value(
        self, observation: Float[Tensor, "*batch obs"]
    ) -> Float[Tensor, "*batch constraint"]:
        """Estimate the discounted sum of each limited cost from here.

        Args:
            observation: As the environment gave it.
        """
        return self.objective.cost_value(self.network.normalizer(observation))

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

        worth = self.objective.assess(rollout, progress=progress)
        batch = self._flatten(rollout, worth)
        history: list[Tensor] = []
        for _ in range(self.config.ppo_epochs):
            parts = batch.minibatches(self.config.num_minibatches, self.generator)
            epoch = [self._descend(part, epsilon) for part in parts]
            history += epoch
            if self._moved_too_far(epoch):
                break
        metrics = dict(zip(STEP_METRICS, torch.stack(history).mean(0), strict=True))
        metrics |= worth.metrics | self.objective.learn_costs(
            batch.observation,
            worth.cost_target[rollout.alive],
            learning_rate=rate,
            generator=self.generator,
        )
        losses.require_finite(metrics)
        if self.config.normalize_observations:
            self.network.normalizer.update(rollout.observation[rollout.alive])
        return metrics | {
            "explained_variance": losses.explained_variance(batch.value, batch.target),
            "learning_rate": torch.tensor(rate),
            "optimizer_steps": torch.tensor(float(len(history))),
        }

    def _flatten(self, rollout: Rollout, worth: Worth) -> Batch:
        """Keep the rows of live agents."""
        alive = rollout.alive
        return Batch(
            observation=self.network.normalizer(rollout.observation[alive]),
            mask=rollout.action_mask[alive],
            action=rollout.action[alive],
            log_prob=rollout.log_prob[alive],
            value=rollout.value[alive],
            advantage=worth.advantage[alive],
            target=worth.target[alive],
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
            **with_prefix("objective", self.objective.state_dict()),
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
        self.objective.load_state_dict(under_prefix("objective", state))
        self.generator.set_state(take_tensor(state, "generator").cpu())

    def export_layers(self) -> PolicyLayers:
        """Return the deterministic policy as NumPy arrays, for a runtime without torch."""
        return self.network.export_layers()
