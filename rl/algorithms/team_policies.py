"""Policies of many agents, each on what it alone observes, evaluated together."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from rl.algorithms.heads import one_hot_choice, straight_through_choice
from rl.algorithms.stacked_networks import StackedMLP, Trace

OUTPUT_GAIN = 0.1


class TeamPolicies(nn.Module):
    """One perceptron per agent, or one for all that is told who it is.

    What it decides is in the form that critics read: continuous actions in [-1, 1], choices as rows
    with a single 1. Dimensions and choices that the mask switches off are zero and never taken.
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        *,
        num_agents: int,
        shared: bool,
        discrete: bool,
        action_range: tuple[float, float],
        generator: torch.Generator,
    ) -> None:
        """Draw the initial weights.

        Args:
            sizes: Length of an observation, of every hidden layer and of an action.
            num_agents: How many decide.
            shared: One set of weights for all, with the agent's id appended to its observation.
            discrete: True for choices.
            action_range: Smallest and largest continuous action of the environment.
            generator: Source of the initial weights, on the CPU.
        """
        super().__init__()
        self.num_agents = num_agents
        self.discrete = discrete
        self._shared = shared
        low, high = action_range
        self._centre, self._half = 0.5 * (high + low), 0.5 * (high - low)
        inputs = sizes[0] + num_agents if shared else sizes[0]
        self.network = StackedMLP(
            (inputs, *sizes[1:]),
            stack=1 if shared else num_agents,
            output_gain=OUTPUT_GAIN,
            init="uniform",
            generator=generator,
        )

    def trace(self, observation: Float[Tensor, "agent batch obs"]) -> Trace:
        """Evaluate every policy and keep what `backward` needs.

        Args:
            observation: Of each agent.
        """
        if not self._shared:
            return self.network.trace(observation)
        ids = torch.eye(self.num_agents, dtype=observation.dtype, device=observation.device)
        ids = ids.unsqueeze(1).expand(-1, observation.shape[1], -1)
        return self.network.trace(torch.cat((observation, ids), -1).flatten(0, 1).unsqueeze(0))

    def outputs(self, trace: Trace) -> Float[Tensor, "agent batch act"]:
        """Return the actions before the tanh, or the logits of the choices.

        Args:
            trace: Of a forward pass.
        """
        return trace.output.view(self.num_agents, -1, trace.output.shape[-1])

    def backward(self, trace: Trace, grad: Float[Tensor, "agent batch act"]) -> None:
        """Write the gradient of the weights over their `.grad`.

        Args:
            trace: Of the present weights.
            grad: Gradient of the loss at the outputs.
        """
        self.network.backward(trace, grad.reshape(trace.output.shape))

    def draw(
        self,
        output: Float[Tensor, "agent batch act"],
        mask: Bool[Tensor, "agent batch act"],
        generator: torch.Generator,
    ) -> Float[Tensor, "agent batch act"]:
        """Decide, with a gradient: choices are drawn, continuous actions follow from the output.

        Args:
            output: From `outputs`.
            mask: True where a dimension or choice is in use.
            generator: Source of chance.
        """
        if self.discrete:
            return straight_through_choice(output, mask, generator)
        return output.tanh() * mask

    def best(
        self, output: Float[Tensor, "agent batch act"], mask: Bool[Tensor, "agent batch act"]
    ) -> Float[Tensor, "agent batch act"]:
        """Decide without chance.

        Args:
            output: From `outputs`.
            mask: True where a dimension or choice is in use.
        """
        return one_hot_choice(output, mask) if self.discrete else output.tanh() * mask

    def to_environment(
        self, action: Float[Tensor, "*batch act"], mask: Bool[Tensor, "*batch act"]
    ) -> Shaped[Tensor, ...]:
        """Turn what was decided into what the environment takes.

        Args:
            action: From `draw` or `best`.
            mask: True where a dimension or choice is in use; unused dimensions are zero.
        """
        if self.discrete:
            return action.argmax(-1)
        return torch.where(mask, self._centre + self._half * action, 0.0)

    def from_environment(
        self, action: Shaped[Tensor, ...], mask: Bool[Tensor, "*batch act"]
    ) -> Float[Tensor, "*batch act"]:
        """Turn what the environment took into what critics read; the inverse of `to_environment`.

        Args:
            action: Choices, or continuous actions.
            mask: True where a dimension or choice is in use.
        """
        if self.discrete:
            choices = torch.arange(mask.shape[-1], device=mask.device)
            return ((action.unsqueeze(-1) == choices) & mask).float()
        return torch.where(mask, (action - self._centre) / self._half, 0.0)
