"""Stop a run and continue it: the result is the same to the last bit.

One sees where the run was stopped, and hashes of all that was learnt, which are the same as those
of a run that was left alone. Killing the process would do as well: the newest checkpoint counts.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from rl.algorithms.policy_state import save_tensors
from rl.training.checkpointing import CheckpointFolder
from rl.training.training_config import TrainingConfig
from rl.training.training_events import CheckpointWritten, TrainingEvent, TrainingEvents
from rl.training.training_pipeline import RLTrainingPipeline

CONFIG = TrainingConfig(
    environment="newsvendor",
    algorithm="ppo",
    num_envs=64,
    total_episodes=40_960,
    eval_frequency=8_192,
    checkpoint_frequency=8_192,
)


async def train_until_saved(folder: Path) -> str:
    """Cancel training at its first checkpoint and return the run's id."""
    stopped: list[CheckpointWritten] = []
    with anyio.CancelScope() as scope:

        def stop(event: TrainingEvent) -> None:
            if isinstance(event, CheckpointWritten):
                stopped.append(event)
                scope.cancel()

        events = TrainingEvents()
        events.subscribe(stop)
        await RLTrainingPipeline(CONFIG, output_dir=folder, events=events).train()
    print(f"stopped after {stopped[-1].env_steps:,} of {CONFIG.total_env_steps:,} steps")
    return stopped[-1].run.run_id


def learnt(folder: Path, run_id: str) -> str:
    """Return a hash over the last checkpoint: weights, optimiser, generators, environment."""
    newest = CheckpointFolder(folder / "runs" / run_id / "checkpoints").newest()
    if newest is None:
        raise SystemExit(f"{run_id} left no checkpoint")
    return hashlib.sha256(save_tensors(newest.checkpoint.tensors)).hexdigest()


async def main() -> None:
    """Train once without a break and once with one."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        straight = await RLTrainingPipeline(CONFIG, output_dir=folder).train()
        resumed_id = await train_until_saved(folder)
        resumed = await RLTrainingPipeline(CONFIG, output_dir=folder).train(resume=resumed_id)
        hashes = [learnt(folder, one["run_id"]) for one in (straight, resumed)]
    print(f"never stopped  {hashes[0][:16]}\nresumed        {hashes[1][:16]}")
    if hashes[0] != hashes[1]:
        raise SystemExit("they differ")
    print("the same bytes")


if __name__ == "__main__":
    anyio.run(main)
