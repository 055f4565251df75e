"""Shares of a link that follow demands in small steps: one batched program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from data.scenario import BankConfig, ScenarioBank
from data.traffic_demand import MOST_RESOURCES, TrafficDemand, TrafficLaws, TrafficScenarios
from rl.domains.traffic_shares import TrafficConfig, TrafficDomain, TrafficView
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

TrafficBank = ScenarioBank[TrafficScenarios]


@dataclass(frozen=True, kw_only=True)
class TrafficState(WorldState):
    """Who has how much of the link, `[env, resource]`."""

    share: Tensor


class BatchedTrafficShares(LockstepEnvironment[TrafficState]):
    """Copies of one link; all play one step at a time, episodes in lockstep.

    Observation `[2 * resource]` in [0, 1]: demands of this step, then shares. Action: one choice,
    2 i lowers share i by `config.move`, 2 i + 1 raises it, the last moves nothing; with `movable`
    `first` only the choices 0 and 1 do anything. Shares are cut to [0, 1], and divided by their sum
    where it exceeds one; they begin equal and sum to one.
    Reward: `mismatch`, minus the sum of |demand - share| with the demand that was observed and the
    share after the choice. Cost: none. Metrics: `mismatch`, `used_share` (sum of the shares).
    End: terminated never; truncated after `config.num_steps`.
    Invariant: shares are not negative and sum to at most one; demands are what the scenario says.
    """

    charts = (
        Chart(title="shares handed out", metrics=("used_share",), unit="share of the link"),
        Chart(title="demand not met so far", metrics=("unmet_demand",), unit="links", is_sum=True),
        Chart(title="shares not used so far", metrics=("idle_share",), unit="links", is_sum=True),
    )

    def __init__(
        self, config: TrafficConfig, bank: TrafficBank, options: LockstepOptions, seed: int
    ) -> None:
        """Begin the first episodes.

        Args:
            config: The world.
            bank: Its scenarios; refreshed from here.
            options: How it is played.
            seed: Of the choice of episodes.

        Raises:
            ConfigError: The bank's episodes have another size or length.
        """
        held, wanted = bank.scenarios.demand.shape[1:], (config.num_steps + 1, config.num_slots)
        if held != wanted:
            raise ConfigError(
                f"the bank holds (steps + 1, resources) = {held}, the world has {wanted}; draw it "
                "with TrafficLaws of the same sizes"
            )
        self.config = config
        self.domain = TrafficDomain(
            config, torch, lambda v: torch.as_tensor(v, device=options.device)
        )
        size = 2 * config.num_slots
        controller = AgentGroup(
            name="controller",
            members=(0,),
            observation_size=size,
            action=ActionSpec(kind="discrete", size=config.num_choices),
            observation_low=0.0,
            observation_high=1.0,
        )
        shape = WorldShape(
            agent_ids=("controller",),
            groups=(controller,),
            state_size=size,
            num_steps=config.num_steps,
        )
        super().__init__(bank, options, shape, seed)

    @property
    def view(self) -> TrafficView:
        """What is known before the next step, over all copies."""
        return TrafficView(
            demand=self.rows["demand"][:, self.t],
            share=self.state.share,
            resource_active=self.rows["resource_active"],
        )

    def _enter_episodes(self) -> None:
        active = self.rows["resource_active"]
        self._equal = active / active.sum(-1, keepdim=True)
        empty = TrafficView(demand=active, share=active, resource_active=active)
        self._mask: Tensor = self.domain.allowed(empty)[:, None]

    def _first_state(self) -> TrafficState:
        return TrafficState(share=self._equal)

    def _advance(self, action: Tensor) -> Outcome[TrafficState]:
        view = self.view
        share = self.domain.project(action[:, 0], view)
        missing = view.demand - share
        mismatch = missing.abs().sum(-1)
        return Outcome(
            state=TrafficState(share=share),
            reward_terms={"mismatch": -mismatch[:, None]},
            metrics={
                "mismatch": mismatch,
                "used_share": share.sum(-1),
                "unmet_demand": missing.clamp(min=0.0).sum(-1),
                "idle_share": (-missing).clamp(min=0.0).sum(-1),
            },
        )

    def _observe(self) -> Tensor:
        seen: Tensor = self.domain.encode(self.view)
        observation: Tensor = seen[:, None].clamp(max=1.0)
        return observation

    def _action_mask(self) -> Tensor:
        return self._mask


class DynamicTrafficEnv(SingleAgentEnvironment):
    """The preset `traffic_shares` as a Gymnasium environment; see `BatchedTrafficShares`."""

    def __init__(
        self,
        *,
        task: str = "network_traffic",
        difficulty: float | None = None,
        movable: Literal["all", "first"] = "all",
        num_steps: int = 200,
        render_mode: str | None = None,
        seed: int | None = None,
    ) -> None:
        """Build a link.

        Args:
            task: Kind of task: network_traffic, cloud_computing, smart_grid or vehicle_routing.
            difficulty: Adds int(4 difficulty) resources, with room for nine; None is the four
                of the preset, without spare room.
            movable: All shares, or only the first, as published.
            num_steps: Steps of an episode.
            render_mode: What `render` returns.
            seed: Of the episodes; None is zero.

        Raises:
            ConfigError: A setting is unknown or out of range.
        """
        slots = 4 if difficulty is None and task == "network_traffic" else MOST_RESOURCES
        config = TrafficConfig(num_slots=slots, num_steps=num_steps, movable=movable)
        laws = TrafficLaws(
            task=task,
            lowest_difficulty=difficulty or 0.0,
            highest_difficulty=difficulty or 0.0,
            num_slots=slots,
            num_steps=num_steps,
        )
        bank = ScenarioBank(TrafficDemand(laws), BankConfig(), seed or 0)
        core = BatchedTrafficShares(config, bank, LockstepOptions(num_envs=1), seed or 0)
        super().__init__(core, render_mode)
