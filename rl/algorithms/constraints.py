"""Lagrange multipliers on costs: pure functions of a small state, by gradient or by PID."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from rl.algorithms.multiplier_config import MultiplierConfig


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
