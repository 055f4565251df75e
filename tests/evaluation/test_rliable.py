"""The statistics of runs agree with rliable 1.2, whose answers were recorded.

tests/data/rliable.json names the versions and the command that made it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rl.evaluation.resampling import Interval, Resampling
from rl.evaluation.run_statistics import aggregate_runs, probability_of_improvement, profile_runs

RECORD = json.loads((Path(__file__).parents[1] / "data" / "rliable.json").read_text())
SCORES = {who: np.asarray(values) for who, values in RECORD["scores"].items()}
FIGURES = RECORD["figures"]
RESAMPLING = Resampling(num_resamples=20_000)
NOISE = 0.02
"""Both intervals are drawn; an end of ours moved by up to half of this between ten seeds."""


def check(found: Interval, recorded: list[float], noise: float = NOISE) -> None:
    value, low, high = recorded
    assert found.value == pytest.approx(value, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((low, high), abs=noise)


def test_the_record_says_how_it_was_made():
    assert RECORD["versions"]["rliable"] == "1.2.0"
    assert (Path(__file__).parents[2] / RECORD["command"].split()[1]).exists()


@pytest.mark.parametrize("who", SCORES)
@pytest.mark.parametrize("figure", ["mean", "median", "iqm"])
def test_aggregates_and_their_intervals(who, figure):
    found = aggregate_runs(SCORES[who], RESAMPLING)
    check(getattr(found, figure), FIGURES[figure][who])


def test_probability_of_improvement():
    found = probability_of_improvement(SCORES["ours"], SCORES["theirs"], RESAMPLING)
    check(found, FIGURES["probability_of_improvement"])


@pytest.mark.parametrize("who", SCORES)
def test_performance_profiles(who):
    found = profile_runs(SCORES[who], RECORD["thresholds"], RESAMPLING)
    for share, recorded in zip(found.shares, FIGURES["profile"][who], strict=True):
        # Shares of so few runs come in steps of 1/30 and 1/20.
        check(share, recorded, noise=1 / 20 + 1e-9)
