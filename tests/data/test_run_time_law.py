"""Run times have the quantiles and the tail of their law, and those of real jobs unseen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.arrival_traces import load_run_times
from data.run_time_law import (
    RunTimeLaw,
    compare_run_times,
    estimate_hill,
    fit_run_times,
    measure_run_times,
)
from data.scenario import ScenarioError
from data.traces import locate_traces
from utils.errors import ConfigError

LAW = RunTimeLaw(
    weights=(0.4, 0.6),
    log_means=(3.0, 6.0),
    log_sds=(0.3, 0.5),
    tail_share=0.03,
    tail_start=1e4,
    tail_index=1.2,
    tail_end=1e7,
)


def draw(law, count=200_000, seed=0):
    return law.draw(count, np.random.default_rng(seed)).astype(float)


def test_body_and_tail_have_their_shares_and_bounds():
    seconds = draw(LAW)
    assert (seconds > 1e4).mean() == pytest.approx(0.03, abs=0.001)
    assert seconds.max() <= 1e7 * (1 + 1e-6)
    assert (seconds < np.exp(4.4)).mean() == pytest.approx(0.97 * 0.4, abs=0.005)
    # A fifth of the jobs lies below e^3, the median of the first kind.
    assert (seconds < np.exp(3.0)).mean() == pytest.approx(0.97 * 0.2, abs=0.005)


def test_tail_is_pareto_between_its_ends():
    seconds = draw(LAW)
    tail = seconds[seconds > 1e4]
    exceed = (1e5 / 1e4) ** -1.2 - (1e7 / 1e4) ** -1.2
    assert (tail > 1e5).mean() == pytest.approx(exceed / (1 - 1e3**-1.2), rel=0.1)


def test_hill_of_an_exact_pareto_sample():
    # Quantiles of a Pareto law of exponent 2.
    sample = ((np.arange(100_000) + 0.5) / 100_000) ** -0.5
    assert estimate_hill(sample, 0.05) == pytest.approx(2.0, rel=0.01)


def test_a_known_law_is_found_again():
    found, report = fit_run_times(draw(LAW, 80_000))
    first, second, *_ = np.argsort(found.log_means)
    for kind, (weight, mean, deviation) in ((first, (0.4, 3.0, 0.3)), (second, (0.6, 6.0, 0.5))):
        assert found.weights[kind] == pytest.approx(weight, abs=0.03)
        assert found.log_means[kind] == pytest.approx(mean, abs=0.05)
        assert found.log_sds[kind] == pytest.approx(deviation, abs=0.05)
    assert found.tail_index == pytest.approx(1.2, abs=0.1)
    assert all(figure.relative_error < 0.2 for figure in report.figures), report.describe()


def test_tail_index_is_not_mistaken_where_the_tail_ends_early():
    seconds = draw(replace(LAW, tail_end=4e4), 80_000)
    # As if the tail went on for ever, the estimate would be 2.3.
    assert fit_run_times(seconds)[0].tail_index == pytest.approx(1.2, abs=0.2)


def test_a_lognormal_without_a_tail_is_seen_in_the_report():
    light = RunTimeLaw(
        weights=(1.0,),
        log_means=(5.5,),
        log_sds=(1.0,),
        tail_share=0.0,
        tail_start=1e9,
        tail_end=2e9,
    )
    off = {one.name: one.relative_error for one in compare_run_times(light, draw(LAW)).figures}
    assert off["p99"] > 0.5
    assert off["hill_1pct"] > 0.5


@pytest.mark.skipif(locate_traces() is None, reason="the trace files are not on this machine")
def test_real_jobs_that_the_law_was_not_fitted_on_are_matched():
    seconds = np.random.default_rng(0).permutation(load_run_times(locate_traces()))
    law, _ = fit_run_times(seconds[::2])
    report = compare_run_times(law, seconds[1::2])
    assert all(figure.relative_error < 0.15 for figure in report.figures), report.describe()


def test_same_generator_state_same_run_times():
    assert np.array_equal(draw(LAW, 100, seed=1), draw(LAW, 100, seed=1))
    assert not np.array_equal(draw(LAW, 100, seed=1), draw(LAW, 100, seed=2))
    assert draw(LAW, 0).shape == (0,)


def test_figures_by_hand():
    figures = measure_run_times(np.arange(1.0, 1001.0))
    assert figures["mean"] == 500.5
    assert figures["p50"] == 500.5
    assert figures["p90"] == pytest.approx(900.1)


BAD_LAWS = [
    ({"weights": ()}, "per kind"),
    ({"weights": (1.0,)}, "per kind"),
    ({"weights": (0.7, 0.7)}, "sum to 1"),
    ({"weights": (1.5, -0.5)}, "weights"),
    ({"log_means": (1.0, float("nan"))}, "finite"),
    ({"log_sds": (1.0, 0.0)}, "log_sds"),
    ({"tail_index": 0.0}, "tail_index"),
    ({"tail_share": 1.1}, "tail_share"),
    ({"tail_start": 0.0}, "tail_start"),
    ({"tail_end": 1.0}, "tail_end"),
    ({"log_means": (30.0, 31.0)}, "tail_start"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_LAWS)
def test_impossible_laws_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        RunTimeLaw(**settings)


def test_a_negative_count_is_refused():
    with pytest.raises(ConfigError, match="count=-1"):
        LAW.draw(-1, np.random.default_rng(0))


BAD_TIMES = {
    "few": (np.ones(10), "too few"),
    "NaN": (np.full(2000, np.nan), "finite"),
    "negative": (np.full(2000, -1.0), "at least 0"),
    "constant": (np.full(2000, 5.0), "hardly vary"),
}


@pytest.mark.parametrize(("seconds", "message"), BAD_TIMES.values(), ids=BAD_TIMES)
def test_run_times_that_cannot_be_fitted_are_refused(seconds, message):
    with pytest.raises(ScenarioError, match=message):
        fit_run_times(seconds)
