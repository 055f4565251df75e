"""Continuous allocation for agents that choose: a grid of joint actions, or unit by unit.

Both wrap a batched environment of continuous actions and are batched environments themselves, so
that value-based agents (DQN, QMIX, VDN) can play every world.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from data.scenario import ScenarioBank, ScenarioError
from rl.environments.base_environment import (
    ActionSpec,
    AgentGroup,
    BatchedEnvironment,
    Chart,
    StepRecord,
    check_action,
)
from rl.environments.lockstep import LockstepEnvironment
from rl.environments.record_rules import build_record, named_tensors
from utils.errors import ConfigError

EVEN_GRID = (0.0, 0.25, 0.5, 0.75, 1.0)
MOST_CHOICES = 4096


class DiscreteFace(ABC):
    """What both faces share: the core, and how its groups look with choices."""

    def __init__(self, core: BatchedEnvironment, groups: tuple[AgentGroup, ...]) -> None:
        """Keep the core.

        Args:
            core: Stepped by nobody else; all its actions are continuous.
            groups: The core's groups with their discrete actions.
        """
        self.core, self.groups = core, groups
        self.num_envs, self.num_agents = core.num_envs, core.num_agents
        self.agent_ids, self.device = core.agent_ids, core.device
        self.state_size, self.num_costs = core.state_size, core.num_costs
        self.observation_size = max(group.observation_size for group in groups)
        self.action_size = max(group.action.size for group in groups)
        self.charts: tuple[Chart, ...] = getattr(core, "charts", ())

    def reset(self, seed: int | None = None) -> StepRecord:
        """Begin a new episode in every copy.

        Args:
            seed: Begins the whole sequence anew.
        """
        return self._begin(self.core.reset(seed))

    def use_bank(self, bank: ScenarioBank[Any], *, seed: int, in_order: bool = False) -> StepRecord:
        """Play other scenarios from now on, such as the next curriculum stage.

        Args:
            bank: Scenarios of the same shapes.
            seed: Of the choice of episodes.
            in_order: Play its episodes in their order.

        Raises:
            ConfigError: The shapes differ, or the core has no bank.
        """
        if not isinstance(self.core, LockstepEnvironment):
            raise ConfigError(f"{type(self.core).__name__} does not play scenarios from a bank")
        return self._begin(self.core.use_bank(bank, seed=seed, in_order=in_order))

    @abstractmethod
    def _begin(self, record: StepRecord) -> StepRecord:
        """Return the first record of new episodes as agents see it that choose."""

    def _check(self, action: Tensor) -> Tensor:
        """Return choices as whole numbers, or refuse them."""
        check_action(action, self.groups, (self.num_envs, self.num_agents, self.action_size))
        return action.long()


class BinnedActions(DiscreteFace):
    """One choice names one level per dimension of the core's action.

    The joint choice of an agent with d dimensions is a number in 0 .. levels^d - 1, its first
    dimension the slowest digit. Choices that move a dimension which the core's mask switches off
    are masked, except at its first level.
    """

    def __init__(self, core: BatchedEnvironment, levels: tuple[float, ...] = EVEN_GRID) -> None:
        """Lay the grid.

        Args:
            core: All its actions are continuous.
            levels: Shares of the way from an action's low to its high end, ascending; the same for
                each dimension.

        Raises:
            ConfigError: The levels do not ascend within [0, 1], an action is discrete already, or
                an agent would have too many choices.
        """
        ascending = all(low < high for low, high in itertools.pairwise(levels))
        if len(levels) < 2 or not ascending or not 0.0 <= levels[0] <= levels[-1] <= 1.0:
            raise ConfigError(f"levels must be two or more, ascending, in [0, 1], not {levels}")
        groups = tuple(
            _with_choices(group, len(levels) ** group.action.size) for group in core.groups
        )
        super().__init__(core, groups)
        self._digits, self._values = [], []
        for group in core.groups:
            spec = group.action
            grid = list(itertools.product(range(len(levels)), repeat=spec.size))
            digit = torch.tensor(grid, device=core.device)
            level = torch.tensor(levels, device=core.device)[digit]
            self._digits.append(digit)
            self._values.append(spec.low + level * (spec.high - spec.low))

    def _begin(self, record: StepRecord) -> StepRecord:
        return self._translate(record)

    def step(self, action: Tensor) -> StepRecord:
        """Play the chosen points of the grid.

        Args:
            action: `[env, agent]` choices.

        Raises:
            InvalidActionError: The shape is wrong or a choice unknown.
        """
        choice = self._check(action)
        width = max(group.action.size for group in self.core.groups)
        joint = torch.zeros((self.num_envs, self.num_agents, width), device=self.device)
        for group, values in zip(self.core.groups, self._values, strict=True):
            members = list(group.members)
            joint[:, members, : group.action.size] = values[choice[:, members]]
        return self._translate(self.core.step(joint))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the core's state; the grid has none."""
        return self.core.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned.
        """
        self.core.load_state_dict(state)

    def _translate(self, record: StepRecord) -> StepRecord:
        shape = (self.num_envs, self.num_agents, self.action_size)
        mask = torch.zeros(shape, dtype=torch.bool, device=self.device)
        for group, digit in zip(self.core.groups, self._digits, strict=True):
            members = list(group.members)
            unused = ~record.action_mask[:, members, : group.action.size]
            moved = unused.float() @ (digit > 0).float().T
            mask[:, members, : len(digit)] = moved == 0
        return replace(record, action_mask=mask)


class UnitActions(DiscreteFace):
    """Agents hand out units one at a time; after so many choices the core takes its step.

    A choice adds one unit to a dimension of the core's action, which begins at its low end, or, the
    last one, holds the unit back. Where amounts can be negative they begin at zero, and as many
    choices more, behind those that add, take a unit away. Masked are dimensions that are full, or
    empty, or that the core switches off. Between two steps of the core nothing happens: reward,
    costs and metrics are zero.
    Observation: the core's, then what each dimension has been given so far and the share of the
    units handed out, in [0, 1].
    """

    def __init__(
        self, core: BatchedEnvironment, *, num_units: int = 8, unit: float = 0.125
    ) -> None:
        """Begin with nothing handed out.

        Args:
            core: All its actions are continuous.
            num_units: Choices per step of the core.
            unit: What a choice adds, as a share of the way from low to high.

        Raises:
            ConfigError: There are no units, or an action is discrete already.
        """
        if num_units < 1 or not 0.0 < unit <= 1.0:
            raise ConfigError(
                f"num_units must be at least 1 and unit in (0, 1], not {num_units} and {unit}"
            )
        self._num_units, self._unit = num_units, unit
        groups = tuple(self._enlarge(group) for group in core.groups)
        super().__init__(core, groups)
        self._width = max(group.action.size for group in core.groups)
        agents = (self.num_agents, self._width)
        self._low, self._span = torch.zeros((2, *agents), device=core.device)
        self._size, self._hold = torch.zeros(
            (2, self.num_agents), dtype=torch.int64, device=core.device
        )
        self._start = torch.zeros((self.num_envs, *agents), device=core.device)
        for group in core.groups:
            members, spec = list(group.members), group.action
            self._low[members, : spec.size] = spec.low
            self._span[members, : spec.size] = spec.high - spec.low
            self._size[members], self._hold[members] = spec.size, _unit_choices(spec) - 1
            if _can_be_negative(spec):
                self._start[:, members, : spec.size] = -spec.low / (spec.high - spec.low)
        self._record: StepRecord
        self._given = self._start
        self._handed_out = 0

    def _begin(self, record: StepRecord) -> StepRecord:
        self._take(record)
        return self._show(record)

    def step(self, action: Tensor) -> StepRecord:
        """Hand out one unit per agent; with the last one, step the core.

        Args:
            action: `[env, agent]`: a dimension to add to, where amounts can be negative the number
                of dimensions plus one to take from, or the last choice to hold back. A choice that
                is masked holds back too.

        Raises:
            InvalidActionError: The shape is wrong or a choice unknown.
        """
        choice = self._check(action)
        allowed = self._mask().gather(-1, choice[..., None])
        holds = (choice == self._hold)[..., None]
        takes = choice >= self._size
        dimension = torch.where(takes, choice - self._size, choice).clamp(max=self._width - 1)
        unit = torch.where(takes, -self._unit, self._unit)[..., None]
        gain = torch.where(allowed & ~holds, unit, 0.0)
        self._given = self._given.scatter_add(-1, dimension[..., None], gain).clamp(0.0, 1.0)
        self._handed_out += 1
        if self._handed_out < self._num_units:
            return self._show(_between_steps(self._record))
        given, record = self._given, self.core.step(self._low + self._span * self._given)
        self._take(record)
        final = self._join(record.final_observation, given, 1.0)
        shown = self._show(record)
        ended = (record.terminated | record.truncated)[:, None, None]
        return replace(shown, final_observation=torch.where(ended, final, shown.observation))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the core's state and what has been handed out since its last step."""
        ours = {f"units.{name}": value.clone() for name, value in named_tensors(self._record)}
        ours |= {"given": self._given.clone(), "handed_out": torch.tensor(self._handed_out)}
        return {**self.core.state_dict(), **ours}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned.

        Raises:
            ScenarioError: It lacks something, or is another world's.
        """
        shown = {
            name.removeprefix("units."): value.to(self.device, copy=True)
            for name, value in state.items()
            if name.startswith("units.")
        }
        record = build_record(shown)
        if "handed_out" not in state or "given" not in state:
            raise ScenarioError("the saved state lacks given or handed_out; give a whole one")
        self.core.load_state_dict({n: v for n, v in state.items() if not n.startswith("units.")})
        self._record = record
        self._given = state["given"].to(self.device, copy=True)
        self._handed_out = int(state["handed_out"])

    def _enlarge(self, group: AgentGroup) -> AgentGroup:
        chosen = _with_choices(group, _unit_choices(group.action))
        return replace(
            chosen,
            observation_size=group.observation_size + group.action.size + 1,
            observation_low=min(group.observation_low, 0.0),
            observation_high=max(group.observation_high, 1.0),
        )

    def _take(self, record: StepRecord) -> None:
        self._record = record
        self._given, self._handed_out = self._start, 0

    def _mask(self) -> Tensor:
        shape = (self.num_envs, self.num_agents, self.action_size)
        mask = torch.zeros(shape, dtype=torch.bool, device=self.device)
        for group in self.core.groups:
            members, size = list(group.members), group.action.size
            used, given = (
                values[:, members, :size] for values in (self._record.action_mask, self._given)
            )
            mask[:, members, :size] = used & (given < 1.0)
            if _can_be_negative(group.action):
                mask[:, members, size : 2 * size] = used & (given > 0.0)
        mask[:, torch.arange(self.num_agents, device=self.device), self._hold] = True
        return mask

    def _join(self, observation: Tensor, given: Tensor, progress: float) -> Tensor:
        """Put what was given behind each group's own observation."""
        shape = (self.num_envs, self.num_agents, self.observation_size)
        joined = torch.zeros(shape, device=self.device)
        for group in self.core.groups:
            members, seen, size = list(group.members), group.observation_size, group.action.size
            joined[:, members, :seen] = observation[:, members, :seen]
            joined[:, members, seen : seen + size] = given[:, members, :size]
            joined[:, members, seen + size] = progress
        return joined

    def _show(self, record: StepRecord) -> StepRecord:
        observation = self._join(
            record.observation, self._given, self._handed_out / self._num_units
        )
        return replace(
            record,
            observation=observation,
            final_observation=observation,
            action_mask=self._mask(),
        )


def _with_choices(group: AgentGroup, choices: int) -> AgentGroup:
    if group.action.kind == "discrete":
        raise ConfigError(f"{group.name} chooses already; a discrete face wants continuous actions")
    if choices > MOST_CHOICES:
        raise ConfigError(
            f"{group.name} would have {choices:,} choices, more than {MOST_CHOICES:,}; take fewer "
            "levels, let each agent decide for itself, or hand out units (UnitActions)"
        )
    return replace(group, action=ActionSpec(kind="discrete", size=choices))


def _can_be_negative(spec: ActionSpec) -> bool:
    return spec.low < 0.0 < spec.high


def _unit_choices(spec: ActionSpec) -> int:
    """Return how many choices units give: to add, to take where that makes sense, to hold."""
    return spec.size * (2 if _can_be_negative(spec) else 1) + 1


def _between_steps(record: StepRecord) -> StepRecord:
    """Return a record in which nothing happens."""
    return replace(
        record,
        reward=torch.zeros_like(record.reward),
        cost=torch.zeros_like(record.cost),
        terminated=torch.zeros_like(record.terminated),
        truncated=torch.zeros_like(record.truncated),
        final_global_state=record.global_state,
        metrics={name: torch.zeros_like(value) for name, value in record.metrics.items()},
        reward_terms={name: torch.zeros_like(value) for name, value in record.reward_terms.items()},
    )
