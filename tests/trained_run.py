"""A real run, trained small, with everything that a report shows."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import anyio.to_thread

from rl.training.experiment_manager import ExperimentManager
from rl.training.problems import make_problem
from rl.training.run_diary import DiaryRecorder
from rl.training.training_config import TrainingConfig
from rl.training.training_run import Places, train_problem
from utils.persistence.artifact_store import DirectoryArtifactStore
from utils.persistence.engine import open_database


@cache
def small_problem():
    """Shared services with two experts that nobody had to tune, judged on a few windows."""
    problem = make_problem(TrainingConfig(num_agents=3))
    experts = {
        name: replace(problem.experts[name], tune=tuple) for name in ("equal", "proportional")
    }
    return replace(
        problem,
        experts=experts,
        validation=problem.validation.first(8),
        held_out=problem.held_out.first(8),
        stress=(),
    )


async def train_small(var, *, seed=0, episodes=64):
    """Train, and leave database and files in `var` as any other run does; returns the run's id."""
    config = TrainingConfig(
        environment="custom",
        num_agents=3,
        total_episodes=episodes,
        num_envs=8,
        eval_frequency=16,
        checkpoint_frequency=0,
        seed=seed,
        experiment_name="small",
    )
    database = await open_database(var / "quartermaster.sqlite")
    try:
        manager = ExperimentManager(database)
        run_id = await manager.open_run(config)
        folder = var / "runs" / run_id
        train = partial(
            train_problem,
            config,
            DiaryRecorder(manager.recorder(run_id, config), folder),
            Places(folder=folder, artifacts=DirectoryArtifactStore(var / "artifacts")),
            run_id=run_id,
            problem=small_problem(),
        )
        await manager.finish(run_id, await anyio.to_thread.run_sync(train))
    finally:
        await database.aclose()
    return run_id
