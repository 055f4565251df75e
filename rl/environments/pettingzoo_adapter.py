"""Foreign PettingZoo environments as batched environments of several agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, Space
from numpy.typing import NDArray
from pettingzoo import ParallelEnv
from torch import Tensor

from rl.environments.base_environment import ActionSpec, AgentGroup, StepRecord, check_action
from utils.errors import ConfigError
from utils.seeding import derive_seed

Numbers = NDArray[Any]
MakeParallel = Callable[[], "ParallelEnv[str, Any, Any]"]


@dataclass(frozen=True, kw_only=True)
class _Agent:
    """One agent, and how its actions are translated."""

    place: int
    observation_size: int
    action: ActionSpec
    space: Space[Any]

    def native_actions(self, action: Numbers) -> list[Any]:
        """Return the environment's own action for each copy.

        Args:
            action: Of all agents of all copies.
        """
        mine = action[:, self.place]
        if isinstance(self.space, Box):
            share = (mine[:, : self.action.size].clip(-1.0, 1.0) + 1.0) / 2.0
            share = share.reshape(-1, *self.space.shape)
            stretched = (1.0 - share) * self.space.low + share * self.space.high
            return list(stretched.astype(self.space.dtype))
        first = int(getattr(self.space, "start", 0))
        return [first + int(choice) for choice in mine.tolist()]


class PettingZooAdapter:
    """Steps copies of a PettingZoo `ParallelEnv` one after the other.

    Observation: a Box of each agent, flattened and padded with zeros to the largest. Action: all
    agents Discrete, or all Boxes with finite bounds to which [-1, 1] is stretched, clipped first.
    Agents alike in name (numbers apart) and sizes form a group. Who leaves before the others is no
    longer alive, sees zeros and earns nothing. An episode ends when nobody is left: terminated if
    all who left last had terminated, else truncated. Global state: the environment's own `state()`
    if it has one, else all observations in a row. A foreign simulator cannot be saved: whoever
    resumes resets all copies with a seed not used before.
    """

    resume = "approximate"

    def __init__(self, make: MakeParallel, num_envs: int, *, seed: int = 0) -> None:
        """Make the copies.

        Args:
            make: Makes one copy.
            num_envs: How many.
            seed: Of all their episodes, unless `reset` is given another.

        Raises:
            ConfigError: A space is of another kind, discrete and continuous agents mix, or
                `num_envs` is below 1.
        """
        if num_envs < 1:
            raise ConfigError(f"num_envs={num_envs}: choose at least 1")
        self._envs = [make() for _ in range(num_envs)]
        self._first_seed: int | None = seed
        self._agents = _describe_agents(self._envs[0])
        self.groups = _form_groups(self._agents)
        self.num_envs = num_envs
        self.num_agents = len(self._agents)
        self.agent_ids: tuple[str, ...] = tuple(self._agents)
        self.observation_size = max(group.observation_size for group in self.groups)
        self.num_costs = 0
        self.device = torch.device("cpu")
        self._action_dtype = np.int64 if self.groups[0].action.kind == "discrete" else np.float64
        choices = np.array([agent.action.size for agent in self._agents.values()])
        mask = np.arange(choices.max()) < choices[:, None]
        self._mask = torch.from_numpy(mask).repeat(num_envs, 1, 1)
        seen = np.array([agent.observation_size for agent in self._agents.values()])
        self._is_seen = np.arange(self.observation_size) < seen[:, None]
        self._has_state = _has_state(self._envs[0], seed)
        self.state_size = (
            int(self._envs[0].state().size) if self._has_state else int(self._is_seen.sum())
        )
        self._no_cost = torch.zeros(num_envs, self.num_agents, 0)
        self._alive = np.zeros((num_envs, self.num_agents), np.bool_)

    def reset(self, seed: int | None = None) -> StepRecord:
        """Begin a new episode in every copy.

        Args:
            seed: Begins the whole sequence anew; None goes on with it.
        """
        seed = self._first_seed if seed is None else seed
        self._first_seed = None
        observation, reward, ends = self._empty_record()
        for copy in range(self.num_envs):
            copy_seed = None if seed is None else derive_seed(seed, "pettingzoo", copy) % 2**31
            self._begin(copy, observation[copy], copy_seed)
        return self._record(observation, reward, ends)

    def step(self, action: Tensor) -> StepRecord:
        """Advance every copy by one step.

        Args:
            action: `[env, agent]` choices, or `[env, agent, act]` in [-1, 1]; what padded
                dimensions and agents that have left hold has no effect.

        Raises:
            InvalidActionError: The shape is wrong, or a value is no choice or not finite.
        """
        check_action(action, self.groups, self._mask.shape)
        numbers = action.detach().numpy().astype(self._action_dtype, copy=False)
        native = {name: agent.native_actions(numbers) for name, agent in self._agents.items()}
        observation, reward, ends = self._empty_record()
        last_looks: dict[int, tuple[Numbers, Numbers]] = {}
        for copy, env in enumerate(self._envs):
            living = self._living(copy)
            following, earned, terminated, truncated, _ = env.step(
                {name: native[name][copy] for name in living}
            )
            self._look(observation[copy], following)
            staying = set(env.agents)
            for name in living:
                place = self._agents[name].place
                reward[copy, place] = earned.get(name, 0.0)
                has_ended = terminated.get(name) or truncated.get(name)
                self._alive[copy, place] = name in staying and not has_ended
            if not self._alive[copy].any():
                is_over = all(terminated.get(name) for name in living)
                ends[:, copy] = is_over, not is_over
                last_looks[copy] = observation[copy].copy(), self._state(copy, observation)
                observation[copy] = 0.0
                self._begin(copy, observation[copy], None)
        record = self._record(observation, reward, ends)
        if not last_looks:
            return record
        final, state = record.observation.clone(), record.global_state.clone()
        for copy, (look, last_state) in last_looks.items():
            final[copy], state[copy] = torch.from_numpy(look), torch.from_numpy(last_state)
        return replace(record, final_observation=final, final_global_state=state)

    def state_dict(self) -> dict[str, Tensor]:
        """Return nothing: a foreign simulator cannot be saved."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Accept nothing, for the same reason.

        Args:
            state: What `state_dict` returned.

        Raises:
            ConfigError: It holds something, so another environment saved it.
        """
        if state:
            raise ConfigError(f"{next(iter(state))} was saved by another kind of environment")

    def close(self) -> None:
        """Release what the copies hold."""
        for env in self._envs:
            env.close()

    def _begin(self, copy: int, rows: Numbers, seed: int | None) -> None:
        """Reset one copy, and write down what its agents see and who they are."""
        env = self._envs[copy]
        first, _ = env.reset(seed=seed)
        self._look(rows, first)
        self._alive[copy] = [name in env.agents for name in self._agents]

    def _look(self, rows: Numbers, observations: Mapping[str, Any]) -> None:
        """Write what agents see into the rows of one copy, `[agent, obs]`."""
        for name, seen in observations.items():
            agent = self._agents[name]
            rows[agent.place, : agent.observation_size] = np.ravel(seen)

    def _living(self, copy: int) -> list[str]:
        alive = self._alive[copy].tolist()
        return [name for name, lives in zip(self._agents, alive, strict=True) if lives]

    def _empty_record(self) -> tuple[Numbers, Numbers, NDArray[np.bool_]]:
        """Return new arrays of observation, reward, and (terminated, truncated)."""
        shape = (self.num_envs, self.num_agents)
        return (
            np.zeros((*shape, self.observation_size), np.float32),
            np.zeros(shape, np.float32),
            np.zeros((2, self.num_envs), np.bool_),
        )

    def _record(
        self,
        observation: Numbers,
        reward: Numbers,
        ends: NDArray[np.bool_],
    ) -> StepRecord:
        seen = torch.from_numpy(observation)
        copies = range(self.num_envs)
        state = torch.from_numpy(np.stack([self._state(copy, observation) for copy in copies]))
        return StepRecord(
            observation=seen,
            action_mask=self._mask,
            agent_alive=torch.from_numpy(self._alive.copy()),
            reward=torch.from_numpy(reward),
            cost=self._no_cost,
            terminated=torch.from_numpy(ends[0]),
            truncated=torch.from_numpy(ends[1]),
            final_observation=seen,
            global_state=state,
            final_global_state=state,
            metrics={},
        )

    def _state(self, copy: int, observation: Numbers) -> Numbers:
        if not self._has_state:
            seen: Numbers = observation[copy, self._is_seen]
            return seen
        return np.ravel(self._envs[copy].state()).astype(np.float32)


def _describe_agents(env: ParallelEnv[str, Any, Any]) -> dict[str, _Agent]:
    if hasattr(env, "agent_iter"):
        raise ConfigError(f"{env} moves one agent at a time; give its parallel_env")
    agents = {
        name: _Agent(
            place=place,
            observation_size=_observation_size(name, env.observation_space(name)),
            action=_action_spec(name, env.action_space(name)),
            space=env.action_space(name),
        )
        for place, name in enumerate(env.possible_agents)
    }
    if len({agent.action.kind for agent in agents.values()}) > 1:
        raise ConfigError(f"{env} mixes discrete and continuous agents; make them all alike")
    return agents


def _observation_size(name: str, space: Space[Any]) -> int:
    if isinstance(space, Box):
        return int(np.prod(space.shape))
    raise ConfigError(f"observation space {space} of {name} is no Box: flatten it with a wrapper")


def _action_spec(name: str, space: Space[Any]) -> ActionSpec:
    if isinstance(space, Discrete):
        return ActionSpec(kind="discrete", size=int(space.n))
    if isinstance(space, Box) and space.is_bounded("both"):
        size = int(np.prod(space.shape))
        return ActionSpec(kind="continuous", size=size, low=-1.0, high=1.0)
    raise ConfigError(
        f"action space {space} of {name} is neither Discrete nor a Box with finite bounds"
    )


def _form_groups(agents: Mapping[str, _Agent]) -> tuple[AgentGroup, ...]:
    """Group agents that are alike; the name of a kind is the name of its agents without number."""
    members: dict[tuple[str, int, ActionSpec], list[int]] = {}
    for name, agent in agents.items():
        kind = name.rstrip("0123456789").rstrip("_-") or "agent"
        members.setdefault((kind, agent.observation_size, agent.action), []).append(agent.place)
    kinds = [kind for kind, _, _ in members]
    return tuple(
        AgentGroup(
            name=kind if kinds.count(kind) == 1 else f"{kind}_{number}",
            members=tuple(places),
            observation_size=observation_size,
            action=action,
        )
        for number, ((kind, observation_size, action), places) in enumerate(members.items())
    )


def _has_state(env: ParallelEnv[str, Any, Any], seed: int) -> bool:
    """Say whether an environment has a global state of its own, once it has begun."""
    env.reset(seed=derive_seed(seed, "pettingzoo") % 2**31)
    try:
        env.state()
    except NotImplementedError:
        return False
    return True
