"""A law is found again in its own days, and comes close to the real series."""

from __future__ import annotations

import numpy as np
import pytest

from data.scenario import ScenarioError
from data.traces import load_service_traces, locate_traces
from data.workload import STEPS_PER_DAY, ServiceDemand
from data.workload_fit import draw_days, find_bursts, fit_service_demand


def long_series(law, days=40):
    """Days of the law one after the other; each begins at a random time, so no season."""
    return draw_days(law, days).ravel()


@pytest.mark.parametrize("noise", [0.5, 1.0])
def test_noise_and_level_are_found_again(noise):
    law = ServiceDemand(mean=20.0, noise=noise, noise_persistence=0.6)
    found, report = fit_service_demand(long_series(law))
    assert found.mean == pytest.approx(20.0, rel=0.05)
    assert found.noise == pytest.approx(noise, rel=0.1)
    assert found.noise_persistence == pytest.approx(0.6, abs=0.07)
    assert found.bursts_per_day < 1
    assert max(figure.relative_error for figure in report.figures[:4]) < 0.1


def test_bursts_are_found_again():
    law = ServiceDemand(mean=5.0, noise=0.1, bursts_per_day=6.0, burst_steps=8.0, burst_height=60.0)
    found, _ = fit_service_demand(long_series(law))
    assert found.mean == pytest.approx(5.0, rel=0.05)
    assert found.bursts_per_day == pytest.approx(6.0 * 7 / 8, rel=0.2)  # single steps do not count
    assert found.burst_height == pytest.approx(60.0, rel=0.05)


def test_the_season_is_found_again():
    time = np.arange(10 * STEPS_PER_DAY) / STEPS_PER_DAY
    noise = np.random.default_rng(0).normal(1.0, 0.05, len(time))
    found, _ = fit_service_demand(10.0 * (1.0 + 0.4 * np.sin(2 * np.pi * time - 1.0)) * noise)
    assert found.daily_amplitude == pytest.approx(0.4, abs=0.01)
    assert found.noise == pytest.approx(0.05, rel=0.1)


def test_a_single_spike_is_no_burst():
    series = np.full(STEPS_PER_DAY, 10.0)
    series[50], series[100:104] = 200.0, 200.0
    assert np.flatnonzero(find_bursts(series)).tolist() == [100, 101, 102, 103]


@pytest.mark.skipif(locate_traces() is None, reason="no real traces here")
def test_real_services_come_close():
    traces, _ = load_service_traces(locate_traces()).split()
    for service in range(4):
        _, report = fit_service_demand(traces.demand[:, service].astype(float), traces.first_slot)
        figures = {figure.name: figure for figure in report.figures}
        assert figures["mean"].relative_error < 0.15
        assert figures["deviation / mean"].relative_error < 0.15
        assert figures["99 % quantile / mean"].relative_error < 0.2


@pytest.mark.parametrize(
    ("series", "words"),
    [
        (np.ones(100), "two days or more"),
        (np.ones((2, 600)), "two days or more"),
        (np.zeros(600), "no work at all"),
        (np.full(600, np.nan), "non-finite"),
        (np.full(600, -1.0), "negative"),
    ],
)
def test_series_that_are_none_are_refused(series, words):
    with pytest.raises(ScenarioError, match=words):
        fit_service_demand(series)
