"""Runs whose experience is collected in shards, stopped after some updates; no policy is judged."""

from __future__ import annotations

from dataclasses import replace

import torch

from rl.algorithms.multiplier_config import MultiplierConfig
from rl.algorithms.ppo_config import PPOConfig
from rl.training.checkpointing import load_checkpoint
from rl.training.conclusion import ResumePoint
from rl.training.learning_settings import LearningSettings
from rl.training.recorder import NullRecorder, StopReason
from rl.training.training_config import TrainingConfig
from rl.training.training_run import train_problem
from tests.training.small_problems import places_in

CONFIG = TrainingConfig(
    environment="constrained_allocation",
    algorithm="ppo",
    settings=LearningSettings(
        ppo=PPOConfig(
            hidden_dims=(8,),
            learning_rate=1e-2,
            scale_rewards=True,
            normalize_observations=True,
            num_minibatches=2,
            cost=MultiplierConfig(cost_limits=(0.1,)),
        )
    ),
    num_envs=4,
    total_episodes=40,
    synthetic_data_refresh_frequency=4,
    eval_frequency=0,
    checkpoint_frequency=0,
    collection_shards=2,
    seed=5,
)
"""Everything of PPO that has a state beside its weights, and a bank that is soon drawn anew."""


class Watch(NullRecorder):
    """Stops after some updates, keeps the last checkpoint and calls somebody before an update."""

    def __init__(self, updates, *, before=None):
        self.updates, self.before = updates, before or {}
        self.figures, self.last = [], None

    def metrics(self, env_steps, values):
        self.figures.append((env_steps, dict(values)))

    def checkpoint_written(self, checkpoint):
        self.last = checkpoint

    def should_stop(self):
        done = len(self.figures)
        self.before.pop(done + 1, lambda: None)()
        return StopReason.PAUSE if done == self.updates else None


def go_on(folder, updates, *, resume=None, config=CONFIG, problem=None, before=None, **places):
    """Train for some updates and return the recorder, with its last checkpoint."""
    point = None if resume is None else ResumePoint(path=resume.path, sha256=resume.sha256)
    watch = Watch(updates, before=before)
    places = replace(places_in(folder, resume=point), **places)
    result = train_problem(config, watch, places, run_id="r", problem=problem)
    assert result.stopped is StopReason.PAUSE
    return watch


def tensors_of(watch):
    """All that its last checkpoint holds."""
    return load_checkpoint(watch.last.path, watch.last.sha256).tensors


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
