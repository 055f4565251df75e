"""Ask a trained agent for a decision, in this process and without HTTP.

A short training registers a version, promoting makes it the champion, and the answer says who gets
how much and what the best expert would have done. `python -m orchestration serve` answers the same
requests over HTTP.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from orchestration.app import Settings, open_application
from rl.training.training_config import TrainingConfig
from rl.training.training_pipeline import RLTrainingPipeline

AGENT = "resource_allocator"
CONFIG = TrainingConfig(num_agents=2, total_episodes=64, num_envs=32, eval_frequency=0)


async def main() -> None:
    """Train, promote, ask."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        await RLTrainingPipeline(CONFIG, output_dir=folder).train()
        async with open_application(Settings(var=folder), with_worker=False) as application:
            orchestrator = application.orchestrator
            await orchestrator.promote(AGENT, "latest", reason="the only one")
            request = (await orchestrator.card(AGENT)).examples[0]
            decision = await orchestrator.invoke(AGENT, {**request, "compare": True})
    print(f"{decision.agent}, version {decision.version}")
    for service in decision.services:
        granted = "  ".join(f"{what} {units:7.2f}" for what, units in service.allocation.items())
        print(f"  {service.name:14} {granted}")


if __name__ == "__main__":
    anyio.run(main)
