"""One attempt of a training job, which may collect its experience on a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestration.executors.ray_executor import RayConfig
from orchestration.executors.ray_lines import RayLine, open_ray_lines

if TYPE_CHECKING:
    from rl.training import job

SHARD = "rl.training.shard_service:serve_alone"


def train(spec: Mapping[str, Any], context: job.JobContext) -> dict[str, Any]:
    """Run one attempt; see `rl.training.job.train`.

    Args:
        spec: What to train.
        context: Of the attempt.
    """
    from rl.training.job import train as train_here  # noqa: PLC0415  only children load torch

    return train_here(spec, context, ray_lines=open_shards_on_ray)


def open_shards_on_ray(devices: Sequence[str]) -> list[RayLine]:
    """Start shards on the cluster that this process is in, or that `RAY_ADDRESS` names.

    With neither, a cluster begins on this machine and ends with this process.

    Args:
        devices: Of each shard.

    Raises:
        ConfigError: Ray is not installed, or the cluster cannot be used.
        ProcessLostError: The cluster had no room in time.
    """
    config = RayConfig(address=os.environ.get("RAY_ADDRESS"))
    return open_ray_lines(devices, target=SHARD, config=config)
