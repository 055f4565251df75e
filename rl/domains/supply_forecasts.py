"""Forecasts of demand from its past: moving average, seasonal naive, exponential smoothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ForecastConfig:
    """How the three forecasts look back."""

    window: int = 5
    """Steps of the moving average."""
    season: int = 7
    """Steps after which demand is taken to repeat itself."""
    smoothing: float = 0.3
    """Weight of the newest value in exponential smoothing, in (0, 1]."""

    def __post_init__(self) -> None:
        """Refuse empty windows."""
        if min(self.window, self.season) < 1 or not 0 < self.smoothing <= 1:
            raise ConfigError(f"window and season >= 1, smoothing in (0, 1] are needed: {self}")

    @property
    def lookback(self) -> int:
        """Steps of the past that are kept."""
        return max(self.window, self.season)


def forecast_demand(
    history: Any, smoothed: Any, steps_taken: Any, *, config: ForecastConfig, xp: Any
) -> Any:
    """Forecast the coming step of every signal.

    Args:
        history: `[..., lookback, signal]`: newest last, zero before the episode began.
        smoothed: `[..., signal]`: level of exponential smoothing.
        steps_taken: `[..., 1]`: steps the history has seen, as a float.
        config: How far they look.
        xp: Array namespace, `numpy` or `torch`.

    Returns:
        `[..., 3, signal]`: moving average, seasonal naive (the newest value in the first season),
        exponential smoothing; zero before the first step.
    """
    recent = history[..., -config.window :, :].sum(-2)
    average = recent / xp.clip(steps_taken, 1.0, float(config.window))
    naive = xp.where(
        steps_taken >= config.season, history[..., -config.season, :], history[..., -1, :]
    )
    return xp.stack([average, naive, smoothed], -2)


def smooth(level: Any, value: Any, *, is_first: bool, config: ForecastConfig) -> Any:
    """Move the level of exponential smoothing to the newest value.

    Args:
        level: `[..., signal]`.
        value: `[..., signal]`: just seen.
        is_first: Whether nothing was seen before.
        config: Its weight.
    """
    return value if is_first else level + config.smoothing * (value - level)
