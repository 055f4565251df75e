"""Data of your own: demand from a CSV file (which this example writes) becomes scenarios.

Training draws windows of the first seven years, the last two are held out. One sees the agent and
the rule on days that nothing was trained on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import numpy as np
from numpy.typing import NDArray

from data.demand import InventoryScenarios
from data.scenario import Array
from examples.custom_environment import PROBLEM
from examples.water_tank import DAYS, NEED
from rl.evaluation.contest import ScenarioSet
from rl.training.training_config import TrainingConfig
from rl.training.training_pipeline import RLTrainingPipeline
from utils.seeding import make_generator

YEAR = 365
CONFIG = TrainingConfig(environment="custom", algorithm="apg", total_episodes=1_500)


def write_history(path: Path) -> None:
    """Write ten years of daily demand: a season, weekends and noise."""
    day = np.arange(10 * YEAR)
    mean = NEED * (1 + 0.2 * np.sin(2 * np.pi * day / YEAR)) * np.where(day % 7 < 5, 1.1, 0.75)
    rows = np.stack([day, make_generator(0, "history").poisson(mean)], -1)
    np.savetxt(path, rows, fmt="%d", delimiter=",", header="day,asked", comments="")


class Windows:
    """A `ScenarioSource`: stretches of a history that begin on any day."""

    def __init__(self, history: Array) -> None:
        self._history = history

    def at(self, first_days: NDArray[np.intp]) -> InventoryScenarios:
        """Cut the episodes that begin on the given days."""
        return InventoryScenarios(demand=self._history[first_days[:, None] + np.arange(DAYS)])

    def draw(self, num_episodes: int, generator: np.random.Generator) -> InventoryScenarios:
        """Cut episodes anywhere."""
        return self.at(generator.integers(len(self._history) - DAYS + 1, size=num_episodes))


def fixed_set(name: str, history: Array) -> ScenarioSet:
    """Cut a history into episodes that do not overlap, so that each counts as one."""
    scenarios = Windows(history).at(np.arange(0, len(history) - DAYS + 1, DAYS))
    blocks = np.arange(scenarios.num_episodes)
    return ScenarioSet(name=name, about=name, scenarios=scenarios, blocks=blocks)


def main() -> None:
    """Write, read, train, evaluate."""
    with TemporaryDirectory() as folder:
        write_history(path := Path(folder) / "demand.csv")
        history = np.loadtxt(path, np.float32, delimiter=",", skiprows=1, usecols=1)
        problem = replace(
            PROBLEM,
            training=Windows(history[: 7 * YEAR]),
            training_data="windows of the first seven years",
            validation=fixed_set("the eighth year", history[7 * YEAR : 8 * YEAR]),
            held_out=fixed_set("the last two years", history[8 * YEAR :]),
        )
        results = anyio.run(RLTrainingPipeline(CONFIG, problem, output_dir=folder).train)
    print(f"{len(history):,} days read; judged on {problem.held_out.about}")
    for row in results["evaluation"]:
        print(f"{row['name']:9} {row['kpi']['mean']:7.2f}")


if __name__ == "__main__":
    main()
