"""What people type, and the training configuration that comes of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rl.algorithms.capabilities import CAPABILITIES
from rl.algorithms.dqn_config import DQNConfig
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.qmix_config import QMIXConfig
from rl.domains.constrained_allocation import ConstrainedConfig
from rl.environments.catalog import PRESETS
from rl.training.learning_settings import LearningSettings
from rl.training.problems import make_problem
from rl.training.run_settings import (
    ENVIRONMENTS,
    as_typed,
    idle_settings,
    make_config,
    typed_names,
)
from rl.training.settling import settle
from rl.training.training_config import TrainingConfig
from rl.training.training_run import learner_settings
from rl.training.world_settings import WorldSettings
from tests.test_torch_free import import_in_a_fresh_process
from utils.config import from_json, to_json
from utils.dotted import names_of
from utils.errors import ConfigError

WORLD = {"env": "constrained_allocation", "algorithm": "ppo"}


def refuse_to_settle(config):
    raise AssertionError("nobody changed a setting of the algorithm")


def make(values, settle=refuse_to_settle, **choices):
    return make_config(WORLD | choices, values, settle)


def test_settings_are_read_without_torch():
    modules = ["rl.training.run_settings", "rl.training.world_settings"]
    assert import_in_a_fresh_process(modules) == {}


def test_the_promised_words_say_what_they_mean():
    config = make(
        {
            "env.num_resources": 5,
            "env.num_tasks": 8,
            "training.total_timesteps": 200000,
            "algorithm.dqn.learning_rate": 1e-4,
        }
    )
    world = ConstrainedConfig(num_resources=5, num_tasks=8)
    assert config == TrainingConfig(
        environment="constrained_allocation",
        world=WorldSettings(constrained_allocation=world),
        algorithm="ppo",
        settings=LearningSettings(dqn=DQNConfig(learning_rate=1e-4)),
        total_episodes=2000,
    )
    assert idle_settings(config) == ("dqn",)
    assert from_json(TrainingConfig, json.loads(json.dumps(to_json(config)))) == config


def test_steps_become_whole_episodes_of_the_world_as_sized():
    config = make({"env.episode_length": 30, "training.total_timesteps": 100})
    assert config.total_episodes == 4
    assert config.total_env_steps == 120
    assert make({"training.eval_freq": 0, "training.save_freq": 1e3}).checkpoint_frequency == 10


@pytest.mark.parametrize(
    ("values", "episodes"),
    [
        ({"training.total_timesteps": 500, "training.total_episodes": 7}, 7),
        ({"training.total_episodes": 7, "training.total_timesteps": 500}, 5),
        ({"training.total_episodes": 7, "training.total_timesteps": None}, 7),
        ({"total_episodes": 7}, 7),
    ],
)
def test_what_was_said_last_of_the_length_counts(values, episodes):
    assert make(values).total_episodes == episodes


def test_a_setting_changes_how_the_problem_would_have_it_learn():
    own = PPOConfig(gamma=0.5, learning_rate=0.125)

    def settle_so(config):
        return replace(config, settings=LearningSettings(ppo=own))

    config = make({"algorithm.ppo.learning_rate": 1e-4}, settle_so)
    assert config.settings.ppo == replace(own, learning_rate=1e-4)


def test_the_problems_own_settings_are_filled_in():
    config = TrainingConfig(environment="newsvendor", algorithm="vdn")
    settled = settle(config)
    assert settled.settings.qmix == QMIXConfig(mixer="vdn")
    assert settle(settled) is settled
    tuned = replace(config, environment="resource_allocation", algorithm="ppo")
    problem = make_problem(tuned)
    assert settle(tuned).settings.ppo == problem.settings["ppo"].config
    assert learner_settings(settle(tuned), problem) == learner_settings(tuned, problem)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"env.num_resorces": 5},
            "no setting 'env.num_resorces': did you mean 'env.num_resources'",
        ),
        ({"algorithm.dqn.learning_rat": 1}, "did you mean 'algorithm.dqn.learning_rate'"),
        ({"algorithm.dqm.learning_rate": 1}, "did you mean 'algorithm.dqn.learning_rate'"),
        ({"training.total_timestep": 1}, "did you mean 'training.total_timesteps'"),
        ({"sed": 1}, "did you mean 'seed'"),
        ({"environment": "trading"}, "no setting 'environment'"),
        ({"training.total_timesteps": 0.5}, "give a whole number of env steps"),
        ({"training.total_timesteps": 0}, "total_episodes=0"),
        ({"training.seed": "x"}, "seed wants int, not 'x'"),
        ({"env.num_tasks": 0}, "num_tasks"),
        ({"algorithm.sac.tau": 2}, "tau=2.0: choose"),
    ],
)
def test_what_does_not_fit_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        make(values)


def test_sizes_belong_to_their_world():
    with pytest.raises(ConfigError, match=r"no setting 'env\.num_tasks'"):
        make({"env.num_tasks": 3}, env="newsvendor")


def test_every_world_and_algorithm_can_be_chosen():
    assert {*PRESETS} - {*ENVIRONMENTS} == set()
    for name in ENVIRONMENTS:
        assert make({}, env=name).environment == name
    for name in CAPABILITIES:
        assert make({}, algorithm=name).algorithm == name


def test_every_field_of_a_run_can_be_typed():
    typed = {field for name in ENVIRONMENTS for field in typed_names(name).values()}
    holders = {"environment", "algorithm", "world", "settings", "world.constrained_allocation"}
    assert {*names_of(TrainingConfig)} - typed == holders


def test_what_is_printed_can_be_typed():
    config = make({"env.num_tasks": 8, "algorithm.dqn.priority.alpha": 0.5, "training.seed": 3})
    tree = as_typed(config)
    choices = {"env": tree["env"].pop("name"), "algorithm": tree["algorithm"].pop("name")}
    values = {
        f"{group}.{name}": value for group, part in tree.items() for name, value in part.items()
    }
    assert make_config(choices, values, refuse_to_settle) == config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_agents", float("nan")),
        ("total_episodes", 1.5),
        ("seed", "1"),
        ("tags", "baseline"),
        ("tags", (1,)),
        ("experiment_name", 3),
        ("use_curriculum", "no"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=rf"^{name}.* wants "):
        TrainingConfig(**{name: value})
