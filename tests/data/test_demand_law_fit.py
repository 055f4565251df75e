"""Figures are taken as defined, a known law is found again, real shops are matched unseen."""

from __future__ import annotations

import numpy as np
import pytest

from data.demand_law import DemandLaw
from data.demand_law_fit import (
    DemandHistory,
    compare_demand,
    draw_like,
    fit_demand,
    measure_demand,
)
from data.retail_traces import load_retail_demand
from data.scenario import ScenarioError
from data.traces import locate_traces

BAR = 0.25
BAR_FIGURES = ("zero_share", "variance_to_mean", "calendar_autocorrelation_7")


def history_of(units, is_open=None):
    count = units.shape[1]
    is_open = np.ones(len(units), bool) if is_open is None else is_open
    return DemandHistory(units=units, is_open=is_open, names=tuple(map(str, range(count))))


def test_figures_by_hand():
    # Weeks of 7 steps, the last closed; the first series sells 0 or 4 by turns of a week.
    weeks = np.repeat([0.0, 4.0] * 4, 7)
    other = np.tile([1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 0.0], 8)
    is_open = np.arange(56) % 7 != 6
    units = np.stack([weeks * is_open, other], axis=-1)[None]
    figures = measure_demand(units, is_open)
    assert figures.zero_share == pytest.approx(0.25)
    assert figures.zero_share_spread == pytest.approx(0.25)
    # Variance over mean: 4 / 2 and 0.25 / 1.5.
    assert figures.variance_to_mean == pytest.approx((2 + 1 / 6) / 2)
    # The first series flips every week, the second repeats it.
    assert figures.autocorrelation_7 == pytest.approx(0.0)
    assert figures.log_autocorrelation_28 == pytest.approx(1.0)


def test_closed_steps_count_only_in_the_calendar_figure():
    is_open = np.arange(140) % 7 != 6
    rng = np.random.default_rng(0)
    units = rng.poisson(10.0, (1, 140, 40)) * is_open[:, None].astype(float)
    figures = measure_demand(units, is_open)
    assert figures.zero_share < 0.01
    assert abs(figures.autocorrelation_7) < 0.03
    # Closing makes a variance of p (1 - p) m^2 = 12.24, against p m = 8.57 of Poisson.
    assert figures.calendar_autocorrelation_7 == pytest.approx(12.24 / (12.24 + 8.57), abs=0.05)


def test_a_known_law_is_found_again():
    law = DemandLaw(
        level=30.0,
        level_spread=0.5,
        season=(1.0, 1.5, 1.0, 0.7, 0.0, 0.8, 1.0),
        zero_share=0.25,
        zero_slope=0.4,
        zero_clustering=0.3,
        dispersion=1.5,
        intensity_sd=0.5,
        persistence=0.95,
        correlation=0.15,
    )
    units = law.draw(1, 730, 40, np.random.default_rng(1))[0].astype(np.float64)
    history = history_of(units, np.arange(730) % 7 != 4)
    found, report = fit_demand(history)
    assert found.season[4] == 0
    assert found.zero_share == pytest.approx(0.25, abs=0.04)
    assert found.dispersion == pytest.approx(1.5, rel=0.2)
    assert found.intensity_sd == pytest.approx(0.5, abs=0.12)
    assert found.persistence == pytest.approx(0.95, abs=0.02)
    assert found.correlation == pytest.approx(0.15, abs=0.06)
    off = {figure.name: figure.relative_error for figure in report.figures}
    assert max(off.values()) < 0.3, off


def test_replicas_have_the_levels_and_the_calendar_of_the_history():
    is_open = np.arange(200) % 7 != 6
    history = history_of(np.outer(is_open, [20.0, 80.0]), is_open)
    law = DemandLaw(level=30.0, trend=0.01, season=(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0))
    made = draw_like(law, history, 0)
    assert made[:, is_open].mean((0, 1)) == pytest.approx([20.0, 80.0], rel=0.02)
    assert (made[:, ~is_open] == 0).all()


def test_a_poor_law_is_seen_in_the_report():
    units = DemandLaw(level=20.0, dispersion=2.0, zero_share=0.3).draw(
        1, 300, 20, np.random.default_rng(2)
    )
    report = compare_demand(DemandLaw(level=20.0), history_of(units[0].astype(np.float64)))
    off = {figure.name: figure.relative_error for figure in report.figures}
    assert off["zero_share"] > 0.9
    assert off["variance_to_mean"] > 0.9


BAD = {
    "axes": (np.ones(200), None, "time, series"),
    "empty": (np.ones((200, 0)), None, "not empty"),
    "flags": (np.ones((200, 2)), np.ones(100, bool), "is_open"),
    "NaN": (np.full((200, 2), np.nan), None, "non-finite"),
    "negative": (np.full((200, 2), -1.0), None, "negative"),
    "short": (np.ones((50, 2)), None, "50 open steps"),
    "dead series": (np.eye(200)[:, :2] * 0, None, "without any demand"),
    "one series": (np.ones((200, 1)), None, "two series"),
    "all alike": (np.ones((200, 2)), None, "does not vary"),
}


@pytest.mark.parametrize(("units", "is_open", "message"), BAD.values(), ids=BAD)
def test_histories_that_cannot_be_fitted_are_refused(units, is_open, message):
    is_open = np.ones(len(units), bool) if is_open is None else is_open
    names = tuple(map(str, range(units.shape[-1])))
    with pytest.raises(ScenarioError, match=message):
        fit_demand(DemandHistory(units=units, is_open=is_open, names=names))


@pytest.mark.skipif(locate_traces() is None, reason="the trace files are not on this machine")
@pytest.mark.parametrize("fitted", [0, 1], ids=["even", "odd"])
def test_real_products_that_the_law_was_not_fitted_on_are_matched(fitted):
    history = load_retail_demand(locate_traces())
    law, _ = fit_demand(history.take(slice(fitted, None, 2)))
    unseen = history.take(slice(1 - fitted, None, 2))
    report = compare_demand(law, unseen)
    figures = {figure.name: figure for figure in report.figures}
    assert {name: figures[name].relative_error < BAR for name in BAR_FIGURES} == dict.fromkeys(
        BAR_FIGURES, True
    )
    assert figures["log_autocorrelation_7"].relative_error < BAR
    # Over open days alone the halves of the real products differ by more than the bar: what is
    # made must lie between the figures of the two.
    ends = [
        measure_demand(history.take(slice(k, None, 2)).units[None], history.is_open) for k in (0, 1)
    ]
    low, high = sorted(end.autocorrelation_7 for end in ends)
    assert high > 1.4 * low
    assert low < figures["autocorrelation_7"].made < high
