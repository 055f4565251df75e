"""Compare two runs on the same luck: a short and a longer training in the water tank.

One sees the mean of each with its interval, and how much narrower the interval of the difference is
when both are asked about the same episodes (paired) than if each had its own.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import numpy as np

from examples.custom_environment import PROBLEM
from rl.evaluation.statistics import Estimate, block_bootstrap_interval
from rl.training.trained_agent import load_agent
from rl.training.training_config import TrainingConfig
from rl.training.training_pipeline import RLTrainingPipeline

LONG = TrainingConfig(environment="custom", algorithm="apg", total_episodes=2_000, eval_frequency=0)
RUNS = {"short": replace(LONG, total_episodes=1_200), "long": LONG}


def line(name: str, estimate: Estimate) -> str:
    """Show a mean and its 95 % interval."""
    return f"{name:18} {estimate.mean:8.2f}   [{estimate.low:.2f}, {estimate.high:.2f}]"


def main() -> None:
    """Train both, let both play the held-out episodes, compare."""
    kpis, held_out = {}, PROBLEM.held_out
    with TemporaryDirectory() as folder:
        for name, config in RUNS.items():
            results = anyio.run(RLTrainingPipeline(config, PROBLEM, output_dir=folder).train)
            agent = load_agent(Path(folder) / "runs" / results["run_id"], config, PROBLEM)
            kpis[name] = PROBLEM.contest.play_policy(agent, held_out).kpi
            print(line(name, block_bootstrap_interval(kpis[name], held_out.blocks)))
    paired = block_bootstrap_interval(kpis["long"] - kpis["short"], held_out.blocks)
    shuffled = np.random.default_rng(0).permutation(kpis["short"])
    print(line("difference, paired", paired))
    print(
        line("without pairing", block_bootstrap_interval(kpis["long"] - shuffled, held_out.blocks))
    )
    print("longer is better" if paired.low > 0 else "no certain difference")


if __name__ == "__main__":
    main()
