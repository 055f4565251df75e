"""The training loop: what it reports, when it stops, and that stopping leaves no trace."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rl.algorithms.policy_state import StateMismatchError
from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.training.checkpointing import CheckpointFolder, load_checkpoint
from rl.training.recorder import NullRecorder, StopReason
from rl.training.trainer import Trainer, TrainerConfig
from tests.training.worlds import ConstantWorld, PointWorld, TargetWorld
from utils.errors import ConfigError


class Notebook(NullRecorder):
    """Keeps everything, and asks to stop after some updates."""

    def __init__(self, stop_after=None):
        self.figures, self.progressed, self.checkpoints, self.evaluations = [], [], [], []
        self.stop_after = stop_after

    def metrics(self, env_steps, values):
        self.figures.append((env_steps, dict(values)))

    def progress(self, env_steps, total_env_steps):
        self.progressed.append((env_steps, total_env_steps))

    def checkpoint_written(self, checkpoint):
        load_checkpoint(checkpoint.path, checkpoint.sha256)
        self.checkpoints.append(checkpoint)

    def evaluated(self, evaluation):
        self.evaluations.append(evaluation)

    def should_stop(self):
        return StopReason.PAUSE if self.stop_after == len(self.figures) else None


def build(folder=None, *, recorder=None, total=320, evaluate=None, hidden=8, **settings):
    """Return a trainer of ten updates of 32 steps, with every feature that has state."""
    world = PointWorld()
    agent = PPOAgent(
        "learner",
        world.observation_size,
        world.action_size,
        PPOConfig(
            hidden_dims=(hidden,),
            scale_rewards=True,
            decay_learning_rate=True,
            value_clip=0.5,
            entropy_coeff=0.01,
        ),
        discrete=False,
        seed=3,
    )
    trainer = Trainer(
        TrainerConfig(total_env_steps=total, rollout_steps=8, seed=5, **settings),
        world,
        agent,
        recorder or NullRecorder(),
        checkpoints=None if folder is None else CheckpointFolder(folder),
        evaluate=evaluate,
    )
    return trainer, agent


def test_reports_every_update_in_order():
    notebook = Notebook()
    outcome = build(recorder=notebook)[0].train()
    steps = [env_steps for env_steps, _ in notebook.figures]
    assert steps == list(range(32, 321, 32))
    assert notebook.progressed == [(0, 320)] + [(step, 320) for step in steps]
    assert (outcome.env_steps, outcome.updates, outcome.stopped) == (320, 10, None)
    figures = notebook.figures[5][1]
    assert {
        *("policy_loss", "value_loss", "entropy_loss", "kl_divergence", "clipfrac"),
        *("explained_variance", "gradient_norm", "learning_rate", "return", "episodes"),
        *("episode_length", "environment/load"),
    } <= figures.keys()
    assert figures["learning_rate"] == pytest.approx(3e-4 * (1 - 6 / 10))


def test_evaluates_and_saves_on_time_and_at_the_end(tmp_path):
    notebook = Notebook()
    scores = iter([0.5, 1.0, 3.0, 2.0, 0.0])
    policies = []

    def evaluate(agent):
        policies.append(agent.policy_state())
        return {"kpi": next(scores)}

    trainer, agent = build(
        tmp_path,
        recorder=notebook,
        evaluate=evaluate,
        evaluate_every_updates=3,
        checkpoint_every_updates=4,
    )
    outcome = trainer.train()
    assert [e.env_steps for e in notebook.evaluations] == [0, 96, 192, 288, 320]
    assert [c.env_steps for c in notebook.checkpoints] == [128, 256, 320]
    assert outcome.checkpoint == notebook.checkpoints[-1]
    assert outcome.best_score == 3.0
    agent.load_policy_state(outcome.best_policy)
    assert all(torch.equal(t, policies[2][name]) for name, t in agent.policy_state().items())

    resumed, _ = build(tmp_path)
    resumed.restore(load_checkpoint(outcome.checkpoint.path))
    again = resumed.train()
    assert (again.updates, again.best_score) == (10, 3.0)
    assert all(torch.equal(t, policies[2][name]) for name, t in again.best_policy.items())


def test_a_score_that_is_not_measured_is_refused():
    trainer, _ = build(evaluate=lambda agent: {"return": 1.0})
    with pytest.raises(ConfigError, match="score=kpi: the evaluation has only return"):
        trainer.train()


def test_stops_at_the_next_update_with_a_checkpoint(tmp_path):
    notebook = Notebook(stop_after=3)
    outcome = build(tmp_path, recorder=notebook)[0].train()
    assert (outcome.stopped, outcome.updates, outcome.env_steps) == (StopReason.PAUSE, 3, 96)
    assert [c.env_steps for c in notebook.checkpoints] == [96]


def train_in_parts(folder, first, *, in_new_process):
    """Train `first` updates, save, and let somebody else train the other ones."""
    Path(folder).mkdir()
    record = build(folder, recorder=Notebook(stop_after=first))[0].train().checkpoint
    if not in_new_process:
        return finish(folder, record.path, record.sha256)
    code = (
        "import sys; from tests.training.test_trainer import finish; print(finish(*sys.argv[1:]))"
    )
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(folder), record.path, record.sha256],
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    return child.stdout.strip()


def finish(folder, path, sha256):
    torch.set_num_threads(1)
    trainer, _ = build(Path(folder))
    trainer.restore(load_checkpoint(path, sha256))
    return hash_of(trainer.train())


def hash_of(outcome):
    """Return the hash of all tensors of the last checkpoint."""
    return json.loads(Path(outcome.checkpoint.path).read_text())["tensors_sha256"]


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_training_in_parts_is_training_at_once(tmp_path):
    """Weights, moments, normaliser, generators, environment: every byte of the last checkpoint."""
    whole = hash_of(build(tmp_path / "whole")[0].train())
    assert train_in_parts(tmp_path / "same", 4, in_new_process=False) == whole
    assert train_in_parts(tmp_path / "other", 7, in_new_process=True) == whole


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    record = build(tmp_path, recorder=Notebook(stop_after=1))[0].train().checkpoint
    trainer, _ = build(hidden=9)
    with pytest.raises(StateMismatchError, match=r"actor.vector was saved as"):
        trainer.restore(load_checkpoint(record.path))


@pytest.mark.parametrize("ending", ["truncated", "terminated"])
def test_value_of_a_constant_reward(ending):
    """Truncated pieces of an endless task are worth 1 / (1 - gamma); 5 steps are worth less.

    Every observation is the same, so one value serves all steps; for terminated pieces it is the
    mean over the 5 positions of (1 - gamma^k) / (1 - gamma).
    """
    world = ConstantWorld(ending=ending)
    config = PPOConfig(
        hidden_dims=(),
        learning_rate=0.05,
        gamma=0.9,
        gae_lambda=0.0 if ending == "truncated" else 1.0,
        normalize_observations=False,
        num_minibatches=1,
        ppo_epochs=10,
        max_grad_norm=100.0,
    )
    agent = PPOAgent("learner", 1, 2, config, discrete=True, seed=0)
    trainer = Trainer(
        TrainerConfig(total_env_steps=5 * 4 * 200, rollout_steps=5), world, agent, NullRecorder()
    )
    trainer.train()
    expected = 10.0
    if ending == "terminated":
        expected = sum((1 - 0.9**k) / 0.1 for k in range(1, 6)) / 5
    assert agent.value(torch.ones(1, 1)).item() == pytest.approx(expected, rel=0.02)


def test_learns_to_hit_a_target_and_leaves_masked_dimensions_alone():
    world = TargetWorld()
    config = PPOConfig(
        hidden_dims=(32,),
        learning_rate=3e-3,
        initial_log_std=-1.0,
        initial_action_mean=0.5,
        ppo_epochs=8,
        value_loss_coeff=0.25,
    )
    agent = PPOAgent("learner", 1, 2, config, discrete=False, seed=1)
    trainer = Trainer(
        TrainerConfig(total_env_steps=64 * 8 * 60, rollout_steps=8), world, agent, NullRecorder()
    )
    trainer.train()
    target = torch.linspace(0.05, 0.95, 19).view(-1, 1, 1)
    action = agent.act(target, None, deterministic=True).action
    assert (action[..., 0] - target[..., 0]).abs().mean() < 0.05
    (log_std,) = agent.network.log_std  # of the one set of weights
    assert log_std.flatten()[0] < -1.5
    assert log_std.flatten()[1] == -1.0
    assert agent.network.actor.biases[-1][0, 0, 1] == 0.5


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("first", [2, 3, 6])
def test_a_stop_where_an_evaluation_is_due_does_not_take_it(tmp_path, first):
    """It is made up for at once; the best policy, its score and every byte are the same."""

    def train(folder, notebook):
        curve = iter([5.0, 9.0, 6.0, 7.0, 1.0][len(seen) :])

        def evaluate(agent):
            return {"kpi": next(curve)}

        trainer, _ = build(folder, recorder=notebook, evaluate=evaluate, evaluate_every_updates=3)
        newest = CheckpointFolder(folder).newest()
        if newest is not None:
            trainer.restore(newest.checkpoint)
        outcome = trainer.train()
        seen.extend(one.env_steps for one in notebook.evaluations)
        return outcome

    seen = []
    whole = train(tmp_path / "whole", Notebook())
    assert seen == [0, 96, 192, 288, 320]
    seen = []
    train(tmp_path / "parts", Notebook(stop_after=first))
    outcome = train(tmp_path / "parts", Notebook())
    assert seen == [0, 96, 192, 288, 320]
    assert hash_of(outcome) == hash_of(whole)
    assert outcome.best_score == whole.best_score == 9.0


def test_a_stop_in_the_last_update_does_not_take_the_last_evaluation():
    notebook = Notebook(stop_after=10)
    outcome = build(recorder=notebook, evaluate=lambda agent: {"kpi": 1.0})[0].train()
    assert (outcome.updates, outcome.stopped, outcome.best_score) == (10, None, 1.0)
    assert len(notebook.evaluations) == 1
