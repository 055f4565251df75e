"""Multilayer perceptrons and the actor-critic made of two of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rl.algorithms.activation import PlainActivation
from rl.algorithms.normalization import ObservationNormalizer

OutputActivation = Literal["identity", "tanh"]

ACTIVATIONS: dict[PlainActivation, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
}
HIDDEN_GAIN = math.sqrt(2.0)
ACTOR_GAIN = 0.01
CRITIC_GAIN = 1.0
OBSERVATION_CLIP = 10.0


class PolicyLayers(NamedTuple):
    """A deterministic policy as plain arrays, for a runtime without torch.

    Its output is the mean action, or the logits of the choices.
    """

    layers: list[tuple[NDArray[np.float32], NDArray[np.float32]]]
    """Weight `[in, out]` and bias `[out]`, first to last."""
    activation: PlainActivation
    """After every layer but the last."""
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    clip: float
    """The first layer takes `clip((observation - mean) / std, -clip, clip)`."""
    output_activation: OutputActivation = "identity"
    """With tanh, [-1, 1] is to be stretched to the range of actions."""


def multilayer_perceptron(
    sizes: tuple[int, ...],
    *,
    activation: PlainActivation,
    output_gain: float,
    generator: torch.Generator,
) -> nn.Sequential:
    """Build linear layers with an activation between them, weights orthogonal and biases zero.

    Args:
        sizes: Length of the input, of every hidden layer and of the output.
        activation: Applied after every layer but the last.
        output_gain: Scale of the last layer's weights; small makes a policy start near uniform.
        generator: Source of the initial weights, on the CPU.
    """
    layers: list[nn.Module] = []
    last = len(sizes) - 2
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        linear = nn.Linear(inputs, outputs)
        gain = output_gain if index == last else HIDDEN_GAIN
        nn.init.orthogonal_(linear.weight, gain, generator=generator)
        nn.init.zeros_(linear.bias)
        layers.append(linear)
        if index < last:
            layers.append(ACTIVATIONS[activation]())
    return nn.Sequential(*layers)


def join_parameters(parameters: Sequence[nn.Parameter]) -> nn.Parameter:
    """Move parameters into one vector, so that clipping and an optimiser's step are one operation.

    Args:
        parameters: On one device; they keep their values and become views of the vector.
    """
    vector = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
    parts = vector.detach().split_with_sizes([parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.data = part.view_as(parameter)
    return vector


def export_policy(
    actor: nn.Sequential, activation: PlainActivation, normalizer: ObservationNormalizer
) -> PolicyLayers:
    """Return copies of a policy's numbers.

    Args:
        actor: What `multilayer_perceptron` made.
        activation: Between its layers.
        normalizer: Of what it observes.
    """
    linear = [layer for layer in actor if isinstance(layer, nn.Linear)]
    return pack_layers([(layer.weight.T, layer.bias) for layer in linear], activation, normalizer)


def pack_layers(
    layers: Iterable[tuple[Tensor, Tensor]],
    activation: PlainActivation,
    normalizer: ObservationNormalizer,
) -> PolicyLayers:
    """Return copies of a policy's numbers.

    Args:
        layers: Weight `[in, out]` and bias `[out]`, first to last.
        activation: Between the layers.
        normalizer: Of what it observes.
    """
    return PolicyLayers(
        layers=[(_to_numpy(weight), _to_numpy(bias)) for weight, bias in layers],
        activation=activation,
        mean=_to_numpy(normalizer.shift),
        std=_to_numpy(1.0 / normalizer.scale),
        clip=normalizer.clip,
    )


def _to_numpy(tensor: Tensor) -> NDArray[np.float32]:
    return np.array(tensor.detach().cpu().numpy(), dtype=np.float32, order="C")
