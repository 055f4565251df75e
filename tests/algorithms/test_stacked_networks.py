"""A stack of perceptrons: values, hand-written gradients, views of one vector."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn

from rl.algorithms.networks import export_policy
from rl.algorithms.normalization import ObservationNormalizer
from rl.algorithms.policy_state import load_module_state, module_state
from rl.algorithms.stacked_networks import StackedMLP

SIZES = (5, 7, 6, 3)
CASES = list(itertools.product([1, 3], ["relu", "tanh"], [False, True]))


def make(stack=1, activation="relu", *, layer_norm=False, sizes=SIZES, seed=0, init="uniform"):
    return StackedMLP(
        sizes,
        stack=stack,
        activation=activation,
        init=init,
        layer_norm=layer_norm,
        generator=torch.Generator().manual_seed(seed),
    )


def plain(network, member):
    """Return the same perceptron made of torch's own layers, in double precision."""
    layers = []
    for index, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        linear = nn.Linear(weight.shape[1], weight.shape[2]).double()
        linear.weight.data.copy_(weight[member].T)
        linear.bias.data.copy_(bias[member, 0])
        layers.append(linear)
        if index == 0 and network.layer_norm:
            layers.append(nn.LayerNorm(weight.shape[2], elementwise_affine=False))
        layers.append({"relu": nn.ReLU, "tanh": nn.Tanh}[network.activation]())
    return nn.Sequential(*layers[:-1])


def rows(stack, seed=1):
    chance = torch.Generator().manual_seed(seed)
    return torch.randn(stack, 11, SIZES[0], generator=chance, dtype=torch.float64)


def reference(network, x, weight):
    """Return outputs, parameter gradients and input gradients by torch's layers."""
    x = x.clone().requires_grad_()
    references = [plain(network, member) for member in range(network.stack)]
    output = torch.stack([one(part) for one, part in zip(references, x, strict=True)])
    (output * weight).sum().backward()
    gradients = []
    for index in range(len(network.weights)):
        linear = [[m for m in one if isinstance(m, nn.Linear)][index] for one in references]
        gradients.append(torch.stack([m.weight.grad.T for m in linear]).flatten())
        gradients.append(torch.stack([m.bias.grad for m in linear]).flatten())
    return output.detach(), torch.cat(gradients), x.grad


@pytest.mark.parametrize(("stack", "activation", "layer_norm"), CASES)
def test_values_and_gradients_are_those_of_torch_layers(stack, activation, layer_norm):
    network = make(stack, activation, layer_norm=layer_norm).double()
    x = rows(stack)
    weight = torch.randn(stack, 11, SIZES[-1], dtype=torch.float64)
    output, parameters, inputs = reference(network, x, weight)

    trace = network.trace(x)
    torch.testing.assert_close(trace.output, output)
    network.vector.grad = torch.full_like(network.vector, 7.0)  # written over, whatever lay there
    grad = network.backward(trace, weight, need_input=True)
    torch.testing.assert_close(network.vector.grad, parameters)
    torch.testing.assert_close(grad, inputs)

    network.vector.grad.zero_()
    x = x.clone().requires_grad_()
    (network(x) * weight).sum().backward()
    torch.testing.assert_close(network.vector.grad, parameters)
    torch.testing.assert_close(x.grad, inputs)


def test_gradients_that_nobody_needs_are_not_computed():
    network = make(2)
    x = rows(2).float()
    network.vector.grad = torch.full_like(network.vector, 7.0)
    network.backward(network.trace(x), torch.ones(2, 11, 3), need_input=True, need_parameters=False)
    assert (network.vector.grad == 7.0).all()
    assert network.backward(network.trace(x), torch.ones(2, 11, 3)) is None

    network.requires_grad_(False)
    network.vector.grad = torch.full_like(network.vector, 7.0)
    x.requires_grad_()
    network(x).sum().backward()
    assert x.grad is not None
    assert (network.vector.grad == 7.0).all()


def test_a_parameter_that_changes_before_the_backward_is_an_error():
    network = make()
    loss = network(rows(1).float()).sum()
    with torch.no_grad():
        network.vector.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_one_step_on_the_vector_moves_every_layer():
    network, other = make(2), make(2, seed=3)
    layers = [*network.weights, *network.biases]
    before = [layer.clone() for layer in layers]
    network.vector.grad = torch.ones_like(network.vector)
    torch.optim.SGD([network.vector], lr=0.5).step()
    for layer, old in zip(layers, before, strict=True):
        torch.testing.assert_close(layer, old - 0.5)
    load_module_state(network, module_state(other))
    x = rows(2).float()
    assert torch.equal(network.trace(x).output, other.trace(x).output)


def test_layers_follow_a_move():
    network = make(2).to(torch.float64)
    with torch.no_grad():
        network.vector.zero_()
    assert all((layer == 0).all() for layer in (*network.weights, *network.biases))
    assert network.trace(rows(2)).output.dtype == torch.float64


@pytest.mark.parametrize("duplicate", [StackedMLP.copy, copy.deepcopy])
def test_a_copy_has_the_same_numbers_and_lives_apart(duplicate):
    network = make(2, "tanh", layer_norm=True).double()
    target = duplicate(network)
    x = rows(2)
    assert torch.equal(target(x), network(x))
    with torch.no_grad():
        target.vector.lerp_(torch.zeros_like(target.vector), 0.5)
    assert torch.equal(target.weights[0], 0.5 * network.weights[0])


@pytest.mark.parametrize("count", [1, 2])
def test_the_first_members_share_the_memory_of_the_stack(count):
    network = make(3)
    part = network.first_members(count)
    with torch.no_grad():
        network.vector.mul_(1.5)
    x = rows(3).float()
    torch.testing.assert_close(part.trace(x[:count]).output, network.trace(x).output[:count])
    one = x[:count].clone().requires_grad_()
    part(one).sum().backward()
    other = x.clone().requires_grad_()
    network(other)[:count].sum().backward()
    torch.testing.assert_close(one.grad, other.grad[:count])


def test_members_start_apart_and_a_seed_fixes_them():
    network = make(2, init="orthogonal")
    assert not torch.equal(network.weights[0][0], network.weights[0][1])
    assert torch.equal(network.vector, make(2, init="orthogonal").vector)
    assert (network.biases[0] == 0).all()
    wide = make(init="orthogonal", sizes=(8, 4, 4))
    square = wide.weights[0][0].T @ wide.weights[0][0] / 2  # gain sqrt(2), orthogonal rows
    torch.testing.assert_close(square, torch.eye(4), atol=1e-5, rtol=0)


def test_exported_layers_are_those_of_the_member():
    network = make(2)
    normalizer = ObservationNormalizer(SIZES[0], clip=10.0)
    layers = network.export_layers(normalizer, member=1).layers
    expected = export_policy(plain(network, 1).float(), "relu", normalizer).layers
    for (weight, bias), (other_weight, other_bias) in zip(layers, expected, strict=True):
        assert (weight == other_weight).all()
        assert (bias == other_bias).all()


def test_an_optimiser_copied_with_its_network_steps_the_copy():
    network = StackedMLP((2, 4, 1), generator=torch.Generator().manual_seed(0))
    pair = (network, torch.optim.Adam([network.vector], fused=True))
    twin, optimizer = copy.deepcopy(pair)
    twin.backward(twin.trace(torch.ones(1, 3, 2)), torch.ones(1, 3, 1))
    optimizer.step()
    assert not torch.equal(twin.vector, network.vector)
    assert torch.equal(twin.biases[-1].flatten(), twin.vector[-1:])
