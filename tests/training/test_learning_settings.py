"""Settings of every family travel without torch, and an algorithm finds its own among them."""

from __future__ import annotations

import json
import math
from functools import partial

import pytest

from rl.algorithms.apg_config import APGConfig
from rl.algorithms.capabilities import CAPABILITIES
from rl.algorithms.dqn_config import DQNConfig
from rl.algorithms.maddpg_config import MADDPGConfig
from rl.algorithms.multiplier_config import MultiplierConfig
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.priority_config import PriorityConfig
from rl.algorithms.qmix_config import QMIXConfig
from rl.algorithms.sac_config import SACConfig
from rl.algorithms.td3_config import TD3Config
from rl.training.learning_settings import LearningSettings, algorithm_of
from tests.test_torch_free import import_in_a_fresh_process
from utils.config import from_json, to_json
from utils.errors import ConfigError

DEFAULTS = LearningSettings(
    apg=APGConfig(),
    ppo=PPOConfig(),
    dqn=DQNConfig(),
    sac=SACConfig(),
    td3=TD3Config(),
    maddpg=MADDPGConfig(),
    qmix=QMIXConfig(),
)
FULL = LearningSettings(
    ppo=PPOConfig(
        hidden_dims=[32, 16],
        value_clip=0.2,
        parameter_sharing="grouped",
        agent_groups=((0, 1), (2,)),
        cost=MultiplierConfig(cost_limits=(0.1, 2.0), method="softplus", initial_multiplier=0.1),
        tail_share=0.25,
    ),
    dqn=DQNConfig(priority=PriorityConfig(alpha=0.7), n_step=3),
    sac=SACConfig(temperature=0.2),
    qmix=QMIXConfig(mixer="vdn", team_reward="mean"),
)


def test_settings_import_without_torch():
    modules = ["rl.training.learning_settings"]
    assert import_in_a_fresh_process(modules) == {}


@pytest.mark.parametrize("settings", [LearningSettings(), DEFAULTS, FULL])
def test_settings_survive_the_journey_through_text(settings):
    assert from_json(LearningSettings, json.loads(json.dumps(to_json(settings)))) == settings


CONFIGS = (
    *(APGConfig, PPOConfig, DQNConfig, SACConfig, TD3Config, MADDPGConfig, QMIXConfig),
    PriorityConfig,
    partial(MultiplierConfig, cost_limits=(1.0,)),
)


@pytest.mark.parametrize("make", CONFIGS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_nothing_can_be_worked_out_with_are_refused(make, value):
    names = [name for name, usual in vars(make()).items() if isinstance(usual, float)]
    assert names
    for name in names:
        if value == math.inf and name in {"max_grad_norm", "observation_clip"}:
            make(**{name: value})  # no limit
            continue
        with pytest.raises(ConfigError, match=name):
            make(**{name: value})


def test_limits_and_optional_numbers_are_looked_at_too():
    for bad in (math.nan, -math.inf):
        with pytest.raises(ConfigError, match="cost_limits"):
            MultiplierConfig(cost_limits=(0.5, bad))
        with pytest.raises(ConfigError, match="final_entropy_coeff"):
            PPOConfig(final_entropy_coeff=bad)


@pytest.mark.parametrize("make", [DQNConfig, SACConfig, TD3Config, MADDPGConfig, QMIXConfig])
def test_learning_does_not_start_before_the_first_step(make):
    with pytest.raises(ConfigError, match="learning_starts=-1"):
        make(learning_starts=-1)


def test_layers_without_units_are_refused():
    with pytest.raises(ConfigError, match="hidden_dims"):
        APGConfig(hidden_dims=(64, 0))


@pytest.mark.parametrize("algorithm", CAPABILITIES)
def test_every_algorithm_finds_settings_that_set_it_up(algorithm):
    config = DEFAULTS.config_of(algorithm)
    assert config is not None
    assert algorithm_of(config) == algorithm
    assert LearningSettings().config_of(algorithm) is None


def test_the_second_of_a_family_keeps_what_was_said_of_the_family():
    settings = LearningSettings(ppo=PPOConfig(learning_rate=0.5))
    assert settings.config_of("mappo") == PPOConfig(learning_rate=0.5, critic="central")


def test_the_first_of_a_family_refuses_the_settings_of_the_second():
    with pytest.raises(ConfigError, match="algorithm=qmix with settings of vdn: ask for vdn"):
        FULL.config_of("qmix")


def test_an_unknown_algorithm_is_refused():
    with pytest.raises(ConfigError, match="no algorithm 'a2c'; there are apg, ppo"):
        FULL.config_of("a2c")
