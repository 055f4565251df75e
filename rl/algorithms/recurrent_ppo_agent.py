"""Proximal policy optimisation with a memory: sequences instead of rows, carried while acting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rl.algorithms import losses
from rl.algorithms.heads import ActionSample
from rl.algorithms.networks import OBSERVATION_CLIP, join_parameters
from rl.algorithms.objective import Objective, Worth
from rl.algorithms.policy_state import (
    StateMismatchError,
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
from rl.algorithms.ppo_metrics import STEP_METRICS
from rl.algorithms.recurrent import RecurrentActorCritic, Sequences, episode_begins
from rl.algorithms.rollout_buffer import Rollout
from utils.errors import ConfigError


class RecurrentPPOAgent:
    """Acts from what it saw before too, learns from whole sequences, can be continued bit for bit.

    Whoever plays tells it by `forget` where episodes ended, and plays anything else than training
    inside `fresh_memory`.
    """

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
            config: Settings; `memory_size` above 0.
            discrete: True for choices.
            seed: Of the weights, the actions and the order of minibatches.
            device: Where weights live and rollouts come from.

        Raises:
            ConfigError: There is no memory, or costs are limited.
        """
        if config.memory_size < 1:
            raise ConfigError(f"memory_size={config.memory_size}: choose 1 or more, or PPOAgent")
        if config.cost is not None:
            raise ConfigError(
                "cost limits need a critic without memory: take PPOAgent, or cost=None"
            )
        self.agent_id = agent_id
        self.config = config
        self.discrete = discrete
        self.device = torch.device(device)
        self.network = RecurrentActorCritic(
            (state_dim, *config.hidden_dims, config.memory_size),
            action_dim,
            discrete=discrete,
            activation=config.activation,
            observation_clip=OBSERVATION_CLIP if config.normalize_observations else None,
            generator=torch.Generator().manual_seed(seed),
        )
        if self.network.log_std is not None:
            nn.init.constant_(self.network.log_std, config.initial_log_std)
        self.network.to(self.device)
        self.memory_size = self.network.memory_size
        self.parameters = list(self.network.parameters())
        self._vector = join_parameters(self.parameters)
        self.optimizer = torch.optim.Adam(
            [self._vector], lr=config.learning_rate, eps=1e-5, fused=True
        )
        self.objective = Objective(
            state_dim, config, device=self.device, generator=torch.Generator().manual_seed(seed)
        )
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.memory: Float[Tensor, "env agent memory"] | None = None

    @torch.no_grad()
    def act(
        self,
        observation: Float[Tensor, "env agent obs"],
        action_mask: Bool[Tensor, "env agent act"] | None,
        *,
        deterministic: bool = False,
    ) -> ActionSample:
        """Choose an action for every agent of every copy, and remember what was seen.

        Args:
            observation: As the environment gave it, one step after the last call's.
            action_mask: True where a dimension or choice is in use; None where all are.
            deterministic: Take the likeliest action and leave the generator alone.

        Raises:
            StateMismatchError: The memory is of other copies.
        """
        copies = observation.shape[:-1]
        if self.memory is None:
            self.memory = observation.new_zeros((*copies, self.memory_size))
        if self.memory.shape[:-1] != copies:
            raise StateMismatchError(
                f"the memory is of [env, agent] = {list(self.memory.shape[:-1])}, the observation "
                f"of {list(copies)}: play other copies inside fresh_memory()"
            )
        policy, _, self.memory = self.network.unroll(
            self.network.normalizer(observation).unsqueeze(0),
            None if action_mask is None else action_mask.unsqueeze(0),
            self.memory,
            torch.zeros((1, *copies), dtype=torch.bool, device=self.device),
        )
        action = policy.mode() if deterministic else policy.sample(self.generator)
        return ActionSample(action.squeeze(0), policy.log_prob(action).squeeze(0))

    def forget(self, ended: Bool[Tensor, "env agent"]) -> None:
        """Wipe what is remembered of episodes that have ended.

        Args:
            ended: True where one has.
        """
        if self.memory is not None:
            self.memory = self.memory.masked_fill(ended.unsqueeze(-1), 0.0)

    @contextmanager
    def fresh_memory(self) -> Iterator[None]:
        """Remember nothing inside, and afterwards what was remembered before."""
        kept, self.memory = self.memory, None
        try:
            yield
        finally:
            self.memory = kept

    @torch.no_grad()
    def value(
        self,
        observation: Float[Tensor, "time env agent obs"],
        memory: Float[Tensor, "env agent memory"],
        ended: Bool[Tensor, "time env agent"],
    ) -> Float[Tensor, "time env agent"]:
        """Estimate the return from each observation of a sequence.

        Args:
            observation: As the environment gave it, in order of time.
            memory: Before the first of them.
            ended: True where the step after an observation was the last of its episode.
        """
        normalized = self.network.normalizer(observation)
        value: Tensor = self.network.unroll(normalized, None, memory, episode_begins(ended))[1]
        return value

    def update(self, rollout: Rollout, *, progress: float = 0.0) -> TensorDict:
        """Improve policy and critic by one block of experience.

        Args:
            rollout: Collected by the present policy, with the memory before its first step.
            progress: Share of training done, in [0, 1], for settings that decay.

        Returns:
            Means over the minibatches; tensors, not yet read from the device.

        Raises:
            ConfigError: No agent is alive.
            DivergenceError: An observation, a reward or a loss is not finite.
        """
        losses.require_finite({"observation": rollout.observation, "reward": rollout.reward})
        remaining = 1.0 - progress
        rate = self.config.learning_rate * (remaining if self.config.decay_learning_rate else 1.0)
        epsilon = self.config.epsilon_clip * (remaining if self.config.decay_epsilon_clip else 1.0)
        self.optimizer.param_groups[0]["lr"] = rate

        worth = self.objective.assess(rollout, progress=progress)
        sequences = self._line_up(rollout, worth)
        history: list[Tensor] = []
        for _ in range(self.config.ppo_epochs):
            parts = sequences.minibatches(self.config.num_minibatches, self.generator)
            history += [self._descend(part, epsilon) for part in parts]
        metrics = dict(zip(STEP_METRICS, torch.stack(history).mean(0), strict=True))
        metrics |= worth.metrics
        losses.require_finite(metrics)
        alive = rollout.alive
        if self.config.normalize_observations:
            self.network.normalizer.update(rollout.observation[alive])
        return metrics | {
            "explained_variance": losses.explained_variance(
                sequences.value[sequences.alive], sequences.target[sequences.alive]
            ),
            "learning_rate": torch.tensor(rate),
            "optimizer_steps": torch.tensor(float(len(history))),
        }

    def _line_up(self, rollout: Rollout, worth: Worth) -> Sequences:
        """Make one row of every agent of every copy that was there at all."""
        lined_up = Sequences(
            observation=self.network.normalizer(rollout.observation).flatten(1, 2),
            mask=rollout.action_mask.flatten(1, 2),
            begins=episode_begins(rollout.ended).flatten(1, 2),
            alive=rollout.alive.flatten(1, 2),
            action=rollout.action.flatten(1, 2),
            log_prob=rollout.log_prob.flatten(1, 2),
            value=rollout.value.flatten(1, 2),
            advantage=worth.advantage.flatten(1, 2),
            target=worth.target.flatten(1, 2),
            memory=rollout.memory.flatten(0, 1).unsqueeze(0),
        )
        return lined_up.rows(lined_up.alive.any(0))

    def _descend(self, part: Sequences, epsilon: float) -> Float[Tensor, " metric"]:
        """Unroll, take one optimiser step and return the `STEP_METRICS`."""
        policy, values, _ = self.network.unroll(
            part.observation, part.mask, part.memory.squeeze(0), part.begins
        )
        alive, config = part.alive, self.config
        log_ratio = (policy.log_prob(part.action) - part.log_prob)[alive]
        advantage = part.advantage[alive]
        if config.normalize_advantages:
            advantage = losses.standardize(advantage)
        policy_loss = losses.clipped_surrogate(log_ratio, advantage, epsilon)
        value_loss = losses.value_error(
            values[alive], part.value[alive], part.target[alive], config.value_clip
        )
        entropy_loss = -policy.entropy()[alive].mean()
        loss = policy_loss + config.value_loss_coeff * value_loss
        if config.entropy_coeff != 0.0:
            loss = loss + config.entropy_coeff * entropy_loss

        gradients = torch.autograd.grad(loss, self.parameters)
        self._vector.grad = torch.cat([gradient.flatten() for gradient in gradients])
        norm = nn.utils.clip_grad_norm_(self._vector, config.max_grad_norm)
        self.optimizer.step()
        with torch.no_grad():
            kl, clipped = losses.approximate_kl(log_ratio), losses.clip_fraction(log_ratio, epsilon)
            return torch.stack((policy_loss, value_loss, entropy_loss, kl, clipped, norm))

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
            **({} if self.memory is None else {"memory": self.memory.clone()}),
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
        memory = state.get("memory")
        self.memory = None if memory is None else memory.to(self.device, copy=True)
