"""What two exported policies of one world are worth beside each other: same episodes, paired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from rl.artifacts import PolicyArtifact
from rl.evaluation.statistics import Estimate, block_bootstrap_interval
from rl.training.artifact_policy import artifact_player
from rl.training.problems import make_problem
from rl.training.training_config import TrainingConfig
from utils.config import from_json


@dataclass(frozen=True, kw_only=True)
class PolicyDifference:
    """The other policy minus the first one."""

    episodes: int
    about: str
    """What the episodes are, for people."""
    kpi: float
    """Of the first one."""
    difference: Estimate


def compare_policies(
    config: Mapping[str, Any], first: PolicyArtifact, other: PolicyArtifact
) -> PolicyDifference:
    """Let both play the held-out episodes of a run's problem.

    Args:
        config: Of the run that trained the first one.
        first: A policy.
        other: A policy of the same world.

    Raises:
        ConfigError: The config cannot be read, or names no problem.
    """
    torch.set_num_threads(1)
    problem = make_problem(from_json(TrainingConfig, config, "config."))
    contest, episodes = problem.contest, problem.held_out
    players = (artifact_player(artifact, contest.policy_player) for artifact in (first, other))
    kpis = [contest.play(player, episodes).kpi for player in players]
    return PolicyDifference(
        episodes=len(episodes.blocks),
        about=episodes.about,
        kpi=float(kpis[0].mean()),
        difference=block_bootstrap_interval(kpis[1] - kpis[0], episodes.blocks),
    )
