"""Joint steps per CPU second of mpe2's simple_spread; run by the Python of its own environment.

Prints one line of JSON. `scripts/install-peers` makes the environment.
"""

from __future__ import annotations

import json
import time
from importlib.metadata import version

from mpe2 import simple_spread_v3

SECONDS = 3.0


def main() -> None:
    """Step three agents at random, resetting at the end of each episode."""
    world = simple_spread_v3.parallel_env(continuous_actions=True)
    world.reset(seed=0)
    actions = {agent: world.action_space(agent).sample() for agent in world.agents}
    steps, begun = 0, time.process_time()
    while time.process_time() - begun < SECONDS:
        world.step(actions)
        steps += 1
        if not world.agents:
            world.reset()
    rate = steps / (time.process_time() - begun)
    print(json.dumps({f"mpe2 {version('mpe2')} simple_spread, 3 agents": rate}))


if __name__ == "__main__":
    main()
