"""Record what rliable says of a few scores, for tests/evaluation/test_rliable.py to compare with.

Run by the Python of its own environment, which `scripts/install-peers rliable` makes:
`var/peers/rliable/bin/python benchmarks/peers/rliable_reference.py > tests/data/rliable.json`
"""

from __future__ import annotations

import json
import sys
import warnings
from importlib.metadata import version

import numpy as np

warnings.filterwarnings("ignore")

from rliable import library, metrics  # noqa: E402

COMMAND = (
    "var/peers/rliable/bin/python benchmarks/peers/rliable_reference.py > tests/data/rliable.json"
)
RESAMPLES = 20_000
THRESHOLDS = [-0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5]
AGGREGATES = {
    "mean": metrics.aggregate_mean,
    "median": metrics.aggregate_median,
    "iqm": metrics.aggregate_iqm,
}


def make_scores() -> dict[str, np.ndarray]:
    """Draw scores `[run, task]` with ties, two numbers of runs and one outlier."""
    generator = np.random.RandomState(7)
    ours = np.round(generator.normal([0.2, 0.5, 0.8, 1.1, 0.4], 0.3, (6, 5)), 2)
    theirs = np.round(generator.normal([0.1, 0.5, 0.6, 1.0, 0.5], 0.3, (4, 5)), 2)
    ours[0, 0], theirs[1, :2] = 4.0, ours[2, :2]
    return {"ours": ours, "theirs": theirs}


def main() -> None:
    """Print scores and figures as JSON."""
    np.random.seed(11)  # noqa: NPY002
    scores = make_scores()
    figures: dict[str, object] = {}
    for name, aggregate in AGGREGATES.items():
        points, intervals = library.get_interval_estimates(
            scores, lambda x, of=aggregate: np.array([of(x)]), reps=RESAMPLES
        )
        figures[name] = {who: [points[who][0], *intervals[who][:, 0]] for who in scores}
    points, intervals = library.get_interval_estimates(
        {"pair": [scores["ours"], scores["theirs"]]},
        lambda x, y: np.array([metrics.probability_of_improvement(x, y)]),
        reps=RESAMPLES // 10,
    )
    figures["probability_of_improvement"] = [points["pair"][0], *intervals["pair"][:, 0]]
    shares, bands = library.create_performance_profile(
        scores, np.array(THRESHOLDS), reps=RESAMPLES // 4
    )
    figures["profile"] = {who: np.vstack([shares[who], bands[who]]).T.tolist() for who in scores}
    record = {
        "command": COMMAND,
        "versions": {name: version(name) for name in ("rliable", "arch", "numpy", "scipy")},
        "resamples": RESAMPLES,
        "thresholds": THRESHOLDS,
        "scores": {who: values.tolist() for who, values in scores.items()},
        "figures": figures,
    }
    json.dump(record, sys.stdout, indent=1, default=float)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
