"""How our agents are trained in `benchmarks.single_agent` and `benchmarks.multi_agent`."""

from __future__ import annotations

from benchmarks import presets_continuous, presets_dqn, presets_qmix
from benchmarks.learning_run import Recipe
from benchmarks.ppo_cartpole import CONFIG as CARTPOLE_PPO
from rl.algorithms.dqn_agent import DQNAgent, DQNConfig
from rl.algorithms.ppo_agent import PPOAgent
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.qmix_agent import QMIXAgent, QMIXConfig
from rl.algorithms.sac_agent import SACAgent, SACConfig
from rl.algorithms.td3_agent import TD3Agent, TD3Config
from rl.environments.base_environment import BatchedEnvironment

ACROBOT_PPO = PPOConfig(
    gae_lambda=0.94, ppo_epochs=4, num_minibatches=64, learning_rate=3e-4, scale_rewards=True
)
"""Acrobot-v1, 16 copies, blocks of 256: RL-Zoo's."""

PENDULUM_PPO = PPOConfig(
    gamma=0.9, ppo_epochs=10, num_minibatches=64, learning_rate=1e-3, normalize_observations=False
)
"""Pendulum-v1, 4 copies, blocks of 1,024: RL-Zoo's but for gSDE."""

LUNAR_LANDER_PPO = PPOConfig(
    gamma=0.999,
    gae_lambda=0.98,
    ppo_epochs=4,
    num_minibatches=256,
    learning_rate=3e-4,
    entropy_coeff=0.01,
    normalize_observations=False,
)
"""LunarLander-v3, 16 copies, blocks of 1,024: RL-Zoo's."""


def _sizes(world: BatchedEnvironment) -> tuple[int, int]:
    """Return the longest observation, and the most choices or dimensions of an action."""
    return world.observation_size, max(group.action.size for group in world.groups)


def _ppo(config: PPOConfig, *, copies: int, steps: int) -> Recipe:
    return Recipe(
        copies=copies,
        steps_per_update=steps,
        make_agent=lambda world, seed: PPOAgent(
            "ppo",
            *_sizes(world),
            config,
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


SINGLE_AGENT: dict[str, Recipe] = {
    "cartpole-ppo": _ppo(CARTPOLE_PPO, copies=8, steps=32),
    "cartpole-dqn": _dqn(presets_dqn.CARTPOLE, copies=presets_dqn.CARTPOLE_COPIES),
    "pendulum-ppo": _ppo(PENDULUM_PPO, copies=4, steps=1_024),
    "acrobot-ppo": _ppo(ACROBOT_PPO, copies=16, steps=256),
    "mountaincar-sac": _sac(presets_continuous.SAC_MOUNTAIN_CAR),
    "lunarlander-dqn": _dqn(presets_dqn.LUNAR_LANDER, copies=presets_dqn.LUNAR_LANDER_COPIES),
    "lunarlander-ppo": _ppo(LUNAR_LANDER_PPO, copies=16, steps=1_024),
    "pendulum-td3": _td3(presets_continuous.TD3_PENDULUM),
    "pendulum-sac": _sac(presets_continuous.SAC_PENDULUM),
}
SINGLE_AGENT["cartpole-ppo-475"] = SINGLE_AGENT["cartpole-ppo"]
SINGLE_AGENT["cartpole-dqn-475"] = SINGLE_AGENT["cartpole-dqn"]

MULTI_AGENT: dict[str, Recipe] = {
    "spread-qmix": _qmix(presets_qmix.SIMPLE_SPREAD),
    "speaker_listener-qmix": _qmix(presets_qmix.SIMPLE_SPEAKER_LISTENER),
}
