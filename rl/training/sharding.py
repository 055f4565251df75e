"""Sets the shards of a run up, where its configuration wants them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rl.algorithms.ppo_agent import PPOAgent
from rl.algorithms.ppo_config import PPOConfig
from rl.training.agents import Agent
from rl.training.collection_shard import ShardOrder, mark_data
from rl.training.conclusion import Places, Study
from rl.training.problem import LearnerSettings, Problem
from rl.training.shard_lines import InlineLine, OpenLines, open_processes
from rl.training.shard_service import ShardService
from rl.training.sharded_collection import ShardedWorlds
from rl.training.training_config import TrainingConfig, check_divisible
from utils.errors import ConfigError


def check_shards(
    config: TrainingConfig,
    settings: LearnerSettings,
    places: Places,
    *,
    problem: Problem | None,
    agent: Agent | None,
) -> None:
    """Refuse shards that cannot be, before anything slow is done; one shard can always be.

    Args:
        config: The run.
        settings: How it learns.
        places: With the way to a cluster, if there is one.
        problem: The run's own, if it is not one by name.
        agent: The run's own, if it is not one by name.

    Raises:
        ConfigError: They cannot.
    """
    shards, place = config.collection_shards, config.collection_place
    if shards == 1:
        return
    check_divisible(settings.num_envs, shards)
    if agent is not None:
        raise ConfigError(
            f"collection_shards={shards}: shards build their own copies of an agent, which they "
            "cannot of an object; leave the agent out, or choose collection_shards=1"
        )
    if isinstance(settings.config, PPOConfig) and settings.config.memory_size:
        raise ConfigError(
            f"collection_shards={shards}: a policy with a memory "
            f"(settings.ppo.memory_size={settings.config.memory_size}) collects in one piece; "
            "choose memory_size=0, or collection_shards=1"
        )
    if problem is not None and place != "inline":
        raise ConfigError(
            f"collection_place={place}: a problem of your own is an object of this process; "
            "choose collection_place=inline"
        )
    if place == "ray" and places.ray_lines is None:
        raise ConfigError(
            "collection_place=ray: nobody gave this process a way to a cluster; submit the run as "
            "a job, use scripts/train.py, or choose collection_place=process"
        )


@contextmanager
def open_shards(study: Study, settings: LearnerSettings, agent: Agent) -> Iterator[ShardedWorlds]:
    """Start all shards of a run, and end them afterwards.

    Args:
        study: The run; checked by `check_shards`.
        settings: How it learns.
        agent: Learns.

    Raises:
        ConfigError: A shard cannot be where it should run.
        ProcessLostError: A shard has died.
    """
    config = study.config
    if not (isinstance(agent, PPOAgent) and isinstance(settings.config, PPOConfig)):
        raise ConfigError(f"{type(agent).__name__} collects in one piece: train a PPOAgent")
    shards = config.collection_shards
    devices = config.collection_devices or ("cpu",) * shards
    orders = [
        ShardOrder(
            run=config,
            learning=settings.config,
            num_envs=settings.num_envs // shards,
            rollout_steps=settings.rollout_steps,
            index=index,
            device=device,
        )
        for index, device in enumerate(devices)
    ]
    worlds = ShardedWorlds(_way(study)(devices), agent)
    try:
        worlds.open(orders, study.experts, data=mark_data(study.problem))
        yield worlds
    finally:
        worlds.close()


def _way(study: Study) -> OpenLines:
    if study.config.collection_place == "process":
        return open_processes
    if study.config.collection_place == "ray" and study.places.ray_lines is not None:
        return study.places.ray_lines
    problem = study.problem
    return lambda devices: [InlineLine(ShardService(problem)) for _ in devices]
