"""Networks as they are before learning, and their weights as one vector."""

from __future__ import annotations

import torch
from torch import nn

from rl.algorithms.networks import join_parameters, multilayer_perceptron


def test_layers_start_orthogonal_and_unbiased():
    layers = multilayer_perceptron(
        (6, 32, 2), activation="relu", output_gain=0.01, generator=torch.Generator()
    )
    assert [type(layer) for layer in layers] == [nn.Linear, nn.ReLU, nn.Linear]
    first, last = layers[0], layers[2]
    torch.testing.assert_close(first.weight.T @ first.weight, 2 * torch.eye(6))
    torch.testing.assert_close(last.weight @ last.weight.T, 1e-4 * torch.eye(2))
    assert not first.bias.any()


def test_a_step_of_the_vector_is_a_step_of_every_parameter():
    network = multilayer_perceptron(
        (6, 32, 2), activation="tanh", output_gain=1.0, generator=torch.Generator()
    )
    parameters = list(network.parameters())
    before = [parameter.detach().clone() for parameter in parameters]
    vector = join_parameters(parameters)
    assert all(torch.equal(p, b) for p, b in zip(parameters, before, strict=True))
    with torch.no_grad():
        vector.add_(1.0)
    assert all(torch.equal(p, b + 1) for p, b in zip(parameters, before, strict=True))
