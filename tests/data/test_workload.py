"""Every law of the synthetic demand leaves the trace in the numbers that it promises."""

from __future__ import annotations

import numpy as np
import pytest

from data.scenario import hash_scenarios
from data.workload import (
    STEPS_PER_DAY,
    FailureConfig,
    ServiceDemand,
    SyntheticConfig,
    SyntheticWorkload,
    WorldConfig,
)
from utils.errors import ConfigError

CALM = FailureConfig(failures_per_day=0.0)


def draw(*laws, episodes=400, seed=0, profile=None, variation=0.0, **world):
    defaults = {
        "priority": (1.0,) * len(laws),
        "capacity": (10.0, 20.0),
        "price": (0.1, 0.2),
        "failures": CALM,
    }
    source = SyntheticWorkload(
        SyntheticConfig(services=laws, variation=variation),
        WorldConfig(**{**defaults, **world}),
        profile,
    )
    return source.draw(episodes, np.random.default_rng(seed))


def test_drawing_is_a_function_of_the_generator():
    law = ServiceDemand(mean=5.0, bursts_per_day=5, burst_height=3)
    hashes = [hash_scenarios(draw(law, episodes=4, seed=seed)) for seed in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_shapes_types_and_continuing_time():
    scenarios = draw(ServiceDemand(mean=5.0), episodes=3, max_steps=300, lookback=4)
    assert scenarios.history.shape == (3, 4, 1)
    assert scenarios.demand.shape == (3, 300, 1)
    assert scenarios.capacity.shape == (3, 300, 2)
    assert scenarios.demand.dtype == np.float32
    steps = np.diff(scenarios.time_of_day, axis=1) * STEPS_PER_DAY
    assert np.allclose(steps % STEPS_PER_DAY, 1, atol=1e-2)
    assert scenarios.time_of_day.max() < 1


def test_noise_keeps_the_mean():
    demand = draw(ServiceDemand(mean=7.0, noise=0.5)).demand
    assert demand.mean() == pytest.approx(7.0, rel=0.02)
    assert np.log(demand).std() == pytest.approx(0.5, rel=0.02)


def test_season_peaks_by_day_and_has_its_amplitude():
    law = ServiceDemand(mean=10.0, daily_amplitude=0.4, noise=0.0)
    scenarios = draw(law, max_steps=STEPS_PER_DAY, episodes=20)
    demand = scenarios.demand[..., 0]
    assert demand.max(1) == pytest.approx(14.0, rel=1e-3)
    assert demand.min(1) == pytest.approx(6.0, rel=1e-3)
    peak = scenarios.time_of_day[np.arange(20), demand.argmax(1)]
    assert peak == pytest.approx(0.75, abs=0.01)
    flat = draw(ServiceDemand(mean=10.0, noise=0.0), episodes=5).demand
    assert flat == pytest.approx(10.0)


@pytest.mark.parametrize("persistence", [0.0, 0.5, 0.9])
def test_noise_persists_as_told(persistence):
    law = ServiceDemand(mean=1.0, noise=0.3, noise_persistence=persistence)
    logs = np.log(draw(law, max_steps=200).demand[..., 0])
    correlation = np.corrcoef(logs[:, :-1].ravel(), logs[:, 1:].ravel())[0, 1]
    assert correlation == pytest.approx(persistence, abs=0.03)


@pytest.mark.parametrize("shared", [0.0, 0.4, 1.0])
def test_services_correlate_by_the_shared_variance(shared):
    law = ServiceDemand(mean=1.0, noise=0.3, shared_noise=shared)
    logs = np.log(draw(law, law).demand)
    correlation = np.corrcoef(logs[..., 0].ravel(), logs[..., 1].ravel())[0, 1]
    assert correlation == pytest.approx(shared, abs=0.03)


def test_bursts_have_their_rate_length_and_height():
    law = ServiceDemand(mean=0.0, noise=0.0, bursts_per_day=4.0, burst_steps=5.0, burst_height=10.0)
    demand = draw(law, max_steps=STEPS_PER_DAY, episodes=2000).demand[..., 0]
    active = demand > 0
    starts = (~active[:, :-1] & active[:, 1:]).sum(1).mean()
    assert starts == pytest.approx(4.0, rel=0.1)
    assert active[:, 1:].sum() / starts / 2000 == pytest.approx(5.0, rel=0.1)
    assert 7.0 <= demand[active].min() < demand[active].max() <= 11.0


def test_bursts_follow_the_profile_only_if_told():
    profile = np.asarray([0.0, 2.0], np.float32)
    rules = {"mean": 0.0, "noise": 0.0, "bursts_per_day": 288.0, "burst_height": 10.0}
    follower = ServiceDemand(**rules, burst_follows_profile=True)
    flat = ServiceDemand(**rules)
    demand = draw(follower, flat, profile=profile, episodes=50).demand
    ups = demand[..., 0] > 0
    assert (ups[:, 1:] ^ ups[:, :-1]).all()
    assert (demand[..., 1] > 0).all()


def test_episodes_vary_as_told():
    law = ServiceDemand(mean=10.0, noise=0.0)
    means = draw(law, variation=0.4, episodes=2000).demand.mean((1, 2))
    assert means.min() == pytest.approx(6.0, rel=0.02)
    assert means.max() == pytest.approx(14.0, rel=0.02)
    assert means.std() == pytest.approx(8 / 12**0.5, rel=0.05)


def test_capacity_fails_as_often_as_long_and_as_deep_as_told():
    failures = FailureConfig(
        failures_per_day=3.0, mean_steps=8.0, smallest_loss=0.2, largest_loss=0.5
    )
    capacity = draw(
        ServiceDemand(mean=1.0), episodes=1500, max_steps=STEPS_PER_DAY, failures=failures
    ).capacity
    for resource, nominal in enumerate((10.0, 20.0)):
        share = capacity[..., resource] / nominal
        failed = share < 1
        starts = (~failed[:, :-1] & failed[:, 1:]).sum(1).mean()
        assert starts == pytest.approx(3.0, rel=0.12)
        assert failed[:, 1:].sum() / 1500 / starts == pytest.approx(8.0, rel=0.12)
        assert 0.5 <= share[failed].min() < 0.51
        assert 0.79 < share[failed].max() <= 0.8 + 1e-6
    assert not np.array_equal(capacity[..., 0] < 10, capacity[..., 1] < 20)


def test_without_failures_capacity_is_nominal():
    assert (draw(ServiceDemand(mean=1.0), episodes=5).capacity == (10.0, 20.0)).all()


def test_jitter_moves_priorities_and_prices_and_its_absence_does_not():
    steady = draw(ServiceDemand(mean=1.0), episodes=5)
    assert (steady.priority == 1).all()
    assert np.allclose(steady.price, (0.1, 0.2))
    moved = draw(ServiceDemand(mean=1.0), jitter=0.2)
    for values in (moved.priority, moved.price / np.float32((0.1, 0.2))):
        assert 0.8 <= values.min() < 0.82
        assert 1.18 < values.max() <= 1.2 + 1e-6


@pytest.mark.parametrize(
    "bad",
    [
        {"mean": -1.0},
        {"mean": 1.0, "daily_amplitude": 1.5},
        {"mean": 1.0, "noise": -0.1},
        {"mean": 1.0, "noise_persistence": 1.0},
        {"mean": 1.0, "shared_noise": -0.1},
        {"mean": 1.0, "bursts_per_day": -1.0},
        {"mean": 1.0, "burst_steps": 0.5},
        {"mean": 1.0, "burst_height": -1.0},
    ],
)
def test_impossible_laws_are_refused(bad):
    with pytest.raises(ConfigError):
        ServiceDemand(**bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"smallest_loss": 0.6},
        {"largest_loss": 1.1},
        {"smallest_loss": -0.1},
        {"failures_per_day": -1.0},
        {"mean_steps": 0.5},
    ],
)
def test_impossible_failures_are_refused(bad):
    with pytest.raises(ConfigError):
        FailureConfig(**bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"priority": ()},
        {"capacity": ()},
        {"price": (0.1, 0.1, 0.1)},
        {"priority": (-1.0,)},
        {"capacity": (0.0, 1.0)},
        {"max_steps": 0},
        {"lookback": 0},
        {"jitter": 1.0},
    ],
)
def test_impossible_worlds_are_refused(bad):
    good = {"priority": (1.0,), "capacity": (1.0, 1.0), "price": (0.1, 0.1)}
    with pytest.raises(ConfigError):
        WorldConfig(**{**good, **bad})


def test_one_law_per_service():
    world = WorldConfig(priority=(1.0, 1.0), capacity=(1.0,), price=(0.1,))
    with pytest.raises(ConfigError, match="1 demand laws for 2 services"):
        SyntheticWorkload(SyntheticConfig(services=(ServiceDemand(mean=1.0),)), world)
