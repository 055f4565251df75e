"""Readings follow the hour, their noise has the named moments, a real day is matched."""

from __future__ import annotations

import numpy as np
import pytest

from data.arrival_traces import load_web_requests
from data.diurnal_law import DiurnalLaw, compare_diurnal, fit_diurnal, measure_seasonality
from data.scenario import ScenarioError
from data.traces import locate_traces
from utils.errors import ConfigError

WAVE = tuple(1 + 0.5 * np.sin(2 * np.pi * np.arange(24) / 24))


def draw(law, episodes=200, steps=288, seed=0, first_slot=0):
    generator = np.random.default_rng(seed)
    return law.draw(episodes, steps, generator, first_slot=first_slot).astype(float)


def test_without_noise_the_profile_is_interpolated_between_mid_hours():
    profile = (2.0, 4.0, *(3.0,) * 22)
    law = DiurnalLaw(level=3.0, profile=profile, fast_sd=0.0, steps_per_day=48)
    made = draw(law, episodes=1, steps=48)[0]
    # Mid-hour lies between the two half-hours: 1/4 of the way from 2 to 4 on either side.
    assert made[:4] == pytest.approx([2.25, 2.5, 3.5, 3.75], rel=1e-6)
    assert made.mean() == pytest.approx(3.0, rel=1e-6)


def test_episodes_begin_at_the_given_step_of_the_day():
    law = DiurnalLaw(profile=WAVE, fast_sd=0.0)
    whole = draw(law, episodes=1, steps=400)[0]
    assert draw(law, episodes=1, steps=100, first_slot=250)[0] == pytest.approx(whole[250:350])


def test_noise_keeps_the_mean_and_has_its_variance_and_persistence():
    law = DiurnalLaw(level=10.0, slow_sd=0.4, persistence=0.9, fast_sd=0.3)
    y = draw(law, episodes=2000) / 10.0
    assert y.mean() == pytest.approx(1.0, rel=0.01)
    assert y.var() == pytest.approx(np.expm1(0.25), rel=0.05)
    lagged = ((y[:, 5:] - 1) * (y[:, :-5] - 1)).mean()
    assert lagged == pytest.approx(np.expm1(0.16 * 0.9**5), rel=0.07)


def test_seasonality_is_the_explained_share():
    law = DiurnalLaw(profile=WAVE, fast_sd=0.2)
    readings = draw(law, episodes=1, steps=288 * 100)[0]
    mean = law.expected(np.arange(288 * 100))
    assert measure_seasonality(readings, 0, 288) == pytest.approx(
        mean.var() / readings.var(), abs=0.02
    )


def test_a_known_law_is_found_again():
    law = DiurnalLaw(level=40.0, profile=WAVE, slow_sd=0.3, persistence=0.9, fast_sd=0.25)
    readings = draw(law, episodes=1, steps=288 * 60, first_slot=100)[0]
    found, report = fit_diurnal(readings, first_slot=100)
    assert found.level == pytest.approx(40.0, rel=0.05)
    assert found.profile == pytest.approx(WAVE, abs=0.1)
    assert found.slow_sd == pytest.approx(0.3, abs=0.04)
    assert found.persistence == pytest.approx(0.9, abs=0.04)
    assert found.fast_sd == pytest.approx(0.25, abs=0.04)
    assert all(figure.relative_error < 0.15 for figure in report.figures), report.describe()


def test_a_slow_part_that_fades_within_steps_keeps_its_size():
    law = DiurnalLaw(profile=WAVE, slow_sd=0.4, persistence=0.7, fast_sd=0.2)
    found, _ = fit_diurnal(draw(law, episodes=1, steps=288 * 300)[0])
    assert found.slow_sd == pytest.approx(0.4, abs=0.03)
    assert found.persistence == pytest.approx(0.7, abs=0.04)


def test_noise_without_memory_gets_no_slow_part():
    readings = draw(DiurnalLaw(profile=WAVE, fast_sd=0.3), episodes=1, steps=288 * 60)[0]
    found, _ = fit_diurnal(readings)
    assert found.slow_sd < 0.08
    assert found.fast_sd == pytest.approx(0.3, abs=0.02)


def test_a_flat_law_is_seen_in_the_report():
    readings = draw(DiurnalLaw(profile=WAVE, fast_sd=0.2), episodes=1, steps=288 * 10)[0]
    report = compare_diurnal(DiurnalLaw(fast_sd=0.4), readings)
    assert {one.name: one.relative_error > 0.5 for one in report.figures}["seasonality"]


@pytest.mark.skipif(locate_traces() is None, reason="the trace files are not on this machine")
def test_real_web_requests_are_matched():
    readings, first_slot = load_web_requests(locate_traces())
    _, report = fit_diurnal(readings, first_slot=first_slot)
    assert all(figure.relative_error < 0.2 for figure in report.figures), report.describe()


BAD_LAWS = [
    ({"level": -1.0}, "level"),
    ({"fast_sd": float("nan")}, "fast_sd"),
    ({"persistence": 1.0}, "persistence"),
    ({"steps_per_day": 0}, "steps_per_day"),
    ({"profile": (1.0,) * 23}, "23 weights"),
    ({"profile": (0.0,) * 24}, "above 0"),
    ({"profile": (float("nan"),) * 24}, "finite"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_LAWS)
def test_impossible_laws_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        DiurnalLaw(**settings)


def test_empty_draws_are_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        draw(DiurnalLaw(), episodes=0)


BAD_READINGS = {
    "short": (np.ones(100), "three days"),
    "NaN": (np.full(900, np.nan), "finite"),
    "negative": (np.full(900, -1.0), "at least 0"),
    "constant": (np.ones(900), "do not vary"),
    "silent hour": (np.tile(np.r_[np.zeros(12), np.ones(276)], 4), "some hour"),
}


@pytest.mark.parametrize(("readings", "message"), BAD_READINGS.values(), ids=BAD_READINGS)
def test_readings_that_cannot_be_fitted_are_refused(readings, message):
    with pytest.raises(ScenarioError, match=message):
        fit_diurnal(readings)
