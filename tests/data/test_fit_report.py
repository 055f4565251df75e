"""A fit says, figure by figure, how far what was made lies from what is real."""

from __future__ import annotations

import math

import pytest

from data.fit_report import FitFigure, FitReport


@pytest.mark.parametrize(
    ("real", "made", "expected"),
    [(2.0, 2.5, 0.25), (-2.0, -1.0, 0.5), (-1.0, 1.0, 2.0), (0.0, 0.0, 0.0), (0.0, 1.0, math.inf)],
)
def test_relative_error(real, made, expected):
    assert FitFigure(name="kurtosis", real=real, made=made).relative_error == expected


def test_description_has_a_line_per_figure():
    figures = (
        FitFigure(name="kurtosis", real=10.0, made=12.5),
        FitFigure(name="mean", real=0.0, made=0.1),
    )
    first, second = FitReport(figures=figures).describe()
    assert first.split() == ["kurtosis", "real", "10", "made", "12.5", "off", "by", "25%"]
    assert second.split() == ["mean", "real", "0", "made", "0.1"]
    assert FitReport(figures=()).describe() == ()
