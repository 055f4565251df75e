"""QMIX (arXiv:1803.11485) and VDN (arXiv:1706.05296): a team learns from one common reward."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rl.algorithms.exploration import epsilon_greedy, linear_schedule
from rl.algorithms.heads import ActionSample
from rl.algorithms.losses import require_finite
from rl.algorithms.mixing import MixingSizes
from rl.algorithms.policy_state import (
    TensorDict,
    load_module_state,
    module_state,
    take_tensor,
    under_prefix,
    with_prefix,
)
from rl.algorithms.qmix_config import QMIXConfig
from rl.algorithms.replay_buffer import EpisodeBatch, ReplayBuffer, Step
from rl.algorithms.setting_checks import check_sizes
from rl.algorithms.td_losses import greedy_choice
from rl.algorithms.team_losses import as_episodes
from rl.algorithms.team_optimizer import TeamOptimizer
from rl.algorithms.team_reward import TeamReward
from rl.algorithms.team_values import TeamNetwork


class QMIXAgent:
    """A team whose agents each choose by their own values, learnt from one reward for all."""

    def __init__(
        self,
        agent_id: str,
        state_dim: int,
        action_dim: int,
        config: QMIXConfig,
        *,
        num_agents: int,
        state_size: int,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        """Draw initial weights.

        Args:
            agent_id: Name of the learner.
            state_dim: Length of an agent's observation.
            action_dim: Choices of the agent with most of them.
            config: Settings.
            num_agents: Size of the team.
            state_size: Length of the global state; VDN does not look at it.
            seed: Of the weights, the actions and what is drawn from the replay.
            device: Where weights and replay live.

        Raises:
            ConfigError: QMIX is to mix without a global state.
        """
        check_sizes(state_dim, action_dim, num_agents)
        self.agent_id = agent_id
        self.config = config
        self.device = torch.device(device)
        mixing = MixingSizes(state_size, config.mixing_dim, config.hypernet_dim)
        self.network = TeamNetwork(
            (state_dim, *config.hidden_dims, action_dim),
            num_agents,
            recurrent=config.recurrent,
            mixing=mixing if config.mixer == "qmix" else None,
            generator=torch.Generator().manual_seed(seed),
        ).to(self.device)
        self.optimizer = TeamOptimizer(
            self.network,
            double=config.double,
            learning_rate=config.learning_rate,
            max_grad_norm=config.max_grad_norm,
            update_frequency=config.target_update_frequency,
            tau=config.tau,
        )
        self.replay = ReplayBuffer(
            capacity=config.buffer_size, gamma=config.gamma, device=self.device
        )
        self.reward = TeamReward(config.team_reward, standardize=config.standardize_rewards).to(
            self.device
        )
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.env_steps = 0
        self._memories = {looks: self.network.values.empty_memory(0) for looks in (False, True)}

    @property
    def epsilon(self) -> float:
        """Share of random choices at present."""
        config = self.config
        progress = self.env_steps / config.epsilon_decay_steps
        return linear_schedule(config.epsilon_start, config.epsilon_end, progress)

    @torch.no_grad()
    def act(
        self,
        observation: Float[Tensor, "env agent obs"],
        action_mask: Bool[Tensor, "env agent act"] | None,
        *,
        deterministic: bool = False,
    ) -> ActionSample:
        """Choose for every agent of every copy by its own values.

        Args:
            observation: As the environment gave it.
            action_mask: True where a choice may be taken; None where all may.
            deterministic: Take the best choice and leave the generator alone. What is remembered
                while looking is kept apart from what is remembered while learning, and begins anew
                after every `observe`, with another policy, and where the number of copies changes.
        """
        memory = self._memories[deterministic]
        if len(memory) != len(observation):
            memory = self.network.values.empty_memory(len(observation))
        q, self._memories[deterministic] = self.network.values(observation.unsqueeze(0), memory)
        if deterministic:
            action = greedy_choice(q[0], action_mask)
        else:
            action = epsilon_greedy(q[0], action_mask, self.epsilon, self.generator)
        return ActionSample(action, q.new_full(action.shape, torch.nan))

    def begin_episodes(self, ended: Bool[Tensor, " env"], *, deterministic: bool = False) -> None:
        """Forget episodes that are over; `observe` does it for those that are learnt from.

        Args:
            ended: True in copies whose episode the last step ended.
            deterministic: Of those that were acted in deterministically.
        """
        memory = self._memories[deterministic]
        if len(memory) == len(ended):
            self._memories[deterministic] = memory.masked_fill(ended.view(-1, 1, 1), 0.0)

    def observe(self, step: Step) -> None:
        """Remember one step of all copies, and count it.

        Args:
            step: What all copies saw, did and were paid.
        """
        self.replay.add(step)
        self.reward.observe(step.reward)
        self.env_steps += len(step.reward)
        self.begin_episodes(step.terminated | step.truncated)
        self._memories[True] = self.network.values.empty_memory(0)

    def update(self, *, progress: float = 0.0, measure: bool = True) -> TensorDict:
        """Take `gradient_steps` optimiser steps on what is remembered.

        Args:
            progress: Not used: epsilon falls with the environment steps.
            measure: Return the metrics.

        Returns:
            Means over the optimiser steps, not yet read from the device; nothing before
            `learning_starts`.

        Raises:
            DivergenceError: An observation, a state, a reward or the loss is not finite.
        """
        del progress
        if self.env_steps < self.config.learning_starts or len(self.replay) == 0:
            return {}
        batches = [self._sample() for _ in range(self.config.gradient_steps)]
        rewards = [self.reward(batch.reward) for batch in batches]
        for batch, reward in zip(batches, rewards, strict=True):
            seen = {"observation": batch.observation, "reward": reward}
            require_finite(seen | ({"state": batch.state} if self.config.mixer == "qmix" else {}))
        steps = [self.optimizer.step(*pair) for pair in zip(batches, rewards, strict=True)]
        metrics = {name: torch.stack([step[name] for step in steps]).mean(0) for name in steps[0]}
        require_finite({"td_loss": metrics["td_loss"]})
        if not measure:
            return {}
        explored = {"epsilon": self.epsilon, "replay_fill": self.replay.fill}
        return metrics | {name: torch.tensor(one) for name, one in explored.items()}

    def _sample(self) -> EpisodeBatch:
        """Draw whole episodes, or single steps as episodes of one step."""
        size, length = self.config.batch_size, self.config.max_episode_steps
        if self.config.recurrent:
            return self.replay.sample_episodes(size, length, self.generator)
        return as_episodes(self.replay.sample(size, self.generator))

    def policy_state(self) -> TensorDict:
        """Return copies of the weights that acting needs; the mixer is for learning only."""
        return module_state(self.network.values)

    def load_policy_state(self, state: Mapping[str, Tensor]) -> None:
        """Act from now on as the saved policy did; mixer, target and optimiser are left alone.

        Args:
            state: What `policy_state` returned.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        load_module_state(self.network.values, state)
        self._memories[True] = self.network.values.empty_memory(0)

    def state_dict(self) -> TensorDict:
        """Return copies of everything that acting and learning need to go on bit for bit."""
        return {
            **with_prefix("team", self.optimizer.state_dict()),
            **with_prefix("reward", module_state(self.reward)),
            **with_prefix("replay", self.replay.state_dict()),
            "generator": self.generator.get_state(),
            "memory": self._memories[False].clone(),
            "env_steps": torch.tensor(self.env_steps),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned, of an agent with the same configuration.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        self.optimizer.load_state_dict(under_prefix("team", state))
        load_module_state(self.reward, under_prefix("reward", state))
        self.replay.load_state_dict(under_prefix("replay", state))
        self.generator.set_state(take_tensor(state, "generator").cpu())
        self._memories[False] = take_tensor(state, "memory").to(self.device, copy=True)
        self.env_steps = int(take_tensor(state, "env_steps"))
