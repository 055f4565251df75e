"""Settings of a market that several agents trade in, and of its broker."""

from __future__ import annotations

import math
from dataclasses import dataclass

from utils.errors import ConfigError

LOT = 1000.0
"""Shares that the impact factors are given for."""


@dataclass(frozen=True, kw_only=True)
class BackgroundConfig:
    """Scripted traders whose net orders move prices as the agents' do; shares per step, symbol."""

    noise: float = 0.0
    """Standard deviation of what noise traders buy."""
    momentum: float = 0.0
    """What followers of the trend buy at full conviction."""
    market_makers: float = 0.0
    """What those who lean against deviations from the 20-step mean sell at full conviction."""

    def __post_init__(self) -> None:
        """Refuse sizes that are none."""
        for name, value in vars(self).items():
            if not 0 <= value < math.inf:
                raise ConfigError(f"background {name} is {value}; give 0 or more shares")

    @property
    def is_on(self) -> bool:
        """Whether anybody trades."""
        return max(self.noise, self.momentum, self.market_makers) > 0


@dataclass(frozen=True, kw_only=True)
class TradingConfig:
    """One market and the rules of its broker; fee and largest position are in the scenarios."""

    symbols: tuple[str, ...] = ("AAPL", "GOOGL", "TSLA", "MSFT", "AMZN")
    agents: tuple[str, ...] = ("trader_0", "trader_1", "trader_2", "trader_3")
    initial_balance: tuple[float, ...] = (100_000.0,)
    """Cash at the beginning: one amount for all, or one per agent."""
    max_steps: int = 252
    half_spread: float = 0.0002
    """Paid per share, as a share of the price."""
    market_impact_factor: float = 1e-4
    """Permanent: move of the price per 1,000 shares net, as a share of the episode's first."""
    temporary_impact_factor: float = 1e-4
    """Worsening of one's own fill per 1,000 shares, as a share of the episode's first price."""
    order_share: float = 0.25
    """Value of an order of size 1, as a share of equity."""
    short_limit: float = 0.5
    """Largest value of all short positions, as a share of equity."""
    leverage_limit: float = 1.0
    """Largest value of all positions when they are opened, long and short, over equity."""
    margin_call: float = 0.25
    """Equity over the value of all positions below which the broker closes them."""
    ruin: float = 0.2
    """Equity, as a share of the initial balance, at or below which an agent is out."""
    max_stop: float = 0.10
    """Loss since entry at which a stop of 1 acts."""
    max_take: float = 0.20
    """Gain since entry at which a take-profit of 1 acts."""
    risk_aversion: float = 0.0
    """Weight of a penalty on the square of the step's gain, in initial balances; 0 for none."""
    background: BackgroundConfig = BackgroundConfig()

    def __post_init__(self) -> None:
        """Refuse markets that cannot be traded in."""
        for name in ("symbols", "agents"):
            names = tuple(getattr(self, name))
            object.__setattr__(self, name, names)
            if not names or len(set(names)) < len(names):
                raise ConfigError(f"{name} is {names}; give at least one, each once")
        if len(self.agents) > 128:
            raise ConfigError(f"agents holds {len(self.agents)} names; give 128 at most")
        balance = tuple(self.initial_balance)
        object.__setattr__(self, "initial_balance", balance)
        if len(balance) not in (1, len(self.agents)):
            raise ConfigError(
                f"initial_balance holds {len(balance)} amounts; give one, or {len(self.agents)}"
            )
        if not all(0 < one < math.inf for one in balance) or self.max_steps < 1:
            raise ConfigError("initial_balance must be finite and above 0, max_steps at least 1")
        self._check_shares()

    def _check_shares(self) -> None:
        limits = {
            "half_spread": 0.5,
            "market_impact_factor": 1.0,
            "temporary_impact_factor": 1.0,
            "short_limit": 100.0,
            "margin_call": 1.0,
            "ruin": 0.99,
            "risk_aversion": 1e6,
        }
        for name, highest in limits.items():
            if not 0 <= getattr(self, name) <= highest:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; give a number from 0 to {highest:g}"
                )
        for name in ("order_share", "leverage_limit", "max_stop", "max_take"):
            if not 0 < getattr(self, name) <= 100:
                raise ConfigError(f"{name} is {getattr(self, name)}; give a share above 0")
        if self.margin_call * self.leverage_limit >= 1:
            raise ConfigError(
                f"margin_call {self.margin_call} would close positions that leverage_limit "
                f"{self.leverage_limit} has just allowed; keep their product below 1"
            )

    @property
    def balances(self) -> tuple[float, ...]:
        """Initial balance of every agent."""
        count = len(self.agents)
        return (
            self.initial_balance * count
            if len(self.initial_balance) == 1
            else (self.initial_balance)
        )
