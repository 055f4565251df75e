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
from rl.algorithms.ppo_gradient import LossSettings, loss_gradient, loss_settings
from rl.algorithms.ppo_metrics import UpdateHistory
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
            ConfigError: There is no memory, or something else is asked for that it lacks.
        """
        _refuse_what_it_lacks(config)
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
            with torch.no_grad():
                list(self.network.actor.output.parameters())[-1].fill_(config.initial_action_mean)
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
        output, _, self.memory = self.network.outputs(
            self.network.normalizer(observation).unsqueeze(0),
            self.memory,
            torch.zeros((1, *copies), dtype=torch.bool, device=self.device),
        )
        policy = self.network.policy(output.squeeze(0), action_mask)
        action = policy.mode() if deterministic else policy.sample(self.generator)
        return ActionSample(action, policy.log_prob(action))

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
        return self.network.outputs(normalized, memory, episode_begins(ended)).value

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
        rate = self.config.learning_rate_at(progress)
        settings = loss_settings(self.config, progress, torch.zeros(()))
        self.optimizer.param_groups[0]["lr"] = rate
        worth = self.objective.assess(rollout, progress=progress)
        sequences = self._line_up(rollout, worth)
        history = UpdateHistory()
        for _ in range(self.config.ppo_epochs):
            parts = sequences.minibatches(self.config.num_minibatches, self.generator)
            for part in parts:
                self._descend(part, settings, history)
            if self._moved_too_far(history, len(parts)):
                break
        metrics = history.means(settings.epsilon) | worth.metrics
        losses.require_finite(metrics)
        alive = rollout.alive
        if self.config.normalize_observations:
            self.network.normalizer.update(rollout.observation[alive])
        return metrics | {
            "explained_variance": losses.explained_variance(
                rollout.value[alive], worth.target[alive]
            ),
            "learning_rate": torch.tensor(rate),
            "optimizer_steps": torch.tensor(float(len(history))),
        }

    def _line_up(self, rollout: Rollout, worth: Worth) -> Sequences:
        """Make one row of every agent of every copy."""
        return Sequences(
            observation=self.network.normalizer(rollout.observation).flatten(1, 2),
            mask=rollout.action_mask.flatten(1, 2),
            begins=episode_begins(rollout.ended).flatten(1, 2),
            action=rollout.action.flatten(1, 2),
            log_prob=rollout.log_prob.flatten(1, 2),
            value=rollout.value.flatten(1, 2),
            advantage=worth.advantage.flatten(1, 2),
            target=worth.target.flatten(1, 2),
            weight=rollout.alive.flatten(1, 2).float(),
            memory=rollout.memory.flatten(0, 1).unsqueeze(0),
        )

    def _descend(self, part: Sequences, settings: LossSettings, history: UpdateHistory) -> None:
        """Unroll, take one optimiser step and keep its figures."""
        outputs = self.network.outputs(part.observation, part.memory.squeeze(0), part.begins)
        output, value = (o.flatten(0, 1).unsqueeze(0) for o in (outputs.policy, outputs.value))
        batch = part.batch(normalize_advantages=self.config.normalize_advantages)
        with torch.no_grad():
            policy = self.network.policy(output.detach(), batch.mask)
            wanted, rows = loss_gradient(policy, value.detach(), batch, settings)
        of_log_std = () if wanted.log_std is None else (wanted.log_std,)
        weights = self.parameters[len(of_log_std) :]  # log_std, where there is one, is the first
        gradients = torch.autograd.grad((output, value), weights, (wanted.output, wanted.value))
        gradient = torch.cat([piece.flatten() for piece in (*of_log_std, *gradients)])
        self._vector.grad = gradient
        history.add(rows, batch.weight, losses.clip_norm(gradient, self.config.max_grad_norm))
        self.optimizer.step()

    def _moved_too_far(self, history: UpdateHistory, last: int) -> bool:
        target = self.config.target_kl
        return target is not None and bool(history.divergence(last) > target)

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


def _refuse_what_it_lacks(config: PPOConfig) -> None:
    if config.memory_size < 1:
        raise ConfigError(f"memory_size={config.memory_size}: choose 1 or more, or PPOAgent")
    for name, known in (
        ("cost", None),
        ("critic", "own"),
        ("parameter_sharing", "shared"),
        ("append_agent_id", False),
        ("adaptive_kl_penalty", False),
    ):
        if getattr(config, name) != known:
            raise ConfigError(
                f"{name}={getattr(config, name)}: a recurrent agent has only {known!r}; "
                "choose that, or PPOAgent"
            )
