"""Selling one order in a market that it moves: one batched, differentiable program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from data.price_shocks import ExecutionScenarios
from data.scenario import ScenarioBank
from rl.domains.execution import (
    OBSERVATION_LIMIT,
    OBSERVATION_SIZE,
    ExecutionConfig,
    ExecutionDomain,
    ExecutionView,
)
from rl.environments.base_environment import (
    ActionSpec,
    AgentGroup,
    StepRecord,
    check_action,
)
from rl.environments.episodes import Deal, EpisodeDealer
from utils.errors import ConfigError

ShockBank = ScenarioBank[ExecutionScenarios]


@dataclass(frozen=True, kw_only=True)
class ExecutionOptions:
    """How the order is played."""

    num_envs: int = 64
    shuffle: bool = True
    """Draw episodes from the bank at random, or play them in order."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse an empty batch."""
        if self.num_envs < 1:
            raise ConfigError(f"num_envs must be at least 1, not {self.num_envs}")


class BatchedExecution:
    """Copies of one order to sell; all play one step at a time, episodes in lockstep.

    Observation `[4]`: see `ExecutionDomain.encode`. Action `[1]` in [0, 1]: share of what remains;
    the last step sells the rest. A slice is sold at the price before the step, less half the spread
    and the temporary impact; then the price falls by the permanent impact and moves by the shock.
    Reward, in currency: `price_move` (shock on the shares still held), `half_spread`,
    `temporary_impact` and `permanent_impact` (on the shares still held), which sum to the change
    of wealth, and `risk_penalty`, -lambda sigma^2 x^2 tau. Cost: none.
    Metrics: `shortfall` sums over an episode to the implementation shortfall; `wealth_change` is
    kept by its own account since the episode began.
    End: terminated never; truncated after `config.num_steps`.
    Invariant: cash plus shares at the current price, less the order at the arrival price, equals
    all price moves on holdings less all costs.
    Differentiable: steps are out of place; kinks only where the action leaves [0, 1].
    """

    is_differentiable = True
    num_agents = 1
    agent_ids: tuple[str, ...] = ("trader",)
    observation_size = state_size = OBSERVATION_SIZE
    num_costs = 0

    def __init__(
        self, config: ExecutionConfig, bank: ShockBank, options: ExecutionOptions, seed: int
    ) -> None:
        """Build the copies; call `reset` before the first step.

        Args:
            config: The order and its market.
            bank: Shocks of the price; refreshed by this environment.
            options: How it is played.
            seed: Seed of the choice of episodes.

        Raises:
            ConfigError: The bank's episodes have another length than the order.
        """
        held = bank.scenarios.shocks.shape[1]
        if held != config.num_steps:
            raise ConfigError(
                f"the bank holds episodes of {held} steps, the order has {config.num_steps}; "
                "draw shocks with ShockConfig(num_steps=config.num_steps)"
            )
        self.config, self.bank, self.options = config, bank, options
        self.device = torch.device(options.device)
        self.domain = ExecutionDomain(config, torch)
        self.num_envs = options.num_envs
        group = AgentGroup(
            name="trader",
            members=(0,),
            observation_size=OBSERVATION_SIZE,
            action=ActionSpec(kind="continuous", size=1),
            observation_low=-OBSERVATION_LIMIT,
            observation_high=OBSERVATION_LIMIT,
        )
        self.groups: tuple[AgentGroup, ...] = (group,)
        self._used = torch.ones((self.num_envs, 1, 1), dtype=torch.bool, device=self.device)
        self._never = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        self._remaining: Tensor
        self._price_change: Tensor
        self._last_move: Tensor
        self._gain: Tensor
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
        return self._record(observation, observation, self._zeros()[:, None])

    def step(self, action: Tensor) -> StepRecord:
        """Sell a slice, then let the price move.

        Args:
            action: `[env, 1, 1]`, share of what remains; clipped to [0, 1].

        Raises:
            InvalidActionError: The shape is wrong or a value is not finite.
        """
        check_action(action, self._used.shape)
        config = self.config
        sold = self.domain.project(action[:, 0], self.view)
        held = self._remaining - sold
        discount = config.temporary_impact * config.shares / config.step_days * sold
        fall = config.permanent_impact * config.shares * sold
        move = config.step_deviation * self._shocks[:, self._t]
        variance = (config.step_deviation * config.shares * held).square()
        terms = {
            "price_move": config.shares * held * move,
            "half_spread": -config.shares * config.half_spread * sold,
            "temporary_impact": -config.shares * sold * discount,
            "permanent_impact": -config.shares * held * fall,
            "risk_penalty": -config.risk_aversion * variance,
        }
        self._gain = self._gain + sold * (self._price_change - config.half_spread - discount)
        self._remaining = held
        self._last_move = move - fall
        self._price_change = self._price_change + self._last_move
        self._t += 1
        wealth_change = self._gain + held * self._price_change
        change = sum(value for name, value in terms.items() if name != "risk_penalty")
        metrics = {
            "shortfall": -change,
            "sold_share": sold,
            "remaining_share": held,
            "wealth_change": config.shares * wealth_change,
        }
        return self._finish_step(terms, metrics)

    @property
    def view(self) -> ExecutionView:
        """What is known before the next step, over all copies."""
        left = float(self.config.num_steps - self._t)
        return ExecutionView(
            remaining=self._remaining,
            steps_left=torch.full_like(self._remaining, left),
            price_change=self._price_change,
            last_move=self._last_move,
        )

    @property
    def episode_index(self) -> Tensor:
        """Position in the bank of the episode each copy plays, `[env]`."""
        return self._index

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that is needed to continue bit for bit."""
        return {
            **self._dealer.state_dict(),
            "time": torch.tensor(self._t),
            "episode": self._index.clone(),
            "remaining": self._remaining.detach().clone(),
            "price_change": self._price_change.detach().clone(),
            "last_move": self._last_move.detach().clone(),
            "gain": self._gain.detach().clone(),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state that `state_dict` returned.

        Args:
            state: The tensors.

        Raises:
            ScenarioError: The scenario source gives other episodes than it did.
        """
        self._take(self._dealer.restore(state, state["episode"]))
        self._t = int(state["time"])
        self._remaining = state["remaining"].to(self.device)
        self._price_change = state["price_change"].to(self.device)
        self._last_move = state["last_move"].to(self.device)
        self._gain = state["gain"].to(self.device)

    def _begin_episodes(self) -> None:
        self._take(self._dealer.deal())
        self._t = 0
        self._remaining = self._zeros() + 1.0
        self._price_change = self._zeros()
        self._last_move = self._zeros()
        self._gain = self._zeros()

    def _take(self, deal: Deal) -> None:
        self._index, self._shocks = deal.index, deal.rows["shocks"]

    def _zeros(self) -> Tensor:
        return torch.zeros(self.num_envs, device=self.device)

    def _finish_step(
        self, terms: Mapping[str, Tensor], metrics: Mapping[str, Tensor]
    ) -> StepRecord:
        reward = torch.stack(list(terms.values())).sum(0)[:, None]
        observation = final = self._observe()
        truncated = self._never
        if self._t == self.config.num_steps:
            self._begin_episodes()
            observation, truncated = self._observe(), ~self._never
        record = self._record(observation, final, reward)
        per_agent = {name: value[:, None] for name, value in terms.items()}
        return replace(record, truncated=truncated, metrics=metrics, reward_terms=per_agent)

    def _observe(self) -> Tensor:
        observation: Tensor = self.domain.encode(self.view)[:, None]
        return observation

    def _record(self, observation: Tensor, final: Tensor, reward: Tensor) -> StepRecord:
        return StepRecord(
            observation=observation,
            action_mask=self._used,
            agent_alive=self._used[..., 0],
            reward=reward,
            cost=reward.new_zeros((self.num_envs, 1, 0)),
            terminated=self._never,
            truncated=self._never,
            final_observation=final,
            global_state=observation[:, 0],
            metrics={},
        )
