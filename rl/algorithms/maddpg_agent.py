"""MADDPG (arXiv:1706.02275) and MATD3 (arXiv:1910.01465): central critics, decentralised actors.

Every agent acts on what it observes; while learning, its critic sees what all observe and do. All
agents are learnt at once, as stacks of parameters. Both gradients of an update are taken at the
same parameters, so the first layer of the critics is evaluated once for both.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rl.algorithms import central_losses as equations
from rl.algorithms.actor_critic_losses import smoothed_action
from rl.algorithms.central_critics import CentralCritics, CriticTrace
from rl.algorithms.heads import ActionSample
from rl.algorithms.losses import require_finite
from rl.algorithms.maddpg_config import MADDPGConfig
from rl.algorithms.policy_state import (
    TensorDict,
    load_module_state,
    module_state,
    take_tensor,
    under_prefix,
    with_prefix,
)
from rl.algorithms.replay_buffer import ReplayBuffer, Step, TransitionBatch
from rl.algorithms.replay_steps import without_state
from rl.algorithms.setting_checks import check_sizes
from rl.algorithms.target_networks import Tracked
from rl.algorithms.team_batch import TeamBatch, arrange, join
from rl.algorithms.team_noise import TeamNoise
from rl.algorithms.team_policies import TeamPolicies

__all__ = ["MADDPGAgent", "MADDPGConfig"]

NUMBERS = ("observation", "final_observation", "reward", "state", "final_state")
"""Of a step, what learning depends on."""


class MADDPGAgent:
    """A team that acts, learns from a replay, and can be saved and continued bit for bit."""

    def __init__(  # noqa: PLR0913  # the signature that all algorithms share
        self,
        agent_id: str,
        state_dim: int,
        action_dim: int,
        config: MADDPGConfig,
        *,
        num_agents: int,
        discrete: bool,
        seed: int,
        state_size: int = 0,
        action_low: float = -1.0,
        action_high: float = 1.0,
        device: torch.device | str = "cpu",
    ) -> None:
        """Draw initial weights.

        Args:
            agent_id: Name of the team.
            state_dim: Length of an observation, padded to the longest.
            action_dim: Continuous dimensions, or number of choices, padded to the largest.
            config: Settings.
            num_agents: How many act.
            discrete: True for choices.
            seed: Of the weights, the actions and the choice of transitions.
            state_size: Length of the global state, for critics that see it instead of all
                observations; 0 for the latter.
            action_low: Smallest continuous action.
            action_high: Largest continuous action.
            device: Where weights and replay live.
        """
        check_sizes(state_dim, action_dim, num_agents)
        self.agent_id, self.config, self.discrete = agent_id, config, discrete
        self.device = torch.device(device)
        self.env_steps = 0
        self._optimizer_steps = 0
        self._use_state = state_size > 0
        weights = torch.Generator().manual_seed(seed)
        actors = TeamPolicies(
            (state_dim, *config.hidden_dims, action_dim),
            num_agents=num_agents,
            shared=config.shared,
            discrete=discrete,
            action_range=(action_low, action_high),
            generator=weights,
        )
        critics = CentralCritics(
            state_size or num_agents * state_dim,
            action_dim,
            config.hidden_dims,
            num_agents=num_agents,
            num_critics=2 if config.variant == "matd3" else 1,
            shared=config.shared,
            layer_norm=config.layer_norm,
            generator=weights,
        )
        self.actors = Tracked(actors.to(self.device), learning_rate=config.actor_learning_rate)
        self.critics = Tracked(critics.to(self.device), learning_rate=config.learning_rate)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.noise = TeamNoise(config)
        self.replay = ReplayBuffer(
            capacity=config.buffer_size, gamma=config.gamma, device=self.device
        )

    @torch.no_grad()
    def act(
        self,
        observation: Float[Tensor, "*batch agent obs"],
        action_mask: Bool[Tensor, "*batch agent act"] | None,
        *,
        deterministic: bool = False,
    ) -> ActionSample:
        """Choose an action for every agent of every copy; the log-probability is not kept.

        Args:
            observation: As the environment gave it.
            action_mask: True where a dimension or choice is in use; None where all are.
            deterministic: Without noise, leaving the generator alone.
        """
        policies, shape = self.actors.network, observation.shape[:-1]
        rows = observation.reshape(-1, *observation.shape[-2:]).transpose(0, 1)
        output = policies.outputs(policies.trace(rows))
        mask = torch.ones_like(output, dtype=torch.bool)
        if action_mask is not None:
            mask = action_mask.reshape(-1, *action_mask.shape[-2:]).transpose(0, 1)
        if deterministic:
            action = policies.best(output, mask)
        else:
            action = policies.draw(output, mask, self.generator)
        if not (deterministic or self.discrete):  # choices are drawn, and random enough at first
            is_early = self.env_steps < self.config.learning_starts
            action = self.noise(action, self.generator, is_early=is_early) * mask
        chosen = policies.to_environment(action, mask).transpose(0, 1)
        return ActionSample(
            chosen.reshape(*shape, *chosen.shape[2:]), torch.zeros(shape, device=chosen.device)
        )

    def observe(self, step: Step) -> None:
        """Remember a step of all copies.

        Args:
            step: What was seen, done and received.

        Raises:
            DivergenceError: An observation, a state or a reward is not finite.
        """
        self.replay.add(_checked(step if self._use_state else without_state(step)))
        self.env_steps += len(step.reward)
        self.noise.reset(step.terminated | step.truncated)

    def update(self, *, progress: float = 0.0, measure: bool = True) -> TensorDict:
        """Take the configured optimiser steps, or none before learning starts.

        Args:
            progress: Share of training done, in [0, 1]; exploration falls with it.
            measure: Return the metrics.

        Returns:
            Means over the steps and agents; tensors, not yet read from the device.

        Raises:
            DivergenceError: A loss is not finite.
        """
        self.noise.progress = progress
        if self.env_steps < self.config.learning_starts or len(self.replay) == 0:
            return {}
        history: dict[str, list[Tensor]] = {}
        for _ in range(self.config.gradient_steps):
            batch = self.replay.sample(self.config.batch_size, self.generator)
            for name, metric in self.learn(batch).items():
                history.setdefault(name, []).append(metric)
        metrics = {name: torch.stack(steps).mean(0) for name, steps in history.items()}
        require_finite(metrics)
        return metrics | {"replay_fill": torch.tensor(self.replay.fill)} if measure else {}

    @torch.no_grad()
    def learn(self, batch: TransitionBatch) -> TensorDict:
        """Take one step of all critics and, unless they are delayed, of all actors.

        Args:
            batch: From the replay.
        """
        critics = self.critics.network
        team = arrange(batch, self.actors.network, use_state=self._use_state)
        target = self._target(team)
        trace = critics.trace(join(team.context, team.action))
        loss, gradient = equations.central_td_loss(trace.value, target, team.share)
        critics.backward(trace, gradient)
        metrics = {
            "critic_loss": loss / len(target),
            "q_value": (trace.value * team.share).sum((1, 2)).mean() / len(target),
            "critic_gradient_norm": self.critics.gradient_norm(),
            **equations.error_quantiles(trace.value[0] - target, batch.alive.T),
        }
        self._optimizer_steps += 1
        actors_move = self._optimizer_steps % self._delay == 0
        if actors_move:
            metrics |= self._descend(team, trace)
            self.actors.step()
        self.critics.step()
        if actors_move:
            self.actors.follow(self.config.tau)
            self.critics.follow(self.config.tau)
        return metrics

    def _target(self, team: TeamBatch) -> Tensor:
        """Return what the critics should say, by the target networks."""
        policies, config = self.actors.target, self.config
        output = policies.outputs(policies.trace(team.next_observation))
        action = policies.draw(output, team.next_mask, self.generator)
        if config.variant == "matd3" and not self.discrete:
            noise = torch.empty_like(action).normal_(
                0.0, config.target_noise, generator=self.generator
            )
            action = smoothed_action(
                action, noise, noise_clip=config.target_noise_clip, low=-1.0, high=1.0
            )
            action = action * team.next_mask
        trace = self.critics.target.trace(join(team.next_context, action))
        return equations.central_target(team.reward, team.discount, trace.value)

    def _descend(self, team: TeamBatch, trace: CriticTrace) -> TensorDict:
        """Compute the actors' gradient; each replaces its own action, others' are as played."""
        policies = self.actors.network
        actor_trace = policies.trace(team.observation)
        output = policies.outputs(actor_trace).requires_grad_()
        with torch.enable_grad():
            action = policies.draw(output, team.mask, self.generator)
            penalty = equations.output_penalty(output, team.mask, team.share)
            penalty = self.config.output_penalty * penalty
        change = action.detach() - team.action
        value, at_action = self.critics.network.improve(trace, change, -team.share)
        (at_output,) = torch.autograd.grad((action, penalty), output, (at_action, None))
        policies.backward(actor_trace, at_output)
        loss = penalty.detach() - (value * team.share).sum()
        return {
            "actor_loss": loss / len(value),
            "actor_gradient_norm": self.actors.gradient_norm(),
        }

    @property
    def _delay(self) -> int:
        return self.config.policy_delay if self.config.variant == "matd3" else 1

    def policy_state(self) -> TensorDict:
        """Return copies of the actors' weights: all that acting needs."""
        return module_state(self.actors.network)

    def load_policy_state(self, state: Mapping[str, Tensor]) -> None:
        """Act from now on as the saved policies did; what is being learnt is left alone.

        Args:
            state: What `policy_state` returned.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        load_module_state(self.actors.network, state)

    def state_dict(self) -> TensorDict:
        """Return copies of everything that learning needs to go on bit for bit."""
        return {
            "generator": self.generator.get_state(),
            "env_steps": torch.tensor(self.env_steps),
            "optimizer_steps": torch.tensor(self._optimizer_steps),
            **with_prefix("replay", self.replay.state_dict()),
            **with_prefix("noise", self.noise.state_dict()),
            **with_prefix("actors", self.actors.state_dict()),
            **with_prefix("critics", self.critics.state_dict()),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned, of an agent with the same configuration.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        self.actors.load_state_dict(under_prefix("actors", state))
        self.critics.load_state_dict(under_prefix("critics", state))
        self.replay.load_state_dict(under_prefix("replay", state))
        self.generator.set_state(take_tensor(state, "generator").cpu())
        self.noise.load_state_dict(under_prefix("noise", state))
        self.env_steps = int(take_tensor(state, "env_steps"))
        self._optimizer_steps = int(take_tensor(state, "optimizer_steps"))


def _checked(step: Step) -> Step:
    """Return a step whose numbers are finite."""
    require_finite({name: getattr(step, name) for name in NUMBERS})
    return step
