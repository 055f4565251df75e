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
from rl.domains.service_market import EnergyConfig, MarketConfig, MarketDomain, MarketView
from rl.environments.allocation_books import (
    EnergyMeter,
    ServiceStep,
    judge_sharing,
    mask_actions,
)
from rl.environments.allocation_charts import MARKET_CHARTS, SERVICE_CHARTS
from rl.environments.allocation_options import AUCTION, EnvironmentConfig
from rl.environments.base_environment import ActionSpec, AgentConfig, AgentGroup, Chart
from rl.environments.episodes import WorkloadBank, check_bank
from rl.environments.faces import DictEnvironment
from rl.environments.lockstep import (
    LockstepEnvironment,
    Outcome,
    WorldShape,
    WorldState,
    sum_terms,
)
from rl.environments.service_trade import TradingFloor, market_metrics
from rl.environments.synthetic_services import (
    DEFAULT_STEPS,
    make_synthetic_services,
    summarize_allocation,
)
from utils.errors import ConfigError

__all__ = ["BatchedResourceAllocation", "EnvironmentConfig", "ResourceAllocationEnvironment"]


BUSY_KWH, IDLE_KWH = 0.02, 0.01
"""Energy of a unit in a step of five minutes, unless a face is told otherwise."""
OF_A_STEP = ("demand", "capacity", "time_of_day")
"""Arrays of which a step reads one time; kept with time first, so that it reads one block."""


@dataclass(frozen=True, kw_only=True)
class AllocationState(WorldState):
    """What waits and what is held."""

    backlog: Tensor
    """`[env, service, slack]`: work by the steps it can still wait."""
    allocation: Tensor
    """`[env, service, resource]`: units held in the step before."""
    budget: Tensor
    """`[env, service]`: currency left; stays zero without a market."""
    price_level: Tensor
    """`[env, resource]`: factor on the price of a unit."""
    unit_price: Tensor
    """`[env, resource]`: currency a unit was last sold for."""


class BatchedResourceAllocation(LockstepEnvironment[AllocationState]):
    """Copies of the shared-services world; all play one step at a time, episodes in lockstep.

    Observation: planner `[services * features + shared]`, services `[features + shared]` each; see
    `AllocationDomain`. Action, in [0, 1]: share of each capacity asked for, planner
    `[services * resources]`, services `[resources]` each; or coverage of waiting work and recent
    demand and a bid, four numbers per service. The allocation is fixed before the demand of the
    step is seen. In an auction each service adds `[resources]` bids, in shares of `largest_bid`.
    Reward, per service or summed for the planner: `served_value` (priority times served work)
    plus `holding_cost` (minus price times idle units); where their weights are above zero also
    `payment`, `energy_cost`, `carbon_cost`, `fairness`, `efficiency`. Cost: work lost (SLA
    violations).
    End: terminated never; truncated after `config.max_steps`.
    Invariants: allocations sum to at most the capacity; arrived = served + waiting + lost; budgets
    are never negative; paid = collected = what budgets lost.
    Scenarios with `service_active` and `resource_active` (data/workload_stages.py) switch services
    and resources off: no work, no units, no reward, not alive, observed as zero.
    Differentiable: steps are out of place, rewards have a slope in the actions almost everywhere.
    """

    is_differentiable = True
    charts: tuple[Chart, ...] = SERVICE_CHARTS

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
        energy = options.energy
        if energy is not None and len(energy.busy_kwh) != len(config.resources):
            raise ConfigError(
                f"energy has {len(energy.busy_kwh)} numbers, the world {len(config.resources)} "
                "resources; give busy_kwh and idle_kwh one number per resource"
            )
        self.config, self._choices = config, options
        self.device = torch.device(options.device)
        self.domain = domain = AllocationDomain(config, torch, self._tensor)
        self.market_domain = seen = MarketDomain(domain, options.market, torch)
        if options.market is not None:
            self.charts = (*self.charts, *MARKET_CHARTS)
        self._meter = None if energy is None else EnergyMeter(energy, self.device)
        names = tuple(service.name for service in config.services)
        self._is_planner = options.view == "planner"
        agent_ids = ("planner",) if self._is_planner else names
        per_service = COVERAGE_SIZE if options.action == "coverage" else domain.num_resources
        asked = per_service * (domain.num_services if self._is_planner else 1)
        bids = domain.num_resources if options.mechanism == AUCTION else 0
        self._floor = TradingFloor(options, seen, asked_size=asked)
        own_size = seen.service_features + seen.shared_features
        group = AgentGroup(
            name=options.view,
            members=tuple(range(len(agent_ids))),
            observation_size=seen.observation_size if self._is_planner else own_size,
            action=ActionSpec(kind="continuous", size=asked + bids),
            observation_low=0.0,
            observation_high=OBSERVATION_LIMIT,
        )
        shape = WorldShape(
            agent_ids=agent_ids,
            groups=(group,),
            state_size=seen.observation_size,
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
            recent_demand=self._known_demand[..., t : t + lookback],
            allocation=self.state.allocation,
            capacity=self._by_time["capacity"][last],
            priority=rows["priority"],
            price=rows["price"],
            time_of_day=self._by_time["time_of_day"][last],
        )

    @property
    def market_view(self) -> MarketView:
        """All that is known before the next step, over all copies."""
        return MarketView(
            allocation=self.view,
            budget=self.state.budget,
            price_level=self.state.price_level,
            clearing_price=self.state.unit_price,
            service_active=self.rows.get("service_active"),
            resource_active=self.rows.get("resource_active"),
        )

    def _tensor(self, values: object) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.device)

    def _enter_episodes(self) -> None:
        rows = self.rows
        self._by_time = {name: rows[name].transpose(0, 1).contiguous() for name in OF_A_STEP}
        known = torch.cat([rows["history"], rows["demand"]], dim=1).transpose(1, 2)
        # One matrix product reads the copy; without a market sums keep the order of old results.
        self._known_demand = known if self._choices.market is None else known.contiguous()
        if self._meter is not None:
            self._meter.begin(rows["time_of_day"])
        self._mask, self._alive = self._every_action, self._every_agent
        self._absent: Tensor | None = None
        self._counted = torch.ones_like(rows["priority"])
        if "service_active" not in rows:
            return
        self._counted, self._absent = rows["service_active"], rows["resource_active"][:, None] == 0
        choices = self._choices
        is_auction = choices.mechanism == AUCTION
        mask = mask_actions(rows, coverage=choices.action == "coverage", bids=is_auction)
        self._mask = mask.flatten(1)[:, None] if self._is_planner else mask
        if not self._is_planner:
            self._alive = rows["service_active"] > 0

    def _first_state(self) -> AllocationState:
        shape, domain = (self.num_envs, self.domain.num_services), self.domain
        market = self._choices.market
        nothing = torch.zeros((self.num_envs, domain.num_resources), device=self.device)
        budget = 0.0 if market is None else market.budget
        return AllocationState(
            backlog=torch.zeros((*shape, domain.num_slacks), device=self.device),
            allocation=torch.zeros((*shape, domain.num_resources), device=self.device),
            budget=budget * self._counted,
            price_level=nothing + 1.0,
            unit_price=nothing,
        )

    def _advance(self, action: Tensor) -> Outcome[AllocationState]:
        """Hold an allocation, let demand arrive, serve, lose, and count."""
        domain, rows, state = self.domain, self.rows, self.state
        arrived = self._by_time["demand"][self.t]
        pending = torch.addcmul(state.backlog, arrived[..., None], domain.arrival_slot)
        waiting = pending.sum(-1)
        response = rows.get("price_response")
        if self._absent is not None:
            action = action * self._mask
        sold, level = self._floor.allocate(action, waiting, self.market_view, response)
        allocation = sold.granted
        rate = allocation / domain.usage
        if self._absent is not None:
            rate = rate.masked_fill(self._absent, torch.inf)
        ahead = pending.cumsum(-1) - pending
        served = torch.minimum(pending, (rate.amin(-1)[..., None] - ahead).clamp(min=0.0))
        left = pending - served
        served_work, lost = served.sum(-1), left[..., 0]
        used = served_work[..., None] * domain.usage
        if self._absent is not None:
            used = used.masked_fill(self._absent, 0.0)
        idle = (allocation - used).clamp(min=0.0)
        backlog = torch.cat([left[..., 1:], torch.zeros_like(left[..., :1])], dim=-1)
        metrics = {
            "arrived_work": arrived.sum(-1),
            "served_work": served_work.sum(-1),
            "lost_work": lost.sum(-1),
            "waiting_work": backlog.sum((-1, -2)),
            "held_share": (sold.units / domain.nominal).mean(-1),
        }
        budget, price = state.budget, state.unit_price
        if self._choices.market is not None:
            budget, price = budget - sold.payment, sold.price
            metrics |= market_metrics(sold, budget, level, rows.get("resource_active"))
        done = ServiceStep(
            pending=waiting, work=served_work, used=used, idle=idle, exists=self._counted
        )
        values = {
            "served_value": rows["priority"] * served_work,
            "lost_value": -rows["priority"] * lost,
            "holding_cost": -((rows["price"] * state.price_level)[:, None] * idle).sum(-1),
        }
        gain = "served_value" if self._choices.reward == "kpi" else "lost_value"
        terms = {gain: values[gain], "holding_cost": values["holding_cost"]}
        terms |= self._count_more(done, sold.payment, metrics)
        metrics |= {name: value.sum(-1) for name, value in (values | terms).items()}
        reward, cost = sum_terms(terms), lost
        if self._is_planner:
            reward, cost = reward.sum(-1, keepdim=True), cost.sum(-1, keepdim=True)
            terms = {term: metrics[term][:, None] for term in terms}
        return Outcome(
            state=AllocationState(
                backlog=backlog,
                allocation=allocation,
                budget=budget,
                price_level=level,
                unit_price=price,
            ),
            reward_terms=terms,
            metrics=metrics,
            cost=cost[..., None],
            reward=reward,
        )

    def _count_more(
        self, done: ServiceStep, payment: Tensor, metrics: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Count what this world counts; return the reward terms that have a weight."""
        choices, terms = self._choices, {}
        if choices.market is not None and choices.market.payment_weight > 0:
            terms["payment"] = -choices.market.payment_weight * payment
        if self._meter is not None:
            figures, priced = self._meter.read(done, self.t)
            metrics |= figures
            terms |= priced
        if choices.counts_sharing:
            figures, weighted = judge_sharing(
                done,
                fairness_weight=choices.fairness_weight,
                efficiency_weight=choices.efficiency_weight,
            )
            metrics |= figures | {"used_share": (done.used.sum(-2) / self.domain.nominal).mean(-1)}
            terms |= weighted
        return terms

    def _observe(self) -> Tensor:
        view, domain = self.market_view, self.market_domain
        observation: Tensor
        if self._is_planner:
            observation = domain.encode(view)[:, None]
            return observation
        services = domain.encode_services(view)
        shared = domain.encode_shared(view)[:, None]
        self._everything = torch.cat([services.flatten(1), shared[:, 0]], dim=-1)
        seen = torch.cat([services, shared.expand(-1, self.num_agents, -1)], dim=-1)
        return seen if self._absent is None else seen * self._alive[..., None]

    def _global_state(self, observation: Tensor) -> Tensor:
        state: Tensor = observation[:, 0] if self._is_planner else self._everything
        return state

    def _action_mask(self) -> Tensor:
        return self._mask

    def _agent_alive(self) -> Tensor:
        return self._every_agent if self._is_planner else self._alive


class ResourceAllocationEnvironment(DictEnvironment):
    """Services ask for shares of resources in synthetic episodes, spoken to in dicts.

    Observation, action, reward, end and invariants: the services view of
    `BatchedResourceAllocation`. The mechanism `fair_share` is another name of `max_min`.
    """

    def __init__(  # noqa: PLR0913 - the promised names
        self,
        agent_configs: Sequence[AgentConfig] | None = None,
        *,
        resource_types: Sequence[str] | None = None,
        total_resources: Mapping[str, float] | None = None,
        allocation_mechanism: Literal[
            "proportional", "priority", "max_min", "fair_share", "auction"
        ] = "proportional",
        fairness_weight: float = 0.0,
        efficiency_weight: float = 0.0,
        market: MarketConfig | None = None,
        energy: EnergyConfig | None = None,
        max_steps: int = DEFAULT_STEPS,
        render_mode: str | None = None,
        seed: int | None = None,
    ) -> None:
        """Build the world; call `reset` before the first step.

        Args:
            agent_configs: One per service; None gives the four services of the preset.
            resource_types: Names of the resources; None gives compute and memory.
            total_resources: Units per resource; one left out has 20 per service.
            allocation_mechanism: How requests that exceed a capacity are resolved.
            fairness_weight: Reward for sharing evenly; see `EnvironmentConfig`.
            efficiency_weight: Reward for holding little idle; see `EnvironmentConfig`.
            market: Budgets and prices; None has neither, but in an auction the defaults.
            energy: Energy and carbon of a unit; None counts 240 W of a unit that serves and half
                of it idle, at no price.
            max_steps: Steps of an episode.
            render_mode: What `render` returns.
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
        mechanism = "max_min" if allocation_mechanism == "fair_share" else allocation_mechanism
        if market is None and mechanism == AUCTION:
            market = MarketConfig()
        resources = len(config.resources)
        options = EnvironmentConfig(
            num_envs=1,
            view="services",
            mechanism=mechanism,
            market=market,
            energy=energy
            or EnergyConfig(busy_kwh=(BUSY_KWH,) * resources, idle_kwh=(IDLE_KWH,) * resources),
            counts_sharing=True,
            fairness_weight=fairness_weight,
            efficiency_weight=efficiency_weight,
        )
        super().__init__(BatchedResourceAllocation(config, bank, options, seed or 0), render_mode)

    def get_allocation_metrics(self) -> dict[str, float]:
        """Return what was served, lost, held, earned, used and emitted since the episode began."""
        return summarize_allocation(self.get_performance_metrics())
