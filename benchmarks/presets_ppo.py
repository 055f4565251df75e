"""Settings of PPO on the tasks that the field measures itself by; `single_agent` trains with them.

CartPole and LunarLander follow RL-Zoo (github.com/DLR-RM/rl-baselines3-zoo,
hyperparams/ppo.yml), without its state-dependent exploration.
"""

from __future__ import annotations

from dataclasses import dataclass

from rl.algorithms.ppo_agent import PPOConfig


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How to train on one task."""

    config: PPOConfig
    num_envs: int
    rollout_steps: int
    """Per copy and update."""
    env_steps: int
    """Budget."""


CARTPOLE = Preset(
    config=PPOConfig(
        learning_rate=1e-3,
        decay_learning_rate=True,
        decay_epsilon_clip=True,
        gamma=0.98,
        gae_lambda=0.8,
        ppo_epochs=20,
        num_minibatches=1,
        normalize_observations=False,
    ),
    num_envs=8,
    rollout_steps=32,
    env_steps=100_000,
)

ACROBOT = Preset(
    config=PPOConfig(
        learning_rate=1e-3,
        decay_learning_rate=True,
        gamma=0.99,
        gae_lambda=0.94,
        ppo_epochs=4,
        num_minibatches=8,
        entropy_coeff=0.01,
        final_entropy_coeff=0.0,
        scale_rewards=True,
    ),
    num_envs=16,
    rollout_steps=128,
    env_steps=500_000,
)

PENDULUM = Preset(
    config=PPOConfig(
        learning_rate=1e-3,
        decay_learning_rate=True,
        gamma=0.95,
        gae_lambda=0.95,
        ppo_epochs=10,
        num_minibatches=8,
        scale_rewards=True,
    ),
    num_envs=16,
    rollout_steps=64,
    env_steps=100_000,
)

LUNAR_LANDER = Preset(
    config=PPOConfig(
        learning_rate=3e-4,
        decay_learning_rate=True,
        gamma=0.999,
        gae_lambda=0.98,
        ppo_epochs=4,
        num_minibatches=64,
        entropy_coeff=0.01,
        final_entropy_coeff=0.0,
        scale_rewards=True,
    ),
    num_envs=16,
    rollout_steps=1024,
    env_steps=1_000_000,
)

MAPPO_SPREAD = Preset(
    config=PPOConfig(
        hidden_dims=(128, 128),
        learning_rate=7e-4,
        decay_learning_rate=True,
        gamma=0.99,
        gae_lambda=0.95,
        ppo_epochs=10,
        num_minibatches=4,
        entropy_coeff=0.01,
        scale_rewards=True,
        critic="central",
        append_agent_id=True,
    ),
    num_envs=10,
    rollout_steps=100,
    env_steps=300_000,
)

MAPPO_SPEAKER_LISTENER = Preset(
    config=PPOConfig(
        hidden_dims=(128, 128),
        learning_rate=7e-4,
        decay_learning_rate=True,
        gamma=0.99,
        gae_lambda=0.95,
        ppo_epochs=10,
        num_minibatches=4,
        entropy_coeff=0.01,
        scale_rewards=True,
        critic="central",
        parameter_sharing="independent",
    ),
    num_envs=10,
    rollout_steps=100,
    env_steps=300_000,
)
