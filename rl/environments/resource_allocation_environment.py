"""Services share typed resources of limited, sometimes failing capacity: one batched program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rl.domains.resource_allocation import (
    COVERAGE_SIZE,
    OBSERVATION_LIMIT,
    AllocationConfig,
    AllocationDomain,
    AllocationView,
)
from rl.environments.base_environment import ActionSpec, AgentConfig, AgentGroup, Chart
from rl.environments.episodes import WorkloadBank, check_bank
from rl.environments.faces import DictEnvironment
from rl.environments.lockstep import (
    LockstepEnvironment,
    LockstepOptions,
    Outcome,
    WorldShape,
    WorldState,
)
from rl.environments.mechanisms import MECHANISMS
from rl.environments.synthetic_services import (
    DEFAULT_STEPS,
    make_synthetic_services,
    summarize_allocation,
)
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class EnvironmentConfig(LockstepOptions):
    """How the world is played."""

    view: Literal["planner", "services"] = "planner"
    """One agent splits every capacity, or each service asks for itself."""
    action: Literal["shares", "coverage"] = "shares"
    """Actions are shares of the capacities, or coverage of waiting work and recent demand."""
    reward: Literal["kpi", "losses"] = "kpi"
    """Served value, or minus lost value; both less the holding cost. They differ by the value of
    what arrived, which no action changes, and of what still waits; losses vary far less, so they
    are what training learns from."""
    mechanism: Literal["proportional", "priority"] = "proportional"
    """How requests of services that exceed a capacity are resolved."""

    def __post_init__(self) -> None:
        """Refuse unknown choices."""
        super().__post_init__()
        if self.view not in {"planner", "services"}:
            raise ConfigError(f"view {self.view!r}; known: planner, services")
        if self.mechanism not in MECHANISMS:
            raise ConfigError(f"mechanism {self.mechanism!r}; known: {', '.join(MECHANISMS)}")


@dataclass(frozen=True, kw_only=True)
class AllocationState(WorldState):
    """What waits and what is held."""

    backlog: Tensor
    """`[env, service, slack]`: work by the steps it can still wait."""
    allocation: Tensor
    """`[env, service, resource]`: units held in the step before."""


class BatchedResourceAllocation(LockstepEnvironment[AllocationState]):
    """Copies of the shared-services world; all play one step at a time, episodes in lockstep.

    Observation: planner `[services * features + shared]`, services `[features + shared]` each; see
    `AllocationDomain`. Action, in [0, 1]: share of each capacity asked for, planner
    `[services * resources]`, services `[resources]` each; or coverage of waiting work and recent
    demand and a bid, four numbers per service. The allocation is fixed before the demand of the
    step is seen.
    Reward, per service or summed for the planner: `served_value` (priority times served work)
    plus `holding_cost` (minus price times idle units). Cost: work lost (SLA violations).
    End: terminated never; truncated after `config.max_steps`.
    Invariants: allocations sum to at most the capacity; arrived = served + waiting + lost.
    Differentiable: steps are out of place, rewards have a slope in the actions almost everywhere.
    """

    is_differentiable = True
    charts = (
        Chart(title="work", metrics=("arrived_work", "served_work", "lost_work"), unit="units"),
        Chart(title="waiting work", metrics=("waiting_work",), unit="units"),
        Chart(title="capacity held", metrics=("held_share",), unit="share"),
        Chart(title="value", metrics=("served_value", "lost_value", "holding_cost")),
    )

    def __init__(
        self, config: AllocationConfig, bank: WorkloadBank, options: EnvironmentConfig, seed: int
    ) -> None:
        """Build the copies; call `reset` before the first step.

        Args:
            config: The world.
            bank: Its scenarios; refreshed by this environment.
            options: How it is played.
            seed: Seed of the choice of episodes.

        Raises:
            ConfigError: The bank's arrays do not fit the world.
        """
        check_bank(bank, config)
        self.config, self._choices = config, options
        self.device = torch.device(options.device)
        self.domain = domain = AllocationDomain(config, torch, self._tensor)
        names = tuple(service.name for service in config.services)
        self._is_planner = options.view == "planner"
        agent_ids = ("planner",) if self._is_planner else names
        per_service = COVERAGE_SIZE if options.action == "coverage" else domain.num_resources
        own_size = domain.service_features + domain.shared_features
        group = AgentGroup(
            name=options.view,
            members=tuple(range(len(agent_ids))),
            observation_size=domain.observation_size if self._is_planner else own_size,
            action=ActionSpec(
                kind="continuous",
                size=per_service * (domain.num_services if self._is_planner else 1),
            ),
            observation_low=0.0,
            observation_high=OBSERVATION_LIMIT,
        )
        shape = WorldShape(
            agent_ids=agent_ids,
            groups=(group,),
            state_size=domain.observation_size,
            num_steps=config.max_steps,
            num_costs=1,
        )
        super().__init__(bank, options, shape, seed)

    @property
    def view(self) -> AllocationView:
        """What is known before the next step, over all copies."""
        t, lookback, rows = self.t, self.config.lookback, self.rows
        last = min(t, self.config.max_steps - 1)
        return AllocationView(
            backlog=self.state.backlog,
            recent_demand=self._known_demand[:, t : t + lookback].transpose(1, 2),
            allocation=self.state.allocation,
            capacity=rows["capacity"][:, last],
            priority=rows["priority"],
            price=rows["price"],
            time_of_day=rows["time_of_day"][:, last],
        )

    def _tensor(self, values: object) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.device)

    def _enter_episodes(self) -> None:
        self._known_demand = torch.cat([self.rows["history"], self.rows["demand"]], dim=1)

    def _first_state(self) -> AllocationState:
        shape = (self.num_envs, self.domain.num_services)
        return AllocationState(
            backlog=torch.zeros((*shape, self.domain.num_slacks), device=self.device),
            allocation=torch.zeros((*shape, self.domain.num_resources), device=self.device),
        )

    def _advance(self, action: Tensor) -> Outcome[AllocationState]:
        """Hold an allocation, let demand arrive, serve, lose, and count."""
        domain, rows = self.domain, self.rows
        arrived = rows["demand"][:, self.t]
        pending = self.state.backlog + arrived[..., None] * domain.arrival_slot
        allocation = self._allocate(action, pending.sum(-1))
        rate = (allocation / domain.usage).amin(-1)
        ahead = pending.cumsum(-1) - pending
        served = torch.minimum(pending, (rate[..., None] - ahead).clamp(min=0.0))
        left = pending - served
        served_work, lost = served.sum(-1), left[..., 0]
        idle = (allocation - served_work[..., None] * domain.usage).clamp(min=0.0)
        value = rows["priority"] * served_work
        holding = -(rows["price"][:, None] * idle).sum(-1)
        backlog = torch.cat([left[..., 1:], torch.zeros_like(left[..., :1])], dim=-1)
        lost_value = -rows["priority"] * lost
        metrics = {
            "served_value": value.sum(-1),
            "lost_value": lost_value.sum(-1),
            "holding_cost": holding.sum(-1),
            "arrived_work": arrived.sum(-1),
            "served_work": served_work.sum(-1),
            "lost_work": lost.sum(-1),
            "waiting_work": backlog.sum((-1, -2)),
            "held_share": (allocation.sum(-2) / domain.nominal).mean(-1),
        }
        name, gain = "lost_value", lost_value
        if self._choices.reward == "kpi":
            name, gain = "served_value", value
        terms = {name: gain, "holding_cost": holding}
        reward, cost = gain + holding, lost
        if self._is_planner:
            reward, cost = reward.sum(-1, keepdim=True), cost.sum(-1, keepdim=True)
            terms = {term: metrics[term][:, None] for term in terms}
        return Outcome(
            state=AllocationState(backlog=backlog, allocation=allocation),
            reward_terms=terms,
            metrics=metrics,
            cost=cost[..., None],
            reward=reward,
        )

    def _allocate(self, action: Tensor, pending: Tensor) -> Tensor:
        capacity = self.rows["capacity"][:, self.t]
        if self._choices.action == "coverage":
            shares = self.domain.cover(action.flatten(1), self.view)
            action = shares.reshape((self.num_envs, self.num_agents, -1))
        if self._is_planner:
            allocation: Tensor = self.domain.project(action[:, 0], capacity)
            return allocation
        requests = action.clamp(0.0, 1.0) * capacity[:, None]
        usable = pending[..., None] * self.domain.usage
        mechanism = MECHANISMS[self._choices.mechanism]
        return mechanism(requests, usable, capacity, self.rows["priority"])

    def _observe(self) -> Tensor:
        view = self.view
        observation: Tensor
        if self._is_planner:
            observation = self.domain.encode(view)[:, None]
            return observation
        services = self.domain.encode_services(view)
        shared = self.domain.encode_shared(view)[:, None].expand(-1, self.num_agents, -1)
        return torch.cat([services, shared], dim=-1)

    def _global_state(self, observation: Tensor) -> Tensor:
        state: Tensor = observation[:, 0] if self._is_planner else self.domain.encode(self.view)
        return state


class ResourceAllocationEnvironment(DictEnvironment):
    """Services ask for shares of resources in synthetic episodes, spoken to in dicts.

    Observation, action, reward, end and invariants: the services view of
    `BatchedResourceAllocation`.
    """

    def __init__(
        self,
        agent_configs: Sequence[AgentConfig] | None = None,
        *,
        resource_types: Sequence[str] | None = None,
        total_resources: Mapping[str, float] | None = None,
        allocation_mechanism: Literal["proportional", "priority"] = "proportional",
        max_steps: int = DEFAULT_STEPS,
        seed: int | None = None,
    ) -> None:
        """Build the world; call `reset` before the first step.

        Args:
            agent_configs: One per service; None gives the four services of the preset.
            resource_types: Names of the resources; None gives compute and memory.
            total_resources: Units per resource; one left out has 20 per service.
            allocation_mechanism: How requests that exceed a capacity are resolved.
            max_steps: Steps of an episode.
            seed: Of the episodes; None is zero.

        Raises:
            ConfigError: A setting is unknown or out of range.
        """
        config, bank = make_synthetic_services(
            agent_configs,
            resource_types=resource_types,
            total_resources=total_resources,
            max_steps=max_steps,
            seed=seed or 0,
        )
        options = EnvironmentConfig(num_envs=1, view="services", mechanism=allocation_mechanism)
        super().__init__(BatchedResourceAllocation(config, bank, options, seed or 0))

    def get_allocation_metrics(self) -> dict[str, float]:
        """Return what was served, lost, held and earned since the episode began."""
        return summarize_allocation(self.get_performance_metrics())
