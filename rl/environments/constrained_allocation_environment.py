"""Tasks that share costly resources under soft limits: one batched, differentiable program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from data.scenario import BankConfig, ScenarioBank
from data.task_demand import TaskDemand, TaskLaws, TaskScenarios
from rl.domains.constrained_allocation import (
    OBSERVATION_LIMIT,
    ConstrainedConfig,
    ConstrainedDomain,
    ConstrainedView,
)
from rl.environments.base_environment import ActionSpec, AgentGroup, Chart
from rl.environments.gymnasium_faces import SingleAgentEnvironment
from rl.environments.lockstep import (
    LockstepEnvironment,
    LockstepOptions,
    Outcome,
    WorldShape,
    WorldState,
)
from utils.errors import ConfigError

TaskBank = ScenarioBank[TaskScenarios]
RUNNING_SUMS = ("total_cost", "constraint_violations")
RUNNING_MEANS = ("resource_utilization", "allocation_efficiency")


@dataclass(frozen=True, kw_only=True)
class ConstrainedState(WorldState):
    """What was allocated in the step before, `[env, task, resource]`."""

    allocation: Tensor


class BatchedConstrainedAllocation(LockstepEnvironment[ConstrainedState]):
    """Copies of one planner; all play one step at a time, episodes in lockstep.

    Observation: see `ConstrainedDomain.encode`. Action `[task * resource]` in [0, 1]: share of the
    most that one task can take of one resource.
    Reward, times `reward_scale`: `satisfaction` (mean over tasks of priority times the part of the
    demand that is met), `cost` (minus `cost_penalty` times units times unit costs) and `violation`
    (minus `constraint_violation_penalty` times the squared units beyond what is available).
    Cost: those squared units. Metrics: `total_cost`, `constraint_violations`,
    `resource_utilization` (allocated over available, at most one, mean of the resources) and
    `allocation_efficiency` (part of the demand that is met, mean of the tasks).
    End: terminated after `config.episode_length`; truncated never.
    Invariant: nothing but the last allocation and the clock changes within an episode.
    Differentiable: kinks where a demand is just met, a resource just used up, an action leaves
    [0, 1].
    """

    is_differentiable = True
    charts = (
        Chart(title="demand met", metrics=("allocation_efficiency",), unit="share"),
        Chart(title="cost so far", metrics=("total_cost",), unit="currency", is_sum=True),
        Chart(title="overuse", metrics=("constraint_violations",), unit="squared units"),
    )

    def __init__(
        self, config: ConstrainedConfig, bank: TaskBank, options: LockstepOptions, seed: int
    ) -> None:
        """Begin the first episodes.

        Args:
            config: The world.
            bank: Its scenarios; refreshed from here.
            options: How it is played.
            seed: Of the choice of episodes.

        Raises:
            ConfigError: The bank's episodes have other sizes than the world.
        """
        held = (bank.scenarios.availability.shape[1], bank.scenarios.demand.shape[1])
        wanted = (config.num_resources, config.num_tasks)
        if held != wanted:
            raise ConfigError(
                f"the bank holds (resources, tasks) = {held}, the world has {wanted}; draw it "
                "with TaskLaws of the same sizes"
            )
        self.config = config
        self.domain = ConstrainedDomain(config, torch)
        size = self.domain.observation_size
        planner = AgentGroup(
            name="planner",
            members=(0,),
            observation_size=size,
            action=ActionSpec(kind="continuous", size=config.num_tasks * config.num_resources),
            observation_low=0.0,
            observation_high=OBSERVATION_LIMIT,
        )
        shape = WorldShape(
            agent_ids=("planner",),
            groups=(planner,),
            state_size=size,
            num_steps=config.episode_length,
            num_costs=1,
            ends="terminated",
        )
        super().__init__(bank, options, shape, seed)

    @property
    def view(self) -> ConstrainedView:
        """What is known before the next step, over all copies."""
        rows, allocation = self.rows, self.state.allocation
        time = self.t / self.config.episode_length
        names = ("availability", "demand", "cost", "priority", "task_active", "resource_active")
        return ConstrainedView(
            allocation=allocation,
            time=allocation.new_full((self.num_envs,), time),
            **{name: rows[name] for name in names},
        )

    def _enter_episodes(self) -> None:
        rows = self.rows
        exists = rows["task_active"][:, :, None] * rows["resource_active"][:, None]
        self._mask = exists.flatten(1)[:, None] > 0
        self._tasks = rows["task_active"].sum(-1)
        self._resources = rows["resource_active"].sum(-1)
        self._needed = torch.where(rows["task_active"] > 0, rows["demand"], 1.0)

    def _first_state(self) -> ConstrainedState:
        size = (self.num_envs, self.config.num_tasks, self.config.num_resources)
        return ConstrainedState(allocation=torch.zeros(size, device=self.device))

    def _advance(self, action: Tensor) -> Outcome[ConstrainedState]:
        config, rows = self.config, self.rows
        allocation = self.domain.project(action[:, 0], self.view)
        met = (allocation.sum(2) / self._needed).clamp(max=1.0)
        used, available = allocation.sum(1), rows["availability"]
        cost = (used * rows["cost"]).sum(1)
        violation = (used - available).clamp(min=0.0).square().sum(1)
        share = (used / available.clamp(min=1e-9)).clamp(max=1.0)
        scale = config.reward_scale
        terms = {
            "satisfaction": scale * (rows["priority"] * met).sum(1) / self._tasks,
            "cost": -scale * config.cost_penalty * cost,
            "violation": -scale * config.constraint_violation_penalty * violation,
        }
        metrics = {
            "total_cost": cost,
            "constraint_violations": violation,
            "resource_utilization": share.sum(1) / self._resources,
            "allocation_efficiency": met.sum(1) / self._tasks,
        }
        return Outcome(
            state=ConstrainedState(allocation=allocation),
            reward_terms={name: value[:, None] for name, value in terms.items()},
            metrics=metrics,
            cost=violation[:, None, None],
        )

    def _observe(self) -> Tensor:
        observation: Tensor = self.domain.encode(self.view)[:, None]
        return observation

    def _action_mask(self) -> Tensor:
        return self._mask


class ConstrainedAllocationEnvironment(SingleAgentEnvironment):
    """The preset `constrained_allocation` as a Gymnasium environment.

    Observation, action, reward and end: `BatchedConstrainedAllocation`. Info, besides that of
    `SingleAgentEnvironment`: `total_reward`, `total_cost` and `constraint_violations`, summed since
    the episode began, `resource_utilization` and `allocation_efficiency`, its means.
    """

    def __init__(  # noqa: PLR0913 - the promised names
        self,
        num_resources: int = 3,
        num_tasks: int = 5,
        *,
        max_allocation_per_resource: float = 1.0,
        episode_length: int = 100,
        reward_scale: float = 1.0,
        cost_penalty: float = 0.1,
        constraint_violation_penalty: float = 10.0,
        render_mode: str | None = None,
        seed: int | None = None,
    ) -> None:
        """Draw a world and its episodes.

        Args:
            num_resources: Resources.
            num_tasks: Tasks.
            max_allocation_per_resource: Most units of one resource that one task can take.
            episode_length: Steps.
            reward_scale: Multiplies the reward.
            cost_penalty: Reward lost per unit of cost.
            constraint_violation_penalty: Reward lost per squared unit beyond what is available.
            render_mode: What `render` returns.
            seed: Of costs, priorities and episodes; None is zero.

        Raises:
            ConfigError: A number is out of range.
        """
        config = ConstrainedConfig(
            num_resources=num_resources,
            num_tasks=num_tasks,
            max_allocation_per_resource=max_allocation_per_resource,
            episode_length=episode_length,
            reward_scale=reward_scale,
            cost_penalty=cost_penalty,
            constraint_violation_penalty=constraint_violation_penalty,
        )
        laws = TaskLaws(num_resources=num_resources, num_tasks=num_tasks)
        bank = ScenarioBank(TaskDemand(laws, seed or 0), BankConfig(), seed or 0)
        options = LockstepOptions(num_envs=1)
        core = BatchedConstrainedAllocation(config, bank, options, seed or 0)
        super().__init__(core, render_mode)
        self._totals: dict[str, float] = {}
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Begins the sequence of episodes anew.
            options: Not used.
        """
        self._totals, self._steps = {}, 0
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act once.

        Args:
            action: In the action space.

        Raises:
            EpisodeEndedError: The episode has ended, or none has begun.
            InvalidActionError: The action has the wrong size or is not finite.
        """
        observation, reward, terminated, truncated, info = super().step(action)
        self._steps += 1
        for name, value in (("total_reward", reward), *info["metrics"].items()):
            self._totals[name] = self._totals.get(name, 0.0) + value
        sums = {name: self._totals[name] for name in ("total_reward", *RUNNING_SUMS)}
        means = {name: self._totals[name] / self._steps for name in RUNNING_MEANS}
        return observation, reward, terminated, truncated, info | sums | means
