"""Services share typed resources of limited, sometimes failing capacity: one batched program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from rl.environments.base_environment import (
    ActionSpec,
    AgentConfig,
    AgentGroup,
    StepRecord,
    check_action,
)
from rl.environments.episodes import EpisodeDealer, WorkloadBank, WorkloadEpisodes, check_bank
from rl.environments.faces import DictEnvironment
from rl.environments.mechanisms import MECHANISMS
from rl.environments.synthetic_services import (
    DEFAULT_STEPS,
    make_synthetic_services,
    summarize_allocation,
)
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class EnvironmentConfig:
    """How the world is played."""

    num_envs: int = 64
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
    shuffle: bool = True
    """Draw episodes from the bank at random, or play them in order."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse unknown choices."""
        if self.num_envs < 1 or self.view not in {"planner", "services"}:
            raise ConfigError(f"num_envs >= 1 and view planner or services are needed: {self}")
        if self.mechanism not in MECHANISMS:
            raise ConfigError(f"mechanism {self.mechanism!r}; known: {', '.join(MECHANISMS)}")


class BatchedResourceAllocation:
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
        self.config, self.bank, self.options = config, bank, options
        self.device = torch.device(options.device)
        self.domain = AllocationDomain(config, torch, self._tensor)
        self.num_envs = options.num_envs
        names = tuple(service.name for service in config.services)
        planner = options.view == "planner"
        self.agent_ids = ("planner",) if planner else names
        self.num_agents = len(self.agent_ids)
        domain = self.domain
        per_service = COVERAGE_SIZE if options.action == "coverage" else domain.num_resources
        asked = per_service * (domain.num_services if planner else 1)
        shared = domain.shared_features
        self.observation_size = (
            domain.observation_size if planner else domain.service_features + shared
        )
        self.state_size = domain.observation_size
        self.num_costs = 1
        group = AgentGroup(
            name=options.view,
            members=tuple(range(self.num_agents)),
            observation_size=self.observation_size,
            action=ActionSpec(kind="continuous", size=asked),
            observation_low=0.0,
            observation_high=OBSERVATION_LIMIT,
        )
        self.groups: tuple[AgentGroup, ...] = (group,)
        check_bank(bank, config)
        shape = (self.num_envs, self.num_agents)
        self._mask = torch.ones((*shape, asked), dtype=torch.bool, device=self.device)
        self._alive = torch.ones(shape, dtype=torch.bool, device=self.device)
        self._never = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        self._backlog: Tensor
        self._allocation: Tensor
        self._dealer = EpisodeDealer(
            bank, num_envs=self.num_envs, shuffle=options.shuffle, device=self.device
        )
        self._dealer.restart(seed)
        self._begin_episodes()

    def reset(self, seed: int | None = None) -> StepRecord:
        """Begin a new episode in every copy.

        Args:
            seed: Begins the sequence of episodes anew, including the bank's.
        """
        if seed is not None:
            self._dealer.restart(seed)
        self._begin_episodes()
        observation = self._observe()
        zeros = observation.new_zeros((self.num_envs, self.num_agents))
        return self._record(observation, observation, zeros, zeros[..., None], metrics={})

    def step(self, action: Tensor) -> StepRecord:
        """Hold an allocation, let demand arrive, serve, lose, and count.

        Args:
            action: `[env, agent, act]`, shares of the capacities; clipped to [0, 1].

        Raises:
            InvalidActionError: The shape is wrong or a value is not finite.
        """
        check_action(action, self.groups, self._mask.shape)
        domain = self.domain
        arrived = self._episodes.arriving[:, self._t]
        pending = self._backlog + arrived[..., None] * domain.arrival_slot
        allocation = self._allocate(action, pending.sum(-1))
        rate = (allocation / domain.usage).amin(-1)
        ahead = pending.cumsum(-1) - pending
        served = torch.minimum(pending, (rate[..., None] - ahead).clamp(min=0.0))
        left = pending - served
        served_work, lost = served.sum(-1), left[..., 0]
        idle = (allocation - served_work[..., None] * domain.usage).clamp(min=0.0)
        value = self._episodes.priority * served_work
        holding = -(self._episodes.price[:, None] * idle).sum(-1)
        self._backlog = torch.cat([left[..., 1:], torch.zeros_like(left[..., :1])], dim=-1)
        self._allocation = allocation
        self._t += 1
        lost_value = -self._episodes.priority * lost
        metrics = {
            "served_value": value.sum(-1),
            "lost_value": lost_value.sum(-1),
            "holding_cost": holding.sum(-1),
            "arrived_work": arrived.sum(-1),
            "served_work": served_work.sum(-1),
            "lost_work": lost.sum(-1),
            "waiting_work": self._backlog.sum((-1, -2)),
            "held_share": (allocation.sum(-2) / domain.nominal).mean(-1),
        }
        name, gain = "lost_value", lost_value
        if self.options.reward == "kpi":
            name, gain = "served_value", value
        terms = {name: gain, "holding_cost": holding}
        reward, cost = gain + holding, lost
        if self.options.view == "planner":
            reward, cost = reward.sum(-1, keepdim=True), cost.sum(-1, keepdim=True)
            terms = {name: metrics[name][:, None] for name in terms}
        return self._finish_step(reward, cost, metrics, terms)

    @property
    def view(self) -> AllocationView:
        """What is known before the next step, over all copies."""
        t, lookback = self._t, self.config.lookback
        last = min(t, self.config.max_steps - 1)
        return AllocationView(
            backlog=self._backlog,
            recent_demand=self._episodes.demand[:, t : t + lookback].transpose(1, 2),
            allocation=self._allocation,
            capacity=self._episodes.capacity[:, last],
            priority=self._episodes.priority,
            price=self._episodes.price,
            time_of_day=self._episodes.time_of_day[:, last],
        )

    @property
    def episode_index(self) -> Tensor:
        """Position in the bank of the episode each copy plays, `[env]`."""
        return self._episodes.index

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that is needed to continue bit for bit."""
        return {
            **self._dealer.state_dict(),
            "time": torch.tensor(self._t),
            "episode": self._episodes.index.clone(),
            "backlog": self._backlog.clone(),
            "allocation": self._allocation.clone(),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state that `state_dict` returned.

        Args:
            state: The tensors.

        Raises:
            ScenarioError: The scenario source gives other episodes than it did.
        """
        self._episodes = WorkloadEpisodes.of(self._dealer.restore(state, state["episode"]))
        self._t = int(state["time"])
        self._backlog = state["backlog"].to(self.device)
        self._allocation = state["allocation"].to(self.device)

    def _tensor(self, values: object) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.device)

    def _begin_episodes(self) -> None:
        self._t = 0
        self._episodes = WorkloadEpisodes.of(self._dealer.deal())
        shape = (self.num_envs, self.domain.num_services)
        self._backlog = torch.zeros((*shape, self.domain.num_slacks), device=self.device)
        self._allocation = torch.zeros((*shape, self.domain.num_resources), device=self.device)

    def _allocate(self, action: Tensor, pending: Tensor) -> Tensor:
        capacity = self._episodes.capacity[:, self._t]
        if self.options.action == "coverage":
            shares = self.domain.cover(action.flatten(1), self.view)
            action = shares.reshape((self.num_envs, self.num_agents, -1))
        if self.options.view == "planner":
            allocation: Tensor = self.domain.project(action[:, 0], capacity)
            return allocation
        requests = action.clamp(0.0, 1.0) * capacity[:, None]
        usable = pending[..., None] * self.domain.usage
        mechanism = MECHANISMS[self.options.mechanism]
        return mechanism(requests, usable, capacity, self._episodes.priority)

    def _finish_step(
        self, reward: Tensor, cost: Tensor, metrics: dict[str, Tensor], terms: dict[str, Tensor]
    ) -> StepRecord:
        observation = final = self._observe()
        truncated = self._never
        if self._t == self.config.max_steps:
            self._begin_episodes()
            observation, truncated = self._observe(), ~self._never
        record = self._record(observation, final, reward, cost[..., None], metrics=metrics)
        return replace(record, truncated=truncated, reward_terms=terms)

    def _observe(self) -> Tensor:
        view = self.view
        observation: Tensor
        if self.options.view == "planner":
            observation = self.domain.encode(view)[:, None]
            return observation
        services = self.domain.encode_services(view)
        shared = self.domain.encode_shared(view)[:, None].expand(-1, self.num_agents, -1)
        return torch.cat([services, shared], dim=-1)

    def _record(
        self,
        observation: Tensor,
        final_observation: Tensor,
        reward: Tensor,
        cost: Tensor,
        *,
        metrics: dict[str, Tensor],
    ) -> StepRecord:
        state = (
            observation[:, 0] if self.options.view == "planner" else self.domain.encode(self.view)
        )
        return StepRecord(
            observation=observation,
            action_mask=self._mask,
            agent_alive=self._alive,
            reward=reward,
            cost=cost,
            terminated=self._never,
            truncated=self._never,
            final_observation=final_observation,
            global_state=state,
            metrics=metrics,
        )


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
