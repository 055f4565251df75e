"""A law of demand makes the moments it names, and each of its parts can be seen at work."""

from __future__ import annotations

import numpy as np
import pytest

from data.demand_law import DemandLaw, draw_spells, normal_cdf
from utils.errors import ConfigError


def draw(law, episodes=200, steps=100, series=20, seed=0, levels=None):
    generator = np.random.default_rng(seed)
    return law.draw(episodes, steps, series, generator, levels=levels).astype(np.float64)


def test_units_are_whole_not_negative_and_in_the_promised_layout():
    law = DemandLaw(level=3.0, dispersion=1.0, zero_share=0.2, intensity_sd=0.4)
    units = law.draw(2, 5, 3, np.random.default_rng(0))
    assert units.shape == (2, 5, 3)
    assert units.dtype == np.float32
    assert (units >= 0).all()
    assert (units == np.round(units)).all()


def test_a_bare_law_is_poisson():
    units = draw(DemandLaw(level=4.0))
    assert units.mean() == pytest.approx(4.0, rel=0.01)
    assert units.var() == pytest.approx(4.0, rel=0.02)
    assert (units == 0).mean() == pytest.approx(np.exp(-4.0), rel=0.05)


def test_gamma_noise_is_the_negative_binomial():
    # Variance m + d m^2 and zero share (1 + d m)^(-1 / d): 6 + 0.5 * 36 = 24 and 4^-2 = 0.0625.
    units = draw(DemandLaw(level=6.0, dispersion=0.5, day_noise="gamma"))
    assert units.mean() == pytest.approx(6.0, rel=0.01)
    assert units.var() == pytest.approx(24.0, rel=0.03)
    assert (units == 0).mean() == pytest.approx(0.0625, rel=0.03)


def test_lognormal_noise_has_the_same_variance_and_a_longer_tail():
    gamma, lognormal = (
        draw(DemandLaw(level=20.0, dispersion=1.0, day_noise=noise))
        for noise in ("gamma", "lognormal")
    )
    # 20 + 400 = 420.
    assert lognormal.var() == pytest.approx(420.0, rel=0.05)
    assert lognormal.max() > 2 * gamma.max()


def test_dispersion_grows_with_the_level_by_its_exponent():
    law = DemandLaw(level=10.0, dispersion=0.5, dispersion_slope=1.0, day_noise="gamma")
    units = draw(law, episodes=2000, series=2, levels=np.asarray([10.0, 40.0]))
    # Dispersion 0.5 and 2: 10 + 0.5 * 100 = 60, 40 + 2 * 1600 = 3240.
    assert units.var((0, 1)) == pytest.approx([60.0, 3240.0], rel=0.05)


@pytest.mark.parametrize("clustering", [0.0, 0.6])
def test_steps_without_demand_have_their_share_and_do_not_move_the_mean(clustering):
    law = DemandLaw(
        level=50.0,
        zero_share=0.3,
        zero_clustering=clustering,
        intensity_sd=0.5,
        persistence=0.5,
    )
    units = draw(law)
    assert (units == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert units.mean() == pytest.approx(50.0, rel=0.02)


def test_slow_sellers_have_more_steps_without_demand():
    law = DemandLaw(level=100.0, zero_share=0.5, zero_slope=1.0)
    units = draw(law, series=2, levels=np.asarray([100.0, 100.0 * np.e]))
    # Probit 0 at the level, -1 at e times the level.
    assert (units == 0).mean((0, 1)) == pytest.approx([0.5, 0.158655], abs=0.01)


def test_such_steps_come_in_spells_when_clustered():
    def spell(clustering):
        law = DemandLaw(level=50.0, zero_share=0.3, zero_clustering=clustering, persistence=0.95)
        empty = draw(law) == 0
        return (empty[:, 1:] & empty[:, :-1]).mean() / 0.3

    assert spell(0.0) == pytest.approx(0.3, abs=0.02)
    assert spell(0.9) > 0.55


def test_season_opens_closes_and_keeps_the_mean_of_open_steps():
    units = draw(DemandLaw(level=8.0, season=(1.0, 3.0, 0.0)), steps=99)
    # Mean weight of the open steps is 2, so 0.5, 1.5 and closed.
    by_slot = units.reshape(200, 33, 3, 20).mean((0, 1, 3))
    assert by_slot == pytest.approx([4.0, 12.0, 0.0], rel=0.02)


def test_trend_adds_its_share_of_the_first_level_and_stops_at_zero():
    rising = draw(DemandLaw(level=50.0, trend=0.01)).mean((0, 2))
    assert rising[[0, 50, 99]] == pytest.approx([50.0, 75.0, 99.5], rel=0.02)
    falling = draw(DemandLaw(level=50.0, trend=-0.02)).mean((0, 2))
    assert falling[25] == pytest.approx(25.0, rel=0.03)
    assert (falling[50:] == 0).all()


def test_slow_intensity_makes_autocorrelation():
    law = DemandLaw(level=100.0, intensity_sd=0.3, persistence=0.9)
    units = draw(law, steps=60)
    centred = units - units.mean()
    lagged = (centred[:, 7:] * centred[:, :-7]).mean() / centred.var()
    # Var of the factor e^0.09 - 1, covariance at lag 7 e^(0.09 * 0.9^7) - 1, Poisson part 1 / 100.
    expected = np.expm1(0.09 * 0.9**7) / (np.expm1(0.09) + 0.01)
    assert lagged == pytest.approx(expected, abs=0.03)


def test_series_share_the_named_part_of_their_noise():
    law = DemandLaw(level=1000.0, dispersion=0.05, correlation=0.4)
    logs = np.log(draw(law, episodes=1, steps=4000, series=6)[0])
    correlation = np.corrcoef(logs.T)[np.triu_indices(6, 1)].mean()
    # The Poisson part adds 1 / 1000 to a variance of log(1.05).
    assert correlation == pytest.approx(0.4 * np.log(1.05) / (np.log(1.05) + 0.001), abs=0.03)


def test_promotions_lift_demand_for_their_length():
    law = DemandLaw(
        level=100.0, promotion_probability=0.02, promotion_steps=5, promotion_uplift=3.0
    )
    units = draw(law)
    active = units > 180
    # A step is outside when none of the last five began one: 1 - 0.98^5.
    assert active.mean() == pytest.approx(1 - 0.98**5, abs=0.01)
    assert units[active].mean() == pytest.approx(300.0, rel=0.02)


def test_spells_last_their_length_and_are_as_frequent_at_the_start():
    active = draw_spells((2000, 30, 3), 0.01, 4, np.random.default_rng(0))
    share = active.mean((0, 2))
    assert share[0] == pytest.approx(1 - 0.99**4, abs=0.01)
    assert share[-1] == pytest.approx(share[0], abs=0.01)
    inner = active[:, 1:]
    starts = inner[:, :-4] & ~active[:, :-5]
    assert (inner[:, 3:-1][starts]).all()


def test_shifts_change_the_level_for_good_and_keep_the_mean():
    law = DemandLaw(level=400.0, shift_probability=0.01, shift_sd=0.5)
    units = draw(law, episodes=500, steps=200)
    assert units[:, -50:].mean() == pytest.approx(400.0, rel=0.05)
    spread = np.log(units[:, -1] + 1).std()
    # Two shifts on average: sqrt(2) * 0.5, with a compound-Poisson mean of the squares.
    assert spread == pytest.approx(np.sqrt(2 * (0.25 + 0.125**2)), rel=0.08)


def test_levels_spread_among_series_or_are_given():
    law = DemandLaw(level=30.0, level_spread=0.8)
    drawn = draw(law, episodes=2000, steps=5).mean(1)
    assert drawn.mean() == pytest.approx(30.0, rel=0.03)
    assert np.median(drawn) == pytest.approx(30.0 * np.exp(-0.32), rel=0.05)
    given = draw(law, series=3, levels=np.asarray([1.0, 0.0, 200.0])).mean((0, 1))
    assert given == pytest.approx([1.0, 0.0, 200.0], rel=0.02)


def test_same_generator_state_same_units():
    law = DemandLaw(zero_share=0.2, dispersion=1.0, correlation=0.3, intensity_sd=0.3)
    assert np.array_equal(draw(law, 3, 10, 2, seed=4), draw(law, 3, 10, 2, seed=4))
    assert not np.array_equal(draw(law, 3, 10, 2, seed=4), draw(law, 3, 10, 2, seed=5))


def test_normal_distribution_function_to_seven_digits():
    x = np.asarray([-8.0, -1.959964, 0.0, 1.0, 6.0])
    expected = [0.0, 0.025, 0.5, 0.8413447461, 1.0]
    assert normal_cdf(x) == pytest.approx(expected, abs=1.5e-7)


BAD = [
    ({"level": -1.0}, "level=-1"),
    ({"level": float("nan")}, "level=nan"),
    ({"zero_share": 1.0}, "zero_share=1"),
    ({"persistence": 1.0}, "persistence=1"),
    ({"correlation": 1.5}, "correlation=1.5"),
    ({"dispersion": -0.1}, "dispersion=-0.1"),
    ({"promotion_steps": 0}, "promotion_steps=0"),
    ({"season": ()}, "season"),
    ({"season": (0.0, 0.0)}, "season"),
    ({"season": (1.0, -1.0)}, "season"),
    ({"season": (1.0, float("nan"))}, "season"),
    ({"day_noise": "normal"}, "lognormal or gamma"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_impossible_laws_are_refused_by_name(settings, message):
    with pytest.raises(ConfigError, match=message):
        DemandLaw(**settings)


@pytest.mark.parametrize("sizes", [(0, 5, 2), (1, 0, 2), (1, 5, 0)])
def test_empty_draws_are_refused(sizes):
    with pytest.raises(ConfigError, match="at least 1"):
        DemandLaw().draw(*sizes, np.random.default_rng(0))


@pytest.mark.parametrize("levels", [np.ones(3), np.asarray([1.0, -1.0]), np.asarray([1.0, np.nan])])
def test_bad_levels_are_refused(levels):
    with pytest.raises(ConfigError, match="level"):
        draw(DemandLaw(), series=2, levels=levels)
