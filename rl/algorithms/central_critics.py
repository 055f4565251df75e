"""Critics that see all agents at once, evaluated together (arXiv:1706.02275).

The first layer reads what all agents observe and do, the same rows for every critic; the others are
a stack of perceptrons. When an agent asks what another action of its own would be worth, only its
own columns of the first layer change, so its product is corrected, not computed anew.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl.algorithms.stacked_networks import LAYER_NORM_EPS, StackedMLP, Trace


class Hidden(NamedTuple):
    """The first layer's output on its way through normalisation and activation."""

    raw: Float[Tensor, "*stack batch hidden"]
    moments: tuple[Tensor, Tensor] | None
    """Mean and inverse deviation of every row of `raw`; None without layer norm."""
    active: Float[Tensor, "*stack batch hidden"]


class CriticTrace(NamedTuple):
    """What a forward pass must keep for the backward one."""

    joint: Float[Tensor, "batch joint"]
    hidden: Hidden
    rest: Trace

    @property
    def value(self) -> Float[Tensor, "critic agent batch"]:
        """Estimated returns."""
        critics, agents, batch = self.hidden.raw.shape[:3]
        return self.rest.output.view(critics, agents, batch)


class CentralCritics(nn.Module):
    """For each agent one estimate of its return, or two, from everybody's observation and action.

    With shared weights each agent has a first bias of its own, which is what appending its id to
    the input comes to.
    """

    def __init__(
        self,
        context_size: int,
        action_size: int,
        hidden_dims: tuple[int, ...],
        *,
        num_agents: int,
        num_critics: int = 1,
        shared: bool = False,
        layer_norm: bool = True,
        generator: torch.Generator,
    ) -> None:
        """Draw the initial weights.

        Args:
            context_size: Length of what comes before the actions: all observations, or the state.
            action_size: Length of one agent's action.
            hidden_dims: Hidden layers; at least one.
            num_agents: How many estimate.
            num_critics: Independent estimates for each.
            shared: One set of weights for all agents.
            layer_norm: Normalise the first layer's output before its activation.
            generator: Source of the initial weights, on the CPU.
        """
        super().__init__()
        self.context_size, self.action_size = context_size, action_size
        self.num_agents, self.num_critics = num_agents, num_critics
        self.num_sets = 1 if shared else num_agents
        self.layer_norm = layer_norm
        joint_size = context_size + num_agents * action_size
        stack, width = num_critics * self.num_sets, hidden_dims[0]
        bound = joint_size**-0.5
        self.weight = nn.Parameter(torch.empty(stack, joint_size, width))
        self.bias = nn.Parameter(torch.empty(num_critics, num_agents, 1, width))
        for parameter in (self.weight, self.bias):
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
        self.rest = StackedMLP((*hidden_dims, 1), stack=stack, init="uniform", generator=generator)

    @torch.no_grad()
    def trace(self, joint: Float[Tensor, "batch joint"]) -> CriticTrace:
        """Evaluate every critic and keep what the backward passes need.

        Args:
            joint: Context and actions of all agents, from `join`.
        """
        product = torch.bmm(joint.expand(len(self.weight), -1, -1), self.weight)
        sets = product.view(self.num_critics, self.num_sets, *product.shape[1:])
        own = self.num_sets == self.num_agents
        hidden = self._activate(sets.add_(self.bias) if own else sets + self.bias)
        return CriticTrace(joint, hidden, self.rest.trace(self._as_rows(hidden.active)))

    @torch.no_grad()
    def backward(self, trace: CriticTrace, grad: Float[Tensor, "critic agent batch"]) -> None:
        """Write the gradients of all weights over their `.grad`.

        Args:
            trace: Of the present weights.
            grad: Gradient of the loss at the values.
        """
        rows = self.rest.backward(trace.rest, grad.view(*trace.rest.output.shape), need_input=True)
        raw = self._backward_to_raw(trace.hidden, rows)
        self.bias.grad = raw.sum(-2, keepdim=True)
        if self.num_sets == 1:
            raw = raw.sum(1, keepdim=True)
        joint = trace.joint.T.expand(len(self.weight), -1, -1)
        if self.weight.grad is None:
            self.weight.grad = torch.empty_like(self.weight, requires_grad=False)
        torch.bmm(joint, raw.flatten(0, 1), out=self.weight.grad)

    @torch.no_grad()
    def improve(
        self,
        trace: CriticTrace,
        change: Float[Tensor, "agent batch act"],
        grad: Float[Tensor, "agent batch"],
    ) -> tuple[Float[Tensor, "agent batch"], Float[Tensor, "agent batch act"]]:
        """Judge other actions, of one agent at a time, by the first critic of each agent.

        Agent i's estimate sees i's action changed, and everybody else's as in the trace. No weight
        gets a gradient.

        Args:
            trace: Of the present weights.
            change: Each agent's other action less its action in the trace.
            grad: Gradient of the loss at the estimates.

        Returns:
            The estimates, and the gradient of each agent's loss at its own action.
        """
        own = self._own_weight()
        hidden = self._activate(torch.baddbmm(trace.hidden.raw[0], change, own))
        first = self.rest.first_members(self.num_sets)
        rest = first.trace(self._as_rows(hidden.active))
        rows = first.backward(
            rest, grad.reshape(rest.output.shape), need_input=True, need_parameters=False
        )
        raw = self._backward_to_raw(hidden, rows)
        return rest.output.view(grad.shape), torch.bmm(raw, own.mT)

    def _own_weight(self) -> Float[Tensor, "agent act hidden"]:
        """Return the rows of the first critics' weights that read the agent's own action."""
        rows = self.weight[: self.num_sets, self.context_size :]
        by_agent = rows.view(self.num_sets, self.num_agents, self.action_size, -1)
        if self.num_sets == 1:
            return by_agent[0]
        return by_agent.diagonal(dim1=0, dim2=1).permute(2, 0, 1)

    def _as_rows(self, hidden: Float[Tensor, "*stack batch hidden"]) -> Tensor:
        """Put what is read by the same weights below one another."""
        sets = hidden.numel() // (hidden.shape[-1] * hidden.shape[-2] * self.num_agents)
        return hidden.view(sets * self.num_sets, -1, hidden.shape[-1])

    def _activate(self, raw: Float[Tensor, "*stack batch hidden"]) -> Hidden:
        if not self.layer_norm:
            return Hidden(raw, None, raw.relu())
        width = [raw.shape[-1]]
        normal, mean, rstd = torch.native_layer_norm(raw, width, None, None, LAYER_NORM_EPS)
        return Hidden(raw, (mean, rstd), normal.relu_())

    def _backward_to_raw(self, hidden: Hidden, grad: Tensor | None) -> Tensor:
        """Return the gradient at the first layer's output; that after its activation is spent."""
        grad = cast("Tensor", grad).view_as(hidden.raw)
        torch.ops.aten.threshold_backward.grad_input(grad, hidden.active, 0, grad_input=grad)
        if hidden.moments is None:
            return grad
        at_raw: Tensor = torch.ops.aten.native_layer_norm_backward(
            grad, hidden.raw, [grad.shape[-1]], *hidden.moments, None, None, [True, False, False]
        )[0]
        return at_raw
