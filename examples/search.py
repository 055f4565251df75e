"""A tiny search: with which learning rate and how much noise does PPO learn?

One sees every trial with its score, then the best. `scripts/search.py` does the same from the
command line, also with several trials at once.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rl.algorithms.ppo_config import PPOConfig
from rl.training.hyperparameter_search import SearchConfig, open_search, run_search
from rl.training.learning_settings import LearningSettings
from rl.training.search_space import search_space
from rl.training.training_config import TrainingConfig
from rl.training.trial_training import train_trial
from utils.search_axis import Axis

BASE = TrainingConfig(
    environment="newsvendor",
    algorithm="ppo",
    settings=LearningSettings(ppo=PPOConfig(scale_rewards=True, initial_action_mean=0.2)),
    num_envs=64,
    total_episodes=16_384,
    eval_frequency=4_096,
)
AXES = (
    Axis(name="algorithm.ppo.learning_rate", low=1e-4, high=1e-1, is_log=True),
    Axis(name="algorithm.ppo.initial_log_std", low=-3.0, high=0.0),
)


def main() -> None:
    """Try six sets of values."""
    search_config = SearchConfig(study="tiny", num_trials=6)
    _, make = search_space(BASE, AXES, search_config.study)
    with TemporaryDirectory() as name:
        folder = Path(name)
        with open_search(search_config, AXES, folder) as search:
            run_search(search, partial(train_trial, make, folder))
            trials, best = search.records(), search.best()
    for trial in trials:
        rate, noise = trial.values.values()
        score = "" if trial.score is None else f"{trial.score:8.2f}"
        print(f"{trial.number}  rate {rate:.1e}  log std {noise:5.2f}  {trial.state:8} {score}")
    if best is None:
        raise SystemExit("no trial was completed")
    print(f"best: trial {best.number}")


if __name__ == "__main__":
    main()
