"""Somebody else's world: PPO on Gymnasium's CartPole through `GymnasiumAdapter`.

One sees the mean return climb; 500 is the most there is.
"""

from __future__ import annotations

from collections.abc import Mapping

from rl.algorithms.ppo_config import PPOConfig
from rl.environments.adapter import GymnasiumAdapter
from rl.training.agents import make_agent
from rl.training.recorder import NullRecorder
from rl.training.trainer import Trainer, TrainerConfig

TOTAL, EVERY = 32_768, 8_192
PPO = PPOConfig(learning_rate=1e-3, gamma=0.98, gae_lambda=0.8, ppo_epochs=20, num_minibatches=1)


class Printer(NullRecorder):
    """Prints the mean return now and then; a recorder hears all that happens."""

    def __init__(self) -> None:
        self._due = 0

    def metrics(self, env_steps: int, values: Mapping[str, float]) -> None:
        """Print, if it is time; see `rl.training.recorder.Recorder`."""
        if env_steps >= self._due and "return" in values:
            print(f"{env_steps:6,} steps   mean return {values['return']:5.1f}", flush=True)
            self._due += EVERY


def main() -> None:
    """Train."""
    environment = GymnasiumAdapter("CartPole-v1", num_envs=8, seed=0)
    agent = make_agent(PPO, environment, seed=0)
    config = TrainerConfig(total_env_steps=TOTAL, rollout_steps=32, seed=0)
    Trainer(config, environment, agent, Printer()).train()
    environment.close()


if __name__ == "__main__":
    main()
