"""How our agents are trained in `benchmarks.single_agent` and `benchmarks.multi_agent`."""

from __future__ import annotations

from benchmarks.learning_run import Recipe
from benchmarks.ppo_cartpole import CONFIG as CARTPOLE_PPO
from rl.algorithms.ppo_agent import PPOAgent

SINGLE_AGENT: dict[str, Recipe] = {
    "cartpole-ppo": Recipe(
        copies=8,
        steps_per_update=32,
        make_agent=lambda seed: PPOAgent("cartpole", 4, 2, CARTPOLE_PPO, discrete=True, seed=seed),
    ),
}
