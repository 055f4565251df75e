"""A quick check that everything works together: `python test_rl_system.py`, or pytest.

Trains a tiny agent as a job in a process of its own, promotes it, asks it through the orchestrator,
and steps the environment it was trained in. Everything else is tested in `tests/`.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio

from ai_agents.allocation_schema import AllocationDecision
from orchestration.app import Settings, open_application, run_with
from orchestration.jobs import JobState
from rl.environments.resource_allocation_environment import ResourceAllocationEnvironment
from rl.training.training_config import TrainingConfig

TINY = TrainingConfig(num_agents=2, total_episodes=64, num_envs=32)
AGENT = "resource_allocator"


def test_an_environment_plays_an_episode() -> None:
    """From a reset to the end, with random actions, through the dict API."""
    environment = ResourceAllocationEnvironment(max_steps=12, seed=1)
    observations, _ = environment.reset()
    steps, truncated = 0, dict.fromkeys(observations, False)
    while not all(truncated.values()):
        actions = {agent: environment.action_space(agent).sample() for agent in observations}
        observations, rewards, terminated, truncated, _ = environment.step(actions)
        assert not any(terminated.values())
        assert all(math.isfinite(reward) for reward in rewards.values())
        steps += 1
    assert steps == 12


def test_an_agent_is_trained_promoted_and_asked(tmp_path: Path) -> None:
    """From a submission to a decision that keeps to the capacities."""
    decision, capacity = anyio.run(train_and_ask, tmp_path)
    assert (decision.agent, decision.version) == (AGENT, "1")
    for resource, units in capacity.items():
        granted = sum(service.allocation[resource] for service in decision.services)
        assert 0 <= granted <= units * (1 + 1e-5)
    assert decision.expert is not None


async def train_and_ask(folder: Path) -> tuple[AllocationDecision, dict[str, float]]:
    """Train, promote and ask.

    Args:
        folder: For everything that is generated.
    """
    async with open_application(Settings(var=folder), with_worker=True) as application:
        orchestrator = application.orchestrator
        job = await orchestrator.submit_training(TINY)
        ended = await run_with(application, partial(orchestrator.wait, job.id))
        assert ended is not None
        assert ended.state is JobState.SUCCEEDED, ended.error
        await orchestrator.promote(AGENT, "latest", reason="smoke test")
        example = (await orchestrator.card(AGENT)).examples[0]
        decision = await orchestrator.invoke(AGENT, {**example, "compare": True})
        return decision, example["capacity"]


def main() -> int:
    """Run all checks and say what came of them."""
    with tempfile.TemporaryDirectory() as folder:
        checks: dict[str, Callable[[], None]] = {
            "environment": test_an_environment_plays_an_episode,
            "train, promote, ask": partial(
                test_an_agent_is_trained_promoted_and_asked, Path(folder)
            ),
        }
        for name, check in checks.items():
            print(f"{name} ...", end=" ", flush=True)
            check()
            print("works")
    return 0


if __name__ == "__main__":
    sys.exit(main())
