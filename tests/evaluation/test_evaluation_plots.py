"""What is drawn is what was found."""

from __future__ import annotations

import numpy as np
import pytest

from rl.evaluation.evaluation_plots import plot_intervals, plot_pareto, plot_profiles
from rl.evaluation.objectives import Objective, SweepPoint, WeightSweep
from rl.evaluation.resampling import Interval, Resampling
from rl.evaluation.run_statistics import aggregate_runs, profile_runs
from utils.errors import ConfigError

SMALL = Resampling(num_resamples=200)
SCORES = {
    name: np.random.default_rng(seed).normal(seed, 1.0, (4, 3))
    for seed, name in enumerate(("ppo", "equal"))
}


def is_png(path):
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and path.stat().st_size > 5000


def test_profiles_fall_from_one_to_nothing(tmp_path):
    taus = np.linspace(-5, 8, 30)
    profiles = {name: profile_runs(scores, taus, SMALL) for name, scores in SCORES.items()}
    axes = plot_profiles(profiles, tmp_path / "profiles.png").axes[0]
    assert is_png(tmp_path / "profiles.png")
    assert [line.get_label() for line in axes.lines] == list(SCORES)
    drawn = np.asarray(axes.lines[0].get_ydata())
    assert (drawn[0], drawn[-1]) == (1.0, 0.0)
    assert (np.diff(drawn) <= 0).all()
    assert len(axes.collections) == 2


def test_intervals_reach_from_low_to_high(tmp_path):
    located = {name: aggregate_runs(scores, SMALL) for name, scores in SCORES.items()}
    located["one run"] = aggregate_runs([[1.0, 2.0]], SMALL)
    figure = plot_intervals(located, tmp_path / "intervals.png")
    assert is_png(tmp_path / "intervals.png")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["mean", "median", "IQM"]
    for axes, which in zip(figure.axes, ("mean", "median", "iqm"), strict=True):
        for bar, one in zip(axes.patches, located.values(), strict=True):
            interval = getattr(one, which)
            if interval.low is None:
                assert bar.get_width() == 0
                continue
            assert bar.get_x() == pytest.approx(interval.low)
            assert bar.get_x() + bar.get_width() == pytest.approx(interval.high)


def sweep_of(*points, objectives=2):
    wanted = tuple(
        Objective(name=f"goal {number}", worst=0.0, is_cost=number == 1)
        for number in range(objectives)
    )
    return WeightSweep(
        objectives=wanted,
        points=tuple(
            SweepPoint(
                name=f"w{number}",
                weights=(0.5, 0.5),
                values=tuple(Interval(value=v, low=v - 0.1, high=v + 0.2) for v in values),
                is_dominated=dominated,
            )
            for number, (values, dominated) in enumerate(points)
        ),
        hypervolume=None,
    )


def test_the_front_is_a_line_and_the_dominated_lie_apart(tmp_path):
    sweep = sweep_of(((3.0, 4.0), False), ((1.0, 1.0), False), ((1.0, 3.0), True))
    axes = plot_pareto(sweep, tmp_path / "pareto.png").axes[0]
    assert is_png(tmp_path / "pareto.png")
    front, dominated = (container.lines[0] for container in axes.containers)
    assert np.asarray(front.get_xdata()).tolist() == [1.0, 3.0]
    assert np.asarray(dominated.get_ydata()).tolist() == [3.0]
    assert (front.get_linestyle(), dominated.get_linestyle()) == ("-", "None")
    assert [text.get_text() for text in axes.texts] == ["w0", "w1", "w2"]
    assert axes.get_ylabel() == "goal 1 (less is better)"
    plot_pareto(sweep_of(((1.0, 1.0), False)), tmp_path / "one.png")


def test_what_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="shows two"):
        plot_pareto(sweep_of(objectives=3), tmp_path / "x.png")
    for draw in (plot_profiles, plot_intervals):
        with pytest.raises(ConfigError, match="nothing to draw"):
            draw({}, tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()
