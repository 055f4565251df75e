"""Train BenchMARL on a particle world of mpe2; run by the Python of its own environment.

Prints one line of JSON. `python -m benchmarks.multi_agent` calls it; `scripts/install-peers
benchmarl` makes the environment. BenchMARL publishes no settings tuned for these worlds (its folder
fine_tuned has VMAS, SMACv2 and MeltingPot), so its own base_experiment.yaml holds, apart from the
options below.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from typing import Any

import mpe2
import mpe2.all_modules
import torch

# PettingZoo 1.27 has given its particle worlds to mpe2; torchrl looks for them at the old place.
sys.modules["pettingzoo.mpe"] = mpe2
sys.modules["pettingzoo.mpe.all_modules"] = mpe2.all_modules
warnings.filterwarnings("ignore")

from benchmarl.algorithms import MaddpgConfig, MappoConfig, QmixConfig  # noqa: E402
from benchmarl.environments import PettingZooTask  # noqa: E402
from benchmarl.experiment import Experiment, ExperimentConfig  # noqa: E402
from benchmarl.models.mlp import MlpConfig  # noqa: E402
from torchrl.envs.utils import ExplorationType, set_exploration_type  # noqa: E402

ALGORITHMS = {"mappo": MappoConfig, "maddpg": MaddpgConfig, "qmix": QmixConfig}
TASKS = {
    "spread": PettingZooTask.SIMPLE_SPREAD,
    "speaker_listener": PettingZooTask.SIMPLE_SPEAKER_LISTENER,
}


def make_experiment(arguments: argparse.Namespace, folder: str) -> Experiment:
    """Build one training run.

    Args:
        arguments: Of the command line.
        folder: Where it may write.
    """
    config = ExperimentConfig.get_from_yaml()
    config.max_n_frames = arguments.env_steps
    config.lr = arguments.learning_rate
    config.prefer_continuous_actions = arguments.algorithm == "maddpg"
    config.evaluation = config.render = config.create_json = False
    config.loggers = []
    config.save_folder = folder
    task = TASKS[arguments.world].get_from_yaml()
    task.config["max_cycles"] = arguments.episode_steps
    return Experiment(
        task=task,
        algorithm_config=ALGORITHMS[arguments.algorithm].get_from_yaml(),
        model_config=MlpConfig.get_from_yaml(),
        critic_model_config=MlpConfig.get_from_yaml(),
        seed=arguments.seed,
        config=config,
    )


def evaluate(experiment: Experiment, *, episodes: int, steps: int, seed: int) -> list[float]:
    """Return the undiscounted return of each episode; a step's reward is the mean over agents.

    Args:
        experiment: Its policy acts deterministically.
        episodes: How many.
        steps: Of each.
        seed: Of the first episode.
    """
    environment = experiment.task.get_env_fun(
        num_envs=1,
        continuous_actions=experiment.continuous_actions,
        seed=seed,
        device="cpu",
    )()
    returns = []
    with torch.no_grad(), set_exploration_type(ExplorationType.DETERMINISTIC):
        for _ in range(episodes):
            played = environment.rollout(steps, policy=experiment.policy)
            rewards = [played["next", group, "reward"] for group in experiment.group_map]
            returns.append(float(torch.cat(rewards, -2).mean(-2).sum()))
    return returns


def main() -> None:
    """Train once, evaluate the last policy, print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", choices=TASKS, required=True)
    parser.add_argument("--algorithm", choices=ALGORITHMS, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--env-steps", type=int, required=True)
    parser.add_argument("--episode-steps", type=int, required=True)
    parser.add_argument("--final-episodes", type=int, required=True)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        experiment = make_experiment(arguments, folder)
        wall, cpu = time.perf_counter(), time.process_time()
        experiment.run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        found: dict[str, Any] = {
            "version": f"benchmarl {version('benchmarl')}, torchrl {version('torchrl')}, "
            f"torch {torch.__version__}",
            "learning_rate": arguments.learning_rate,
            "env_steps": experiment.total_frames,
            "wall_seconds": round(wall, 2),
            "cpu_seconds": round(cpu, 2),
            "threads": torch.get_num_threads(),
            "final_returns": evaluate(
                experiment,
                episodes=arguments.final_episodes,
                steps=arguments.episode_steps,
                seed=1_000_000 + arguments.seed,
            ),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
