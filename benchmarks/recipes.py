"""How our agents are trained in `benchmarks.single_agent` and `benchmarks.multi_agent`."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from benchmarks import presets_continuous, presets_dqn, presets_ppo, presets_qmix
from benchmarks import presets_multi_agent_ddpg as presets_ddpg
from benchmarks.learning_run import Recipe
from rl.algorithms.dqn_config import DQNConfig
from rl.algorithms.maddpg_config import MADDPGConfig
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.qmix_config import QMIXConfig
from rl.algorithms.sac_config import SACConfig
from rl.algorithms.td3_config import TD3Config
from rl.training.agents import make_agent
from rl.training.learning_settings import LearningConfig

ReplayConfig = DQNConfig | MADDPGConfig | QMIXConfig | SACConfig | TD3Config

CARTPOLE_FAST = presets_ppo.Preset(
    config=PPOConfig(
        learning_rate=3e-3,
        gamma=0.98,
        gae_lambda=0.8,
        ppo_epochs=10,
        num_minibatches=1,
        normalize_observations=False,
    ),
    num_envs=16,
    rollout_steps=32,
    env_steps=100_000,
)
"""The fastest found to a mean of 475: rates that do not fall, and few, large steps."""


def _recipe(config: LearningConfig, *, copies: int, steps_per_update: int) -> Recipe:
    return Recipe(
        copies=copies,
        steps_per_update=steps_per_update,
        make_agent=lambda world, seed: make_agent(config, world, seed=seed),
    )


def _ppo(preset: presets_ppo.Preset) -> Recipe:
    return _recipe(preset.config, copies=preset.num_envs, steps_per_update=preset.rollout_steps)


def _replay(config: ReplayConfig, *, copies: int = 1) -> Recipe:
    return _recipe(config, copies=copies, steps_per_update=config.train_frequency)


def _ddpg(world: presets_ddpg.World, variant: Literal["maddpg", "matd3"]) -> Recipe:
    config = replace(presets_ddpg.CONFIGS[world], variant=variant)
    return _replay(config, copies=presets_ddpg.COPIES)


def _qmix(config: QMIXConfig) -> Recipe:
    return _replay(config, copies=presets_qmix.COPIES)


SINGLE_AGENT: dict[str, Recipe] = {
    "cartpole-ppo": _ppo(presets_ppo.CARTPOLE),
    "cartpole-dqn": _replay(presets_dqn.CARTPOLE, copies=presets_dqn.CARTPOLE_COPIES),
    "pendulum-ppo": _ppo(presets_ppo.PENDULUM),
    "acrobot-ppo": _ppo(presets_ppo.ACROBOT),
    "mountaincar-sac": _replay(presets_continuous.SAC_MOUNTAIN_CAR),
    "lunarlander-dqn": _replay(presets_dqn.LUNAR_LANDER, copies=presets_dqn.LUNAR_LANDER_COPIES),
    "lunarlander-ppo": _ppo(presets_ppo.LUNAR_LANDER),
    "pendulum-td3": _replay(presets_continuous.TD3_PENDULUM),
    "pendulum-sac": _replay(presets_continuous.SAC_PENDULUM),
}
SINGLE_AGENT["cartpole-ppo-475"] = _ppo(CARTPOLE_FAST)
SINGLE_AGENT["cartpole-dqn-475"] = SINGLE_AGENT["cartpole-dqn"]

MULTI_AGENT: dict[str, Recipe] = {
    "spread-mappo": _ppo(presets_ppo.MAPPO_SPREAD),
    "speaker_listener-mappo": _ppo(presets_ppo.MAPPO_SPEAKER_LISTENER),
    "spread-maddpg": _ddpg("simple_spread", "maddpg"),
    "speaker_listener-maddpg": _ddpg("simple_speaker_listener", "maddpg"),
    "spread-matd3": _ddpg("simple_spread", "matd3"),
    "speaker_listener-matd3": _ddpg("simple_speaker_listener", "matd3"),
    "spread-qmix": _qmix(presets_qmix.SIMPLE_SPREAD),
    "speaker_listener-qmix": _qmix(presets_qmix.SIMPLE_SPEAKER_LISTENER),
}
