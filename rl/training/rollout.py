"""Steps an environment with an agent and hands over what it saw, block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rl.algorithms.policy_state import TensorDict, take_tensor
from rl.algorithms.ppo_agent import PPOAgent
from rl.algorithms.recurrent_ppo_agent import RecurrentPPOAgent
from rl.algorithms.returns import episode_sums
from rl.algorithms.rollout_buffer import Rollout
from rl.environments.base_environment import BatchedEnvironment, StepRecord
from utils.errors import ConfigError
from utils.seeding import derive_seed

RolloutAgent = PPOAgent | RecurrentPPOAgent


class Cut(NamedTuple):
    """Where episodes were truncated in one step, and what is needed to value what came then."""

    time: int
    copies: Tensor
    final_observation: Tensor
    memory: Tensor


@dataclass(frozen=True, kw_only=True)
class RolloutSummary:
    """What happened in one block, apart from what is learnt from it."""

    env_steps: int
    """Transitions, over all copies."""
    episodes: int
    """How many ended."""
    mean_return: float | None
    """Undiscounted, summed over agents, of the episodes that ended; None if none did."""
    mean_length: float | None
    metrics: Mapping[str, float]
    """The environment's own figures, averaged over steps and copies."""


class Collector:
    """Keeps an environment going between blocks, and can be saved in the middle of an episode."""

    def __init__(
        self,
        environment: BatchedEnvironment,
        agent: RolloutAgent,
        *,
        rollout_steps: int,
        seed: int,
    ) -> None:
        """Reset the environment.

        Args:
            environment: Stepped by nobody else while collecting.
            agent: Acts; also estimates the values of what was seen.
            rollout_steps: Steps per copy and block.
            seed: Of the environment's episodes.

        Raises:
            ConfigError: The agent limits other costs than the environment has, or tells other
                agents apart.
        """
        num_costs = agent.objective.num_costs
        if num_costs not in {0, environment.num_costs}:
            raise ConfigError(
                f"cost_limits has {num_costs} entries, but the environment has "
                f"{environment.num_costs} costs: give one limit for each, or none"
            )
        if isinstance(agent, PPOAgent):
            _check_agents(agent, environment.num_agents)
        self._environment = environment
        self._agent = agent
        self._recurrent = agent if isinstance(agent, RecurrentPPOAgent) else None
        self._seed = seed
        self._record = environment.reset(seed)
        rollout = Rollout.allocate(
            rollout_steps,
            self._record.observation,
            self._record.action_mask,
            discrete=agent.discrete,
            num_costs=num_costs,
            memory_size=0 if self._recurrent is None else self._recurrent.memory_size,
        )
        copies = self._record.agent_alive
        self._alive = copies.new_zeros((rollout_steps + 1, *copies.shape))
        self._rollout = replace(rollout, alive=self._alive[:-1])
        self._terminated = copies.new_zeros((rollout_steps, len(copies)))
        self._truncated = torch.zeros_like(self._terminated)
        before = (rollout.observation, rollout.action_mask, rollout.action)
        after = (rollout.reward, self._terminated, self._truncated, self._alive[1:], rollout.cost)
        self._before = list(zip(*(column.unbind() for column in before), strict=True))
        self._after = list(zip(*(column.unbind() for column in after), strict=True))
        self._sums = torch.zeros(2, environment.num_envs, dtype=torch.float64).to(
            environment.device
        )
        self.env_steps = 0

    @torch.no_grad()
    def collect(self) -> tuple[Rollout, RolloutSummary]:
        """Act for one block.

        Returns:
            The block, whose tensors the next call overwrites, and its summary.
        """
        rollout = self._rollout
        rollout.memory.copy_(self._memory())
        self._alive[0] = self._record.agent_alive
        cuts: list[Cut] = []
        metrics: list[Mapping[str, Tensor]] = []
        for time in range(len(rollout.reward)):
            following = self._step(time)
            if following.final_observation is not following.observation:
                cut = following.truncated & ~following.terminated
                if cut.any():
                    final = following.final_observation[cut]
                    cuts.append(Cut(time, cut, final, self._memory()[cut]))
            if self._recurrent is not None:
                self._mark_ends(slice(time, time + 1))
                self._recurrent.forget(rollout.ended[time])
            metrics.append(following.metrics)
            self._record = following
        self._mark_ends(slice(None))
        self._estimate_values(cuts)
        return rollout, self._summarise(metrics)

    def _step(self, time: int) -> StepRecord:
        """Take one step and write it down, before the environment can reuse its tensors."""
        record = self._record
        if isinstance(self._agent, PPOAgent):
            policy = self._agent.network.policy(record.observation, record.action_mask)
            action = policy.sample(self._agent.generator)
        else:
            action, log_prob = self._agent.act(record.observation, record.action_mask)
            self._rollout.log_prob[time] = log_prob
        seen = (record.observation, record.action_mask, action)
        for row, value in zip(self._before[time], seen, strict=True):
            row.copy_(value)
        following = self._environment.step(action)
        *rows, cost = self._after[time]
        came = (following.reward, following.terminated, following.truncated, following.agent_alive)
        for row, value in zip(rows, came, strict=True):
            row.copy_(value)
        if cost.shape[-1]:
            cost.copy_(following.cost)
        return following

    def _mark_ends(self, steps: slice) -> None:
        """Say of some steps where episodes ended, and what the future is worth after them."""
        rollout, terminated = self._rollout, self._terminated[steps].unsqueeze(-1)
        ended = terminated | self._truncated[steps].unsqueeze(-1)
        has_left = self._alive[:-1][steps] & ~self._alive[1:][steps] & ~ended
        rollout.ended[steps] = ended | has_left
        going_on = ~(terminated | has_left)
        rollout.discount[steps] = going_on.to(rollout.discount.dtype) * self._agent.config.gamma

    def _memory(self) -> Tensor:
        """Return what a recurrent policy remembers; no columns for another, or for nothing yet."""
        if self._recurrent is None or self._recurrent.memory is None:
            return torch.zeros_like(self._rollout.memory)
        return self._recurrent.memory

    def _estimate_values(self, cuts: list[Cut]) -> None:
        """Fill in the values of all states, and the policy's probabilities, in one pass each."""
        rollout = self._rollout
        if isinstance(self._agent, PPOAgent):
            policy = self._agent.network.policy(rollout.observation, rollout.action_mask)
            rollout.log_prob.copy_(policy.log_prob(rollout.action))
        value, cost_value = self._values(rollout.observation, rollout.memory, rollout.ended)
        rollout.value.copy_(value)
        rollout.cost_value.copy_(cost_value)
        rollout.next_value[:-1] = value[1:]
        rollout.next_cost_value[:-1] = cost_value[1:]
        last = self._values_after(self._record.observation, self._memory())
        rollout.next_value[-1], rollout.next_cost_value[-1] = last
        for time, copies, final_observation, memory in cuts:
            final, final_cost = self._values_after(final_observation, memory)
            rollout.next_value[time, copies] = final
            rollout.next_cost_value[time, copies] = final_cost

    def _values(self, observation: Tensor, memory: Tensor, ended: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values of a block, `[time, env, agent]`, and those of its costs."""
        if isinstance(self._agent, PPOAgent):
            return self._agent.value(observation), self._agent.cost_value(observation)
        value = self._agent.value(observation, memory, ended)
        return value, value.new_zeros((*value.shape, 0))

    def _values_after(self, observation: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values of one more step, `[env, agent]`."""
        ended = torch.zeros(observation.shape[:2], dtype=torch.bool, device=observation.device)
        value, cost_value = self._values(observation.unsqueeze(0), memory, ended.unsqueeze(0))
        return value[0], cost_value[0]

    def _summarise(self, metrics: list[Mapping[str, Tensor]]) -> RolloutSummary:
        reward = self._rollout.reward.sum(-1)
        self.env_steps += reward.numel()
        ended = self._terminated | self._truncated
        summary, self._sums = summarise(reward, ended, self._sums, metrics)
        return summary

    def take_record(self, record: StepRecord) -> None:
        """Go on with new episodes; those under way are left and count for nothing.

        Args:
            record: The first one of the new episodes.
        """
        self._record = record
        self._sums.zero_()
        self._agent.objective.begin_episodes()
        if self._recurrent is not None:
            self._recurrent.memory = None

    def state_dict(self) -> TensorDict:
        """Return copies of what is needed to go on in the middle of an episode."""
        return {
            "observation": self._record.observation.clone(),
            "action_mask": self._record.action_mask.clone(),
            "agent_alive": self._record.agent_alive.clone(),
            "episode_sums": self._sums.clone(),
            "env_steps": torch.tensor(self.env_steps),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a saved state; the environment's own state is loaded before, by its owner.

        An environment that cannot be restored (its attribute `resume` says "approximate") begins
        episodes that it has not shown before.

        Args:
            state: What `state_dict` returned, with the same number of copies.

        Raises:
            StateMismatchError: It was saved with other sizes.
        """
        current = self._record
        self.env_steps = int(take_tensor(state, "env_steps"))
        if getattr(self._environment, "resume", "exact") == "approximate":
            self.take_record(
                self._environment.reset(derive_seed(self._seed, "resume", self.env_steps))
            )
            return
        self._record = replace(
            current,
            observation=restored(state, "observation", current.observation),
            action_mask=restored(state, "action_mask", current.action_mask),
            agent_alive=restored(state, "agent_alive", current.agent_alive),
        )
        self._sums = restored(state, "episode_sums", self._sums)


def _check_agents(agent: PPOAgent, num_agents: int) -> None:
    """Refuse an agent whose networks are laid out for another number of agents.

    Raises:
        ConfigError: They are.
    """
    config, known = agent.config, agent.num_agents
    tells_apart = config.append_agent_id or config.critic == "central"
    if (tells_apart or config.parameter_sharing != "shared") and known != num_agents:
        raise ConfigError(
            f"num_agents={known}, but the environment has {num_agents} agents, which this "
            f"configuration tells apart: build the agent with num_agents={num_agents}"
        )


def summarise(
    reward: Float[Tensor, "time env"],
    ended: Bool[Tensor, "time env"],
    sums: Float[Tensor, "2 env"],
    metrics: Sequence[Mapping[str, Tensor]],
) -> tuple[RolloutSummary, Float[Tensor, "2 env"]]:
    """Say what happened in a block of steps.

    Args:
        reward: Of each step, over all agents.
        ended: True where the step was the last of its episode.
        sums: Return and length so far of the episodes under way before the block.
        metrics: The environment's own figures, one mapping per step.

    Returns:
        The summary, and the sums of the episodes under way after the block.
    """
    finished: tuple[Tensor, Tensor] | None = None
    if ended.any():
        returns, running_return = episode_sums(reward, ended, sums[0])
        lengths, running_length = episode_sums(torch.ones_like(reward), ended, sums[1])
        finished, sums = (returns, lengths), torch.stack((running_return, running_length))
    else:
        sums = torch.stack((sums[0] + reward.sum(0), sums[1] + len(reward)))
    summary = RolloutSummary(
        env_steps=reward.numel(),
        episodes=len(finished[0]) if finished else 0,
        mean_return=float(finished[0].mean()) if finished else None,
        mean_length=float(finished[1].mean()) if finished else None,
        metrics={
            name: float(torch.stack([step[name] for step in metrics]).float().mean())
            for name in metrics[0]
        },
    )
    return summary, sums


def restored(state: Mapping[str, Tensor], name: str, like: Tensor) -> Tensor:
    """Return a copy of one saved tensor, on the device of the present one.

    Args:
        state: By name.
        name: Which.
        like: The present one.

    Raises:
        StateMismatchError: It is absent or was saved with another shape or type.
    """
    return take_tensor(state, name, like).to(like.device, copy=True)
