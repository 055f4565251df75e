"""Gradients through a supply network, and the surrogates where it has none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from data.scenario import BankConfig, ScenarioBank
from rl.domains.supply_business import five_product
from rl.domains.supply_chain import Goodwill
from rl.domains.supply_presets import multi_echelon, serial
from rl.environments.supply_goodwill import draw_demand, move_sentiment, poisson_quantile
from rl.environments.supply_network_environment import BatchedSupplyNetwork, SupplyOptions

WORLDS = {
    "serial": lambda: serial("trend+seasonal"),
    "multi_echelon": lambda: multi_echelon("trend+seasonal+shock", backlog=False),
    "five_product": lambda: five_product(6, max_steps=20, disruption_probability=0.3),
}


def build(preset, *, num_envs=100, precision="double", **changes):
    config = replace(preset.config, **changes)
    bank = ScenarioBank(preset.source, BankConfig(num_episodes=num_envs), 3)
    options = SupplyOptions(num_envs=num_envs, shuffle=False, precision=precision)
    return BatchedSupplyNetwork(config, bank, options, 3)


def episode_return(environment, actions):
    """Return of each copy; actions `[time, env, flow]`."""
    environment.reset(0)
    return sum(environment.step(one[:, None]).reward[:, 0] for one in actions)


def draw_point(environment, seed, dtype=torch.float64):
    """Orders of about what is sold, so that shelves sometimes run dry."""
    draw = torch.Generator().manual_seed(seed)
    shape = (environment.config.max_steps, environment.num_envs, environment.action_size)
    return 0.02 + 0.3 * torch.rand(shape, generator=draw, dtype=dtype)


@pytest.mark.parametrize("world", WORLDS)
def test_gradient_equals_central_differences(world):
    """100 points, each with demand of its own; orders are fractions, so none sits on a kink."""
    environment = build(WORLDS[world]())
    point = draw_point(environment, 5)
    direction = torch.randn(point.shape, generator=torch.Generator().manual_seed(6)).double()
    point.requires_grad_()
    (gradient,) = torch.autograd.grad(episode_return(environment, point).sum(), point)
    slope = (gradient * direction).sum((0, 2))
    width = 1e-7
    with torch.no_grad():
        up, down = (episode_return(environment, point + s * width * direction) for s in (1, -1))
    error = (slope - (up - down) / (2 * width)).abs()
    assert (slope.abs() > 0).all()
    assert (error <= 0.01 * slope.abs()).all()


@pytest.mark.parametrize("goodwill", [False, True])
@pytest.mark.parametrize("world", WORLDS)
def test_gradients_change_no_bit(world, goodwill):
    memory = Goodwill() if goodwill else None
    environment = build(WORLDS[world](), num_envs=8, precision="single", goodwill=memory)
    actions = draw_point(environment, 1, torch.float32)
    with torch.no_grad():
        plain = episode_return(environment, actions)
    tracked = episode_return(environment, actions.requires_grad_())
    assert torch.equal(plain, tracked.detach())
    assert torch.autograd.grad(tracked.sum(), actions)[0].isfinite().all()


def test_goodwill_by_hand():
    law = Goodwill()
    sentiment = torch.tensor([1.0, 1.0, 0.21, 1.99], dtype=torch.float64)
    missing = torch.tensor([0.0, 3.0, 1.0, 0.0], dtype=torch.float64, requires_grad=True)
    moved = move_sentiment(sentiment, missing, law)
    assert moved.tolist() == pytest.approx([1.01, 0.9, 0.2, 2.0])
    moved.sum().backward()
    worse = -0.5 * np.exp([-0.0, -1.5, -0.5, -0.0]) * [0.11, 0.11, 0.0121, 0.209]
    assert missing.grad.tolist() == pytest.approx(worse.tolist(), abs=1e-9)


def test_demand_that_follows_goodwill_is_poisson():
    uniform = torch.rand(200_000, generator=torch.Generator().manual_seed(0))
    for mean in (0.1, 0.7, 3.0, 20.0, 130.0, 600.0):
        counts = poisson_quantile(uniform[:2000], torch.full((2000,), mean))
        expected = stats.poisson.ppf(uniform[:2000].double(), mean)
        assert (counts.numpy() == expected).mean() >= 0.999
        assert np.abs(counts.numpy() - expected).max() <= 1
    edges = torch.tensor([0.0, 1e-9, 1e-7, 1.0 - 1e-7, 1.0], dtype=torch.float64)
    for mean in (0.1, 0.5, 3.0, 20.0, 600.0):
        counts = poisson_quantile(edges, torch.full((5,), mean, dtype=torch.float64))
        assert counts.tolist() == stats.poisson.ppf(edges.clamp(1e-12, 1 - 1e-12), mean).tolist()
    mean = torch.full((4,), 20.0, requires_grad=True)
    draw_demand(uniform[:4], mean).sum().backward()
    assert (mean.grad == 1).all()
