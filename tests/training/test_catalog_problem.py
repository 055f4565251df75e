"""Every world of the catalogue can be trained in, judged, resumed; nothing held out is seen."""

from __future__ import annotations

import numpy as np
import pytest

from data.scenario import ScenarioBank
from rl.environments.catalog import PRESETS, make_world
from rl.evaluation.players import random_player
from rl.training.agents import make_agent
from rl.training.catalog_problem import catalog_problem
from rl.training.conclusion import Places
from rl.training.learners import make_learner
from rl.training.problems import BUILDERS, OTHER_NAMES, make_problem
from rl.training.recorder import NullRecorder
from rl.training.training_config import CUSTOM, EPISODE_STEPS, TrainingConfig
from rl.training.training_run import train_problem
from utils.errors import ConfigError
from utils.persistence.artifact_store import DirectoryArtifactStore

OWN = {"resource_allocation", "supply_chain", "trading", CUSTOM}
WORLDS = sorted(set(EPISODE_STEPS) - OWN)
SHORT = ("constrained_allocation", "traffic_shares", "execution", "newsvendor", "service_agents")


def test_every_world_has_a_name_and_the_right_length():
    assert {OTHER_NAMES.get(name, name) for name in WORLDS} == set(PRESETS)
    for name in set(WORLDS) - set(BUILDERS):
        world = make_world(OTHER_NAMES.get(name, name), num_envs=1)
        assert world.shape.num_steps == EPISODE_STEPS[name], name


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_a_problem_of_its_own_has_the_length_it_is_known_by(name):
    problem = make_problem(TrainingConfig(environment=name))
    assert problem.episode_steps == EPISODE_STEPS[name]
    assert problem.rival is None or problem.rival in problem.experts


@pytest.mark.parametrize("name", SHORT)
def test_a_problem_judges_fixed_sets_that_differ_from_what_is_trained(name):
    one, other = (catalog_problem(name, "ppo") for _ in range(2))
    assert one.held_out.sha256 == other.held_out.sha256 != one.validation.sha256
    few = one.held_out.first(4)
    scores, again = (one.contest.play(random_player(0), few).kpi for _ in range(2))
    assert np.isfinite(scores).all()
    assert np.array_equal(scores, again)
    assert ScenarioBank(one.training, one.bank, 0).hash != one.held_out.sha256


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [
        ("constrained_allocation", "sac"),
        ("traffic_shares", "dqn"),
        ("execution", "apg"),
        ("execution", "dqn"),
        ("service_agents", "mappo"),
    ],
)
def test_a_capable_algorithm_learns_in_it(name, algorithm):
    problem = catalog_problem(name, algorithm)
    bank = ScenarioBank(problem.training, problem.bank, 0)
    environment = problem.learn_in(bank, 4, 0)
    settings = problem.settings_of(algorithm)
    agent = make_agent(settings.config, environment, seed=0)
    learner = make_learner(environment, agent, rollout_steps=8, seed=0)
    learner.learn(10_000)
    assert learner.env_steps > 0
    assert np.isfinite(problem.contest.play_policy(agent, problem.held_out.first(3)).kpi).all()


def test_an_incapable_one_is_refused_with_the_reason(tmp_path):
    config = TrainingConfig(environment="workforce", algorithm="apg", total_episodes=4)
    nowhere = Places(folder=tmp_path, artifacts=DirectoryArtifactStore(tmp_path))
    with pytest.raises(ConfigError, match="differentiable"):
        train_problem(config, NullRecorder(), nowhere, run_id="r")


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean newsvendor"):
        TrainingConfig(environment="newsvender")
    with pytest.raises(ConfigError, match="did you mean maddpg"):
        TrainingConfig(algorithm="madpg")


def test_a_whole_run_without_experts_or_exporter(tmp_path):
    config = TrainingConfig(
        environment="newsvendor",
        algorithm="ppo",
        total_episodes=64,
        eval_frequency=32,
        tensorboard=True,
    )
    store = DirectoryArtifactStore(tmp_path / "artifacts")
    result = train_problem(
        config, NullRecorder(), Places(folder=tmp_path, artifacts=store), run_id="r"
    )
    (table,) = result.tables
    assert (table.baseline, result.artifact_sha256, result.card) == ("random", None, None)
    summary = (tmp_path / "report" / "report.md").read_text()
    assert "random play" in summary
    assert "being better than chance is little" in summary
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"evaluation/kpi" in events.read_bytes()


def test_the_problem_of_a_config_is_found():
    config = TrainingConfig(environment="trading_market", algorithm="ppo")
    assert make_problem(config).name == "trading"


@pytest.mark.parametrize(
    ("world", "algorithm", "instead"),
    [("constrained_allocation", "dqn", "sac"), ("multi_echelon", "qmix", "sac")],
)
def test_where_a_grid_would_be_too_large_somebody_is_named_who_can_learn(world, algorithm, instead):
    with pytest.raises(ConfigError, match=f"choose {instead}"):
        catalog_problem(world, algorithm)
    assert catalog_problem(world, instead).name == world
