"""Events come as often, as long and as hard as their rule says, and intensity only adds some."""

from __future__ import annotations

import numpy as np
import pytest

from data.disruptions import (
    KINDS,
    DisruptionKind,
    DisruptionLaw,
    DisruptionRule,
    fit_disruption,
    measure_spells,
)
from data.scenario import ScenarioError
from data.traces import NAB_SERIES, load_service_traces, locate_traces
from utils.errors import ConfigError

NEVER = DisruptionRule(probability=0.0)


def only(kind, rule, **settings):
    rules = tuple(rule if one is kind else NEVER for one in KINDS)
    return DisruptionLaw(rules=rules, **settings)


def draw(law, episodes=100, steps=60, targets=4, seed=0):
    return law.draw(episodes, steps, targets, np.random.default_rng(seed))


def test_layout_and_range_of_the_default_law():
    severity = draw(DisruptionLaw())
    assert severity.shape == (100, 60, 4, 5)
    assert severity.dtype == np.float32
    struck = severity[severity > 0]
    assert struck.min() >= 0.1
    assert struck.max() <= 0.5
    # The stronger of overlapping events counts, so the mean lies somewhat above the middle.
    assert 0.3 <= struck.mean() < 0.33


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_its_place_on_the_last_axis(kind):
    severity = draw(only(kind, DisruptionRule(probability=0.05)))
    struck = (severity > 0).any((0, 1, 2))
    assert struck.tolist() == [one is kind for one in KINDS]


def test_share_of_struck_steps_is_the_same_from_the_first_step():
    rule = DisruptionRule(probability=0.02, shortest=3, longest=5)
    severity = draw(only(DisruptionKind.QUALITY_ISSUE, rule), episodes=4000)
    share = (severity[..., 3] > 0).mean((0, 2))
    # Free when no event of the last l steps lasts so long: 0.98^3 (1 - 0.02 * 2/3) (1 - 0.02 / 3).
    expected = 1 - 0.98**3 * (1 - 0.02 * 2 / 3) * (1 - 0.02 / 3)
    assert share[[0, 30, 59]] == pytest.approx(expected, abs=0.008)


def test_lone_events_last_between_their_bounds():
    rule = DisruptionRule(probability=0.002, shortest=5, longest=20, smallest=0.2, largest=0.2)
    severity = draw(only(DisruptionKind.LOGISTICS_DELAY, rule), steps=400)[..., 1]
    padded = np.pad(severity > 0, ((0, 0), (1, 1), (0, 0)))
    edges = np.diff(padded.astype(int), axis=1)
    lengths = []
    for episode, target in np.ndindex(100, 4):
        begins = np.flatnonzero(edges[episode, :, target] == 1)
        ends = np.flatnonzero(edges[episode, :, target] == -1)
        inside = (begins > 0) & (ends < 400)
        lengths += (ends - begins)[inside].tolist()
    assert min(lengths) == 5
    # Merged events are longer; single ones stop at 20 and are spread evenly.
    counts = np.bincount(lengths, minlength=21)[5:21]
    assert counts.min() > 0
    assert np.median(lengths) == pytest.approx(12.5, abs=1.5)
    assert set(np.unique(severity)) == {np.float32(0), np.float32(0.2)}


def test_intensity_adds_events_and_takes_none_away():
    calm, fierce = (draw(DisruptionLaw(intensity=k)) for k in (1.0, 3.0))
    assert (fierce >= calm).all()
    assert (fierce > 0).mean() > 1.5 * (calm > 0).mean()


def test_intensity_zero_switches_all_off():
    assert not draw(DisruptionLaw(intensity=0.0)).any()


def test_targets_and_episodes_are_struck_independently():
    struck = draw(DisruptionLaw(), episodes=2000)[:, 30, :, 0] > 0
    correlation = np.corrcoef(struck.T.astype(float))
    np.testing.assert_allclose(correlation, np.eye(4), atol=0.08)


def test_same_generator_state_same_events():
    assert np.array_equal(draw(DisruptionLaw(), seed=3), draw(DisruptionLaw(), seed=3))
    assert not np.array_equal(draw(DisruptionLaw(), seed=3), draw(DisruptionLaw(), seed=4))


def test_spells_by_hand():
    active = np.asarray([[0, 1, 1, 0, 0, 1, 0, 0], [1, 0, 0, 0, 0, 0, 1, 1]], bool)
    height = np.where(active, 0.5, 0.0)
    per_thousand, share, length, mean_height = measure_spells(active, height)
    assert per_thousand == pytest.approx(250)
    assert (share, length, mean_height) == pytest.approx((6 / 16, 1.5, 0.5))


def test_a_known_rule_is_found_again():
    rule = DisruptionRule(probability=0.01, smallest=0.3, largest=0.6, shortest=4, longest=8)
    law = only(DisruptionKind.SUPPLIER_SHORTAGE, rule)
    series = draw(law, episodes=1, steps=20_000, targets=1)[0, :, 0, 0].astype(float)
    found, report = fit_disruption(series, threshold=0.1)
    assert found.probability == pytest.approx(0.01, rel=0.15)
    assert found.smallest == pytest.approx(0.3, abs=0.04)
    assert found.largest == pytest.approx(0.6, abs=0.04)
    assert all(figure.relative_error < 0.12 for figure in report.figures), report.describe()


@pytest.mark.skipif(locate_traces() is None, reason="the trace files are not on this machine")
def test_bursts_of_a_real_machine_are_matched():
    demand = load_service_traces(locate_traces()).demand[:, 2].astype(float)
    load = np.clip(demand / NAB_SERIES[2].work_per_reading / 100, 0, 1)
    _, report = fit_disruption(load, threshold=0.5)
    assert all(figure.relative_error < 0.2 for figure in report.figures), report.describe()


BAD_RULES = [
    ({"probability": 1.2}, "probability=1.2"),
    ({"probability": float("nan")}, "probability=nan"),
    ({"smallest": 0.6}, "smallest <= largest"),
    ({"largest": 1.5}, "largest"),
    ({"shortest": 0}, "shortest"),
    ({"longest": 4}, "longest"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_RULES)
def test_impossible_rules_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        DisruptionRule(**settings)


@pytest.mark.parametrize("intensity", [-1.0, float("nan")])
def test_impossible_intensities_are_refused(intensity):
    with pytest.raises(ConfigError, match="intensity"):
        DisruptionLaw(intensity=intensity)


def test_a_wrong_number_of_rules_is_refused_with_the_names():
    with pytest.raises(ConfigError, match="2 rules; give 5: supplier_shortage"):
        DisruptionLaw(rules=(NEVER, NEVER))


@pytest.mark.parametrize("sizes", [(0, 5, 2), (1, 0, 2), (1, 5, 0)])
def test_empty_draws_are_refused(sizes):
    with pytest.raises(ConfigError, match="at least 1"):
        DisruptionLaw().draw(*sizes, np.random.default_rng(0))


BAD_SERIES = {
    "axes": (np.zeros((4, 4)), "one row"),
    "NaN": (np.full(50, np.nan), "finite"),
    "empty": (np.zeros(0), "0, 1"),
    "above one": (np.full(50, 2.0), "divide by the capacity"),
    "calm": (np.zeros(50), "0 spells"),
}


@pytest.mark.parametrize(("series", "message"), BAD_SERIES.values(), ids=BAD_SERIES)
def test_series_that_cannot_be_fitted_are_refused(series, message):
    with pytest.raises(ScenarioError, match=message):
        fit_disruption(series, threshold=0.5)
