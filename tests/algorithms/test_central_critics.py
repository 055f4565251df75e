"""Critics of all agents at once, beside the same critics one by one under autograd."""

from __future__ import annotations

import itertools

import pytest
import torch

from rl.algorithms.central_critics import CentralCritics

AGENTS, BATCH, OBS, ACT = 3, 5, 4, 2
CONTEXT = AGENTS * OBS
CASES = list(itertools.product([1, 2], [False, True], [False, True], [(7,), (7, 6)]))


def make(num_critics=1, shared=False, layer_norm=True, hidden_dims=(7, 6)):
    return CentralCritics(
        CONTEXT,
        ACT,
        hidden_dims,
        num_agents=AGENTS,
        num_critics=num_critics,
        shared=shared,
        layer_norm=layer_norm,
        generator=torch.Generator().manual_seed(1),
    ).double()


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def one_critic(critics, weights, critic, agent, joint):
    """Return Q of one critic of one agent, written as a textbook would."""
    weight, bias, vector = weights
    member = critic * critics.num_sets + min(agent, critics.num_sets - 1)
    hidden = joint @ weight[member] + bias[critic, agent]
    if critics.layer_norm:
        hidden = torch.nn.functional.layer_norm(hidden, hidden.shape[-1:])
    hidden = hidden.relu()
    sizes, stack, start = critics.rest.sizes, critics.rest.stack, 0
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        block = vector[start : start + stack * inputs * outputs].view(stack, inputs, outputs)
        start += stack * inputs * outputs
        offset = vector[start : start + stack * outputs].view(stack, outputs)
        start += stack * outputs
        hidden = hidden @ block[member] + offset[member]
        if layer < len(sizes) - 2:
            hidden = hidden.relu()
    return hidden.squeeze(-1)


def leaves(critics):
    return [weight.detach().clone().requires_grad_() for weight in critics.parameters()]


def all_values(critics, weights, joint):
    """Return `[critic, agent, batch]`; `joint` is one for all or one per agent."""
    joints = joint.expand(AGENTS, -1, -1)
    return torch.stack(
        [
            torch.stack([one_critic(critics, weights, k, i, joints[i]) for i in range(AGENTS)])
            for k in range(critics.num_critics)
        ]
    )


@pytest.mark.parametrize(("num_critics", "shared", "layer_norm", "hidden_dims"), CASES)
def test_values_and_gradients_are_those_of_critics_one_by_one(
    num_critics, shared, layer_norm, hidden_dims
):
    critics = make(num_critics, shared, layer_norm, hidden_dims)
    joint, weights = draw(BATCH, CONTEXT + AGENTS * ACT), leaves(critics)
    expected = all_values(critics, weights, joint)
    trace = critics.trace(joint)
    torch.testing.assert_close(trace.value, expected)
    grad = draw(num_critics, AGENTS, BATCH, seed=2)
    gradients = torch.autograd.grad((expected * grad).sum(), weights)
    critics.backward(trace, grad)
    for weight, gradient in zip(critics.parameters(), gradients, strict=True):
        torch.testing.assert_close(weight.grad, gradient)


def improvement_of(critics, replaced_by):
    """Return values and action gradients where agent i's joint input is `replaced_by(i, ...)`."""
    joint = draw(BATCH, CONTEXT + AGENTS * ACT)
    played = joint[:, CONTEXT:].unflatten(1, (AGENTS, ACT)).transpose(0, 1)
    action = draw(AGENTS, BATCH, ACT, seed=3).requires_grad_()
    grad = draw(AGENTS, BATCH, seed=4)
    joints = torch.stack(
        [
            torch.cat((joint[:, :CONTEXT], *replaced_by(i, played, action)), -1)
            for i in range(AGENTS)
        ]
    )
    value = all_values(critics, leaves(critics), joints)[0]
    (gradient,) = torch.autograd.grad((value * grad).sum(), action)
    trace = critics.trace(joint)
    mine = critics.improve(trace, action.detach() - played, grad)
    return (value, gradient), mine


def own_only(agent, played, action):
    return [action[j] if j == agent else played[j] for j in range(AGENTS)]


def everybody(agent, played, action):
    return list(action)


@pytest.mark.parametrize(("num_critics", "shared", "layer_norm", "hidden_dims"), CASES)
def test_an_agent_replaces_its_own_action_only(num_critics, shared, layer_norm, hidden_dims):
    critics = make(num_critics, shared, layer_norm, hidden_dims)
    (value, gradient), (mine, at_action) = improvement_of(critics, own_only)
    torch.testing.assert_close(mine, value)
    torch.testing.assert_close(at_action, gradient)
    assert all(weight.grad is None for weight in critics.parameters())


def test_replacing_the_others_too_would_be_noticed():
    (value, gradient), (mine, at_action) = improvement_of(make(), everybody)
    assert not torch.allclose(mine, value, rtol=1e-3)
    assert not torch.allclose(at_action, gradient, rtol=1e-3)
