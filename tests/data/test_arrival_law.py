"""Arrivals have the rate and burstiness of the closed forms, and those of a real trace."""

from __future__ import annotations

import numpy as np
import pytest

from data.arrival_law import ArrivalLaw, compare_arrivals, fit_arrivals, measure_arrivals
from data.arrival_traces import load_request_times
from data.scenario import ScenarioError
from data.traces import locate_traces
from utils.errors import ConfigError

BURSTS = ArrivalLaw(rates=(0.0, 10.0), mean_seconds=(6.0, 2.0))


def counts(law, episodes=400, steps=200, step_seconds=1.0, seed=0):
    generator = np.random.default_rng(seed)
    return law.draw_counts(episodes, steps, step_seconds, generator).astype(float)


def dispersion(made):
    return made.var() / made.mean()


def test_one_state_is_a_poisson_process():
    made = counts(ArrivalLaw(rates=(3.0,), mean_seconds=(1.0,)))
    assert made.mean() == pytest.approx(3.0, rel=0.01)
    assert dispersion(made) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("window", [1.0, 10.0])
def test_dispersion_is_that_of_the_interrupted_poisson_process(window):
    made = counts(BURSTS, step_seconds=window, episodes=1000)
    # On a quarter of the time: rate 2.5; switching s = 1/6 + 1/2; A = 2 r (1 - p) / (p s).
    assert BURSTS.mean_rate == 2.5
    assert made.mean() == pytest.approx(2.5 * window, rel=0.02)
    switching = 1 / 6 + 1 / 2
    excess = 2 * 2.5 * 0.75 / (0.25 * switching)
    x = switching * window
    assert dispersion(made) == pytest.approx(1 + excess * (1 - (1 - np.exp(-x)) / x), rel=0.05)


def test_three_states_spend_their_stay_in_each():
    law = ArrivalLaw(rates=(0.0, 100.0, 1000.0), mean_seconds=(5.0, 3.0, 2.0))
    made = counts(law, step_seconds=0.01, steps=200, episodes=3000)
    assert law.mean_rate == pytest.approx(230.0)
    assert made.mean() == pytest.approx(2.3, rel=0.05)
    first = made[:, 0]
    assert (first == 0).mean() == pytest.approx(0.5 + 0.3 * np.exp(-1), abs=0.03)


def test_moments_and_counts_tell_the_same_story():
    times = BURSTS.draw_times(40_000.0, np.random.default_rng(1))
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0
    assert times[-1] < 40_000
    rate, variation, *indices = measure_arrivals(times)
    assert rate == pytest.approx(2.5, rel=0.05)
    # The squared variation of the gaps is the limit of the dispersion: 1 + A = 23.5.
    assert variation**2 == pytest.approx(23.5, rel=0.1)
    assert indices[1] == pytest.approx(dispersion(counts(BURSTS, step_seconds=10.0)), rel=0.1)


def test_measures_by_hand():
    # Two arrivals in every odd second, none in the even ones.
    times = np.asarray([1.25, 1.75, 3.25, 3.75, 5.25, 5.75, 7.25, 7.75])
    rate, variation, per_second, *_ = measure_arrivals(np.r_[0.0, times, 80.0])
    assert rate == pytest.approx(9 / 80)
    gaps = np.diff(np.r_[0.0, times, 80.0])
    assert variation == pytest.approx(gaps.std() / gaps.mean())
    bins = np.zeros(80)
    bins[[0, 1, 3, 5, 7]] = [1, 2, 2, 2, 2]
    assert per_second == pytest.approx(bins.var() / bins.mean())


def test_a_known_law_is_found_again():
    law = ArrivalLaw(rates=(0.0, 20.0), mean_seconds=(30.0, 10.0))
    times = law.draw_times(50_000.0, np.random.default_rng(2))
    found, report = fit_arrivals(times)
    assert found.rates == pytest.approx((0.0, 20.0), rel=0.2)
    assert found.mean_seconds == pytest.approx((30.0, 10.0), rel=0.2)
    assert all(figure.relative_error < 0.1 for figure in report.figures), report.describe()


def test_a_poisson_process_fails_the_comparison_with_bursts():
    times = BURSTS.draw_times(2000.0, np.random.default_rng(3))
    steady = ArrivalLaw(rates=(2.5,), mean_seconds=(1.0,))
    off = [figure.relative_error for figure in compare_arrivals(steady, times, replicas=20).figures]
    assert min(off[1:]) > 0.5


@pytest.mark.skipif(locate_traces() is None, reason="the trace files are not on this machine")
def test_the_azure_trace_is_matched():
    _, report = fit_arrivals(load_request_times(locate_traces()))
    assert all(figure.relative_error < 0.15 for figure in report.figures), report.describe()


def test_same_generator_state_same_arrivals():
    assert np.array_equal(counts(BURSTS, seed=5), counts(BURSTS, seed=5))
    assert not np.array_equal(counts(BURSTS, seed=5), counts(BURSTS, seed=6))


BAD_LAWS = [
    ({"rates": ()}, "one rate"),
    ({"rates": (1.0,)}, "one rate"),
    ({"rates": (-1.0, 1.0)}, "rates"),
    ({"rates": (float("nan"), 1.0)}, "rates"),
    ({"mean_seconds": (0.0, 1.0)}, "mean_seconds"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_LAWS)
def test_impossible_laws_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ArrivalLaw(**settings)


@pytest.mark.parametrize("sizes", [(0, 1, 1.0), (1, 0, 1.0), (1, 1, 0.0)])
def test_empty_draws_are_refused(sizes):
    with pytest.raises(ConfigError, match="positive"):
        BURSTS.draw_counts(*sizes, np.random.default_rng(0))


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf")])
def test_empty_stretches_are_refused(seconds):
    with pytest.raises(ConfigError, match="seconds"):
        BURSTS.draw_times(seconds, np.random.default_rng(0))


BAD_TIMES = {
    "few": (np.arange(50.0), "too few"),
    "axes": (np.ones((500, 2)), "one row"),
    "NaN": (np.full(500, np.nan), "finite"),
    "order": (np.arange(5000.0)[::-1], "time order"),
    "short": (np.arange(500.0) / 10, "lasts 50 s"),
    "steady": (np.arange(0.0, 5000.0, 0.5), "steady"),
}


@pytest.mark.parametrize(("times", "message"), BAD_TIMES.values(), ids=BAD_TIMES)
def test_times_that_cannot_be_fitted_are_refused(times, message):
    with pytest.raises(ScenarioError, match=message):
        fit_arrivals(times)
