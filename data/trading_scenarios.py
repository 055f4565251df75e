"""Market episodes with what a stage of trading changes besides prices: who trades, at which fee."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from data.market import MarketScenarios
from data.scenario import Array, ScenarioError, ScenarioSource
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TradingScenarios(MarketScenarios):
    """Episodes of several agents in one market; agents that a stage lacks are switched off."""

    agent_active: Array
    """`[episode, agent]`: 1 where the agent trades, else 0."""
    transaction_cost: Array
    """`[episode]`: commission, as a share of what is traded."""
    max_position: Array
    """`[episode]`: largest position in one symbol, long or short, as a share of equity."""

    def __post_init__(self) -> None:
        """Check what the market does not."""
        super().__post_init__()
        episodes = len(self.log_return)
        if self.agent_active.ndim != 2 or len(self.agent_active) != episodes:
            raise ScenarioError(
                f"agent_active has shape {self.agent_active.shape}; give [{episodes}, agent]"
            )
        if not np.isin(self.agent_active, (0.0, 1.0)).all():
            raise ScenarioError("agent_active must hold zeros and ones only")
        for name in ("transaction_cost", "max_position"):
            values = getattr(self, name)
            if values.shape != (episodes,) or (values < 0).any():
                raise ScenarioError(f"{name} must be [episode] and not negative")


@dataclass(frozen=True, kw_only=True)
class TradingStage:
    """What a curriculum moves besides the market: agents, fee, size of positions, first prices."""

    max_agents: int = 4
    """Size of the arrays."""
    num_agents: int | None = None
    """The first so many trade, the others are switched off; None lets all trade."""
    transaction_cost: float = 0.001
    """Commission, as a share of what is traded."""
    max_position: float = 1.0
    """Largest position in one symbol, long or short, as a share of equity."""
    first_prices: tuple[float | None, ...] = ()
    """Price of each symbol before the first step; None keeps the market's, as does an empty one."""

    def __post_init__(self) -> None:
        """Refuse stages that nobody can trade in."""
        if not 1 <= self.active_agents <= self.max_agents <= 128:
            raise ConfigError(
                f"num_agents is {self.num_agents} of max_agents {self.max_agents}; give 1 to 128 "
                "agents, and not more active ones than there are"
            )
        if not 0 <= self.transaction_cost < 1:
            raise ConfigError(f"transaction_cost is {self.transaction_cost}; give 0 to below 1")
        if not 0 < self.max_position < math.inf:
            raise ConfigError(f"max_position is {self.max_position}; give a finite share above 0")
        for price in self.first_prices:
            if price is not None and not 0 < price < math.inf:
                raise ConfigError(f"first_prices holds {price}; give finite prices above 0")

    @property
    def active_agents(self) -> int:
        """Number of agents that trade."""
        return self.max_agents if self.num_agents is None else self.num_agents


class TradingSource:
    """A scenario source that adds a stage to the episodes of a market."""

    def __init__(self, market: ScenarioSource[MarketScenarios], stage: TradingStage) -> None:
        """Keep both.

        Args:
            market: Where prices come from.
            stage: What they are traded under.
        """
        self._market = market
        self._stage = stage

    def draw(self, num_episodes: int, generator: np.random.Generator) -> TradingScenarios:
        """Draw episodes.

        Args:
            num_episodes: How many.
            generator: The only source of chance.

        Raises:
            ConfigError: `first_prices` names another number of symbols than the market has.
        """
        stage, market = self._stage, self._market.draw(num_episodes, generator)
        parts = {field.name: getattr(market, field.name) for field in fields(MarketScenarios)}
        parts["history"] = self._rescale(market.history)
        active = np.arange(stage.max_agents) < stage.active_agents
        return TradingScenarios(
            **parts,
            agent_active=np.tile(active, (num_episodes, 1)).astype(np.float32),
            transaction_cost=np.full(num_episodes, stage.transaction_cost, np.float32),
            max_position=np.full(num_episodes, stage.max_position, np.float32),
        )

    def _rescale(self, history: Array) -> Array:
        """Let histories end at the first prices; returns stay as they are."""
        wanted = self._stage.first_prices
        if not wanted:
            return history
        if len(wanted) != history.shape[-1]:
            raise ConfigError(
                f"first_prices holds {len(wanted)} prices, the market has {history.shape[-1]} "
                "symbols; give one each, None where the market's own will do"
            )
        last = history[:, -1]
        price = np.stack(
            [
                last[:, n] if one is None else np.full(len(last), one)
                for n, one in enumerate(wanted)
            ],
            axis=-1,
        )
        scaled: Array = (history * (price / last)[:, None]).astype(np.float32)
        return scaled
