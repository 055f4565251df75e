"""Lagrange multipliers on costs: pure functions of a small state, by gradient or by PID."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from utils.errors import ConfigError

Method = Literal["projected", "softplus", "pid"]


@dataclass(frozen=True, kw_only=True)
class MultiplierConfig:
    """Limits on the mean cost of a step, and how their multipliers move."""

    cost_limits: tuple[float, ...]
    """d: highest mean cost per step and agent, one for each of the environment's costs."""
    method: Method = "pid"
    """Gradient ascent kept at zero or above, or on z with multiplier = softplus(z), or PID."""
    learning_rate: float = 0.1
    """Step of the gradient, and the gain of the integral term (K_I) of PID."""
    proportional_gain: float = 0.0
    """K_P of PID."""
    derivative_gain: float = 0.0
    """K_D of PID."""
    initial_multiplier: float = 0.0

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            ConfigError: A field is out of range.
        """
        if not self.cost_limits:
            raise ConfigError("cost_limits=(): give one limit for each cost of the environment")
        if self.method not in get_args(Method):
            raise ConfigError(f"method={self.method!r}: choose from {get_args(Method)}")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate={self.learning_rate}: choose a number above 0")
        for name in ("proportional_gain", "derivative_gain", "initial_multiplier"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name}={getattr(self, name)}: choose 0 or more")
            if name.endswith("gain") and getattr(self, name) > 0 and self.method != "pid":
                raise ConfigError(
                    f"{name}={getattr(self, name)} with method={self.method}: only pid has gains; "
                    "choose method=pid or leave the gain at 0"
                )
        if self.method == "softplus" and self.initial_multiplier == 0:
            raise ConfigError(
                "initial_multiplier=0.0 with method=softplus: its gradient vanishes there; choose "
                "a number above 0, such as 0.1"
            )


class MultiplierState(NamedTuple):
    """One entry per constraint."""

    multiplier: Float[Tensor, " constraint"]
    accumulated: Float[Tensor, " constraint"]
    """I of PID, z of softplus, the multiplier itself of the projected gradient."""
    last_cost: Float[Tensor, " constraint"]
    """Mean cost at the update before; only PID reads it."""


def first_multipliers(config: MultiplierConfig) -> MultiplierState:
    """Return the state before any cost was seen.

    Args:
        config: Settings.
    """
    multiplier = torch.full((len(config.cost_limits),), config.initial_multiplier)
    accumulated = multiplier.clone()
    if config.method == "softplus":
        accumulated = multiplier.expm1().log()
    elif config.method == "pid":
        accumulated = multiplier / config.learning_rate
    # No cost was seen: a first rise would be an artefact, so it is measured from the limit.
    return MultiplierState(multiplier, accumulated, torch.tensor(config.cost_limits))


def next_multipliers(
    state: MultiplierState, mean_cost: Float[Tensor, " constraint"], config: MultiplierConfig
) -> MultiplierState:
    """Move each multiplier by how far its cost is above the limit.

    With e = mean_cost - d and (x)+ = max(x, 0):
    projected: lambda <- (lambda + eta e)+.
    softplus: z <- z + eta e sigmoid(z), lambda = log(1 + exp(z)), the ascent of lambda(z) e.
    pid (arXiv:2007.03964, algorithm 2): I <- (I + e)+, lambda <- (K_P e + K_I I + K_D (J - J')+)+
    with J the mean cost now and J' at the update before.

    Args:
        state: Before.
        mean_cost: J, per step and live agent, of the block of experience just collected.
        config: Limits, step and gains.
    """
    excess = mean_cost - mean_cost.new_tensor(config.cost_limits)
    if config.method == "projected":
        multiplier = (state.accumulated + config.learning_rate * excess).clamp(min=0.0)
        return MultiplierState(multiplier, multiplier.clone(), mean_cost)
    if config.method == "softplus":
        slope = state.accumulated.sigmoid()
        accumulated = state.accumulated + config.learning_rate * excess * slope
        return MultiplierState(functional.softplus(accumulated), accumulated, mean_cost)
    integral = (state.accumulated + excess).clamp(min=0.0)
    rise = (mean_cost - state.last_cost).clamp(min=0.0)
    multiplier = (
        config.proportional_gain * excess
        + config.learning_rate * integral
        + config.derivative_gain * rise
    )
    return MultiplierState(multiplier.clamp(min=0.0), integral, mean_cost)


def constrained_advantage(
    advantage: Float[Tensor, "*batch"],
    cost_advantage: Float[Tensor, "*batch constraint"],
    multiplier: Float[Tensor, " constraint"],
) -> Float[Tensor, "*batch"]:
    """Return (A - sum_i lambda_i C_i) / (1 + sum_i lambda_i).

    The division keeps the size of the policy's steps as the multipliers grow (arXiv:2007.03964).

    Args:
        advantage: A, of the reward.
        cost_advantage: C, of each cost.
        multiplier: lambda, not negative.
    """
    return (advantage - cost_advantage @ multiplier) / (1.0 + multiplier.sum())


def mean_step_cost(
    cost: Float[Tensor, "time env agent constraint"], alive: Bool[Tensor, "time env agent"]
) -> Float[Tensor, " constraint"]:
    """Return the mean of each cost over the steps of live agents.

    Args:
        cost: Received after each step.
        alive: False where the agent was absent.
    """
    weight = alive.unsqueeze(-1).to(cost.dtype)
    return (cost * weight).sum((0, 1, 2)) / weight.sum().clamp(min=1.0)
