"""Runs of every algorithm, whole or in two halves; a program of its own for the test of resumption.

`python -m tests.training.resume_runs FOLDER UPDATES` goes on with each run from its newest
checkpoint, if there is one, for so many updates, and leaves a checkpoint.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

import torch

from rl.algorithms.apg_config import APGConfig
from rl.algorithms.dqn_config import DQNConfig
from rl.algorithms.maddpg_config import MADDPGConfig
from rl.algorithms.multiplier_config import MultiplierConfig
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.priority_config import PriorityConfig
from rl.algorithms.qmix_config import QMIXConfig
from rl.algorithms.sac_config import SACConfig
from rl.algorithms.td3_config import TD3Config
from rl.environments.catalog import make_world, with_actions
from rl.environments.lockstep import LockstepOptions
from rl.environments.two_step_game import BatchedTwoStepGame
from rl.training import curriculum_scheduler
from rl.training.agents import make_agent
from rl.training.checkpointing import CheckpointFolder
from rl.training.conclusion import ResumePoint
from rl.training.learning_settings import LearningSettings
from rl.training.recorder import NullRecorder, StopReason
from rl.training.trainer import Trainer, TrainerConfig
from rl.training.training_config import TrainingConfig
from rl.training.training_run import train_problem
from tests.training.small_problems import make_small, places_in

NUM_ENVS, ROLLOUT_STEPS, TOTAL_UPDATES = 4, 6, 20
SMALL = {"hidden_dims": (8, 8), "learning_rate": 1e-2}
REPLAY = {**SMALL, "buffer_size": 40, "batch_size": 8, "learning_starts": 16, "train_frequency": 6}
CONFIGS = {
    "ppo": PPOConfig(**SMALL, scale_rewards=True, num_minibatches=2),
    "recurrent_ppo": PPOConfig(**SMALL, memory_size=6, num_minibatches=2),
    "mappo": PPOConfig(**SMALL, critic="central", parameter_sharing="independent"),
    "limited_ppo": PPOConfig(**SMALL, cost=MultiplierConfig(cost_limits=(0.1,))),
    "dqn": DQNConfig(**REPLAY, priority=PriorityConfig(), n_step=3),
    "sac": SACConfig(**REPLAY),
    "td3": TD3Config(**REPLAY, noise_correlation=0.5),
    "maddpg": MADDPGConfig(**REPLAY),
    "matd3": MADDPGConfig(**REPLAY, variant="matd3", exploration="ornstein_uhlenbeck"),
    "qmix": QMIXConfig(**REPLAY),
    "recurrent_qmix": QMIXConfig(**REPLAY, recurrent=True, max_episode_steps=2),
    "vdn": QMIXConfig(**REPLAY, mixer="vdn"),
    "apg": APGConfig(**SMALL),
}
CURRICULA = {
    "trading_stages": ("trading", "apg"),
    "supply_chain_stages": ("supply_chain", "ppo"),
    "resource_allocation_stages": ("resource_allocation", "sac"),
}
"""A demo's problem with its curriculum and early stopping, and who learns it."""


def make_environment(name):
    """Return a small world that the algorithm can play."""
    if name in ("qmix", "recurrent_qmix", "vdn"):
        return BatchedTwoStepGame(LockstepOptions(num_envs=NUM_ENVS), 0)
    if name in ("maddpg", "matd3", "mappo"):
        return make_world("service_agents", num_envs=NUM_ENVS)
    if name == "dqn":
        return with_actions(make_world("newsvendor", num_envs=NUM_ENVS), "binned")
    return make_world("execution" if name == "apg" else "constrained_allocation", num_envs=NUM_ENVS)


class StopAfter(NullRecorder):
    """Asks to stop after some updates."""

    def __init__(self, updates):
        self.left = updates

    def metrics(self, env_steps, values):
        self.left -= 1

    def should_stop(self):
        return StopReason.PAUSE if self.left == 0 else None


def go_on(name, folder, updates):
    """Train one algorithm for some updates more."""
    environment = make_environment(name)
    agent = make_agent(CONFIGS[name], environment, seed=3)
    checkpoints = CheckpointFolder(folder / name)
    update = NUM_ENVS * (environment.config.num_steps if name == "apg" else ROLLOUT_STEPS)
    config = TrainerConfig(
        total_env_steps=TOTAL_UPDATES * update, rollout_steps=ROLLOUT_STEPS, seed=5
    )
    trainer = Trainer(config, environment, agent, StopAfter(updates), checkpoints=checkpoints)
    newest = checkpoints.newest()
    if newest is not None:
        trainer.restore(newest.checkpoint)
    trainer.train()


def go_on_with_stages(name, folder, updates):
    """Train a demo's problem with its curriculum for some updates more, as a whole run does."""
    environment, algorithm = CURRICULA[name]
    config = TrainingConfig(
        environment=environment,
        algorithm=algorithm,
        settings=LearningSettings(sac=SACConfig(**REPLAY | {"train_frequency": 72})),
        num_envs=4,
        num_agents=2,
        total_episodes=80,
        eval_frequency=8,
        checkpoint_frequency=0,
        early_stopping_patience=10**6,
        use_curriculum=True,
        seed=5,
    )
    newest = CheckpointFolder(folder / name / "checkpoints").newest()
    record = None if newest is None else newest.checkpoint.record
    point = None if record is None else ResumePoint(path=record.path, sha256=record.sha256)
    places = places_in(folder / name, resume=point)
    problem = make_small(config)
    with mock.patch.object(curriculum_scheduler, "MIN_SCORES", 2):
        result = train_problem(config, StopAfter(updates), places, run_id="r", problem=problem)
    assert result.stopped is StopReason.PAUSE


if __name__ == "__main__":
    torch.set_num_threads(1)
    for algorithm in CONFIGS:
        go_on(algorithm, Path(sys.argv[1]), int(sys.argv[2]))
    for run in CURRICULA:
        go_on_with_stages(run, Path(sys.argv[1]), int(sys.argv[2]))
