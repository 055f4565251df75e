"""Where the parts of a chart lie: on the numbers they stand for, inside the view box."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.evaluation.chart_layout import HEIGHT, VIEW, WIDTH, format_number, lay_out, lay_out_stages
from rl.evaluation.run_report import Chart, Curve, Level, Stage

LEFT, RIGHT, BOTTOM = VIEW["left"], VIEW["right"], VIEW["bottom"]


def draw(*curves, levels=()):
    return lay_out(Chart(name="c", title="t", unit="", curves=curves, levels=levels))


def curve(means, steps=None, **more):
    steps = steps or tuple(range(0, 10 * len(means), 10))
    return Curve(name="c", env_steps=steps, mean=tuple(means), **more)


def places(path):
    return [tuple(map(float, pair)) for pair in re.findall(r"([-\d.]+),([-\d.]+)", path)]


def test_ends_lie_on_the_edges_and_the_middle_in_the_middle():
    (drawn,) = draw(curve([0.0, 1.0, 2.0])).curves
    (x0, y0), (x1, y1), (x2, y2) = places(drawn.line)
    assert (x0, x2) == (LEFT, RIGHT)
    assert x1 == pytest.approx((x0 + x2) / 2)
    assert y1 == pytest.approx((y0 + y2) / 2)
    assert y0 > y2, "y grows downwards on a screen"


def test_a_tick_lies_where_its_value_lies():
    chart = draw(curve([0.0, 100.0]))
    ticks = {tick.label: tick.place for tick in chart.y_ticks}
    (_, y0), (_, y100) = places(chart.curves[0].line)
    assert ticks["0"] == pytest.approx(y0)
    assert ticks["100"] == pytest.approx(y100)


def test_a_gap_begins_a_new_stroke():
    (drawn,) = draw(curve([1.0, 2.0, None, 4.0, 5.0])).curves
    assert drawn.line.count("M") == 2
    assert len(drawn.points) == 4


def test_bands_and_levels_count_for_the_scale():
    wide = curve([1.0, 1.0], low=(-9.0, 0.0), high=(1.0, 11.0))
    chart = draw(wide, levels=(Level(name="bound", value=20.0, kind="bound"),))
    ys = [y for _, y in places(chart.curves[0].band)]
    assert 0 < chart.levels[0].place < min(ys)
    assert max(ys) < BOTTOM


def test_many_points_are_not_marked_one_by_one():
    assert draw(curve([float(i) for i in range(41)])).curves[0].points == ()


@given(
    st.lists(st.floats(-1e12, 1e12) | st.none(), min_size=1, max_size=30),
    st.lists(st.integers(0, 10**12), min_size=30, max_size=30, unique=True),
)
def test_everything_lies_inside_the_view_box(means, steps):
    drawn = draw(curve(means, tuple(sorted(steps)[: len(means)])))
    if all(value is None for value in means):
        assert drawn is None
        return
    for x, y in places(drawn.curves[0].line):
        assert LEFT <= x <= RIGHT
        assert 0 <= y <= BOTTOM
    for tick in drawn.y_ticks:
        assert 0 <= tick.place <= BOTTOM
    for tick in drawn.x_ticks:
        assert 0 <= tick.place <= WIDTH
    assert len({tick.label for tick in drawn.y_ticks}) == len(drawn.y_ticks)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.0, 1.0, ["0", "0.5", "1.0"]),
        (0.0, 0.002, ["0", "0.0005", "0.0010", "0.0015", "0.0020"]),
        (0.0, 40_000.0, ["0", "20k", "40k"]),
        (-2e7, 2e7, ["-20M", "0", "20M"]),
        (1000.2, 1000.8, ["1,000.2", "1,000.4", "1,000.6", "1,000.8"]),
    ],
)
def test_ticks_are_round_and_told_apart(low, high, labels):
    found = [tick.label for tick in draw(curve([low, high])).y_ticks]
    assert set(labels) <= set(found)
    assert len(set(found)) == len(found)
    assert 3 <= len(found) <= 7


def test_a_constant_has_a_scale_too():
    for value in (0.0, 5.0, -3e9):
        assert len(places(draw(curve([value, value])).curves[0].line)) == 2


def test_stages_share_the_line_by_steps():
    stages = lay_out_stages(
        [
            Stage(name="a", env_steps=0),
            Stage(name="b", env_steps=25),
            Stage(name="a", env_steps=50),
        ],
        100,
    )
    assert [stage.width for stage in stages] == [25.0, 25.0, 50.0]
    assert [stage.color for stage in stages] == [0, 1, 0], "a stage that returns keeps its colour"
    assert [stage.last for stage in stages] == ["25", "50", "100"]
    assert lay_out_stages([], 5) == ()


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=10), st.integers(0, 10**9))
def test_stages_fill_the_line_or_nothing_was_trained(steps, end):
    stages = [Stage(name=str(i), env_steps=step) for i, step in enumerate(sorted(steps))]
    total = sum(stage.width for stage in lay_out_stages(stages, end))
    assert total == pytest.approx(100) or total == 0
    for first, second in itertools.pairwise(lay_out_stages(stages, end)):
        assert first.last == second.first


def test_numbers_keep_four_digits():
    assert [format_number(v) for v in (0.0, 1.0, 0.12345, 12.345, 12345.6, -2.5)] == [
        *("0", "1", "0.1235", "12.35", "12,346", "-2.5"),
    ]
    assert HEIGHT > BOTTOM
