"""What cannot work is refused before an expert is tuned, and says what to do."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from rl.algorithms.apg_config import APGConfig
from rl.algorithms.ppo_config import PPOConfig
from rl.evaluation.contest import Scores
from rl.evaluation.players import random_player
from rl.training.conclusion import ResumePoint
from rl.training.learning_settings import LearningSettings
from rl.training.recorder import NullRecorder
from rl.training.training_config import TrainingConfig
from rl.training.training_run import train_problem
from rl.training.validation import Validation
from tests.training.small_problems import make_small, places_in, tuned
from utils.errors import ConfigError

MEMORY = LearningSettings(ppo=PPOConfig(hidden_dims=(8,), memory_size=4, num_minibatches=2))


def config_of(environment="trading", algorithm="apg", **settings):
    small = LearningSettings(apg=APGConfig(hidden_dims=(8,)))
    fields = {"settings": small, "num_agents": 2, "num_envs": 4, "total_episodes": 4}
    return TrainingConfig(environment=environment, algorithm=algorithm, **fields | settings)


def train(folder, config, **points):
    problem = make_small(config)
    places = places_in(folder, **points)
    return train_problem(config, NullRecorder(), places, run_id="r", problem=problem)


def begin_from(path):
    (checkpoint,) = (path / "checkpoints").glob("*.json")
    return {"init": ResumePoint(path=str(checkpoint), sha256=sha256(checkpoint))}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_curriculum_without_stages(tmp_path):
    config = config_of("execution", use_curriculum=True)
    with pytest.raises(ConfigError, match="execution has no stages: train with use_curriculum"):
        train(tmp_path, config)
    assert tuned(tmp_path) == []


def test_a_policy_that_does_not_fit(tmp_path):
    train(tmp_path / "first", config_of())
    start = begin_from(tmp_path / "first")
    wider = config_of(settings=LearningSettings(apg=APGConfig(hidden_dims=(9,))))
    with pytest.raises(ConfigError, match="does not fit this one"):
        train(tmp_path / "wider", wider, **start)
    with pytest.raises(ConfigError, match="trained a APGAgent, this one trains a PPOAgent"):
        train(tmp_path / "other", config_of(algorithm="ppo"), **start)
    assert tuned(tmp_path / "wider") == tuned(tmp_path / "other") == []
    assert train(tmp_path / "same", config_of(seed=1), **start).best_score is not None


def test_a_policy_that_cannot_be_served_is_trained_and_the_report_says_so(tmp_path):
    config = config_of(algorithm="ppo", settings=MEMORY)
    result = train(tmp_path, config)
    assert (result.artifact_sha256, result.card, result.artifact_bytes) == (None, None, 0)
    summary = (tmp_path / "report" / "report.md").read_text()
    assert "No artifact was made: RecurrentPPOAgent cannot be served yet" in summary
    assert "No artifact" not in _summary_of(tmp_path / "plain", config_of())


def _summary_of(folder, config):
    train(folder, config)
    return (folder / "report" / "report.md").read_text()


@pytest.mark.parametrize("bound", [-10.0, 3.0])
def test_no_gap_is_no_share_of_it(bound):
    """An expert at the bound, or above a bound that is none, leaves nothing to be closed."""
    config = config_of("newsvendor", "ppo", settings=LearningSettings())
    problem = make_small(config)
    contest = _Fixed(problem.contest)
    known = np.full(3, bound)
    watch = Validation(contest, problem.validation, [random_player(0)], bound=known)
    assert ("gap_closed" in watch(None)) == (bound > 1.0)


class _Fixed:
    """A contest that everybody leaves with one point an episode."""

    def __init__(self, contest):
        self.contest = contest

    def play(self, player, episodes):
        return Scores(kpi=np.ones(len(episodes.blocks)), figures={})

    play_policy = play
