"""The value of every choice, plain or dueling, with a backward pass without autograd."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl.algorithms.activation import Activation
from rl.algorithms.networks import PolicyLayers
from rl.algorithms.normalization import ObservationNormalizer
from rl.algorithms.stacked_networks import StackedMLP, Trace
from rl.algorithms.td_losses import dueling_gradient, dueling_q


class QNetwork(nn.Module):
    """Q(observation, choice) of all choices at once; all agents share it.

    A dueling network (arXiv:1511.06581) has one output more, V, and the others are advantages; the
    hidden layers are shared by both.
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        num_choices: int,
        *,
        dueling: bool = False,
        activation: Activation = "relu",
        generator: torch.Generator,
    ) -> None:
        """Draw the initial weights.

        Args:
            sizes: Length of an observation, then of every hidden layer.
            num_choices: Of the largest agent; masks say which of them an agent has.
            dueling: Split Q into the value of the state and the advantages of the choices.
            activation: After every hidden layer.
            generator: Source of the initial weights, on the CPU.
        """
        super().__init__()
        self.dueling = dueling
        self.mlp = StackedMLP(
            (*sizes, num_choices + int(dueling)),
            activation=activation,
            init="uniform",
            generator=generator,
        )

    @property
    def vector(self) -> nn.Parameter:
        """All weights, one after the other."""
        return self.mlp.vector

    def forward(self, observation: Float[Tensor, "*batch obs"]) -> Float[Tensor, "*batch act"]:
        """Return the values of all choices, without a graph.

        Args:
            observation: As the environment gave it.
        """
        rows = observation.reshape(1, -1, observation.shape[-1])
        q = self._combine(self.mlp.trace(rows).output)
        return q.view(*observation.shape[:-1], q.shape[-1])

    def trace(
        self, observation: Float[Tensor, "batch obs"]
    ) -> tuple[Float[Tensor, "batch act"], Trace]:
        """Return the values of all choices, and what `backward` needs.

        Args:
            observation: As the environment gave it.
        """
        trace = self.mlp.trace(observation.unsqueeze(0))
        return self._combine(trace.output)[0], trace

    def backward(self, trace: Trace, gradient: Float[Tensor, "batch act"]) -> None:
        """Write the gradient of the weights over `vector.grad`.

        Args:
            trace: Of the forward pass, with the weights unchanged since.
            gradient: Of the loss by every Q.
        """
        if self.dueling:
            gradient = dueling_gradient(gradient)
        self.mlp.backward(trace, gradient.unsqueeze(0))

    def _combine(self, output: Tensor) -> Tensor:
        return dueling_q(output[..., :1], output[..., 1:]) if self.dueling else output

    def export_layers(self) -> PolicyLayers:
        """Return copies of the numbers; a dueling network's last layer is folded into plain Q."""
        identity = ObservationNormalizer(self.mlp.sizes[0], clip=float(np.finfo(np.float32).max))
        exported = self.mlp.export_layers(identity)
        if not self.dueling:
            return exported
        *hidden, (weight, bias) = exported.layers
        folded = [part[..., :1] + part[..., 1:] for part in (weight, bias)]
        centred = [
            np.ascontiguousarray(q - part[..., 1:].mean(-1, keepdims=True), dtype=np.float32)
            for q, part in zip(folded, (weight, bias), strict=True)
        ]
        return exported._replace(layers=[*hidden, (centred[0], centred[1])])
