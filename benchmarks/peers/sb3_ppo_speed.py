"""Steps per second of Stable-Baselines3's PPO; run by the Python of its own environment.

Prints one line of JSON. `python -m benchmarks.ppo_speed` calls it; `scripts/install-peers sb3`
makes the environment. CartPole-v1 is stepped by gymnasium's SyncVectorEnv.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv


class SyncCopies(VecEnv):
    """gymnasium's own vector environment under the interface that the library asks for."""

    def __init__(self, name: str, copies: int) -> None:
        """Make the copies.

        Args:
            name: A registered environment.
            copies: How many.
        """
        self._envs = SyncVectorEnv(
            [lambda: gymnasium.make(name)] * copies, autoreset_mode=AutoresetMode.SAME_STEP
        )
        super().__init__(
            copies, self._envs.single_observation_space, self._envs.single_action_space
        )

    def reset(self) -> Any:
        """Begin."""
        return self._envs.reset(seed=0)[0]

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions.

        Args:
            actions: One per copy.
        """
        self._actions = actions

    def step_wait(self) -> Any:
        """Step every copy."""
        observation, reward, terminated, truncated, infos = self._envs.step(self._actions)
        ended = terminated | truncated
        told: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for copy in np.flatnonzero(ended):
            told[copy] = {
                "terminal_observation": infos["final_obs"][copy],
                "TimeLimit.truncated": bool(truncated[copy] and not terminated[copy]),
            }
        return observation, reward.astype(np.float32), ended, told

    def close(self) -> None:
        """Release the copies."""
        self._envs.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the copies.

        Args:
            attr_name: Which.
            indices: Of which copies.
        """
        del indices
        return [getattr(env, attr_name, None) for env in self._envs.envs]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: nobody needs it.

        Args:
            attr_name: Which.
            value: What.
            indices: Of which copies.
        """
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        """Refuse: nobody needs it.

        Args:
            method_name: Which.
            args: Its arguments.
            indices: Of which copies.
            kwargs: Its named arguments.
        """
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Say that no copy is wrapped.

        Args:
            wrapper_class: In what.
            indices: Of which copies.
        """
        del wrapper_class, indices
        return [False] * self.num_envs


def main() -> None:
    """Learn for some blocks, then time more of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("copies", "steps", "minibatch", "epochs", "hidden", "blocks"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = PPO(
        "MlpPolicy",
        SyncCopies("CartPole-v1", given.copies),
        n_steps=given.steps,
        batch_size=given.minibatch,
        n_epochs=given.epochs,
        policy_kwargs={"net_arch": [given.hidden, given.hidden]},
        device="cpu",
        seed=0,
    )
    block = given.copies * given.steps
    model.learn(2 * block)
    wall, cpu = time.perf_counter(), time.process_time()
    model.learn(given.blocks * block)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    steps = given.blocks * block
    print(
        json.dumps(
            {
                "library": f"stable-baselines3 {version('stable-baselines3')}",
                "torch": torch.__version__,
                "steps_per_second": steps / wall,
                "steps_per_cpu_second": steps / cpu,
            }
        )
    )


if __name__ == "__main__":
    main()
