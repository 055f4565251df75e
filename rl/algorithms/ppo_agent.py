"""Proximal policy optimisation (arXiv:1707.06347), for one agent or many."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rl.algorithms import losses
from rl.algorithms.actor_critic import ActorCritic, NetworkShape
from rl.algorithms.heads import ActionSample
from rl.algorithms.networks import OBSERVATION_CLIP, PolicyLayers
from rl.algorithms.objective import Objective, Worth
from rl.algorithms.own_loop import OwnLoop, OwnStep
from rl.algorithms.parameter_groups import groups_of
from rl.algorithms.policy_state import (
    TensorDict,
    load_module_state,
    module_state,
    take_tensor,
    under_prefix,
    with_prefix,
)
from rl.algorithms.ppo_batch import Batch, lay_out
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.ppo_gradient import LossRows, LossSettings, loss_gradient, loss_settings
from rl.algorithms.ppo_metrics import STEP_METRICS, UpdateHistory
from rl.algorithms.rollout_buffer import Rollout
from rl.algorithms.setting_checks import check_sizes
from rl.algorithms.vector_adam import VectorAdam
from utils.errors import ConfigError

__all__ = ["STEP_METRICS", "PPOAgent", "PPOConfig"]


class PPOAgent(OwnLoop):
    """Acts, learns from rollouts, and can be saved and continued bit for bit."""

    def __init__(
        self,
        agent_id: str,
        state_dim: int,
        action_dim: int | tuple[int, ...],
        config: PPOConfig,
        *,
        discrete: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
        num_agents: int = 1,
    ) -> None:
        """Draw initial weights.

        Args:
            agent_id: Name of the learner.
            state_dim: Length of an observation.
            action_dim: Continuous dimensions, or number of choices; a tuple of numbers of choices
                for an action of several choices at once.
            config: Settings.
            discrete: True for choices.
            seed: Of the weights, the actions and the order of minibatches.
            device: Where weights live and rollouts come from.
            num_agents: Length of the agent axis; may stay 1 where all agents share everything.

        Raises:
            ConfigError: The groups of the configuration are not a partition of the agents, or it
                asks for a memory.
        """
        check_sizes(state_dim, action_dim, num_agents)
        if config.memory_size:
            raise ConfigError(f"memory_size={config.memory_size}: take RecurrentPPOAgent, or 0")
        self.agent_id = agent_id
        self.config = config
        self.num_agents = num_agents
        self.num_choices = action_dim if isinstance(action_dim, tuple) else ()
        self.discrete = discrete or bool(self.num_choices)
        self.device = torch.device(device)
        needs_agents = config.append_agent_id or config.critic == "central"
        self.network = ActorCritic(
            NetworkShape(
                observation_size=state_dim,
                action_size=sum(action_dim) if isinstance(action_dim, tuple) else action_dim,
                hidden_dims=config.hidden_dims,
                discrete=self.discrete,
                num_choices=self.num_choices,
                num_agents=num_agents
                if needs_agents or config.parameter_sharing != "shared"
                else 1,
                append_agent_id=config.append_agent_id,
                is_central=config.critic == "central",
                activation=config.activation,
                observation_clip=OBSERVATION_CLIP if config.normalize_observations else None,
            ),
            groups_of(config, num_agents, self.device),
            device=self.device,
            generator=torch.Generator().manual_seed(seed),
        )
        if self.network.log_std is not None:
            nn.init.constant_(self.network.log_std, config.initial_log_std)
            self.network.actor.biases[-1].fill_(config.initial_action_mean)
        self.optimizer = VectorAdam(
            self.network.vector, learning_rate=config.learning_rate, epsilon=1e-5
        )
        self.objective = Objective(
            state_dim, config, device=self.device, generator=torch.Generator().manual_seed(seed)
        )
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.kl_coeff = torch.tensor(config.kl_coeff, device=self.device)
        self._steps: list[OwnStep] = []

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
        policy = self.network.policy(observation, action_mask)
        action = policy.mode() if deterministic else policy.sample(self.generator)
        return ActionSample(action, policy.log_prob(action))

    @torch.no_grad()
    def value(self, observation: Float[Tensor, "*batch obs"]) -> Float[Tensor, "*batch"]:
        """Estimate the return from here, in units of scaled reward if rewards are scaled.

        Args:
            observation: As the environment gave it.
        """
        return self.network.value(observation)

    @torch.no_grad()
    def cost_value(
        self, observation: Float[Tensor, "*batch obs"]
    ) -> Float[Tensor, "*batch constraint"]:
        """Estimate the discounted sum of each limited cost from here.

        Args:
            observation: As the environment gave it.
        """
        return self.objective.cost_value(self.network.normalizer(observation))

    @torch.no_grad()
    def update(self, rollout: Rollout | None = None, *, progress: float = 0.0) -> TensorDict:
        """Improve policy and critic by one block of experience.

        Args:
            rollout: Collected by the present policy; None for what `store_experience` kept.
            progress: Share of training done, in [0, 1], for settings that move.

        Returns:
            Means over the minibatches; tensors, not yet read from the device.

        Raises:
            DivergenceError: An observation, a reward or a loss is not finite.
        """
        if rollout is None:
            rollout = self._own_rollout()
        losses.require_finite({"observation": rollout.observation, "reward": rollout.reward})
        rate = self.config.learning_rate_at(progress)
        settings = loss_settings(self.config, progress, self.kl_coeff)
        self.optimizer.learning_rate = rate
        weight = rollout.alive.float()
        worth = self.objective.assess(rollout, progress=progress)
        batch = lay_out(rollout, self.network, worth, weight)
        history = UpdateHistory()
        parts: list[Batch] = []
        for _ in range(self.config.ppo_epochs):
            if not parts or self.config.num_minibatches > 1:
                parts = batch.parts(
                    self.config.num_minibatches,
                    self.generator,
                    normalize_advantages=self.config.normalize_advantages,
                )
            for part in parts:
                rows, norm = self._descend(part, settings)
                history.add(rows, part.weight, norm)
            if self._moved_too_far(history, len(parts)):
                break
        metrics = history.means(settings.epsilon) | worth.metrics
        metrics |= self._learn_costs(rollout, worth, rate)
        losses.require_finite(metrics)
        metrics |= self._adapt_penalty(metrics["kl_divergence"])
        if self.config.normalize_observations:
            self.network.normalizer.update(rollout.observation[rollout.alive])
        live = batch.weight > 0.0
        return metrics | {
            "explained_variance": losses.explained_variance(batch.value[live], batch.target[live]),
            "learning_rate": torch.tensor(rate),
            "optimizer_steps": torch.tensor(float(len(history))),
        }

    def _descend(self, part: Batch, settings: LossSettings) -> tuple[LossRows, Tensor]:
        """Take one optimiser step; return the rows of the loss and the norm of its gradient."""
        trace = self.network.trace(part.observation, part.joint, part.mask)
        gradient, rows = loss_gradient(trace.policy, trace.value, part, settings)
        self.network.backward(trace, gradient)
        norm = losses.clip_norm(self.network.gradient, self.config.max_grad_norm)
        self.optimizer.step(self.network.gradient)
        return rows, norm

    def _learn_costs(self, rollout: Rollout, worth: Worth, rate: float) -> TensorDict:
        return self.objective.learn_costs(
            self.network.normalizer(rollout.observation[rollout.alive]),
            worth.cost_target[rollout.alive],
            learning_rate=rate,
            generator=self.generator,
        )

    def _moved_too_far(self, history: UpdateHistory, last: int) -> bool:
        if self.config.target_kl is None or self.config.adaptive_kl_penalty:
            return False
        return bool(history.divergence(last) > self.config.target_kl)

    def _adapt_penalty(self, divergence: Float[Tensor, ""]) -> TensorDict:
        """Move the penalty's coefficient towards `target_kl`; return the one that was in use."""
        if self.config.target_kl is None or not self.config.adaptive_kl_penalty:
            return {}
        used = self.kl_coeff
        self.kl_coeff = losses.adapted_penalty(used, divergence, self.config.target_kl)
        return {"kl_penalty": used}

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
            **with_prefix("optimizer", self.optimizer.state_dict()),
            **with_prefix("objective", self.objective.state_dict()),
            "generator": self.generator.get_state(),
            **with_prefix("own", self._own_state()),
            "kl_coeff": self.kl_coeff.clone(),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned, of an agent with the same configuration.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        self.load_policy_state(under_prefix("network", state))
        self.optimizer.load_state_dict(under_prefix("optimizer", state))
        self.objective.load_state_dict(under_prefix("objective", state))
        self.generator.set_state(take_tensor(state, "generator").cpu())
        self._load_own_state(under_prefix("own", state))
        self.kl_coeff = take_tensor(state, "kl_coeff", self.kl_coeff).to(self.device, copy=True)

    def export_layers(self) -> PolicyLayers:
        """Return the deterministic policy as NumPy arrays, for a runtime without torch.

        Raises:
            ConfigError: The policy is more than one network of an observation.
        """
        return self.network.export_layers()
