"""Regions whose capacity is built in lumps and comes late, as one batched program."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data.capacity_demand import CapacityDemand, CapacityDemandConfig, CapacityScenarios
from data.scenario import BankConfig, ScenarioBank
from rl.domains.capacity_planning import (
    OBSERVATION_LIMIT,
    CapacityConfig,
    CapacityDomain,
    CapacityView,
)
from rl.environments.base_environment import ActionSpec, AgentGroup, Chart
from rl.environments.faces import DictEnvironment
from rl.environments.lockstep import (
    LockstepEnvironment,
    LockstepOptions,
    Outcome,
    WorldShape,
    WorldState,
)
from utils.errors import ConfigError

CapacityBank = ScenarioBank[CapacityScenarios]


@dataclass(frozen=True, kw_only=True)
class CapacityState(WorldState):
    """Lumps that stand and lumps that come."""

    lumps: Tensor
    """`[env, region]`"""
    coming: Tensor
    """`[env, region, lead]`: in the next step, the one after, and so on."""


class BatchedCapacityPlanning(LockstepEnvironment[CapacityState]):
    """Copies of a planner of several regions, episodes in lockstep.

    A step: lumps whose lead time is over begin to serve; the planner builds lumps, which serve
    after the lead time, or removes some, which are gone at once; demand shows, is served as far as
    there is capacity, and the rest is lost.
    Observation `[observation_size]` in [0, 10]: see `CapacityDomain.encode`.
    Action `[region]` in [-1, 1]: share of `max_lumps`, rounded to whole lumps; above 0 built, below
    removed; masked in regions that are not active.
    Reward, in currency: `building` (lumps and, where any are built, a step cost), `removal`, `idle`
    (capacity that serves nobody) and `unmet_penalty` (demand that is lost). Cost: units lost.
    End: terminated never; truncated after `config.max_steps`.
    Invariants: standing + coming = initial + built - removed; served + unmet = demand;
    served + idle = capacity.
    """

    charts = (
        Chart(title="demand and not served", metrics=("demand", "unmet"), unit="units"),
        Chart(title="capacity", metrics=("capacity",), unit="units"),
        Chart(title="building so far", metrics=("building",), unit="currency", is_sum=True),
        Chart(title="idle capacity so far", metrics=("idle",), unit="currency", is_sum=True),
        Chart(title="lost demand so far", metrics=("unmet_penalty",), unit="currency", is_sum=True),
    )

    def __init__(
        self, config: CapacityConfig, bank: CapacityBank, options: LockstepOptions, seed: int
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
        _check_bank(bank, config)
        self.config = config
        self.domain = CapacityDomain(config, torch)
        planner = AgentGroup(
            name="planner",
            members=(0,),
            observation_size=config.observation_size,
            action=ActionSpec(kind="continuous", size=config.num_regions, low=-1.0),
            observation_low=0.0,
            observation_high=OBSERVATION_LIMIT,
        )
        shape = WorldShape(
            agent_ids=("planner",),
            groups=(planner,),
            state_size=config.observation_size,
            num_steps=config.max_steps,
            num_costs=1,
        )
        super().__init__(bank, options, shape, seed)

    @property
    def view(self) -> CapacityView:
        """What is known before the next step, over all copies."""
        config, t = self.config, self.t
        active = self.rows["active"]
        return CapacityView(
            lumps=self.state.lumps,
            coming=self.state.coming,
            recent_demand=self._demand[:, t : t + config.lookback],
            active=active,
            steps_left=torch.full_like(active[:, 0], config.max_steps - t),
        )

    def _enter_episodes(self) -> None:
        self._demand = torch.cat([self.rows["history"], self.rows["demand"]], dim=1)

    def _first_state(self) -> CapacityState:
        lumps = self.rows["initial_lumps"]
        shape = (*lumps.shape, self.config.lead_time)
        return CapacityState(lumps=lumps, coming=lumps.new_zeros(shape))

    def _advance(self, action: Tensor) -> Outcome[CapacityState]:
        """Complete, build or remove, serve."""
        config, before = self.config, self.state
        change = self.domain.project(action[:, 0], self.view)
        built, removed = change.clamp(min=0.0), (-change).clamp(min=0.0)
        lumps = before.lumps + before.coming[..., 0] - removed
        demand = self.rows["demand"][:, self.t]
        capacity = config.lump_units * lumps
        served = torch.minimum(capacity, demand)
        unmet, idle = demand - served, capacity - served
        building = config.build_cost * built + config.step_cost * (built > 0)
        terms = {
            "building": -building.sum(1),
            "removal": -config.removal_cost * removed.sum(1),
            "idle": -config.idle_cost * idle.sum(1),
            "unmet_penalty": -config.unmet_penalty * unmet.sum(1),
        }
        metrics = {
            "demand": demand.sum(1),
            "capacity": capacity.sum(1),
            "served": served.sum(1),
            "unmet": unmet.sum(1),
            "built_lumps": built.sum(1),
            "removed_lumps": removed.sum(1),
            "utilisation": served.sum(1) / capacity.sum(1).clamp(min=1e-9),
        }
        return Outcome(
            state=CapacityState(
                lumps=lumps, coming=torch.cat([before.coming[..., 1:], built[..., None]], dim=-1)
            ),
            reward_terms={name: value[:, None] for name, value in terms.items()},
            metrics=metrics,
            cost=unmet.sum(1)[:, None, None],
        )

    def _observe(self) -> Tensor:
        observation: Tensor = self.domain.encode(self.view)[:, None]
        return observation

    def _action_mask(self) -> Tensor:
        return (self.rows["active"] > 0)[:, None]


class CapacityPlanningEnvironment(DictEnvironment):
    """The preset `capacity_planning`, spoken to in dicts; see `BatchedCapacityPlanning`."""

    def __init__(
        self,
        num_regions: int = 3,
        lead_time: int = 3,
        max_steps: int = 60,
        seed: int | None = None,
        *,
        render_mode: str | None = None,
    ) -> None:
        """Build the world; call `reset` before the first step.

        Args:
            num_regions: Regions.
            lead_time: Steps from the decision until a lump serves.
            max_steps: Length of an episode.
            seed: Of the episodes; None is zero.
            render_mode: What `render` returns: text for `ansi`, a picture for `rgb_array`.

        Raises:
            ConfigError: A number is out of range.
        """
        config = CapacityConfig(num_regions=num_regions, lead_time=lead_time, max_steps=max_steps)
        law = CapacityDemandConfig(num_regions=num_regions, max_steps=max_steps)
        bank = ScenarioBank(CapacityDemand(law), BankConfig(), seed or 0)
        options = LockstepOptions(num_envs=1)
        super().__init__(BatchedCapacityPlanning(config, bank, options, seed or 0), render_mode)


def _check_bank(bank: CapacityBank, config: CapacityConfig) -> None:
    scenarios = bank.scenarios
    held = (*scenarios.demand.shape[1:], scenarios.history.shape[1])
    wanted = (config.max_steps, config.num_regions, config.lookback)
    if held != wanted:
        raise ConfigError(f"the bank holds (steps, regions, lookback) = {held}, not {wanted}")
