"""One domain, two array libraries: what is observed and what is feasible agree."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.domains.resource_allocation import (
    COVERAGE_SIZE,
    OBSERVATION_LIMIT,
    AllocationConfig,
    AllocationDomain,
    AllocationView,
    ServiceSpec,
)
from rl.domains.shared_services import shared_services
from utils.errors import ConfigError

LEADING = (5, 3)

many = settings(max_examples=60, deadline=None)
cases = {"seed": st.integers(0, 2**32 - 1), "services": st.integers(1, 6)}


def draw_view(config, seed, leading=LEADING):
    """Any state, from idle to hopelessly late, with resources that have failed altogether."""
    draw = np.random.default_rng(seed)
    services, resources = len(config.services), len(config.resources)

    def some(*shape, scale):
        values = draw.exponential(scale, (*leading, *shape))
        return np.where(draw.random(values.shape) < 0.2, 0.0, values).astype(np.float32)

    return AllocationView(
        backlog=some(services, config.max_patience, scale=30.0),
        recent_demand=some(services, config.lookback, scale=30.0),
        allocation=some(services, resources, scale=10.0),
        capacity=some(resources, scale=60.0),
        priority=some(services, scale=2.0),
        price=some(resources, scale=0.2),
        time_of_day=draw.random(leading).astype(np.float32),
    )


def to_torch(view):
    return AllocationView(**{f.name: torch.as_tensor(getattr(view, f.name)) for f in fields(view)})


def both(services):
    config = shared_services(services).allocation
    return (
        AllocationDomain(config),
        AllocationDomain(config, torch, lambda v: torch.as_tensor(v, dtype=torch.float32)),
    )


def assert_equal(left, right):
    assert left.dtype == np.float32
    np.testing.assert_allclose(left, right.numpy(), rtol=1e-6, atol=1e-6)


@many
@given(**cases)
def test_numpy_and_torch_observe_the_same(seed, services):
    numpy_domain, torch_domain = both(services)
    view = draw_view(numpy_domain.config, seed)
    observation = numpy_domain.encode(view)
    assert observation.shape == (*LEADING, numpy_domain.observation_size)
    assert observation.min() >= 0
    assert observation.max() <= OBSERVATION_LIMIT
    assert_equal(observation, torch_domain.encode(to_torch(view)))


@many
@given(**cases)
def test_numpy_and_torch_project_the_same(seed, services):
    numpy_domain, torch_domain = both(services)
    view = draw_view(numpy_domain.config, seed)
    draw = np.random.default_rng(seed)
    size = services * numpy_domain.num_resources
    action = draw.uniform(-0.5, 1.5, (*LEADING, size)).astype(np.float32)
    allocation = numpy_domain.project(action, view.capacity)
    assert (allocation >= 0).all()
    assert (allocation.sum(-2) <= view.capacity * (1 + 1e-5)).all()
    mirrored = torch_domain.project(torch.as_tensor(action), to_torch(view).capacity)
    np.testing.assert_allclose(allocation, mirrored.numpy(), rtol=1e-6, atol=1e-5)


@many
@given(**cases)
def test_numpy_and_torch_cover_the_same(seed, services):
    numpy_domain, torch_domain = both(services)
    view = draw_view(numpy_domain.config, seed)
    view = replace(view, capacity=view.capacity + 1.0)
    draw = np.random.default_rng(seed)
    size = services * COVERAGE_SIZE
    action = draw.uniform(-0.5, 1.5, (*LEADING, size)).astype(np.float32)
    share = numpy_domain.cover(action, view)
    assert share.shape == (*LEADING, services * numpy_domain.num_resources)
    assert (share >= 0).all()
    mirrored = torch_domain.cover(torch.as_tensor(action), to_torch(view))
    np.testing.assert_allclose(share, mirrored.numpy(), rtol=1e-4, atol=1e-5)


def small_domain():
    return AllocationDomain(
        AllocationConfig(
            services=(
                ServiceSpec(name="now", priority=2.0, patience=1, usage=(1.0,)),
                ServiceSpec(name="later", priority=4.0, patience=3, usage=(2.0,)),
            ),
            resources=("compute",),
            capacity=(10.0,),
            price=(0.5,),
            lookback=4,
        )
    )


def test_observation_by_hand():
    domain = small_domain()
    view = AllocationView(
        backlog=np.array([[0, 0, 0], [1, 2, 3]], np.float32),
        recent_demand=np.array([[4, 3, 2, 1], [0, 0, 0, 5]], np.float32),
        allocation=np.array([[5], [4]], np.float32),
        capacity=np.array([8], np.float32),
        priority=np.array([2, 4], np.float32),
        price=np.array([0.25], np.float32),
        time_of_day=np.float32(0.25),
    )
    now, later = domain.encode_services(view)
    waits, arrives, has, is_ = slice(0, 5), slice(5, 10), slice(10, 11), slice(11, 14)
    assert now[waits] == pytest.approx([0, 0, 0, 0, 0])
    assert later[waits] == pytest.approx([0.2, 0.6, 1.2, 1.2, 1.2])
    assert now[arrives] == pytest.approx([0.1, 0.2, 0.3, 0.15, 0.25])
    assert later[arrives] == pytest.approx([1.0, 0.0, 0.0, 0.5, 0.25])
    assert [now[has], later[has]] == pytest.approx([0.5, 0.4])
    assert now[is_] == pytest.approx([0.5, 1 / 3, 1.0])
    assert later[is_] == pytest.approx([1.0, 1.0, 1.0])
    load, expiring = (2 * 1 + (6 + 5 / 3) * 2) / 8, 1 * 2 / 8
    shared = [load, expiring, 0.8, 0.5, 1.0, 0.5]
    assert domain.encode_shared(view) == pytest.approx(shared, rel=1e-5)
    assert domain.encode(view) == pytest.approx([*now, *later, *domain.encode_shared(view)])


@pytest.mark.parametrize(
    ("action", "allocation"),
    [
        ([0.2, 0.3], [1.6, 2.4]),
        ([1.0, 1.0], [4.0, 4.0]),
        ([-1.0, 3.0], [0.0, 8.0]),
        ([0.9, 0.3], [6.0, 2.0]),
        ([0.0, 0.0], [0.0, 0.0]),
    ],
)
def test_projection_by_hand(action, allocation):
    granted = small_domain().project(np.array(action, np.float32), np.array([8.0], np.float32))
    assert granted[:, 0] == pytest.approx(allocation)


SERVICE = {"name": "a", "priority": 1.0, "patience": 1, "usage": (1.0,)}
WORLD = {
    "services": (ServiceSpec(**SERVICE),), "resources": ("r",), "capacity": (1.0,), "price": (0.0,),
}  # fmt: skip


@pytest.mark.parametrize(
    "change", [{"patience": 0}, {"priority": -1.0}, {"usage": ()}, {"usage": (0.0,)}]
)
def test_impossible_services_are_refused(change):
    with pytest.raises(ConfigError):
        ServiceSpec(**{**SERVICE, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"services": ()},
        {"resources": ("r", "s")},
        {"capacity": (0.0,)},
        {"price": (-1.0,)},
        {"max_steps": 0},
        {"lookback": 2},
    ],
)
def test_impossible_worlds_are_refused(change):
    with pytest.raises(ConfigError):
        AllocationConfig(**{**WORLD, **change})


@pytest.mark.parametrize("services", [1, 4, 9])
def test_preset_grows_with_its_services(services):
    preset = shared_services(services)
    names = [service.name for service in preset.allocation.services]
    assert len(set(names)) == len(names) == services
    assert preset.allocation.capacity == (20.0 * services,) * 2
    with pytest.raises(ConfigError):
        shared_services(0)
    with pytest.raises(ConfigError, match="1 to 1,024 services, not 1000000"):
        shared_services(1_000_000)
