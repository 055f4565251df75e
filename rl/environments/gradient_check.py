"""The examiner of differentiable worlds: gradients against differences, through whole episodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rl.environments.lockstep import LockstepEnvironment
from rl.environments.record_rules import ConformanceError
from utils.errors import ConfigError

KINK = 0.003
"""Where slopes on both sides differ by more than this share, a kink lies between the points."""


@dataclass(frozen=True, kw_only=True)
class GradientReport:
    """How well the slopes of an episode's return agree with central differences."""

    num_smooth: int
    """Random points without a kink nearby."""
    worst_error: float
    """Largest relative error over those."""


def check_gradients(
    make_env: Callable[[int], LockstepEnvironment[Any]],
    *,
    num_points: int = 400,
    wanted: int = 100,
    spacing: float = 1e-3,
    tolerance: float = 0.01,
    inside: tuple[float, float] = (0.1, 0.6),
    seed: int = 0,
) -> GradientReport:
    """Compare directional derivatives of the return with central differences.

    Every copy is one point: random actions for a whole episode, and one random direction.

    Args:
        make_env: Builds a differentiable world of so many copies.
        num_points: Points that are tried.
        wanted: Smooth ones among them that are needed.
        spacing: Of the differences, as a share of the action's range.
        tolerance: Largest relative error on a smooth point.
        inside: Where actions are drawn, as shares of their range.
        seed: Of episodes, points and directions.

    Raises:
        ConformanceError: Too few points are smooth, an error is too large, or a trajectory changes
            when gradients are recorded.
        ConfigError: The world is not differentiable.
    """
    env = make_env(num_points)
    if not env.is_differentiable or env.groups[0].action.kind != "continuous":
        raise ConfigError(f"{type(env).__name__} is not differentiable in its actions")
    low = min(group.action.low for group in env.groups)
    span = max(group.action.high for group in env.groups) - low
    generator = torch.Generator().manual_seed(seed)
    shape = (env.shape.num_steps, num_points, env.num_agents, env.action_size)
    share = inside[0] + (inside[1] - inside[0]) * torch.rand(shape, generator=generator)
    actions = (low + span * share).requires_grad_()
    direction = span * torch.randn(shape, generator=generator)
    returns = _play(env, actions, seed)
    (slope,) = torch.autograd.grad(returns.sum(), actions)
    with torch.no_grad():
        down, here, up = (
            _play(env, actions + sign * spacing * direction, seed) for sign in (-1.0, 0.0, 1.0)
        )
    if not torch.equal(returns.detach(), here):
        raise ConformanceError("gradients", "recording gradients changes what is earned")
    left, right, middle = (
        (here - down) / spacing,
        (up - here) / spacing,
        (up - down) / (2 * spacing),
    )
    smooth = (left - right).abs() <= KINK * middle.abs()
    along = (slope.double() * direction).sum((0, 2, 3))
    error = (along - middle).abs() / middle.abs().clamp(min=1e-12)
    found = int(smooth.sum())
    if found < wanted:
        raise ConformanceError("gradients", f"{found} of {num_points} points are smooth")
    worst = float(error[smooth].max())
    if not worst <= tolerance:
        raise ConformanceError("gradients", f"a slope is off by {worst:.1%} of the difference")
    return GradientReport(num_smooth=found, worst_error=worst)


def _play(env: LockstepEnvironment[Any], actions: Tensor, seed: int) -> Tensor:
    """Return what every copy earns in its first episode, `[env]`, in double precision."""
    env.reset(seed)
    total = torch.zeros(env.num_envs, dtype=torch.float64)
    for action in actions:
        total = total + env.step(action).reward.double().sum(-1)
    return total
