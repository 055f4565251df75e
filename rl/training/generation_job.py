"""Fresh scenarios as a job: drawn by a problem's own law, unseen, stored by their hash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rl.evaluation.contest import ScenarioSet
from rl.training.job import JobContext
from rl.training.job_places import open_artifacts
from rl.training.problems import make_problem
from rl.training.scenario_files import pack_scenarios
from rl.training.training_config import TrainingConfig
from utils.config import from_json
from utils.seeding import make_generator


def generate(spec: Mapping[str, Any], context: JobContext) -> dict[str, Any]:
    """Draw episodes from the law that a problem trains on, from a stream training never draws from.

    Args:
        spec: `config` names the problem; `episodes`, `seed`, `artifact_root`.
        context: Of the attempt.

    Returns:
        Where the set lies and what it is.

    Raises:
        ConfigError: The config fits no problem.
    """
    problem = make_problem(from_json(TrainingConfig, spec["config"], "config."))
    count, seed = int(spec["episodes"]), int(spec["seed"])
    scenarios = problem.training.draw(count, make_generator(seed, "generated for judging"))
    episodes = ScenarioSet(
        name="generated",
        about=f"{count} fresh episodes of: {problem.training_data} (seed {seed})",
        scenarios=scenarios,
        blocks=np.arange(count),
    )
    content = pack_scenarios(episodes)
    store = open_artifacts(spec, context)
    return {
        "sha256": store.put(content),
        "size_bytes": len(content),
        "scenarios_sha256": episodes.sha256,
        "episodes": count,
        "about": episodes.about,
    }
