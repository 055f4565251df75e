"""Try challengers that are bad on purpose, and see each rolled back within the canary's window.

A short training makes the champion; of it come one whose numbers overflow, one that takes its time
and one that gives nobody anything. Each gets half of the request keys until a limit is broken.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import numpy as np

from ai_agents.base_agent import DecisionRequest
from examples.challengers import overflowing, slow, stingy
from orchestration.app import Application, Settings, open_application
from orchestration.rollout.plan import CanaryLimits
from rl.artifacts import PolicyArtifact
from rl.training.training_config import TrainingConfig
from rl.training.training_pipeline import RLTrainingPipeline
from utils.logs import configure_logs
from utils.observability import exposition
from utils.persistence.rollout_log import CanaryState

AGENT = "resource_allocator"
CONFIG = TrainingConfig(num_agents=2, total_episodes=64, num_envs=32, eval_frequency=0)
LIMITS = CanaryLimits(window=100, fewest=20, slack_seconds=0.0005)
MOST_REQUESTS = 2000
FAMILIES = ("agent_canary_", "agent_rollbacks_", "agent_second_answers_", "agent_fallback_")


async def try_out(
    application: Application,
    make: Callable[[PolicyArtifact], PolicyArtifact],
    start: DecisionRequest,
) -> None:
    """Let requests come until the challenger is rolled back."""
    orchestrator, generator = application.orchestrator, np.random.default_rng(0)
    good = (await orchestrator.registry.resolve(AGENT)).artifact
    record = await orchestrator.registry.register(make(good).to_bytes())
    await orchestrator.rollout.start_canary(
        AGENT, share=0.5, version=record.version, limits=LIMITS, reason="example"
    )
    plan, met = await orchestrator.rollout.canary(AGENT), list[str]()
    while plan.state is CanaryState.RUNNING and len(met) < MOST_REQUESTS:
        decision = await orchestrator.invoke(AGENT, start, request_key=f"{generator.integers(1e9)}")
        met.append(decision.version)
        await application.second_answers.work()
        plan = await orchestrator.rollout.canary(AGENT)
    number = f"{met.count(str(record.version))} of its requests, {len(met)} in all"
    print(f"{make.__name__:12} {plan.state.value} after {number}: {plan.reason}")


async def main() -> None:
    """Train the champion, try three challengers, show the metrics."""
    configure_logs(level="error")
    with TemporaryDirectory() as folder:
        await RLTrainingPipeline(CONFIG, output_dir=Path(folder)).train()
        async with open_application(Settings(var=Path(folder)), with_worker=False) as application:
            await application.orchestrator.promote(AGENT, "latest", reason="the only one")
            start = (await application.orchestrator.registry.resolve(AGENT)).example_request()
            for make in (overflowing, slow, stingy):
                await try_out(application, make, start)
            champion = (await application.orchestrator.agent(AGENT)).champion
            print(f"champion is still version {champion}")
            for line in exposition(application.metrics).decode().splitlines():
                if line.startswith(FAMILIES) and "_created" not in line:
                    print(line)


if __name__ == "__main__":
    anyio.run(main)
