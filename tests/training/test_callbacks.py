"""What may end training early, and the way back from numbers that are not finite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rl.algorithms.losses import DivergenceError
from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.training.callbacks import EarlyStopping, TimeBudget
from rl.training.checkpointing import CheckpointFolder, load_checkpoint
from rl.training.recorder import StopReason
from rl.training.trainer import Trainer, TrainerConfig
from tests.training.test_trainer import Notebook, hash_of
from tests.training.worlds import PointWorld
from utils.errors import ConfigError

NOISE = np.random.default_rng(0).normal(size=32)


class Curve:
    """Evaluations with known means on 32 episodes, paired: the same luck in each."""

    def __init__(self, *means: float) -> None:
        self.means, self.last_kpis = list(means), np.zeros(0)

    def __call__(self, agent) -> dict[str, float]:
        self.last_kpis = self.means.pop(0) + NOISE
        return {"kpi": float(self.last_kpis.mean())}


def build(folder: Path, *, curve=None, callbacks=(), world=None, recorder=None):
    world = world or PointWorld()
    config = PPOConfig(hidden_dims=(8,))
    sizes = (world.observation_size, world.action_size)
    return Trainer(
        TrainerConfig(
            total_env_steps=320,
            rollout_steps=8,
            evaluate_every_updates=1,
            checkpoint_every_updates=1,
            seed=5,
        ),
        world,
        PPOAgent("learner", *sizes, config, discrete=False, seed=3),
        recorder or Notebook(),
        checkpoints=CheckpointFolder(folder),
        evaluate=curve,
        callbacks=callbacks,
    )


def test_a_plateau_ends_training_and_says_so(tmp_path):
    curve = Curve(0, 1, 2, 2, 2.0, 2, 9, 9, 9, 9, 9)
    stopping = EarlyStopping(3 * 32, lambda: curve.last_kpis)
    outcome = build(tmp_path, curve=curve, callbacks=[stopping]).train()
    assert outcome.env_steps == 5 * 32
    assert outcome.stopped is None
    assert "plateau: no evaluation since step 64" in outcome.ended
    assert outcome.checkpoint.env_steps == outcome.env_steps


def test_a_slow_rise_is_no_plateau(tmp_path):
    """Differences are paired: unpaired, these steps drown in the spread of the episodes."""
    curve = Curve(*np.arange(11) * 0.05)
    stopping = EarlyStopping(2 * 32, lambda: curve.last_kpis)
    outcome = build(tmp_path, curve=curve, callbacks=[stopping]).train()
    assert (outcome.env_steps, outcome.ended) == (320, "all steps are done")


def test_early_stopping_goes_on_where_it_was(tmp_path):
    means = (0, 1, 2, 2, 2, 2, 9, 9, 9, 9, 9)
    curve = Curve(*means)
    stopping = EarlyStopping(3 * 32, lambda: curve.last_kpis)
    first = build(
        tmp_path, curve=curve, callbacks=[stopping], recorder=Notebook(stop_after=3)
    ).train()
    assert first.stopped is not None
    later = Curve(*means[3:])  # the one of the update at which it stopped is made up for
    trainer = build(
        tmp_path, curve=later, callbacks=[EarlyStopping(3 * 32, lambda: later.last_kpis)]
    )
    trainer.restore(load_checkpoint(first.checkpoint.path))
    assert trainer.train().env_steps == 5 * 32


def test_a_finished_run_stays_finished_after_a_restart(tmp_path):
    curve = Curve(*[0] * 11)
    outcome = build(
        tmp_path, curve=curve, callbacks=[EarlyStopping(32, lambda: curve.last_kpis)]
    ).train()
    again = build(tmp_path, curve=curve, callbacks=[EarlyStopping(32, lambda: curve.last_kpis)])
    again.restore(load_checkpoint(outcome.checkpoint.path))
    assert again.train().ended == outcome.ended
    assert again.env_steps == outcome.env_steps


def test_time_is_counted_over_restarts(tmp_path):
    now = 0.0

    def monotonic():
        return now

    budget = TimeBudget(1.0, monotonic)
    now = 1800.0
    assert budget.after_update(1, {}) is None
    state = budget.state_dict()
    now = 50_000.0
    later = TimeBudget(1.0, monotonic)
    later.load_state_dict(state)
    now += 1799.0
    assert later.after_update(2, {}) is None
    now += 1.0
    assert "time budget of 1 hours spent" in later.after_update(3, {})


@pytest.mark.parametrize("hours", [0.0, -1.0, float("nan")])
def test_no_time_and_no_patience_are_refused(hours):
    with pytest.raises(ConfigError, match="max_hours"):
        TimeBudget(hours, lambda: 0.0)
    with pytest.raises(ConfigError, match="patience"):
        EarlyStopping(0, lambda: NOISE)


class Poisoned(PointWorld):
    """Gives NaN from a step of the episode sequence on that its first seed begins."""

    def __init__(self, *, at: int, forever: bool = False):
        super().__init__()
        self.at, self.forever, self.steps, self.seeds = at, forever, 0, []

    def reset(self, seed=None):
        self.seeds.append(seed)
        return super().reset(seed)

    def step(self, action):
        self.steps += 1
        if self.steps == self.at or (self.forever and self.steps > self.at):
            self.position = self.position * float("nan")
        return super().step(action)


def test_training_that_left_the_finite_numbers_goes_back_once_and_on(tmp_path):
    notebook = Notebook()
    notebook.stages = []
    notebook.stage_changed = lambda steps, stage: notebook.stages.append((steps, stage))
    world = Poisoned(at=44)
    outcome = build(tmp_path, curve=Curve(*range(12)), world=world, recorder=notebook).train()
    assert (outcome.env_steps, outcome.rollbacks) == (320, 1)
    ((steps, stage),) = notebook.stages
    assert steps == 5 * 32
    assert stage == "diverged, back at step 160"
    assert len(set(world.seeds)) == 2
    manifest = load_checkpoint(outcome.checkpoint.path)
    assert manifest.fields["rollbacks"] == 1
    assert all(torch.isfinite(t).all() for t in manifest.tensors.values() if t.is_floating_point())


def test_a_score_that_is_no_number_counts_as_divergence(tmp_path):
    means = [0, 1, 2, float("nan"), 3, 4, 5, 6, 7, 8, 9, 10]
    outcome = build(tmp_path, curve=Curve(*means)).train()
    assert (outcome.rollbacks, outcome.env_steps) == (1, 320)
    assert outcome.best_score == pytest.approx(10 + NOISE.mean())


def test_after_a_rollback_a_checkpoint_has_no_score_of_the_way_that_was_left(tmp_path):
    """Stopped where the way that was left had been scored, before it is scored again."""
    notebook, scores = Notebook(), Curve(*range(12))
    trainer = build(tmp_path, curve=scores, world=Poisoned(at=44), recorder=notebook)
    trainer._config = replace(trainer._config, checkpoint_every_updates=4)
    notebook.should_stop = lambda: (
        StopReason.PAUSE if trainer._rollbacks and trainer.env_steps == 5 * 32 else None
    )
    outcome = trainer.train()
    assert (outcome.env_steps, outcome.rollbacks) == (5 * 32, 1)
    assert [one.score is None for one in notebook.checkpoints] == [False, True]


def test_a_second_time_it_fails_loudly(tmp_path):
    with pytest.raises(DivergenceError):
        build(tmp_path, curve=Curve(*range(12)), world=Poisoned(at=44, forever=True)).train()


def test_without_a_checkpoint_it_fails_loudly(tmp_path):
    with pytest.raises(DivergenceError):
        build(tmp_path, curve=Curve(*range(12)), world=Poisoned(at=3)).train()


def test_callbacks_change_nothing_that_is_learnt(tmp_path):
    plain = hash_of(build(tmp_path / "plain").train())
    curve = Curve(*range(11))
    watched = build(
        tmp_path / "watched", curve=curve, callbacks=[EarlyStopping(320, lambda: curve.last_kpis)]
    ).train()
    ours, theirs = (
        load_checkpoint(next((tmp_path / name).glob("*320.fence-0.json"))).tensors
        for name in ("plain", "watched")
    )
    assert plain != hash_of(watched)
    shared = [name for name in ours if name.startswith(("agent.", "environment.", "learner."))]
    assert shared
    assert all(torch.equal(ours[name], theirs[name]) for name in shared)


def test_a_plateau_is_judged_by_blocks_not_by_their_copies():
    """Sixteen copies of two episodes are two episodes: their difference proves nothing."""
    differences = np.repeat([1.0, -0.5], 16)
    kpis = [np.zeros(32), differences]

    def judge(blocks):
        rest = list(kpis)
        stopping = EarlyStopping(1, lambda: rest.pop(0), blocks=blocks)
        assert stopping.after_evaluation(0, {}) is None
        return stopping.after_evaluation(32, {})

    assert judge(None) is None
    assert "plateau" in judge(np.repeat([0, 1], 16))
