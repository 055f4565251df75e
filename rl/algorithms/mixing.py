"""How the values of a team's agents become one value of their joint action: VDN and QMIX."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from utils.errors import ConfigError


class MixingSizes(NamedTuple):
    """Sizes of a `MonotonicMixer`."""

    state_size: int
    """Length of the global state."""
    mixing_dim: int
    """Units between the agents' values and the team's."""
    hypernet_dim: int
    """Hidden units of the hypernetworks of W_1 and of w_2."""


class MixingWeights(NamedTuple):
    """One layer of `mix` units between the agents' values and the team's, drawn from the state."""

    inner: Float[Tensor, "*batch agent mix"]
    """W_1, not negative."""
    inner_bias: Float[Tensor, "*batch mix"]
    outer: Float[Tensor, "*batch mix"]
    """w_2, not negative."""
    outer_bias: Float[Tensor, "*batch"]
    """V(s), what the state is worth whatever the agents value."""


def weight_range(weights: MixingWeights) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest weight, whose signs show that the mixer is monotone.

    Args:
        weights: Of any states.
    """
    inner, outer = weights.inner.detach().aminmax(), weights.outer.detach().aminmax()
    return torch.minimum(inner.min, outer.min), torch.maximum(inner.max, outer.max)


def sum_values(
    value: Float[Tensor, "*batch agent"], alive: Bool[Tensor, "*batch agent"]
) -> Float[Tensor, "*batch"]:
    """Return VDN's Q_tot = sum over the agents present of Q_a (arXiv:1706.05296).

    Args:
        value: Q_a of the action that each agent takes.
        alive: False where an agent is absent; its value is not looked at.
    """
    return value.masked_fill(~alive, 0.0).sum(-1)


def mix_values(
    value: Float[Tensor, "*batch agent"],
    alive: Bool[Tensor, "*batch agent"],
    weights: MixingWeights,
) -> Float[Tensor, "*batch"]:
    """Return QMIX's Q_tot = w_2 . elu(Q W_1 + b_1) + V (arXiv:1803.11485).

    No weight is negative, so Q_tot never falls when some Q_a rises, and the best joint action is
    made of every agent's own best one.

    Args:
        value: Q_a of the action that each agent takes.
        alive: False where an agent is absent; its value is not looked at and adds nothing.
        weights: W_1, b_1, w_2 and V of each row's state.
    """
    present = value.masked_fill(~alive, 0.0).unsqueeze(-2)
    hidden = nn.functional.elu((present @ weights.inner).squeeze(-2) + weights.inner_bias)
    return (hidden * weights.outer).sum(-1) + weights.outer_bias


def at_least_zero(raw: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Return |raw|, which keeps the mixer monotone.

    Args:
        raw: What a hypernetwork gave.
    """
    return raw.abs()


class MonotonicMixer(nn.Module):
    """QMIX's hypernetworks: from the global state to weights that are not negative, and biases.

    W_1, w_2 and V come through one hidden layer of rectified units each, b_1 is linear in the
    state; the first layers of all are one matrix.
    """

    def __init__(self, sizes: MixingSizes, num_agents: int, *, generator: torch.Generator) -> None:
        """Draw the initial weights.

        Args:
            sizes: Of the state and of the layers.
            num_agents: How many values are mixed.
            generator: Source of the initial weights, on the CPU.

        Raises:
            ConfigError: There is no state to draw weights from.
        """
        super().__init__()
        state_size, mixing_dim, hypernet_dim = sizes
        if state_size < 1:
            raise ConfigError(
                f"state_size={state_size}: QMIX draws its weights from the global state; use a "
                "world that has one, or mixer='vdn'"
            )
        self._shape = (num_agents, mixing_dim)
        self._hidden_dims = (hypernet_dim, hypernet_dim, mixing_dim)
        self.first = _linear(state_size, sum(self._hidden_dims) + mixing_dim, generator)
        self.to_inner = _linear(hypernet_dim, num_agents * mixing_dim, generator)
        self.to_outer = _linear(hypernet_dim, mixing_dim, generator)
        self.to_bias = _linear(mixing_dim, 1, generator)

    def weights(self, state: Float[Tensor, "*batch state"]) -> MixingWeights:
        """Return the weights of each row's state.

        Args:
            state: Global states.
        """
        first = self.first(state)
        units = sum(self._hidden_dims)
        inner, outer, bias = first[..., :units].relu().split(self._hidden_dims, -1)
        inner_weight = at_least_zero(self.to_inner(inner))
        return MixingWeights(
            inner=inner_weight.view(*state.shape[:-1], *self._shape),
            inner_bias=first[..., units:],
            outer=at_least_zero(self.to_outer(outer)),
            outer_bias=self.to_bias(bias).squeeze(-1),
        )

    def forward(
        self,
        value: Float[Tensor, "*batch agent"],
        alive: Bool[Tensor, "*batch agent"],
        state: Float[Tensor, "*batch state"],
    ) -> Float[Tensor, "*batch"]:
        """Mix the values of the agents' actions; see `mix_values`.

        Args:
            value: Q_a of the action that each agent takes.
            alive: False where an agent is absent.
            state: Global states.
        """
        return mix_values(value, alive, self.weights(state))


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Return a layer with weights and biases uniform in +-1/sqrt(inputs), torch's own default."""
    layer = nn.Linear(inputs, outputs)
    for parameter in (layer.weight, layer.bias):
        nn.init.uniform_(parameter, -(inputs**-0.5), inputs**-0.5, generator=generator)
    return layer
