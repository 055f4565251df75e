"""One optimiser step: gradient, targets, the target network, absent agents, masks, divergence."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from rl.algorithms import td_losses
from rl.algorithms.dqn_config import DQNConfig
from rl.algorithms.losses import DivergenceError
from rl.algorithms.q_learning import QLearning, step_metrics
from rl.algorithms.q_network import QNetwork
from rl.algorithms.replay_buffer import TransitionBatch
from rl.algorithms.td_losses import dueling_q, huber, value_of_choice

BATCH, AGENT, OBS, ACT = 32, 2, 3, 4


def make_learning(*, dueling=False, seed=0, hidden=(16,), **settings):
    generator = torch.Generator().manual_seed(seed)
    network = QNetwork((OBS, *hidden), ACT, dueling=dueling, generator=generator)
    return QLearning(network, DQNConfig(**settings))


def make_batch(seed=0, **changes):
    chance = torch.Generator().manual_seed(seed)
    rows = (BATCH, AGENT)
    mask = torch.rand(2, *rows, ACT, generator=chance) < 0.7
    mask[..., 0] = True
    batch = TransitionBatch(
        observation=torch.randn(*rows, OBS, generator=chance),
        action_mask=mask[0],
        alive=torch.rand(rows, generator=chance) < 0.8,
        action=torch.randint(ACT, rows, generator=chance),
        reward=2 * torch.randn(rows, generator=chance),
        discount=torch.where(torch.rand(rows, generator=chance) < 0.2, 0.0, 0.9),
        next_observation=torch.randn(*rows, OBS, generator=chance),
        next_action_mask=mask[1],
        state=torch.zeros(BATCH, 0),
        next_state=torch.zeros(BATCH, 0),
        weight=torch.rand(BATCH, generator=chance),
        index=torch.arange(BATCH),
    )
    return dataclasses.replace(batch, **changes)


def loss_by_autograd(learning, batch):
    """Return the loss with its graph, written plainly."""
    target = learning.targets(batch)
    q = learning.network.mlp(batch.observation.view(1, -1, OBS)).view(BATCH, AGENT, -1)
    if learning.network.dueling:
        q = dueling_q(q[..., :1], q[..., 1:])
    loss = batch.weight[:, None] * huber(target - value_of_choice(q, batch.action))
    return loss[batch.alive].sum() / batch.alive.sum()


@pytest.mark.parametrize("dueling", [False, True])
def test_the_gradient_by_hand_is_that_of_autograd(dueling):
    learning, batch = make_learning(dueling=dueling, max_grad_norm=1e9), make_batch()
    loss = loss_by_autograd(learning, batch)
    (expected,) = torch.autograd.grad(loss, learning.network.vector)
    step = learning.step(batch)
    torch.testing.assert_close(learning.network.vector.grad, expected)
    torch.testing.assert_close(step.figures[0], loss.detach())
    torch.testing.assert_close(step.figures[3], expected.norm())


def test_the_gradient_is_clipped():
    learning = make_learning(max_grad_norm=0.01)
    before = float(learning.step(make_batch()).figures[3])
    assert before > 0.1
    assert float(learning.network.vector.grad.norm()) == pytest.approx(0.01, rel=1e-4)


def with_values(network, values):
    """Let a network say the same values of every observation."""
    with torch.no_grad():
        network.vector.zero_()
        network.mlp.biases[-1].copy_(torch.tensor([[values]]))


ONLINE, TARGET = [5.0, 4.0, 9.0, 1.0], [10.0, 40.0, 20.0, 30.0]


def known_values(**settings):
    learning = make_learning(**settings)
    with_values(learning.network, ONLINE)
    with_values(learning.target, TARGET)
    rows = (BATCH, AGENT)
    mask = torch.ones(*rows, ACT, dtype=torch.bool)
    reward, discount = torch.ones(rows), torch.full(rows, 0.5)
    return learning, make_batch(reward=reward, discount=discount, next_action_mask=mask)


@pytest.mark.parametrize(
    ("double", "allowed", "expected"),
    [
        (False, [1, 1, 1, 1], 21.0),
        (False, [1, 0, 1, 1], 16.0),
        (True, [1, 1, 1, 1], 11.0),
        (True, [1, 1, 0, 1], 6.0),
        (True, [0, 0, 0, 1], 16.0),
    ],
)
def test_targets_are_of_the_right_choice_among_the_allowed(double, allowed, expected):
    learning, batch = known_values(double=double)
    mask = torch.tensor(allowed, dtype=torch.bool).expand(BATCH, AGENT, ACT)
    batch = dataclasses.replace(batch, next_action_mask=mask)
    assert (learning.targets(batch) == expected).all()


def test_double_q_with_the_targets_argmax_would_be_noticed(monkeypatch):
    """The planted fault: the network that judges also chooses."""

    def faulty(_, target_q, mask):
        return td_losses.greedy_value(target_q, mask)

    learning, batch = known_values(double=True)
    monkeypatch.setattr(td_losses, "double_q_value", faulty)
    assert (learning.targets(batch) == 21.0).all()  # 11 is right, as tested above


@pytest.mark.parametrize(("double", "right", "wrong"), [(False, 16.0, 21.0), (True, 6.0, 11.0)])
def test_a_masked_choice_in_a_target_would_be_noticed(monkeypatch, double, right, wrong):
    """The planted fault: the maximum runs over choices that cannot be taken."""
    learning, batch = known_values(double=double)
    best = ONLINE.index(9.0) if double else TARGET.index(40.0)
    mask = torch.ones(BATCH, AGENT, ACT, dtype=torch.bool)
    mask[..., best] = False
    batch = dataclasses.replace(batch, next_action_mask=mask)
    assert (learning.targets(batch) == right).all()
    choose = td_losses.greedy_choice
    monkeypatch.setattr(td_losses, "greedy_choice", lambda q, mask: choose(q, None))
    assert (learning.targets(batch) == wrong).all()


def test_the_target_network_follows_when_it_is_due():
    learning = make_learning(target_update_frequency=3)
    first = learning.target.vector.clone()
    for count in range(1, 7):
        learning.step(make_batch(count))
        same = torch.equal(learning.target.vector, learning.network.vector)
        assert same == (count % 3 == 0)
        if count < 3:
            assert torch.equal(learning.target.vector, first)


def test_a_soft_target_goes_its_share_of_the_way():
    learning = make_learning(target_update_frequency=1, tau=0.25)
    first = learning.target.vector.clone()
    learning.step(make_batch())
    expected = 0.75 * first + 0.25 * learning.network.vector
    torch.testing.assert_close(learning.target.vector, expected.detach())


STEPS_LEFT = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def values_of_a_corridor(target_update_frequency):
    """Learn a walk of three steps, of which the last is paid 1; return its three values."""
    learning = make_learning(
        hidden=(),
        learning_rate=0.02,
        target_update_frequency=target_update_frequency,
        double=False,
    )
    observation = STEPS_LEFT.unsqueeze(1)
    rows = (3, 1)
    ones = torch.ones(*rows, ACT, dtype=torch.bool)
    ones[..., 1:] = False
    batch = TransitionBatch(
        observation=observation,
        action_mask=ones,
        alive=torch.ones(rows, dtype=torch.bool),
        action=torch.zeros(rows, dtype=torch.int64),
        reward=torch.tensor([[0.0], [0.0], [1.0]]),
        discount=torch.tensor([[0.5], [0.5], [0.0]]),
        next_observation=observation.roll(-1, 0),
        next_action_mask=ones,
        state=torch.zeros(3, 0),
        next_state=torch.zeros(3, 0),
        weight=torch.ones(3),
        index=torch.arange(3),
    )
    for _ in range(600):
        learning.step(batch)
    return learning.network(observation)[:, 0, 0].detach()


def test_values_travel_back_through_the_target_network():
    torch.testing.assert_close(
        values_of_a_corridor(20), torch.tensor([0.25, 0.5, 1.0]), atol=0.01, rtol=0
    )


def test_a_target_network_that_is_never_updated_would_be_noticed():
    """The planted fault: the target keeps its first weights."""
    found = values_of_a_corridor(10**9)
    assert (found - torch.tensor([0.25, 0.5, 1.0])).abs().max() > 0.1


def test_absent_agents_change_nothing():
    one, other, batch = make_learning(), make_learning(), make_batch()
    absent = ~batch.alive
    loud = dataclasses.replace(
        batch,
        observation=batch.observation.masked_fill(absent.unsqueeze(-1), 1e3),
        reward=batch.reward.masked_fill(absent, 1e6),
        action=batch.action.masked_fill(absent, 0),
    )
    quiet_step, loud_step = one.step(batch), other.step(loud)
    torch.testing.assert_close(one.network.vector, other.network.vector)
    torch.testing.assert_close(quiet_step.figures, loud_step.figures)


def test_surprise_is_that_of_the_most_surprised_live_agent():
    alive = torch.tensor([[True, False], [True, True]]).repeat(BATCH // 2, 1)
    step = make_learning().step(make_batch(alive=alive))
    error = step.error.abs()
    expected = torch.stack((error[::2, 0], error[1::2].amax(1)), 1).flatten()
    assert torch.equal(step.surprise(), expected)


def test_importance_weights_scale_the_slope_of_their_rows():
    learning = make_learning(max_grad_norm=1e9)
    batch = make_batch(weight=torch.zeros(BATCH))
    step = learning.step(batch)
    assert not learning.network.vector.grad.any()
    assert step.figures[0] == 0
    assert step.error.abs().min() > 0


@pytest.mark.parametrize("name", ["observation", "reward"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_is_named(name, value):
    learning, batch = make_learning(), make_batch()
    getattr(batch, name)[3, 0] = value
    steps = [learning.step(make_batch(1)), learning.step(batch)]
    with pytest.raises(DivergenceError, match=f"^{name} is not finite"):
        step_metrics(steps)


def test_metrics_are_means_over_the_steps_and_quantiles_of_the_last():
    learning = make_learning()
    steps = [learning.step(make_batch(seed)) for seed in range(2)]
    metrics = step_metrics(steps)
    expected = (steps[0].figures + steps[1].figures) / 2
    names = ("td_loss", "q_value", "target_q", "gradient_norm")
    torch.testing.assert_close(torch.stack([metrics[name] for name in names]), expected)
    error = steps[1].error[steps[1].batch.alive]
    levels = torch.tensor([0.1, 0.5, 0.9])
    nearest = torch.quantile(error, levels, interpolation="nearest")
    found = [metrics[f"td_error_{level}"] for level in (10, 50, 90)]
    assert torch.equal(torch.stack(found), nearest)


@pytest.mark.parametrize("dueling", [False, True])
def test_an_exported_network_says_the_same(dueling):
    network = make_learning(dueling=dueling, hidden=(16, 8)).network
    observation = torch.randn(7, OBS)
    exported = network.export_layers()
    hidden = ((observation.numpy() - exported.mean) / exported.std).clip(
        -exported.clip, exported.clip
    )
    for weight, bias in exported.layers[:-1]:
        hidden = np.maximum(hidden @ weight + bias, 0)
    weight, bias = exported.layers[-1]
    np.testing.assert_allclose(
        hidden @ weight + bias, network(observation).detach().numpy(), rtol=1e-4, atol=1e-5
    )
