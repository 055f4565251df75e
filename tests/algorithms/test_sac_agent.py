"""One step of SAC against plain autograd over every network."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from rl.algorithms.policy_state import load_module_state, module_state
from rl.algorithms.sac_agent import SACAgent
from rl.algorithms.sac_config import SACConfig
from rl.algorithms.temperature import Temperature
from rl.algorithms.twin_critics import as_rows
from tests.algorithms.test_continuous_agents import make, play


def plain(network, x):
    """Evaluate a stack by ordinary operations on its flat vector, so that autograd sees each."""
    shapes = [(w.shape, b.shape) for w, b in zip(network.weights, network.biases, strict=True)]
    parts = torch.split(network.vector, [math.prod(s) for pair in shapes for s in pair])
    for index, (weight, bias) in enumerate(shapes):
        x = x @ parts[2 * index].view(weight) + parts[2 * index + 1].view(bias)
        x = x.relu() if index < len(shapes) - 1 else x
    return x


def q_of(network, observation, action):
    return plain(network, torch.cat((observation, action), -1).expand(2, -1, -1)).squeeze(-1)


def draw(actor, observation, noise):
    mean, log_std = plain(actor, observation[None])[0].chunk(2, -1)
    before = Normal(mean, log_std.exp())
    action = (mean + log_std.exp() * noise).tanh()
    squashed = TransformedDistribution(before, [TanhTransform(cache_size=1)])
    return action, squashed.log_prob(action).sum(-1)


@pytest.fixture
def prepared():
    agent = make("sac", gamma=0.9)
    play(agent, 12, seed=1)
    batch = agent.experience.replay.sample(32, torch.Generator().manual_seed(0))
    noises = iter(torch.randn(2, 32, 2, generator=torch.Generator().manual_seed(7)).unbind())
    agent.experience.normal = lambda like: next(noises)
    return agent, batch, torch.randn(2, 32, 2, generator=torch.Generator().manual_seed(7))


def copy_of(network):
    copied = network.copy()
    load_module_state(copied, module_state(network))
    return copied


def test_a_step_has_the_gradients_of_autograd(prepared):
    agent, batch, (next_noise, noise) = prepared
    rows, alpha = as_rows(batch), agent.temperature.value
    actor, critic = copy_of(agent.actor.network), copy_of(agent.critics.network)
    with torch.no_grad():
        next_action, next_log_prob = draw(actor, rows.next_observation, next_noise)
        next_q = q_of(agent.critics.target, rows.next_observation, next_action)
        target = rows.reward + rows.discount * (next_q.min(0).values - alpha * next_log_prob)
    loss = 0.5 * (q_of(critic, rows.observation, rows.action) - target).square().mean(-1).sum()
    loss.backward()

    metrics = agent.learn(batch)
    torch.testing.assert_close(agent.critics.network.vector.grad, critic.vector.grad)
    torch.testing.assert_close(metrics["critic_loss"], loss.detach())
    torch.testing.assert_close(metrics["critic_gradient_norm"], critic.vector.grad.norm())

    stepped = copy_of(agent.critics.network)
    action, log_prob = draw(actor, rows.observation, noise)
    q_value = q_of(stepped, rows.observation, action).min(0).values
    actor_loss = (alpha * log_prob - q_value).mean()
    actor_loss.backward()
    torch.testing.assert_close(
        agent.actor.network.vector.grad, actor.vector.grad, rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(metrics["actor_loss"], actor_loss.detach())
    torch.testing.assert_close(metrics["entropy"], -log_prob.detach().mean())


def test_the_policy_does_not_pay_for_the_critics_weights(prepared):
    agent, batch, _ = prepared
    agent.learn(batch)
    assert not agent.critics.network.vector.requires_grad
    before = agent.critics.network.vector.grad.clone()
    rows = as_rows(batch)
    action = rows.action.clone().requires_grad_()
    agent.critics.value(rows.observation, action).sum().backward()
    assert torch.equal(agent.critics.network.vector.grad, before)
    assert (action.grad != 0).any()


def test_targets_go_their_share_of_the_way(prepared):
    agent, batch, _ = prepared
    before = agent.critics.target.vector.detach().clone()
    agent.learn(batch)
    expected = before + 0.005 * (agent.critics.network.vector - before)
    torch.testing.assert_close(agent.critics.target.vector.detach(), expected.detach())


@pytest.mark.parametrize(("log_prob", "rises"), [(5.0, True), (-5.0, False)])
def test_the_temperature_rises_where_entropy_is_too_low(log_prob, rises):
    temperature = Temperature(
        None,
        learning_rate=0.1,
        per_dimension=-1.0,
        action_range=(0.0, 1.0),
        device=torch.device("cpu"),
    )
    mask = torch.ones(4, 2, dtype=torch.bool)
    temperature.adjust(torch.full((4,), log_prob), mask, torch.ones(4))
    assert temperature.value.item() == pytest.approx(math.exp(0.1 if rises else -0.1), rel=1e-3)


def test_a_fixed_temperature_stays():
    agent = SACAgent("a", 3, 2, SACConfig(temperature=0.25, learning_starts=8), seed=0)
    play(agent, 4, seed=3)
    assert agent.temperature.value.item() == pytest.approx(0.25)
