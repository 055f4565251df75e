"""Settings of DQN for the field's own tasks: what to give `DQNAgent`, on how many copies."""

from __future__ import annotations

from rl.algorithms.dqn_agent import DQNConfig

CARTPOLE_COPIES = 8
CARTPOLE_ENV_STEPS = 50_000
CARTPOLE = DQNConfig(
    hidden_dims=(128, 128),
    learning_rate=1e-3,
    train_frequency=4,
    gradient_steps=8,
    dueling=False,
    target_update_frequency=1,
    tau=0.01,
    epsilon_end=0.04,
    epsilon_decay_steps=8_000,
)
"""CartPole-v1 in `CARTPOLE_ENV_STEPS` transitions of `CARTPOLE_COPIES` copies."""

LUNAR_LANDER_COPIES = 8
LUNAR_LANDER_ENV_STEPS = 160_000
LUNAR_LANDER = DQNConfig(
    hidden_dims=(128, 128),
    learning_rate=5e-4,
    buffer_size=150_000,
    batch_size=128,
    learning_starts=2_000,
    train_frequency=2,
    gradient_steps=4,
    dueling=False,
    target_update_frequency=1,
    tau=0.005,
    epsilon_end=0.02,
    epsilon_decay_steps=40_000,
)
"""LunarLander-v3 in `LUNAR_LANDER_ENV_STEPS` transitions of `LUNAR_LANDER_COPIES` copies."""
