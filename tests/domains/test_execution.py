"""One order: observation and feasibility on NumPy and torch, and what the experts sell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rl.domains.execution import ExecutionConfig, ExecutionDomain, ExecutionView, almgren_chriss
from rl.domains.execution_experts import EXPERTS, compute_urgency, hold_optimally
from utils.errors import ConfigError


def make_view(remaining=1.0, steps_left=5.0, price_change=0.0, last_move=0.0):
    values = (remaining, steps_left, price_change, last_move)
    arrays = [np.asarray(value, np.float32) for value in values]
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    names = ("remaining", "steps_left", "price_change", "last_move")
    filled = (np.broadcast_to(array, shape) for array in arrays)
    return ExecutionView(**dict(zip(names, filled, strict=True)))


def as_torch(view):
    return ExecutionView(**{n: torch.tensor(np.array(v)) for n, v in vars(view).items()})


def random_view(seed=0, shape=(7, 3)):
    draw = np.random.default_rng(seed)
    return make_view(
        draw.random(shape), draw.integers(0, 6, shape), draw.normal(0, 9, shape), draw.normal(0, 5)
    )


def test_observation_in_standard_deviations():
    config = almgren_chriss()
    view = make_view(0.5, 2.0, -config.volatility * np.sqrt(5.0), 2 * config.volatility)
    seen = ExecutionDomain(config).encode(view)
    np.testing.assert_allclose(seen, [0.5, 0.4, -1.0, 2.0], rtol=1e-6)


def test_numpy_and_torch_agree():
    config, view = almgren_chriss(), random_view()
    action = np.random.default_rng(1).uniform(-0.5, 1.5, (7, 3, 1)).astype(np.float32)
    here, there = ExecutionDomain(config), ExecutionDomain(config, torch)
    seen = there.encode(as_torch(view)).numpy()
    np.testing.assert_allclose(here.encode(view), seen, rtol=0, atol=1e-6)
    assert here.encode(view).dtype == np.float32
    sold = there.project(torch.tensor(action), as_torch(view)).numpy()
    np.testing.assert_allclose(here.project(action, view), sold, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("action", "steps_left", "sold"),
    [(0.25, 3, 0.2), (-1.0, 3, 0.0), (7.0, 3, 0.8), (0.25, 1, 0.8), (0.0, 1, 0.8)],
)
def test_slices_stay_inside_the_order_and_the_last_sells_the_rest(action, steps_left, sold):
    view = make_view(0.8, steps_left)
    found = ExecutionDomain(almgren_chriss()).project(np.asarray([action], np.float32), view)
    assert found == pytest.approx(sold)


def play(name, config):
    """Holdings after each slice when an expert sells without any shock."""
    domain, held = ExecutionDomain(config), [1.0]
    for left in range(config.num_steps, 0, -1):
        view = make_view(held[-1], left)
        held.append(held[-1] - float(domain.project(EXPERTS[name](view, config), view)))
    return np.asarray(held[1:]) * config.shares


@pytest.mark.parametrize(
    ("name", "risk_aversion", "holdings"),
    [
        ("twap", 1e-6, [800_000, 600_000, 400_000, 200_000, 0]),
        ("immediate", 1e-6, [0, 0, 0, 0, 0]),
        ("almgren_chriss", 0.0, [800_000, 600_000, 400_000, 200_000, 0]),
        ("almgren_chriss", 1e-6, [541_956, 289_854, 147_897, 62_142, 0]),
        ("almgren_chriss", 2e-6, [428_599, 182_933, 76_296, 27_643, 0]),
        ("almgren_chriss", 1e-5, [177_868, 31_636, 5_622, 969, 0]),
    ],
)
def test_experts_sell_as_published(name, risk_aversion, holdings):
    np.testing.assert_allclose(play(name, almgren_chriss(risk_aversion)), holdings, atol=1.0)


def test_experts_are_batched_and_bounded():
    view = random_view(shape=(4, 3))
    for expert in EXPERTS.values():
        action = expert(view, almgren_chriss())
        assert action.shape == (4, 3, 1)
        assert action.dtype == np.float32
        assert ((action >= 0) & (action <= 1)).all()


@pytest.mark.parametrize(
    ("risk_aversion", "kappa"), [(0.0, 0.0), (1e-6, 0.6071), (2e-6, 0.8463), (1e-5, 1.7267)]
)
def test_urgency_as_published(risk_aversion, kappa):
    config = almgren_chriss(risk_aversion)
    found = compute_urgency(config)
    assert found == pytest.approx(kappa, abs=5e-5)
    tilt = config.risk_aversion * config.volatility**2 / config.net_impact
    tau = config.step_days
    assert np.cosh(found * tau) == pytest.approx(1 + 0.5 * tilt * tau**2)


def test_extreme_urgencies_stay_finite():
    left = np.arange(1, 1001)
    for risk_aversion in (0.0, 1e-25, 1e-18, 1.0, 1e9):
        config = replace(almgren_chriss(risk_aversion), num_steps=1000)
        kept = hold_optimally(left, config)
        assert np.isfinite(kept).all()
        assert ((kept >= 0) & (kept < 1)).all()
    nearly_even = hold_optimally(left, replace(almgren_chriss(1e-18), num_steps=1000))
    np.testing.assert_allclose(nearly_even, (left - 1) / left, atol=1e-6)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("shares", 0.0),
        ("horizon_days", -1.0),
        ("volatility", float("nan")),
        ("num_steps", 0),
        ("half_spread", -0.1),
        ("risk_aversion", float("inf")),
        ("temporary_impact", 1e-7),
        ("temporary_impact", float("nan")),
    ],
)
def test_impossible_orders_are_refused(field, value):
    with pytest.raises(ConfigError, match=field):
        ExecutionConfig(**{field: value})
