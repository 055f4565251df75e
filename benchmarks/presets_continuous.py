"""Settings of SAC and TD3 with which they learn the tasks of continuous control."""

from __future__ import annotations

from rl.algorithms.sac_config import SACConfig
from rl.algorithms.td3_config import TD3Config

SAC_PENDULUM = SACConfig(learning_rate=1e-3, learning_starts=500)
"""Pendulum-v1, one copy, 20,000 env steps: RL Zoo's rate."""

TD3_PENDULUM = TD3Config(learning_rate=1e-3, learning_starts=1000, exploration_noise=0.1)
"""Pendulum-v1, one copy, 20,000 env steps: RL Zoo's rate and noise; learning begins after 1,000
steps instead of 10,000."""

SAC_MOUNTAIN_CAR = SACConfig(
    hidden_dims=(64, 64),
    batch_size=256,
    gamma=0.9999,
    tau=0.01,
    buffer_size=50_000,
    learning_starts=2000,
    train_frequency=32,
    gradient_steps=32,
    temperature=0.1,
    noise_correlation=0.95,
)
"""MountainCarContinuous-v0, one copy, 50,000 env steps: RL Zoo's settings, but half its batch and
no gSDE. What takes the car up the hill the first time is noise that lasts for some twenty steps:
independent noise of any size never does."""

SAC_CONSTRAINED = SACConfig(
    hidden_dims=(128, 128),
    learning_rate=1e-3,
    gamma=0.0,
    buffer_size=50_000,
    learning_starts=2000,
    target_entropy=-2.5,
)
"""constrained_allocation, 64 copies, actions in [0, 1]: no action changes what comes after it, so
the discount is 0. A learnt temperature keeps the first penalties, of a hundred times what can be
earned, from driving the policy to where the tanh is flat and nothing is allocated any more, which a
fixed one of 1e-3 did. Not trained to its end yet, and not yet above the greedy rule."""
