"""Networks as they are before learning, and their weights as one vector."""

from __future__ import annotations

import torch
from torch import nn

from rl.algorithms.networks import ActorCritic, join_parameters, multilayer_perceptron


def make_network(seed=0):
    return ActorCritic(
        (6, 32, 16), 3, discrete=False, generator=torch.Generator().manual_seed(seed)
    )


def test_layers_start_orthogonal_and_unbiased():
    layers = multilayer_perceptron(
        (6, 32, 2), activation="relu", output_gain=0.01, generator=torch.Generator()
    )
    assert [type(layer) for layer in layers] == [nn.Linear, nn.ReLU, nn.Linear]
    first, last = layers[0], layers[2]
    torch.testing.assert_close(first.weight.T @ first.weight, 2 * torch.eye(6))
    torch.testing.assert_close(last.weight @ last.weight.T, 1e-4 * torch.eye(2))
    assert not first.bias.any()


def test_weights_come_from_the_generator_alone():
    one, other, stranger = make_network(), make_network(), make_network(seed=1)
    assert torch.equal(one.actor[2].weight, other.actor[2].weight)
    assert not torch.equal(one.actor[2].weight, stranger.actor[2].weight)


def test_agents_share_the_policy():
    network = make_network()
    observation = torch.randn(5, 1, 6).expand(5, 4, 6)
    output = network.actor(observation)
    assert output.shape == (5, 4, 3)
    assert torch.equal(output[:, 0], output[:, 3])
    assert network.value(observation).shape == (5, 4)


def test_actor_and_critic_learn_apart():
    network = make_network()
    network.value(torch.randn(8, 6)).sum().backward()
    assert all(parameter.grad is None for parameter in network.actor.parameters())


def test_a_step_of_the_vector_is_a_step_of_every_parameter():
    network = make_network()
    parameters = list(network.parameters())
    before = [parameter.detach().clone() for parameter in parameters]
    vector = join_parameters(parameters)
    assert all(torch.equal(p, b) for p, b in zip(parameters, before, strict=True))
    with torch.no_grad():
        vector.add_(1.0)
    assert all(torch.equal(p, b + 1) for p, b in zip(parameters, before, strict=True))
