"""Settings of DQN for the field's own tasks: what to give `DQNAgent`, on how many copies."""

from __future__ import annotations

from rl.algorithms.dqn_config import DQNConfig

CARTPOLE_COPIES = 1
CARTPOLE_ENV_STEPS = 50_000
CARTPOLE = DQNConfig(
    hidden_dims=(256, 256),
    learning_rate=2.3e-3,
    train_frequency=256,
    gradient_steps=128,
    double=False,
    dueling=False,
    target_update_frequency=128,
    epsilon_end=0.04,
    epsilon_decay_steps=8_000,
)
"""CartPole-v1 in `CARTPOLE_ENV_STEPS` transitions of `CARTPOLE_COPIES` copies.

RL Zoo's settings: 128 optimiser steps after every 256 transitions, the target copied as often. The
policy swings between updates, so the best of some evaluations is kept, on episodes of their own.
"""

LUNAR_LANDER_COPIES = 8
LUNAR_LANDER_ENV_STEPS = 500_000
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
"""LunarLander-v3 in `LUNAR_LANDER_ENV_STEPS` transitions of `LUNAR_LANDER_COPIES` copies.

After 160,000 transitions the five seeds had means between -9 and 229.
"""
