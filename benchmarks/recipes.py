"""How our agents are trained in `benchmarks.single_agent` and `benchmarks.multi_agent`."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from benchmarks import presets_continuous, presets_dqn, presets_ppo, presets_qmix
from benchmarks import presets_multi_agent_ddpg as presets_ddpg
from benchmarks.learning_run import Recipe
from rl.algorithms.dqn_agent import DQNAgent, DQNConfig
from rl.algorithms.ppo_agent import PPOAgent
from rl.algorithms.qmix_agent import QMIXAgent, QMIXConfig
from rl.algorithms.sac_agent import SACAgent, SACConfig
from rl.algorithms.td3_agent import TD3Agent, TD3Config
from rl.environments.base_environment import BatchedEnvironment


def _sizes(world: BatchedEnvironment) -> tuple[int, int]:
    """Return the longest observation, and the most choices or dimensions of an action."""
    return world.observation_size, max(group.action.size for group in world.groups)


def _ppo(preset: presets_ppo.Preset) -> Recipe:
    return Recipe(
        copies=preset.num_envs,
        steps_per_update=preset.rollout_steps,
        make_agent=lambda world, seed: PPOAgent(
            "ppo",
            *_sizes(world),
            preset.config,
            discrete=world.groups[0].action.kind == "discrete",
            num_agents=world.num_agents,
            seed=seed,
        ),
    )


def _dqn(config: DQNConfig, *, copies: int) -> Recipe:
    return Recipe(
        copies=copies,
        steps_per_update=config.train_frequency,
        make_agent=lambda world, seed: DQNAgent("dqn", *_sizes(world), config, seed=seed),
    )


def _sac(config: SACConfig) -> Recipe:
    return Recipe(
        copies=1,
        steps_per_update=config.train_frequency,
        make_agent=lambda world, seed: SACAgent("sac", *_sizes(world), config, seed=seed),
    )


def _td3(config: TD3Config) -> Recipe:
    return Recipe(
        copies=1,
        steps_per_update=config.train_frequency,
        make_agent=lambda world, seed: TD3Agent("td3", *_sizes(world), config, seed=seed),
    )


def _qmix(config: QMIXConfig) -> Recipe:
    return Recipe(
        copies=presets_qmix.COPIES,
        steps_per_update=config.train_frequency,
        make_agent=lambda world, seed: QMIXAgent(
            "qmix",
            *_sizes(world),
            config,
            num_agents=world.num_agents,
            state_size=world.state_size,
            seed=seed,
        ),
    )


def _ddpg(world: presets_ddpg.World, variant: Literal["maddpg", "matd3"]) -> Recipe:
    config = replace(presets_ddpg.CONFIGS[world], variant=variant)
    return Recipe(
        copies=presets_ddpg.COPIES,
        steps_per_update=config.train_frequency,
        make_agent=lambda world, seed: presets_ddpg.make_agent(world, config, seed),
    )


SINGLE_AGENT: dict[str, Recipe] = {
    "cartpole-ppo": _ppo(presets_ppo.CARTPOLE),
    "cartpole-dqn": _dqn(presets_dqn.CARTPOLE, copies=presets_dqn.CARTPOLE_COPIES),
    "pendulum-ppo": _ppo(presets_ppo.PENDULUM),
    "acrobot-ppo": _ppo(presets_ppo.ACROBOT),
    "mountaincar-sac": _sac(presets_continuous.SAC_MOUNTAIN_CAR),
    "lunarlander-dqn": _dqn(presets_dqn.LUNAR_LANDER, copies=presets_dqn.LUNAR_LANDER_COPIES),
    "lunarlander-ppo": _ppo(presets_ppo.LUNAR_LANDER),
    "pendulum-td3": _td3(presets_continuous.TD3_PENDULUM),
    "pendulum-sac": _sac(presets_continuous.SAC_PENDULUM),
}
SINGLE_AGENT["cartpole-ppo-475"] = SINGLE_AGENT["cartpole-ppo"]
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
