"""Worlds whose copies begin and end their episodes together: all that they have in common.

A world adds its state, how one step goes and what is seen. A curriculum stage, a stress test and a
real trace are other scenarios of the same world: `use_bank` changes them without changing a shape.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, replace
from typing import Any, Generic, Literal, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from data.scenario import ScenarioBank, ScenarioError
from rl.environments.base_environment import AgentGroup, Chart, StepRecord, check_action
from rl.environments.episodes import EpisodeDealer
from utils.errors import ConfigError

_device_of_worlds = ContextVar("device of worlds", default="cpu")


@contextmanager
def worlds_on(device: str) -> Iterator[None]:
    """Build worlds on a device where their options name none.

    Args:
        device: Such as `cuda:0`.
    """
    token = _device_of_worlds.set(device)
    try:
        yield
    finally:
        _device_of_worlds.reset(token)


@dataclass(frozen=True, kw_only=True)
class LockstepOptions:
    """How a world is played."""

    num_envs: int = 64
    shuffle: bool = True
    """Draw episodes from the bank at random, or play them in order."""
    device: str = field(default_factory=_device_of_worlds.get)
    """The CPU, or that of `worlds_on`."""

    def __post_init__(self) -> None:
        """Refuse an empty batch."""
        if self.num_envs < 1:
            raise ConfigError(f"num_envs must be at least 1, not {self.num_envs}")


@dataclass(frozen=True, kw_only=True)
class WorldShape:
    """Who acts in a world, and for how long."""

    agent_ids: tuple[str, ...]
    groups: tuple[AgentGroup, ...]
    state_size: int
    """Numbers in the global state."""
    num_steps: int
    """Length of every episode."""
    num_costs: int = 0
    ends: Literal["truncated", "terminated"] = "truncated"
    """What the last step is: we stop looking, or the task is over."""


@dataclass(frozen=True, kw_only=True)
class WorldState:
    """Base of what actions change: frozen dataclasses of tensors, their first axis the copy."""


State = TypeVar("State", bound=WorldState)


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[State]):
    """What one step of every copy led to."""

    state: State
    reward_terms: Mapping[str, Tensor]
    """Named parts of the reward, `[env, agent]` each; at least one."""
    metrics: Mapping[str, Tensor]
    """Named figures of the step, `[env]` each."""
    cost: Float[Tensor, "env agent constraint"] | None = None
    """None in worlds without constraints."""
    reward: Float[Tensor, "env agent"] | None = None
    """The sum of the terms, where they are not simply to be added in their order."""


@dataclass(frozen=True, kw_only=True)
class _Sight:
    """What is seen between two steps."""

    observation: Tensor
    global_state: Tensor
    action_mask: Tensor
    agent_alive: Tensor


class LockstepEnvironment(ABC, Generic[State]):
    """Copies of one world, stepped as one program, episodes in lockstep; a `BatchedEnvironment`.

    A subclass sets its own fields first and calls this constructor last, for it begins the first
    episodes. Subclasses read `rows` (the scenarios of the current episodes, `[env, ...]` each),
    `t` (steps taken in them) and `state`, and never change a tensor of the state in place: an
    earlier state may still be in a gradient's graph or in a checkpoint.
    """

    is_differentiable = False
    _dtype = torch.float32
    """What continuous actions of any kind are turned into."""
    charts: tuple[Chart, ...] = ()
    """What a picture of an episode shows; none shows every metric by itself."""

    def __init__(
        self, bank: ScenarioBank[Any], options: LockstepOptions, shape: WorldShape, seed: int
    ) -> None:
        """Begin the first episodes.

        Args:
            bank: The scenarios; refreshed from here.
            options: How the world is played.
            shape: Who acts, and for how long.
            seed: Of the choice of episodes.
        """
        self.options, self.shape = options, shape
        self.device = torch.device(options.device)
        self.num_envs = options.num_envs
        self.agent_ids, self.groups = shape.agent_ids, shape.groups
        self.num_agents = len(shape.agent_ids)
        self.observation_size = max(group.observation_size for group in shape.groups)
        self.action_size = max(group.action.size for group in shape.groups)
        self.state_size, self.num_costs = shape.state_size, shape.num_costs
        agents = (self.num_envs, self.num_agents)
        self._every_agent = torch.ones(agents, dtype=torch.bool, device=self.device)
        self._never = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        self._every_action = torch.zeros(
            (*agents, self.action_size), dtype=torch.bool, device=self.device
        )
        for group in shape.groups:
            self._every_action[:, list(group.members), : group.action.size] = True
        self.state: State
        self.t = 0
        self._dealer = self._make_dealer(bank)
        self._dealer.restart(seed)
        self._begin_episodes()

    def _enter_episodes(self) -> None:
        """Prepare what every step of the episodes in `rows` needs; called when they are dealt."""

    @abstractmethod
    def _first_state(self) -> State:
        """Return the state before the first step of the episodes in `rows`."""

    @abstractmethod
    def _advance(self, action: Tensor) -> Outcome[State]:
        """Take step `t` from `state`; the action has been checked, not clipped."""

    @abstractmethod
    def _observe(self) -> Float[Tensor, "env agent obs"]:
        """Return what every agent sees before step `t`; `t` may be `shape.num_steps`."""

    def _global_state(self, observation: Tensor) -> Float[Tensor, "env state"]:
        """Return the whole state, for central critics; all observations unless overridden."""
        return observation.flatten(1)

    def _action_mask(self) -> Bool[Tensor, "env agent act"]:
        """Return which dimensions or choices are in use; all unless overridden."""
        return self._every_action

    def _agent_alive(self) -> Bool[Tensor, "env agent"]:
        """Return who takes part; all unless overridden."""
        return self._every_agent

    @property
    def bank(self) -> ScenarioBank[Any]:
        """Where the scenarios come from."""
        return self._dealer.bank

    @property
    def rows(self) -> Mapping[str, Tensor]:
        """The scenarios of the current episodes, `[env, ...]` each."""
        return self._deal.rows

    @property
    def episode_index(self) -> Tensor:
        """Position in the bank of the episode each copy plays, `[env]`."""
        return self._deal.index

    def use_bank(self, bank: ScenarioBank[Any], *, seed: int, in_order: bool = False) -> StepRecord:
        """Play other scenarios of the same shapes from now on, such as the next curriculum stage.

        Args:
            bank: The scenarios; refreshed from here.
            seed: Of the choice of episodes.
            in_order: Play its episodes in their order from now on, whatever the options say.

        Returns:
            The first record of new episodes.

        Raises:
            ConfigError: The arrays have other shapes than those played so far.
        """
        ours, theirs = (_row_shapes(one) for one in (self.bank, bank))
        if ours != theirs:
            changed = sorted(n for n in ours | theirs if ours.get(n) != theirs.get(n))
            raise ConfigError(
                f"the new bank's {', '.join(changed)} differ in shape; pad the smaller stage to "
                "the largest one and switch the rest off"
            )
        if in_order:
            self.options = replace(self.options, shuffle=False)
        self._dealer = self._make_dealer(bank)
        return self.reset(seed)

    def reset(self, seed: int | None = None) -> StepRecord:
        """Begin a new episode in every copy.

        Args:
            seed: Begins the sequence of episodes anew, including the bank's.
        """
        if seed is not None:
            self._dealer.restart(seed)
        self._begin_episodes()
        sight = self._look()
        zeros = sight.observation.new_zeros((self.num_envs, self.num_agents))
        return self._record(sight, zeros, None)

    def step(self, action: Tensor) -> StepRecord:
        """Advance every copy by one step; after the last one new episodes begin.

        Args:
            action: `[env, agent, act]` continuous, clipped to its range; `[env, agent]` choices.

        Raises:
            InvalidActionError: The shape is wrong, a value is not finite, or a choice is unknown or
                not a whole number.
        """
        check_action(action, self.groups, self._every_action.shape)
        is_choice = self.groups[0].action.kind == "discrete"
        outcome = self._advance(action.to(torch.int64 if is_choice else self._dtype))
        self.state = outcome.state
        self.t += 1
        sight = final = self._look()
        ended = self._never
        if self.t == self.shape.num_steps:
            self._begin_episodes()
            sight, ended = self._look(), ~self._never
        reward = sum_terms(outcome.reward_terms) if outcome.reward is None else outcome.reward
        is_truncation = self.shape.ends == "truncated"
        return replace(
            self._record(sight, reward, outcome.cost),
            terminated=self._never if is_truncation else ended,
            truncated=ended if is_truncation else self._never,
            final_observation=final.observation,
            final_global_state=final.global_state,
            metrics=outcome.metrics,
            reward_terms=outcome.reward_terms,
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that is needed to continue bit for bit."""
        held = {f.name: getattr(self.state, f.name).detach().clone() for f in fields(self.state)}
        time = torch.tensor(self.t)
        return {**self._dealer.state_dict(), "time": time, "episode": self._deal.index.clone()} | {
            f"state.{name}": value for name, value in held.items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state that `state_dict` returned.

        Args:
            state: The tensors.

        Raises:
            ScenarioError: The scenario source gives other episodes than it did, or the state is
                another world's, or of another number of copies.
        """
        _check_saved(state, self.state_dict())
        self._deal = self._dealer.restore(state, state["episode"])
        self._enter_episodes()
        self.t = int(state["time"])
        values = {
            field.name: state[f"state.{field.name}"].to(self.device, copy=True)
            for field in fields(self.state)
        }
        self.state = type(self.state)(**values)

    def _make_dealer(self, bank: ScenarioBank[Any]) -> EpisodeDealer:
        return EpisodeDealer(
            bank, num_envs=self.num_envs, shuffle=self.options.shuffle, device=self.device
        )

    def _begin_episodes(self) -> None:
        self.t = 0
        self._deal = self._dealer.deal()
        self._enter_episodes()
        self.state = self._first_state()

    def _look(self) -> _Sight:
        observation = self._observe()
        return _Sight(
            observation=observation,
            global_state=self._global_state(observation),
            action_mask=self._action_mask(),
            agent_alive=self._agent_alive(),
        )

    def _record(self, sight: _Sight, reward: Tensor, cost: Tensor | None) -> StepRecord:
        shape = (self.num_envs, self.num_agents, self.num_costs)
        return StepRecord(
            observation=sight.observation,
            action_mask=sight.action_mask,
            agent_alive=sight.agent_alive,
            reward=reward,
            cost=reward.new_zeros(shape) if cost is None else cost,
            terminated=self._never,
            truncated=self._never,
            final_observation=sight.observation,
            global_state=sight.global_state,
            final_global_state=sight.global_state,
            metrics={},
        )


def sum_terms(terms: Mapping[str, Tensor]) -> Tensor:
    """Add the terms of a reward, in their order.

    Args:
        terms: At least one.
    """
    first, *others = terms.values()
    for term in others:
        first = first + term
    return first


def _row_shapes(bank: ScenarioBank[Any]) -> dict[str, tuple[int, ...]]:
    scenarios = bank.scenarios
    return {field.name: getattr(scenarios, field.name).shape[1:] for field in fields(scenarios)}


def _check_saved(state: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> None:
    """Refuse a saved state that a world whose own is `ours` cannot continue from."""
    wanted, held = ({n for n in one if n.startswith("state.")} for one in (ours, state))
    if wanted != held:
        raise ScenarioError(
            f"the saved state holds {sorted(held)}, this world has {sorted(wanted)}"
        )
    if missing := sorted(ours.keys() - state.keys()):
        raise ScenarioError(f"the saved state lacks {', '.join(missing)}; give a whole one")
    copies, here = len(state["episode"]), len(ours["episode"])
    if copies != here:
        raise ScenarioError(
            f"the saved state is of {copies} copies, this world has {here}; build it with "
            f"num_envs={copies}"
        )
    for name, value in ours.items():
        if state[name].shape != value.shape:
            raise ScenarioError(
                f"{name} of the saved state has shape {tuple(state[name].shape)}, here it has "
                f"{tuple(value.shape)}; build the world with the sizes it was saved with"
            )
